"""One score of every row on disk, its group and its id, read again and again; what a first look says of them."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pruning import balance, cutoffs, exact_sums
from curate.pruning.cutoffs import Batch, Counted, Stream
from curate.tables import batches as tables
from curate.tables import scored
from curate.tables.shards import Shard

SAMPLED = 16  # files whose first rows say where the first edges lie
NONE = "(none)"  # the group of a row without a label or cluster
Maker = Callable[[pl.DataFrame, int], Batch]  # rows of ``by``, group and id that start at a position


@dataclass(frozen=True)
class Column:
    """Score ``by`` of all rows and their group, a value of ``grouping`` ("": all are one group), and a first look.

    ``counted``: rows between codes of ``sign`` * score. ``low``, ``high``, ``mean``, ``deviation`` are the score's.
    ``complexity``: of every group, where it was asked for.
    """

    shards: tuple[Shard, ...]
    by: str
    sign: float
    grouping: str
    groups: Mapping[str, int]
    counted: Counted
    low: float
    high: float
    mean: float
    deviation: float
    complexity: np.ndarray | None
    sample: np.ndarray

    @property
    def sizes(self) -> np.ndarray:
        """Rows of each group."""
        return np.asarray(self.counted.counts.sum(axis=0))

    @property
    def rows(self) -> int:
        """Rows in all."""
        return int(self.sizes.sum())

    def frames(self, identity: Sequence[str], also: Sequence[str] = ()) -> Iterator[tuple[Shard, pl.DataFrame]]:
        """Yield the score, the group's column and what else is asked for, with the shard."""
        for shard in self.shards:
            for frame in _light(shard, (self.by, *also), self.grouping, identity):
                yield shard, frame

    def scores(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the (n,) scores of a frame."""
        return frame[self.by].cast(pl.Float64).to_numpy()

    def group(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the (n,) codes of groups."""
        return _codes(frame, self.grouping, self.groups)

    def ranked(self, sign: float) -> Maker:
        """Return what makes batches that sort by ``sign`` * score."""

        def make(frame: pl.DataFrame, at: int) -> Batch:
            ids = frame["id"] if "id" in frame.columns else None
            return Batch(cutoffs.codes(sign * self.scores(frame)), self.group(frame), ids)

        return make

    def stream(self, make: Maker, *, always_ids: bool = False) -> Stream:
        """Return all rows as batches that ``make`` makes."""

        def batches(ids: bool) -> Iterator[Batch]:
            at = 0
            for _, frame in self.frames(("id",) if ids or always_ids else ()):
                yield make(frame, at)
                at += frame.height

        return batches


def look(found: Sequence[Shard], by: str, grouping: str, *, sign: float, complexity: bool = False) -> Column:
    """Read one score of every row for the first time; NaN is an error that names the row."""
    sampled = found[:: max(1, len(found) // SAMPLED)][:SAMPLED]
    sample = np.concatenate([_head(shard, by) for shard in sampled])
    edges = cutoffs.first_edges(cutoffs.codes(sign * sample), cutoffs.INTERVALS)
    groups: dict[str, int] = {}
    complexities: dict[str, float] = {}
    sums, low, high, count = exact_sums.Moments(), np.inf, -np.inf, 0

    def first() -> Iterator[Batch]:
        nonlocal low, high, count
        for shard in found:
            for frame in _light(shard, (by, *((balance.COMPLEXITY,) if complexity else ())), grouping, ()):
                _finite(frame, by, shard)
                for name in _names(frame, grouping).unique(maintain_order=True):
                    groups.setdefault(name, len(groups))
                if complexity:
                    _complexities(frame, grouping, complexities, shard)
                score = frame[by].cast(pl.Float64).to_numpy()
                exact_sums.add(sums, score)
                low, high = min(low, float(score.min(initial=np.inf))), max(high, float(score.max(initial=-np.inf)))
                count += len(score)
                yield Batch(cutoffs.codes(sign * score), _codes(frame, grouping, groups))

    counted = cutoffs.first_count(first(), edges)
    if not count:
        raise SchemaError(f"{found[0].path} and the other score files are empty; score some data with rows")
    counted = Counted(counted.edges, counted.counts[:, : len(groups)])
    mean, deviation = exact_sums.result(sums, count)
    of_groups = np.array([complexities[name] for name in groups]) if complexity else None
    return Column(
        tuple(found), by, sign, grouping, groups, counted, low, high, mean, deviation, of_groups, sample
    )  # fmt: skip


def _light(shard: Shard, columns: Sequence[str], grouping: str, identity: Sequence[str]) -> Iterator[pl.DataFrame]:
    wanted = (*identity, *(("source",) if grouping == "source" and "source" not in identity else ()))
    also = (grouping,) if grouping not in ("", "source") else ()
    yield from scored.light_batches(shard, tuple(dict.fromkeys((*columns, *also))), wanted)


def _names(frame: pl.DataFrame, grouping: str) -> pl.Series:
    if not grouping:
        return pl.repeat("", frame.height, dtype=pl.String, eager=True)
    return frame[grouping].cast(pl.String).fill_null(NONE)


def _codes(frame: pl.DataFrame, grouping: str, groups: Mapping[str, int]) -> np.ndarray:
    if not grouping:
        return np.zeros(frame.height, dtype=np.int64)
    found = _names(frame, grouping)
    names = found.unique()
    codes = pl.Series([groups[name] for name in names], dtype=pl.Int64)
    return found.replace_strict(names, codes, return_dtype=pl.Int64).to_numpy()


def _complexities(frame: pl.DataFrame, grouping: str, found: dict[str, float], shard: Shard) -> None:
    """Note the complexity of each cluster; its rows must agree."""
    frame = frame.select(_names(frame, grouping).alias("name"), pl.col(balance.COMPLEXITY).cast(pl.Float64))
    for name, low, high in frame.group_by("name").agg(
        pl.col(balance.COMPLEXITY).min().alias("low"), pl.col(balance.COMPLEXITY).max().alias("high")
    ).iter_rows():  # fmt: skip
        if low is None or not (low == high == found.setdefault(name, low)):
            raise SchemaError(
                f"{shard.path}: {balance.COMPLEXITY} differs within cluster {name!r} ({low} and {high}, "
                f"{found.get(name)} before): it must be the cluster's complexity. Score again with --scorer density"
            )


def _head(shard: Shard, by: str) -> np.ndarray:
    empty = pl.DataFrame(schema={by: pl.Float64})
    return next(iter(scored.light_batches(shard, (by,), ())), empty)[by].cast(pl.Float64).to_numpy()


def _finite(frame: pl.DataFrame, by: str, shard: Shard) -> None:
    if not tables.finite(frame[by]).all():
        for batch in tables.batches(shard, (by,)):
            scored.check_finite(batch, by, shard)
