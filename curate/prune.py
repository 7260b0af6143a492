"""Keep or drop: a rule over one score, a floor per group, a reason per row; memory does not grow with the rows."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curate import cutoffs, files, rows, tables, verdicts, writer
from curate.bins import make_pools
from curate.cutoffs import LIMIT, Batch, Counted, Order
from curate.errors import SchemaError
from curate.rows import DECISIONS, Progress, silent
from curate.shards import Shard
from curate.verdicts import BY_FLOOR, DROPPED, KEPT

__all__ = ["RULES", "Pruned", "make_pools", "parse_balance", "prune"]

RULES = ("hard", "easy", "middle", "threshold")
SAMPLED = 16  # files whose first rows say where the first edges lie
SCHEMA = {"id": pl.String(), "source": pl.String(), "keep": pl.Boolean(), "reason": pl.String()}


@dataclass(frozen=True)
class Pruned:
    """What pruning did: rows and tokens before and after, per source."""

    by_source: pl.DataFrame

    def table(self) -> pl.DataFrame:
        """Return one row a source: rows, kept, removed share, tokens, tokens kept."""
        return self.by_source


@dataclass(frozen=True)
class Column:
    """One score of all rows on disk, ``sign`` 1 or -1 so that what goes first is low, and what a first look found."""

    shards: tuple[Shard, ...]
    by: str
    sign: float
    groups: dict[str, int]
    counted: Counted
    tokens: np.ndarray

    def stream(self, ids: bool) -> Iterator[Batch]:
        """Yield the codes of all rows."""
        for shard in self.shards:
            for frame in rows.light_batches(shard, self.by, ("id", "source") if ids else ("source",)):
                yield _batch(frame, self.by, self.sign, self.groups)


def prune(
    scores: Path,
    by: str,
    out: Path,
    *,
    keep: float,
    rule: str = "hard",
    balance: str = "none",
    seed: int = 0,
    progress: Progress = silent,
) -> Pruned:
    """Decide every row under ``scores`` and write one ``.keep.parquet`` a score file (atomic), same order.

    ``hard`` keeps the ``keep`` share with the highest score, ``easy`` the lowest, ``middle`` those nearest the median
    rank; ``threshold`` keeps score >= ``keep``. Ties go by hash(id, seed). With a balance floor every source keeps at
    least floor * keep of its rows, the best by the same order (Sorscher et al. 2022 use a floor of 0.5), and the other
    sources give up as many. Reads the score columns two or three times; memory does not grow with the rows.
    """
    floor = parse_balance(balance)
    check(rule, keep, floor)
    found = rows.score_files(scores)
    column = look(found, by, sign=-1.0 if rule == "hard" else 1.0)
    decided = None if rule == "threshold" else _decide(column, rule, keep, floor, seed)
    files.sweep(out, DECISIONS)
    reasons = {DROPPED: f"{rule}: {by}", KEPT: "kept", BY_FLOOR: "kept: floor of its source"}
    kept, at = np.zeros((2, len(column.groups)), dtype=np.int64), 0

    def decisions(shard: Shard) -> Iterator[pl.DataFrame]:
        nonlocal at
        for frame in rows.light_batches(shard, by, ("id", "source", "tokens")):
            batch = _batch(frame, by, column.sign, column.groups)
            if decided is None:
                verdict = np.where(frame[by].to_numpy() >= keep, KEPT, DROPPED)
            else:
                verdict = decided.of(batch, at)
            at += frame.height
            good = verdict != DROPPED
            np.add.at(kept, (0, batch.group[good]), 1)
            np.add.at(kept, (1, batch.group[good]), frame["tokens"].to_numpy()[good])
            reason = pl.Series("reason", [reasons[i] for i in range(len(reasons))])[verdict]
            yield frame.select("id", "source").with_columns(pl.Series("keep", good), reason)

    for done, shard in enumerate(found, start=1):
        writer.write_whole(files.inside(out, shard.relative + DECISIONS), decisions(shard), SCHEMA)
        progress("prune", done, len(found))
    return Pruned(_by_source(column, kept))


def check(rule: str, keep: float, floor: float | None) -> None:
    """Refuse senseless arguments."""
    if rule not in RULES:
        raise SchemaError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    if rule != "threshold" and not 0 < keep <= 1:
        raise SchemaError(f"--keep {keep:g} must be a share in (0, 1] for rule {rule!r}")
    if floor is not None and not 0 <= floor <= 1:
        raise SchemaError(f"balance floor {floor:g} must lie in [0, 1]")


def parse_balance(balance: str) -> float | None:
    """Read ``none``, ``source`` (floor 0.5) or ``source:FLOOR``."""
    what, _, floor = balance.partition(":")
    if what == "none":
        return None
    if what != "source":
        raise SchemaError(f"--balance {balance!r} is not known here: none, source or source:FLOOR (0 to 1)")
    try:
        return float(floor or 0.5)
    except ValueError:
        raise SchemaError(f"--balance {balance!r}: {floor!r} is not a number in [0, 1]") from None


def look(found: Sequence[Shard], by: str, *, sign: float) -> Column:
    """Read one score of every row for the first time; NaN is an error that names the row."""
    sampled = found[:: max(1, len(found) // SAMPLED)][:SAMPLED]
    sample = [cutoffs.codes(sign * _scores(_head(shard, by), by)) for shard in sampled]
    edges = cutoffs.first_edges(np.concatenate(sample), cutoffs.INTERVALS)
    groups: dict[str, int] = {}
    tokens = np.zeros(1, dtype=np.int64)

    def first() -> Iterator[Batch]:
        nonlocal tokens
        for shard in found:
            for frame in rows.light_batches(shard, by, ("source", "tokens")):
                _finite(frame, by, shard)
                for name in frame["source"].unique(maintain_order=True):
                    groups.setdefault(name, len(groups))
                tokens = np.pad(tokens, (0, max(0, len(groups) - len(tokens))))
                batch = _batch(frame, by, sign, groups)
                np.add.at(tokens, batch.group, frame["tokens"].to_numpy())
                yield batch

    counted = cutoffs.first_count(first(), edges)
    if not groups:
        raise SchemaError(f"{found[0].path} and the other score files are empty; score some data with rows")
    counts = counted.counts[:, : len(groups)]
    return Column(tuple(found), by, sign, groups, Counted(counted.edges, counts), tokens)


def _decide(column: Column, rule: str, keep: float, floor: float | None, seed: int) -> verdicts.Verdicts:
    sizes = column.counted.counts.sum(axis=0)
    quotas = None if floor is None else [int(np.floor(floor * keep * size)) for size in sizes]
    order: Order = "middle" if rule == "middle" else "rank"
    target = round(keep * int(sizes.sum()))
    return verdicts.decide(
        column.stream, column.counted, order=order, target=target, quotas=quotas, seed=seed, limit=LIMIT
    )


def _batch(frame: pl.DataFrame, by: str, sign: float, groups: dict[str, int]) -> Batch:
    names = frame["source"].unique()
    codes = pl.Series([groups[name] for name in names], dtype=pl.Int64)
    group = frame["source"].replace_strict(names, codes, return_dtype=pl.Int64).to_numpy()
    return Batch(cutoffs.codes(sign * _scores(frame, by)), group, frame["id"] if "id" in frame.columns else None)


def _scores(frame: pl.DataFrame, by: str) -> np.ndarray:
    return frame[by].cast(pl.Float64).to_numpy()


def _head(shard: Shard, by: str) -> pl.DataFrame:
    empty = pl.DataFrame(schema={by: pl.Float64})
    return next(iter(rows.light_batches(shard, by, ())), empty)


def _finite(frame: pl.DataFrame, by: str, shard: Shard) -> None:
    if not tables.finite(frame[by]).all():
        for batch in tables.batches(shard, (by,)):
            rows.check_finite(batch, by, shard)


def _by_source(column: Column, kept: np.ndarray) -> pl.DataFrame:
    sizes = column.counted.counts.sum(axis=0)
    return pl.DataFrame(
        {
            "source": name,
            "rows": int(sizes[code]),
            "kept": int(kept[0, code]),
            "removed": 1 - float(kept[0, code] / sizes[code]),
            "tokens": int(column.tokens[code]),
            "tokens_kept": int(kept[1, code]),
        }
        for name, code in sorted(column.groups.items())
    )
