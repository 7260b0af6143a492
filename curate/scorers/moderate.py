"""Moderate coreset: rows neither nearest to the middle of their class nor farthest from it (Xia et al. 2023, ICLR)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers._labels import codes, labels
from curate.streaming.scratch import workplace
from curate.streaming.tiles import columns, tiled
from curate.tables.batches import Stream


@dataclass(frozen=True)
class Moderate:
    """``score.moderate``: 1 - |2 q - 1|, q in (0, 1) the rank of the row's distance to its median (float64, in (0, 1]).

    High = a distance near the median of all distances; keep high: keeping a share f keeps the ranks 0.5 +- f/2 of all
    rows together. The distance is Euclidean, to the median of each coordinate over the row's class (``by=class``) or
    over all (``by=all``); q is (rank - 0.5) / n, of equal distances the mean. ``classes`` (c,) names, ``medians``
    (c, d) float32, ``distances`` (n,) float64 sorted.
    """

    classes: np.ndarray = field(repr=False)
    medians: np.ndarray = field(repr=False)
    distances: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    by: str = "class"
    schema = {"score.moderate": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (self.embedding, "label") if self.by == "class" else (self.embedding,)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"classes": self.classes, "medians": self.medians, "distances": self.distances}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        distance = _distances(batch, self)
        below, above = (np.searchsorted(self.distances, distance, side) for side in ("left", "right"))
        q = np.clip((below + above) / 2 / len(self.distances), 0.0, 1.0)
        return pl.DataFrame({"score.moderate": 1.0 - np.abs(2.0 * q - 1.0)}, schema=dict(self.schema))


def learn(stream: Stream, *, by: str = "class", embedding: str = "emb.hashed", scratch: str = "") -> Moderate:
    """Find the exact medians of every coordinate, then the distances of all rows, in two passes.

    Memory is 20 bytes a row and 100 MB; disk 4 d bytes a row, in ``scratch``.
    """
    if by not in ("class", "all"):
        raise SchemaError(f"moderate: by={by} must be class or all")
    needs = (embedding, "label") if by == "class" else (embedding,)
    seen: dict[str, int] = {}
    numbers: list[np.ndarray] = []
    with workplace(scratch, "moderate") as folder:

        def vectors() -> Iterator[np.ndarray]:
            for batch in stream(needs):
                names = _names(batch, by)
                numbers.append(np.array([seen.setdefault(n, len(seen)) for n in names.to_list()], np.int32))
                yield batch[embedding].to_numpy()

        found = tiled(vectors(), Path(folder) / "vectors", f"moderate: {embedding}")
        label = np.concatenate(numbers) if numbers else np.zeros(0, np.int32)
        if not found.rows:
            raise SchemaError("moderate: the data has no rows to learn from")
        order = np.argsort(label, kind="stable")
        edges = np.append(0, np.cumsum(np.bincount(label, minlength=len(seen))))
        medians = np.empty((len(seen), found.width), np.float32)
        for low, block in columns(found):
            for c in range(len(seen)):
                mine = block[:, order[edges[c] : edges[c + 1]]]
                medians[c, low : low + len(block)] = np.median(mine, axis=1)
    classes = sorted(seen)
    bare = Moderate(np.array(classes), medians[[seen[c] for c in classes]], np.zeros(1), embedding, by)
    distances = np.concatenate([_distances(batch, bare) for batch in stream(needs)])
    return Moderate(bare.classes, bare.medians, np.sort(distances), embedding, by)


def _names(batch: pl.DataFrame, by: str) -> pl.Series:
    return labels(batch, "moderate") if by == "class" else pl.Series([""] * batch.height, dtype=pl.String)


def _distances(batch: pl.DataFrame, known: Moderate) -> np.ndarray:
    """Return the distance (n,) float64 of each row to the median of its class."""
    x = batch[known.embedding].to_numpy()
    mine = codes(_names(batch, known.by), known.classes, "moderate")
    return np.asarray(np.sqrt(((x.astype(np.float64) - known.medians[mine]) ** 2).sum(axis=1)))
