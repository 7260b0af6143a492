"""Keep or drop: a rule over one score, a floor per group, a reason per row; and scored rows into pools."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate import rows, tables
from curate.errors import SchemaError
from curate.pools import Pool
from curate.rows import DECISIONS, Limits, Progress, silent
from curate.tables import Shard

RULES = ("hard", "easy", "middle", "threshold")
KEPT = "kept"


@dataclass(frozen=True)
class Scores:
    """Score columns of every row in memory, in shard and row order: (n,) arrays, 24 bytes a row and no text."""

    score: np.ndarray
    key: np.ndarray  # uint64, breaks ties
    group: np.ndarray  # int32 codes into ``groups``
    tokens: np.ndarray
    groups: tuple[str, ...]


def read(scores: Path, by: str, *, group: str = "source", seed: int = 0) -> Scores:
    """Read one score of every row under ``scores``; NaN is an error that names the row."""
    codes: dict[str, int] = {}
    parts: list[tuple[np.ndarray, ...]] = []
    for shard in rows.score_files(scores):
        for batch in tables.batches(shard, (by,)):
            _finite(batch, by, shard)
            names = batch[group].to_list()
            parts.append(
                (
                    batch[by].to_numpy().astype(np.float64),
                    tables.keys(batch["id"], seed),
                    np.array([codes.setdefault(name, len(codes)) for name in names], dtype=np.int32),
                    batch["tokens"].to_numpy(),
                )
            )
    if not parts:
        raise SchemaError(f"{scores}: all score files are empty; score some data with rows")
    values, key, group_codes, tokens = (np.concatenate(part) for part in zip(*parts, strict=True))
    return Scores(values, key, group_codes, tokens, tuple(codes))


def _finite(batch: pl.DataFrame, by: str, shard: Shard) -> None:
    bad = ~tables.finite(batch[by])
    if bad.any():
        first = batch["id"][int(bad.argmax())]
        raise SchemaError(
            f"{shard.path}: {by} is NaN, infinite or null in {bad.sum()} rows, the first with id {first!r}: "
            "score again, or repair the column"
        )


def decide(column: Scores, *, rule: str, keep: float, floor: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) bool keep and (n,) bool "kept by the group floor alone".

    ``hard`` keeps the ``keep`` share with the highest score, ``easy`` the lowest, ``middle`` those nearest the median
    rank; ``threshold`` keeps score >= ``keep``. Ties go by hash(id, seed). With ``floor`` every group keeps at least
    floor * keep of its rows, the best of the group by the same order (Sorscher et al. 2022 use a floor of 0.5), and
    the other groups give up as many.
    """
    if rule not in RULES:
        raise SchemaError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    n = len(column.score)
    if rule == "threshold":
        return column.score >= keep, np.zeros(n, dtype=bool)
    if not 0 < keep <= 1:
        raise SchemaError(f"--keep {keep:g} must be a share in (0, 1] for rule {rule!r}")
    order = _order(column, rule)
    target = round(keep * n)
    plain = np.zeros(n, dtype=bool)
    plain[order[:target]] = True
    if floor is None:
        return plain, np.zeros(n, dtype=bool)
    if not 0 <= floor <= 1:
        raise SchemaError(f"balance floor {floor:g} must lie in [0, 1]")
    secured = np.zeros(n, dtype=bool)
    ordered_groups = column.group[order]
    for code in range(len(column.groups)):
        members = order[ordered_groups == code]
        secured[members[: int(np.floor(floor * keep * len(members)))]] = True
    rest = order[~secured[order]]
    result = secured.copy()
    result[rest[: max(0, target - int(secured.sum()))]] = True
    return result, result & ~plain


def _order(column: Scores, rule: str) -> np.ndarray:
    """Return row positions, first to keep first; ties by key."""
    rank = np.lexsort((column.key, column.score))
    if rule == "easy":
        return rank
    if rule == "hard":
        return np.lexsort((column.key, -column.score))
    distance = np.empty(len(rank))
    distance[rank] = np.abs(np.arange(len(rank)) - (len(rank) - 1) / 2)
    return np.lexsort((column.key, distance))


@dataclass(frozen=True)
class Pruned:
    """What pruning did: rows and tokens before and after, per source."""

    by_source: pl.DataFrame

    def table(self) -> pl.DataFrame:
        """Return one row a source: rows, kept, removed share, tokens, tokens kept."""
        return self.by_source


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
    """Decide every row under ``scores`` and write one ``.keep.parquet`` a score file (atomic), same order."""
    floor = parse_balance(balance)
    column = read(scores, by, seed=seed)
    kept, by_floor = decide(column, rule=rule, keep=keep, floor=floor)
    reasons = np.where(kept, np.where(by_floor, f"{KEPT}: floor of its source", KEPT), f"{rule}: {by}")
    at, found = 0, rows.score_files(scores)
    for done, shard in enumerate(found, start=1):
        identity = pl.DataFrame(schema={"id": pl.String, "source": pl.String})
        frame = pl.concat([identity, *(batch.select("id", "source") for batch in tables.batches(shard))])
        mine, at = slice(at, at + frame.height), at + frame.height
        frame = frame.with_columns(
            pl.Series("keep", kept[mine]), pl.Series("reason", reasons[mine].tolist(), dtype=pl.String)
        )
        tables.write(out / (shard.relative + DECISIONS), [frame])
        progress("prune", done, len(found))
    return Pruned(_by_source(column, kept))


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


def _by_source(column: Scores, kept: np.ndarray) -> pl.DataFrame:
    records = []
    for code, name in sorted(enumerate(column.groups), key=lambda item: item[1]):
        mine = column.group == code
        records.append(
            {
                "source": name,
                "rows": int(mine.sum()),
                "kept": int((mine & kept).sum()),
                "removed": 1 - float((mine & kept).sum() / mine.sum()),
                "tokens": int(column.tokens[mine].sum()),
                "tokens_kept": int(column.tokens[mine & kept].sum()),
            }
        )
    return pl.DataFrame(records)


def make_pools(
    scores: Path, *, kept: Path | None = None, by: str | None = None, bins: int = 1, min_tokens: float = 0
) -> tuple[Pool, ...]:
    """One pool a source; with ``bins`` > 1 sources split at quantiles of the score ``by``, into equal shares of rows.

    A source is split into as many bins as leave each about ``min_tokens``. Names: ``source`` or ``source.1`` (lowest
    score) ... ``source.B``. ``tokens`` are unique tokens of the kept rows.
    """
    columns: dict[str, list[tuple[np.ndarray, np.ndarray]]] = {}
    for shard in rows.score_files(scores):
        for whole, verdict in rows.kept_batches(shard, kept, (by,) if by else ()):
            batch = whole.filter(verdict)
            if by:
                _finite(batch, by, shard)
            for (name,), part in batch.partition_by("source", as_dict=True).items():
                values = part[by].to_numpy() if by else np.zeros(part.height)
                columns.setdefault(str(name), []).append((values, part["tokens"].to_numpy()))
    if not columns:
        raise SchemaError(f"{scores} has no rows{' that were kept' if kept else ''}: a pool needs at least one")
    where = tuple(str(item) for item in cast(list[str], rows.job(scores)["data"]))
    result: list[Pool] = []
    for source in sorted(columns):
        values, tokens = (np.concatenate(c) for c in zip(*columns[source], strict=True))
        parts = max(1, min(bins, int(tokens.sum() // min_tokens) if min_tokens else bins)) if by else 1
        for name, inside, limits in _split(source, values, parts):
            result.append(
                Pool(
                    name=name,
                    tokens=int(tokens[inside].sum()),
                    examples=int(inside.sum()),
                    where=where,
                    filter={"source": source},
                    score={by: limits} if by and parts > 1 else None,
                    scores=str(scores),
                    kept=str(kept) if kept else None,
                )
            )
    return tuple(result)


def _split(source: str, values: np.ndarray, parts: int) -> Iterator[tuple[str, np.ndarray, Limits]]:
    """Cut one source at the quantiles of its score into at most ``parts`` non-empty bins."""
    inner = [float(e) for e in np.unique(np.quantile(values, np.arange(1, parts) / parts)) if e > values.min()]
    edges = [None, *inner, None]
    for i, (low, high) in enumerate(pairwise(edges), start=1):
        yield (f"{source}.{i}" if len(edges) > 2 else source), rows.inside(values, (low, high)), (low, high)
