"""Moderate coreset: rows at a middle distance from the median of their class (Xia et al. 2023, ICLR)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers._labels import codes, labels
from curate.streaming import tiles
from curate.streaming.scratch import scratch_folder
from curate.tables.batches import Stream


@dataclass(frozen=True)
class Moderate:
    """How typical a row's distance to the middle of its class is; high is typical.

    ``score.moderate`` (float64, in [0, 1]) is 1 - |2 q - 1|, where q is the rank of the row's distance divided by n:
    (rank - 0.5) / n, and the mean of equal distances. The distance is Euclidean, to the median of each coordinate. Keep
    high scores: keeping a share f keeps the ranks 0.5 +- f/2 of all rows together. ``classes`` (c,) are the names,
    ``medians`` (c, d) float32, ``distances`` (n,) float64 sorted.

    Source: Xia et al. 2023, ICLR.
    """

    classes: np.ndarray = field(repr=False)
    medians: np.ndarray = field(repr=False)
    distances: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    by: str = "class"
    schema = {"score.moderate": pl.Float64()}
    meanings = {"score.moderate": "quality"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (self.embedding, "label") if self.by == "class" else (self.embedding,)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"classes": self.classes, "medians": self.medians, "distances": self.distances}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        distance = _distances(batch, self)
        # equal distances share their mean rank
        below, above = (np.searchsorted(self.distances, distance, side) for side in ("left", "right"))
        q = np.clip((below + above) / 2 / len(self.distances), 0.0, 1.0)
        return pl.DataFrame({"score.moderate": 1.0 - np.abs(2.0 * q - 1.0)}, schema=dict(self.schema))


def learn(stream: Stream, *, by: str = "class", embedding: str = "emb.hashed", scratch: str = "") -> Moderate:
    """Return the exact medians of every coordinate and the distances of all rows, from two passes.

    Memory is 20 bytes a row and 100 MB; disk is 4 d bytes a row.

    Options:
        by: class, for the median of the row's class, or all, for the median of all rows (default class).
        embedding: the column of vectors (default emb.hashed).
        scratch: folder for the work files (default: the system's temporary folder).

    Raises:
        SchemaError: if there are no rows, or ``by=class`` and a row has no label.
    """
    if by not in ("class", "all"):
        raise SchemaError(f"moderate: by={by} must be class or all")
    needs = (embedding, "label") if by == "class" else (embedding,)
    code_of: dict[str, int] = {}
    code_parts: list[np.ndarray] = []
    with scratch_folder(scratch, "moderate") as folder:

        def vectors() -> Iterator[np.ndarray]:
            for batch in stream(needs):
                names = _names(batch, by)
                code_parts.append(np.array([code_of.setdefault(n, len(code_of)) for n in names.to_list()], np.int32))
                yield batch[embedding].to_numpy()

        tiled = tiles.write(vectors(), folder / "vectors", f"moderate: {embedding}")
        if not tiled.rows:
            raise SchemaError("moderate: the data has no rows to learn from. Give it data with rows")
        medians = _medians(tiled, np.concatenate(code_parts), len(code_of))
    classes = sorted(code_of)
    # the distances need the medians, so a scorer without distances measures them in the second pass
    bare = Moderate(np.array(classes), medians[[code_of[c] for c in classes]], np.zeros(1), embedding, by)
    distances = np.concatenate([_distances(batch, bare) for batch in stream(needs)])
    return Moderate(bare.classes, bare.medians, np.sort(distances), embedding, by)


def _medians(tiled: tiles.Tiles, code: np.ndarray, classes: int) -> np.ndarray:
    """Return the median (classes, d) float32 of each coordinate over the rows of each class; ``code`` (n,)."""
    order = np.argsort(code, kind="stable")
    edges = np.append(0, np.cumsum(np.bincount(code, minlength=classes)))
    medians = np.empty((classes, tiled.width), np.float32)
    for low, block in tiles.blocks(tiled):
        for c in range(classes):
            members = block[:, order[edges[c] : edges[c + 1]]]
            medians[c, low : low + len(block)] = np.median(members, axis=1)
    return medians


def _names(batch: pl.DataFrame, by: str) -> pl.Series:
    return labels(batch, "moderate") if by == "class" else pl.Series([""] * batch.height, dtype=pl.String)


def _distances(batch: pl.DataFrame, scorer: Moderate) -> np.ndarray:
    """Return the distance (n,) float64 of each row to the median of its class."""
    x = batch[scorer.embedding].to_numpy()
    number = codes(_names(batch, scorer.by), scorer.classes, "moderate")
    return np.asarray(np.sqrt(((x.astype(np.float64) - scorer.medians[number]) ** 2).sum(axis=1)))
