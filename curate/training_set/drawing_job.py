"""The arguments of one drawing of a training set, which every step reads, and the paths that the steps share."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeVar

from curate.engines import Engine
from curate.models import token_counter
from curate.pool.mixture import Part
from curate.pool.pool import to_json
from curate.progress import Progress
from curate.storage import manifest
from curate.training_set.columns import output_names
from curate.training_set.data_files import DataFile
from curate.training_set.holdout.groups import Holdout
from curate.training_set.tags import TagCounter

T = TypeVar("T")


@dataclass(frozen=True)
class DrawingJob:
    """The arguments that every step reads: the pools with their tokens, the data files, and where and how to work.

    Pools are numbered in the order of ``parts``, which is that of their names. ``tag`` is the column whose values are
    prepended to the texts, or empty; ``tag_counters`` say how its tokens are counted, by folder of scores. ``holdout``
    is what is held out, or None.
    """

    out: Path
    parts: tuple[Part, ...]
    data_files: tuple[DataFile, ...]
    shard_rows: int
    seed: int
    engine: Engine
    progress: Progress
    tag: str = ""
    holdout: Holdout | None = None
    tag_counters: Mapping[str, TagCounter] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Return the folder for files that one step writes and a later step reads. It is removed at the end."""
        return self.out / manifest.FOLDER / "draw"

    @property
    def record(self) -> Path:
        """Return the path of the file that records the settings and the inputs."""
        return self.out / manifest.FOLDER / "materialize.json"

    @property
    def order(self) -> Path:
        """Return the path of the file that records how many rows of each pool are drawn."""
        return self.out / manifest.FOLDER / "order.json"

    @property
    def files(self) -> list[Path]:
        """Return the paths of all input files."""
        counting = {path for name in self.tag_tokenizers.values() for path in token_counter.files_of(name)}
        return sorted({path for file in self.data_files for path in file.files} | counting)

    @property
    def score_folders(self) -> list[str]:
        """Return the folders of the scores that mark the rows."""
        return sorted({part.pool.scores for part in self.parts if part.pool.scores})

    @property
    def settings(self) -> dict[str, object]:
        """Return all settings on which the result depends, apart from the contents of the input files.

        The keys are the names that error messages use.
        """
        return {
            "seed": self.seed,
            "shard rows": self.shard_rows,
            # Left out where they are not set, so that an older folder is continued.
            **({"tag": self.tag} if self.tag else {}),
            **({"tokenizers of tags": tokenizers} if (tokenizers := self.tag_tokenizers) else {}),
            **({"columns": list(names)} if (names := output_names(self.data_files)) else {}),
            **({"mapped columns": mapped} if (mapped := self._mapped_columns) else {}),
            **({"holdout": self.holdout.share, "holdout by": self.holdout.by} if self.holdout else {}),
            **{f"tokens of pool {part.pool.name}": part.tokens for part in self.parts},
            **{f"phases of pool {p.pool.name}": [list(phase) for phase in p.phases] for p in self.parts if p.phases},
            # Whole pools are compared too: a pool with other filters or folders is another job.
            # Where tokens were counted decides no row, and older pools do not say it.
            **{f"pool {row['name']}": row for row in to_json([replace(p.pool, token_counts=None) for p in self.parts])},
        }

    @property
    def _mapped_columns(self) -> dict[str, object]:
        """The mapping of columns of pools without scores. Score folders record the mapping of the others."""
        unscored = (file for file in self.data_files if file.scores is None)
        return next((file.reading.whole_mapping.record() for file in unscored), {})

    @property
    def tag_tokenizers(self) -> dict[str, str]:
        """The tokenizers that count tags, by folder of scores."""
        return {scores: counter.tokenizer for scores, counter in self.tag_counters.items() if counter.tokenizer}

    def run(self, step: str, function: Callable[[T], int], tasks: Sequence[T], *, total: int) -> None:
        """Run the remaining tasks of a step on the engine; ``total`` counts those done before too."""
        self.progress(step, total - len(tasks), total)
        # The tasks leave files; what they return is only counted.
        for done, _ in enumerate(self.engine.run(function, tasks), start=1):
            self.progress(step, total - len(tasks) + done, total)
