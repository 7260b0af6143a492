"""Say what a task of a scoring job is: rows of one input, and what a worker did with them."""

from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa

from curate.scorers import Scorer
from curate.scoring.carried import CarriedColumn
from curate.scoring.learning import learned_scorers
from curate.scoring.learning.learned_scorers import AnyScorer
from curate.scoring.learning.small_columns import AnyColumns, SharedBatches
from curate.scoring.parts import Span, row_range
from curate.scoring.specs import declarations
from curate.tables import batches, meanings, readers
from curate.tables.columns import arrow_types
from curate.tables.reading import Reading
from curate.tables.shards import Shard

LABEL = "label"
# Small files that are written and recorded together. A killed job scores up to so many again. With 64, syncing to disk
# takes less than a tenth of the time that it takes file by file (docs/decisions.md).
TOGETHER = 64


@dataclass(frozen=True)
class ScoringTask:
    """A task: score rows [start, stop) of a shard into the score file ``output`` below the folder ``out``.

    A long shard has several tasks. They write to the folder ``parts``, and ``spans`` are the rows of each. ``columns``
    are the columns that were computed of these rows before. If some scorers have learned, ``part`` is the name of the
    part of the corpus that has these rows.
    """

    shard: Shard
    output: Path
    out: Path
    scorers: tuple[Scorer, ...]
    reading: Reading
    stamp: str = ""
    start: int = 0
    stop: int | None = None  # None: the end of the shard
    parts: Path | None = None
    spans: tuple[Span, ...] = ((0, None),)
    quarantine: bool = False
    also: tuple[str, ...] = ()  # columns that `computing.compute_tasks` reads and hashes as well
    kept: tuple[str, ...] = ()  # columns of texts that it reads, and stores with those that it computes
    label: bool = False  # the score file has the class label of the input
    carried: tuple[CarriedColumn, ...] = ()  # further columns that the score file has of the input
    columns: AnyColumns | None = None
    part: str = ""
    config: str = ""  # the hash of the job's arguments, for the record of a shard that is done

    def __str__(self) -> str:
        """Return the path of the file, and which rows of it."""
        return str(self.shard.path if len(self.spans) == 1 else row_range(self.shard, self.start, self.stop))

    def with_scorers(self, scorers: tuple[AnyScorer, ...]) -> "ScoringTask":
        """Return the task with scorers that have learned, and know what was learned about its rows."""
        return replace(self, scorers=learned_scorers.ready(scorers, self.part))

    @property
    def schema(self) -> dict[str, pl.DataType]:
        """The columns of the score file."""
        schema = self.identity
        for scorer in self.scorers:
            schema |= scorer.schema
        return schema

    @property
    def stage_schema(self) -> dict[str, pl.DataType]:
        """The columns of the next stage that the task computes: stage 0 has the identity of the rows as well."""
        schema = {} if self.columns is not None and self.columns.stages else self.identity
        schema |= dict.fromkeys(self.kept, pl.String())
        for scorer in self.scorers:
            schema |= scorer.schema
        return schema

    @property
    def identity(self) -> dict[str, pl.DataType]:
        """The columns that a score file has of the input."""
        label = {LABEL: pl.String()} if self.label else {}
        return dict(batches.IDENTITY) | label | {column.name: column.dtype for column in self.carried}

    @property
    def fields(self) -> dict[str, object]:
        """The JSON fields of a score file's metadata, which record what its scores mean."""
        return meanings.fields(declarations(self.scorers))


@dataclass(frozen=True)
class ScoringOutcome:
    """What a task did: how many ``rows`` it scored, and the hash of its shard's rows in the ``columns`` that were read.

    ``digest`` is empty if the shard has several parts, which hold the digests of their rows. A task that computed
    columns gives their names in ``computed``, and the digests of its blocks of rows in ``blocks``. ``place`` is where
    the columns of a small shard lie. ``whole`` says that the score file is in place. ``reason`` says why the shard is
    bad, if it is. ``bad_lines`` is the number of lines that were set aside, and ``first_bad`` is the first of them with
    its reason.
    """

    shard: str
    rows: int
    digest: str = ""
    columns: tuple[str, ...] = ()
    whole: bool = False
    reason: str | None = None
    bad_lines: int = 0
    first_bad: str = ""
    start: int = 0
    blocks: tuple[str, ...] = ()
    computed: tuple[str, ...] = ()
    place: SharedBatches | None = None


def is_labelled(head: readers.Head) -> bool:
    """Return whether a shard has class labels: text, whole numbers or booleans. A measured number is no class."""
    kind = head.columns.get(LABEL)
    if kind is None:
        return False
    values = arrow_types.plain(kind)
    return arrow_types.is_text(kind) or bool(pa.types.is_integer(values) or pa.types.is_boolean(values))
