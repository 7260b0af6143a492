"""Record what plans were made from: the arguments, as the command line spells them, and the inputs.

In: the arguments of the job. Out: `Source`, whose `made_by` goes into plan.json.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curate.planning.limits import Limits
from curate.pool.pool import Budget, Pool, to_json
from curate.storage import artifacts
from curate.tables import frames


@dataclass(frozen=True, repr=False)
class Source:
    """Arguments and inputs of one job.

    ``tables`` has the content hash of each input that was in memory, by the name of its argument.
    """

    arguments: Mapping[str, object]
    inputs: tuple[Path, ...]
    tables: Mapping[str, str]
    seed: int

    def made_by(self) -> dict[str, object]:
        """Return the record for the field ``made_by``, with the content hashes of the inputs."""
        return artifacts.made_by(self.arguments, self.inputs, self.seed, self.tables)


def source(arguments: Mapping[str, object], pools: str | Path | Sequence[Pool], seed: int) -> Source:
    """Return the record of a job that read ``pools`` from a path or took them from memory."""
    if isinstance(pools, str | Path):
        return Source(arguments, (Path(pools),), {}, seed)
    lines = pl.DataFrame({"pool": [json.dumps(row, sort_keys=True) for row in to_json(pools)]})
    return Source(arguments, (), {"pools": frames.content_hash(lines)}, seed)


def budget_arguments(budgets: Sequence[Budget]) -> dict[str, object]:
    """Return budgets as the options of `curate plan`."""
    text = ",".join(f"{budget.tokens:g}:{budget.params:g}" for budget in budgets)
    return {"budget": text, "frontier": None, "params": None}


def limit_arguments(limits: Limits) -> dict[str, object]:
    """Return limits as the options of `curate plan`."""
    groups = []
    for group in limits.groups:
        groups += [f"{group.name}<={group.high:g}"] if group.high < 1 else []
        groups += [f"{group.name}>={group.low:g}"] if group.low > 0 else []
    return {
        "max_epochs": limits.max_epochs,
        "min_weight": pairs(limits.min_weight),
        "max_weight": pairs(limits.max_weight),
        "fixed": pairs(limits.fixed),
        "group": groups,
        "ordered": ",".join(limits.ordered) or None,
        "money": limits.money,
    }


def pairs(shares: Mapping[str, float]) -> list[str]:
    """Return numbers by name as NAME=NUMBER."""
    return [f"{name}={share:g}" for name, share in shares.items()]
