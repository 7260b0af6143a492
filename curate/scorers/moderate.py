"""Moderate coreset: rows at a middle distance from the median of their class (Xia et al. 2023, ICLR)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers._labels import codes, labels
from curate.streaming.vectors.clusters import TOP, common_width, refuse_widths
from curate.streaming.vectors.medians import medians
from curate.tables.batches import keys
from curate.tables.corpus import Arrays, Corpus, PartRows

# Since format 2, with more than 1,048,576 rows, ranks are taken among a sample of about this many distances.
FORMAT = 2
# Distances that every worker holds: 8 MB. Ranks among a sample of so many are off by less than .002.
RANKED = 1 << 20


@dataclass(frozen=True)
class Moderate:
    """How typical a row's distance to the middle of its class is; high is typical.

    ``score.moderate`` (float64, in [0, 1]) is 1 - |2 q - 1|, where q is the rank of the row's distance divided by n:
    (rank - 0.5) / n, and the mean of equal distances. The distance is Euclidean, to the median of each coordinate. Keep
    high scores: keeping a share f keeps the ranks 0.5 +- f/2 of all rows together. Beyond 1,048,576 rows, the rank is
    that among about so many of them, chosen by the hash of their ids. ``classes`` (c,) are the names, ``medians``
    (c, d) float32, ``distances`` (m,) float64 sorted.

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


def learn(corpus: Corpus, *, by: str = "class", embedding: str = "emb.hashed") -> Moderate:
    """Return the exact medians of every coordinate and the distances of the rows, from six passes.

    Memory is 4,096 d bytes for each class of a part, at most 400 MB, and 16 MB.

    Options:
        by: class, for the median of the row's class, or all, for the median of all rows (default class).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: if there are no rows, or ``by=class`` and a row has no label.
    """
    if by not in ("class", "all"):
        raise SchemaError(f"moderate: by={by} must be class or all")
    needs = (embedding, "label") if by == "class" else (embedding,)
    sizes: dict[str, int] = {}
    widths = []
    for part in corpus.map(partial(_class_sizes, by, embedding), needs):
        widths.append(int(part["width"]))
        for name, rows in zip(part["class"].tolist(), part["rows"].tolist(), strict=True):
            sizes[name] = sizes.get(name, 0) + rows
    width = common_width(widths, embedding, "moderate")
    classes = np.array(sorted(sizes))
    class_rows = np.array([sizes[name] for name in classes.tolist()])
    middles = medians(corpus, embedding, needs, partial(_class_numbers, by, classes), class_rows, width)
    # Distances can be measured only after the medians are known, so a scorer that has no distances yet measures them.
    bare = Moderate(classes, middles, np.zeros(1), embedding, by)
    share = min(1.0, RANKED / int(class_rows.sum()))
    distances = [part["distance"] for part in corpus.map(partial(_distances_of_part, bare, share), needs)]
    return Moderate(classes, middles, np.sort(np.concatenate(distances)), embedding, by)


def _class_sizes(by: str, embedding: str, rows: PartRows) -> Arrays:
    """Return the classes of a part, the number of rows of each, and the length of its vectors."""
    sizes: dict[str, int] = {}
    width = 0
    for batch in rows.batches():
        if batch.height:
            vectors = batch[embedding].to_numpy()
            refuse_widths(width or vectors.shape[1], vectors.shape[1], embedding, "moderate")
            width = vectors.shape[1]
        for name, number in _names(batch, by).value_counts().iter_rows():
            sizes[name] = sizes.get(name, 0) + number
    return {
        "class": np.array(list(sizes), dtype=np.str_),
        "rows": np.array(list(sizes.values()), dtype=np.int64),
        "width": np.array(width),
    }


def _class_numbers(by: str, classes: np.ndarray, batch: pl.DataFrame) -> np.ndarray:
    return codes(_names(batch, by), classes, "moderate")


def _distances_of_part(scorer: Moderate, share: float, rows: PartRows) -> Arrays:
    """Return the distances of the rows of a part whose key is below this share of the largest."""
    distances = [np.zeros(0)]
    for batch in rows.batches():
        sampled = batch if share >= 1 else batch.filter(pl.Series(keys(batch["id"], 0) < np.uint64(share * TOP)))
        distances.append(_distances(sampled, scorer))
    return {"distance": np.concatenate(distances)}


def _names(batch: pl.DataFrame, by: str) -> pl.Series:
    return labels(batch, "moderate") if by == "class" else pl.Series([""] * batch.height, dtype=pl.String)


def _distances(batch: pl.DataFrame, scorer: Moderate) -> np.ndarray:
    """Return the distance (n,) float64 of each row to the median of its class."""
    x = batch[scorer.embedding].to_numpy()
    number = codes(_names(batch, scorer.by), scorer.classes, "moderate")
    return np.asarray(np.sqrt(((x.astype(np.float64) - scorer.medians[number]) ** 2).sum(axis=1)))
