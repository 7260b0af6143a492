"""Read one score of every ranked row: check it, sum it up, and keep it in a work file.

In: score files and the names of columns. Out: the column with its totals.
The engine reads ranges of rows, a task each. This process writes what a task returns to the work file.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import zip_longest
from pathlib import Path

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import SchemaError
from curate.progress import counted
from curate.pruning import balance
from curate.pruning.budgets.capped_inputs import CappedInput
from curate.pruning.columns import exact_sums, score_column, value_hashes
from curate.pruning.columns.exact_sums import Moments
from curate.pruning.columns.row_table import FILE_STEP, VALUE, RowTable, RowWriter, row_type
from curate.pruning.columns.score_column import ScoreColumn, ScoreFileRange, ScoreValues
from curate.pruning.eligible import ELIGIBLE, Eligible
from curate.tables import batches as tables
from curate.tables import scored
from curate.tables.row_ranges import RowRange, row_ranges
from curate.tables.shards import Shard


@dataclass
class _RangeTotals:
    """What is read of the range of rows ``number``: its rows, as arrays of `row_type`, and sums of them.

    ``groups`` are the groups of the range in the order of their first rows.
    """

    number: int
    rows: list[np.ndarray] = field(default_factory=list)
    groups: dict[str, int] = field(default_factory=dict)
    complexities: dict[str, float] = field(default_factory=dict)
    moments: Moments = field(default_factory=Moments)
    low: float = np.inf
    high: float = -np.inf

    def add(self, score: np.ndarray) -> None:
        exact_sums.add(self.moments, score)
        self.low = min(self.low, float(score.min(initial=np.inf)))
        self.high = max(self.high, float(score.max(initial=-np.inf)))


@dataclass(frozen=True)
class _RangeToRead:
    """A range of rows of the file with the number ``file``, with its input where capped columns are read from there."""

    part: ScoreFileRange
    file: int
    beside: CappedInput | None = None

    @property
    def first_place(self) -> np.uint64:
        """Return the place of the first row among all rows: numbers of rows that no two files share."""
        return np.uint64((self.part.rows.first + self.file * FILE_STEP) % 2**64)

    def __str__(self) -> str:
        """Return the path of the file, and which rows of it."""
        return str(self.part)


@dataclass(frozen=True)
class _FirstReading:
    """How files are read: the score, the column of groups, capped columns, and which rows are ranked."""

    by: str
    grouping: str
    complexity: bool
    capped: tuple[str, ...]
    eligible: Eligible | None
    seed: int

    def __call__(self, item: _RangeToRead) -> _RangeTotals:
        """Read one range of rows."""
        part = item.part
        totals, shard = _RangeTotals(part.number), part.rows.shard
        codes = None if self.eligible is None else self.eligible.codes(part.rows)
        start = 0
        for whole in self._frames(item):
            frame, numbers = whole, np.arange(start, start + whole.height, dtype=np.uint64)
            if codes is not None:
                is_eligible = codes[start : start + whole.height] == ELIGIBLE
                frame, numbers = whole.filter(is_eligible), numbers[is_eligible]
            start += whole.height
            if self.by:
                _check_finite(frame, self.by, shard, self.eligible)
            if self.complexity:
                _note_complexities(frame, self.grouping, totals.complexities, shard)
            score = score_column.scores(frame, self.by)
            totals.add(score)
            rows = np.zeros(frame.height, row_type(len(self.capped)))
            rows["score"], rows["tokens"] = score, frame["tokens"].to_numpy()
            rows["key"] = tables.keys(frame["id"], self.seed)
            rows["group"] = score_column.group_numbers(score_column.group_names(frame, self.grouping), totals.groups)
            for number, name in enumerate(self.capped):
                rows[f"{VALUE}{number}"] = value_hashes.hashes(frame, name, numbers + item.first_place)
            totals.rows.append(rows)
        return totals

    def _frames(self, item: _RangeToRead) -> Iterator[pl.DataFrame]:
        """Yield the columns that are read of a range, batch by batch."""
        of_input = () if item.beside is None else (*item.beside.columns, *item.beside.missing)
        # A capped column may be an identity column: those of a score file are never missing.
        identity = tuple(dict.fromkeys(("id", "tokens", *(name for name in self.capped if name in tables.IDENTITY))))
        others = [name for name in self.capped if name not in (*tables.IDENTITY, *of_input)]
        others += [balance.COMPLEXITY] if self.complexity else []
        rows = item.part.rows
        if item.beside is None:
            yield from score_column.light(rows, self.by, others, self.grouping, identity)
            return
        names = dict.fromkeys(name for name in (*identity, self.by, *others, self.grouping) if name)
        for frame in item.beside.frames(tuple(names)):
            if self.by:
                scored.check_numbers(frame, self.by, rows.shard)
            yield frame


def look(
    shards: Sequence[Shard],
    by: str,
    grouping: str,
    *,
    folder: Path,
    engine: Engine,
    seed: int = 0,
    complexity: bool = False,
    capped: Sequence[str] = (),
    eligible: Eligible | None = None,
    capped_inputs: Sequence[CappedInput] = (),
) -> ScoreColumn:
    """Read one score of every ranked row.

    Args:
        shards: the score files.
        by: the score; "" for none.
        grouping: the column of groups; "" for one group of all rows.
        folder: an existing folder for work files of about 30 bytes a row.
        engine: reads the files.
        seed: of the hashes of ids, which order rows of equal score.
        complexity: also read the complexity of each group, a cluster.
        capped: columns of which each value may keep a limited number of rows.
        capped_inputs: the inputs of all score files, in their order, if capped columns are read from there.
        eligible: tells which rows are ranked; None for all. Other rows have no position.

    Raises:
        SchemaError: if a score is not finite (the row is named), if there are no rows, or if a cluster has two
            complexities.
    """
    # Beside its input, a file is read from its first row on.
    cut = [item.rows.rows for item in capped_inputs] or [rows for shard in shards for rows in row_ranges(shard)]
    ranges = [ScoreFileRange(rows, number) for number, rows in enumerate(cut)]
    sums, counts = _RangeTotals(0), np.zeros(len(ranges), dtype=np.int64)
    # Of each group the range and the place in it where it comes first: groups are numbered in the order of the rows.
    firsts: dict[str, tuple[int, int]] = {}
    rows_of_group: dict[str, int] = {}
    reading = _FirstReading(by, grouping, complexity, tuple(capped), eligible, seed)
    # A new file begins with each range that begins with the first row.
    file_of = (np.cumsum([part.rows.first == 0 for part in ranges]) - 1).tolist()
    tasks = [_RangeToRead(part, file, beside) for part, file, beside in zip_longest(ranges, file_of, capped_inputs)]
    with RowWriter(folder / "rows") as writer:
        for part in counted(engine.run(reading, tasks), "parts of score files read", len(ranges)):
            sizes = np.zeros(len(part.groups), np.int64)
            for rows in part.rows:
                sizes += np.bincount(rows["group"], minlength=len(part.groups))
            for place, name in enumerate(part.groups):
                sums.groups.setdefault(name, len(sums.groups))
                firsts[name] = min(firsts.get(name, (part.number, place)), (part.number, place))
                rows_of_group[name] = rows_of_group.get(name, 0) + int(sizes[place])
            for name, value in part.complexities.items():
                _note_complexity(name, value, value, sums.complexities, cut[part.number].shard)
            numbers = np.array([sums.groups[name] for name in part.groups] or [0], dtype=np.int32)
            for rows in part.rows:
                rows["group"] = numbers[rows["group"]]
            counts[part.number] = writer.add(part.number, part.rows)
            exact_sums.merge(sums.moments, part.moments)
            sums.low, sums.high = min(sums.low, part.low), max(sums.high, part.high)
    total = int(counts.sum())
    if not total:
        raise SchemaError(_no_rows(shards, eligible))
    names = sorted(firsts, key=firsts.__getitem__)
    final = np.zeros(len(names), dtype=np.int32)
    final[[sums.groups[name] for name in names]] = np.arange(len(names), dtype=np.int32)
    mean, deviation = exact_sums.result(sums.moments, total)
    starts = (np.cumsum(counts) - counts).tolist()
    placed = [replace(part, start=start) for part, start in zip(ranges, starts, strict=True)]
    # A file begins where its first range does.
    begins = [part for part in placed if part.rows.first == 0]
    spans = tuple(writer.spans[number] for number in range(len(ranges)))
    return ScoreColumn(
        values=ScoreValues(by, grouping, {n: i for i, n in enumerate(names)}, sums.low, sums.high, mean, deviation),
        files=tuple(
            ScoreFileRange(RowRange(part.rows.shard), number, part.start) for number, part in enumerate(begins)
        ),
        ranges=tuple(placed),
        engine=engine,
        table=RowTable(writer.path, row_type(len(capped)), spans, final),
        folder=folder,
        sizes=np.array([rows_of_group[name] for name in names], dtype=np.int64),
        complexity=np.array([sums.complexities[name] for name in names]) if complexity else None,
    )


def _no_rows(shards: Sequence[Shard], eligible: Eligible | None) -> str:
    if eligible is not None:
        return "no row meets all requirements, so there is nothing to rank. Leave out a --require, or lower its bound"
    others = " and the other score files have" if len(shards) > 1 else " has"
    return f"{shards[0].path}{others} no rows. Score data that has rows"


def _note_complexities(frame: pl.DataFrame, grouping: str, complexities: dict[str, float], shard: Shard) -> None:
    """Note the complexity of each cluster; all its rows must agree."""
    value = pl.col(balance.COMPLEXITY).cast(pl.Float64)
    frame = frame.select(score_column.group_names(frame, grouping).alias("name"), value.alias("value"))
    extremes = frame.group_by("name").agg(pl.col("value").min().alias("low"), pl.col("value").max().alias("high"))
    for name, low, high in extremes.iter_rows():
        _note_complexity(name, low, high, complexities, shard)


def _note_complexity(
    name: str, low: float | None, high: float | None, complexities: dict[str, float], shard: Shard
) -> None:
    """Note the complexity of a cluster, the lowest and the highest of some rows, which must agree."""
    if low is None or not (low == high == complexities.setdefault(name, low)):
        raise SchemaError(
            f"{shard.path}: {balance.COMPLEXITY} differs within cluster {name!r} ({low} and {high}, "
            f"{complexities.get(name)} before). It must be the complexity of the cluster: score again with "
            "--scorer density"
        )


def _check_finite(frame: pl.DataFrame, by: str, shard: Shard, eligible: Eligible | None) -> None:
    if tables.finite(frame[by]).all():
        return
    if eligible is None:
        # The whole file is read again, so that the message counts all its bad rows.
        for batch in tables.batches(shard, (by,)):
            scored.check_finite(batch, by, shard)
    scored.check_finite(frame, by, shard)
