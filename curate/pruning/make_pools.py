"""Scored rows into pools: one a source, large sources split at quantiles of a score; memory does not grow with rows."""

from collections.abc import Iterator
from itertools import pairwise
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.pruning import cutoffs
from curate.pruning.cutoffs import LIMIT, Batch, Counted
from curate.tables import scored
from curate.tables.scored import ScoreRange


def make_pools(
    scores: Path, *, kept: Path | None = None, by: str | None = None, bins: int = 1, min_tokens: float = 0
) -> tuple[Pool, ...]:
    """One pool a source; with ``bins`` > 1 sources split at quantiles of the score ``by``, into equal shares of rows.

    A source is split into as many bins as leave each about ``min_tokens``. Names: ``source`` or ``source.1`` (lowest
    score) ... ``source.B``. ``tokens`` are unique tokens of the kept rows.
    """
    rows_of, tokens_of = _totals(scores, kept)
    if not rows_of:
        raise SchemaError(f"{scores} has no rows{' that were kept' if kept else ''}: a pool needs at least one")
    parts = {
        source: max(1, min(bins, int(tokens // min_tokens) if min_tokens else bins)) if by else 1
        for source, tokens in tokens_of.items()
    }
    edges = _edges(scores, kept, by, parts, rows_of) if by else {}
    cut = {source: [None, *edges.get(source, []), None] for source in sorted(rows_of)}
    where = tuple(str(item) for item in cast(list[str], scored.job(scores)["data"]))
    found = _count(scores, kept, by, cut)
    for source, counts in found.items():  # values may lie so that an edge between them cuts off nothing
        full = counts[:, 0] > 0
        cut[source], found[source] = [*np.array(cut[source][:-1], dtype=object)[full], None], counts[full]
    result = []
    for source, limits in cut.items():
        for i, pair in enumerate(pairwise(limits)):
            examples, tokens = found[source][i].tolist()
            result.append(
                Pool(
                    name=f"{source}.{i + 1}" if len(limits) > 2 else source,
                    tokens=tokens,
                    examples=examples,
                    where=where,
                    filter={"source": source},
                    score={by: pair} if by and parts[source] > 1 else None,
                    scores=str(scores),
                    kept=str(kept) if kept else None,
                )
            )
    return tuple(result)


def of_sources(scores: Path, kept: Path, counts: pl.DataFrame) -> tuple[Pool, ...]:
    """One pool a source from (source, kept, tokens_kept) that are known, as ``make_pools`` would count them."""
    where = tuple(str(item) for item in cast(list[str], scored.job(scores)["data"]))
    return tuple(
        Pool(name, tokens, examples, where, {"source": name}, None, str(scores), str(kept))
        for name, examples, tokens in counts.select("source", "kept", "tokens_kept").iter_rows()
        if tokens > 0
    )


def _frames(scores: Path, kept: Path | None, by: str | None) -> Iterator[pl.DataFrame]:
    """Yield the kept rows with their source, tokens and score."""
    for shard in scored.score_files(scores):
        for batch, verdict in scored.kept_batches(shard, kept, (by,) if by else ()):
            frame = batch.filter(verdict)
            if by:
                scored.check_finite(frame, by, shard)
            yield frame


def _totals(scores: Path, kept: Path | None) -> tuple[dict[str, int], dict[str, int]]:
    """Return the kept rows and tokens of each source."""
    count: dict[str, int] = {}
    tokens: dict[str, int] = {}
    for frame in _frames(scores, kept, None):
        for name, n, total in frame.group_by("source").agg(pl.len(), pl.col("tokens").sum()).iter_rows():
            count[name], tokens[name] = count.get(name, 0) + n, tokens.get(name, 0) + total
    return count, tokens


def _edges(
    scores: Path, kept: Path | None, by: str, parts: dict[str, int], rows_of: dict[str, int]
) -> dict[str, list[float]]:
    """Return the inner edges of each source: quantiles of its score, without those that would leave a bin empty."""
    codes = {source: code for code, source in enumerate(sorted(rows_of))}

    def stream(ids: bool) -> Iterator[Batch]:
        for frame in _frames(scores, kept, by):
            score = frame[by].cast(pl.Float64).to_numpy()
            group = frame["source"].replace_strict(list(codes), list(codes.values()), return_dtype=pl.Int64)
            yield Batch(cutoffs.codes(score), group.to_numpy(), frame["id"] if ids else None)

    first = next((batch.code for batch in stream(False) if len(batch.code)), np.zeros(0, dtype=np.uint64))
    most = min(cutoffs.INTERVALS, max(2, cutoffs.CELLS // len(codes)))
    counted: Counted = cutoffs.count(stream, cutoffs.first_edges(first, most), len(codes), 0)
    spots = {s: (rows_of[s] - 1) * (np.arange(1, parts[s]) / parts[s]) for s in codes if parts[s] > 1}
    ranks = {codes[s]: sorted({0, *(int(i) for at in spots[s] for i in (at // 1, -(-at // 1)))}) for s in spots}
    found = cutoffs.order_statistics(stream, counted, ranks, seed=0, limit=LIMIT)
    result = {}
    for source, code in ((s, codes[s]) for s in spots):
        inner = {_between(found[code, int(at // 1)], found[code, int(-(-at // 1))], at % 1) for at in spots[source]}
        result[source] = sorted(edge for edge in inner if edge > found[code, 0])
    return result


def _between(low: float, high: float, part: float) -> float:
    """Interpolate as ``numpy.quantile`` does, to the last bit."""
    return float(high - (high - low) * (1 - part) if part >= 0.5 else low + (high - low) * part)


def _count(
    scores: Path, kept: Path | None, by: str | None, cut: dict[str, list[float | None]]
) -> dict[str, np.ndarray]:
    """Return (bins, 2): the rows and tokens of each bin of each source."""
    found = {source: np.zeros((len(limits) - 1, 2), dtype=np.int64) for source, limits in cut.items()}
    for frame in _frames(scores, kept, by):
        for (name,), part in frame.partition_by("source", as_dict=True).items():
            limits: list[ScoreRange] = list(pairwise(cut[str(name)]))
            tokens = part["tokens"].to_numpy()
            for i, pair in enumerate(limits):
                mine = scored.inside(part[by].to_numpy(), pair) if by else np.ones(part.height, dtype=bool)
                found[str(name)][i] += (int(mine.sum()), int(tokens[mine].sum()))
    return found
