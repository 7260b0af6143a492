"""Say where the scores of a row stand among those of all rows, and where a ranked decision cut.

In: score files, and decisions. Out: shares of rows, and the scores next to the cut.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.progress import counted
from curate.tables import scored
from curate.tables.row_ranges import RowRange, row_ranges
from curate.tables.scored import DECISIONS
from curate.tables.shards import Shard


@dataclass(frozen=True)
class CutEnds:
    """The scores of the rows that a ranked decision kept and dropped: the least and the largest of each."""

    kept: tuple[float, float] | None
    dropped: tuple[float, float] | None


def shares_below(
    values: Mapping[str, Sequence[float | None]], shards: Sequence[Shard], engine: Engine
) -> dict[str, list[float | None]]:
    """Return for each value of each column the share of all rows with a lower value; None for a null."""
    columns = tuple(values)
    wanted = {name: np.array([np.nan if v is None else v for v in of_column]) for name, of_column in values.items()}
    counts = {name: np.zeros(len(of_column)) for name, of_column in values.items()}
    total, parts = 0, [rows for shard in shards for rows in row_ranges(shard)]
    for rows, below in counted(engine.run(partial(_count_below, columns, wanted), parts), "parts ranked", len(parts)):
        total += rows
        for name in columns:
            counts[name] += below[name]
    return {
        name: [
            None if value is None else float(count) / max(1, total)
            for value, count in zip(values[name], counts[name].tolist(), strict=True)
        ]
        for name in columns
    }


def _count_below(
    columns: Sequence[str], wanted: Mapping[str, np.ndarray], rows: RowRange
) -> tuple[int, dict[str, np.ndarray]]:
    total, below = 0, {name: np.zeros(len(wanted[name])) for name in columns}
    for batch in scored.light_batches(rows, columns, ("tokens",)):
        total += batch.height
        for name in columns:
            values = np.sort(batch[name].cast(pl.Float64).drop_nulls().to_numpy())
            below[name] += np.searchsorted(values, wanted[name], side="left") * ~np.isnan(wanted[name])
    return total, below


def cut(by: str, reason: str, shards: Sequence[Shard], kept: Path, engine: Engine) -> CutEnds:
    """Return the scores of the rows that a ranked decision kept, and of those that it dropped for ``reason``."""
    extremes = np.array([[np.inf, -np.inf], [np.inf, -np.inf]])
    for part in counted(engine.run(partial(_extremes, by, reason, kept), shards), "score files ranked", len(shards)):
        extremes[:, 0] = np.minimum(extremes[:, 0], part[:, 0])
        extremes[:, 1] = np.maximum(extremes[:, 1], part[:, 1])
    ends = [(low, high) if low <= high else None for low, high in extremes.tolist()]
    return CutEnds(*ends)


def _extremes(by: str, reason: str, kept: Path, shard: Shard) -> np.ndarray:
    extremes = np.array([[np.inf, -np.inf], [np.inf, -np.inf]])
    decided = Shard(kept / (shard.relative + DECISIONS), shard.relative)
    pairs = zip(
        scored.light_batches(RowRange(shard), (by,), ()),
        scored.light_batches(RowRange(decided), ("keep", "reason"), ()),
        strict=True,
    )
    for scores, decisions in pairs:
        values = scores[by].cast(pl.Float64).to_numpy()
        masks = (decisions["keep"].to_numpy(), (decisions["reason"] == reason).to_numpy())
        for side, mask in enumerate(masks):
            if mask.any():
                extremes[side, 0] = min(extremes[side, 0], values[mask].min())
                extremes[side, 1] = max(extremes[side, 1], values[mask].max())
    return extremes
