"""The arguments of one call of `prune`, which its steps read."""

from dataclasses import dataclass

from curate.engines import Engine
from curate.progress import Progress
from curate.pruning.requirements.requirement import DUPLICATES
from curate.pruning.rule_options import RuleOptions


@dataclass(frozen=True)
class PruneCall:
    """The arguments of a call of `prune`, without the scores and the output folder.

    ``in_memory`` says that the scores are a table in memory and not a folder.
    """

    options: RuleOptions
    require: tuple[str, ...]
    max_source_removal: float
    verify: int
    materialize: bool
    format_name: str
    partial: bool
    dry_run: bool
    shard_rows: int
    engine: Engine
    take_over: bool
    progress: Progress
    in_memory: bool

    @property
    def verifies(self) -> bool:
        """Return whether a sample of the removed duplicates is compared again."""
        return self.options.by == DUPLICATES and self.verify > 0
