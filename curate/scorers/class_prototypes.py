"""Distance to the prototype of the row's own class: supervised prototypes (Sorscher et al. 2022, arXiv 2206.14486)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers._labels import codes, labels
from curate.streaming.vectors import kmeans
from curate.streaming.vectors.clusters import common_width, refuse_widths
from curate.tables.corpus import Arrays, Corpus, PartRows

NAME = "class_prototypes"
LEARNS_FROM = ("label",)  # columns that ``learn`` reads whatever its options
STEPS = float(1 << 32)  # whole steps in 1: sums of up to 2^31 rounded unit vectors are exact in int64, in any order


@dataclass(frozen=True)
class ClassPrototypes:
    """How far a row lies from the mean of its class; high is hard or mislabelled.

    ``score.class_prototypes`` (float64, 0 to 2) is 1 minus the cosine to the mean of the unit vectors of the row's
    class. Keep high scores when data are plenty, low ones when data are scarce. ``classes`` are the (c,) sorted names,
    ``means`` (c, d) float64 the unit vectors of the means.

    Source: Sorscher et al. 2022, arXiv 2206.14486.
    """

    classes: np.ndarray = field(repr=False)
    means: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.class_prototypes": pl.Float64()}
    meanings = {"score.class_prototypes": "hardness"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (self.embedding, "label")

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"classes": self.classes, "means": self.means}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch; stop at a class that was not learned."""
        row_means = self.means[codes(labels(batch, NAME), self.classes, NAME)]
        x = batch[self.embedding].to_numpy().astype(np.float64)
        norms = np.sqrt((x**2).sum(axis=1))
        cosine = (x * row_means).sum(axis=1) / np.where(norms > 0, norms, 1.0) if len(x) else np.zeros(0)
        return pl.DataFrame({"score.class_prototypes": 1.0 - np.clip(cosine, -1, 1)}, schema=dict(self.schema))


def learn(corpus: Corpus, *, embedding: str = "emb.hashed") -> ClassPrototypes:
    """Return the mean direction of each class. Memory is c x d numbers.

    Options:
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: if a row has no label, or all rows have the same.
    """
    sums: dict[str, np.ndarray] = {}
    widths = []
    for part in corpus.map(partial(_class_sums, embedding), (embedding, "label")):
        widths.append(int(part["width"]))
        for name, part_sum in zip(part["class"].tolist(), part["sum"], strict=True):
            # Two parts with vectors of different lengths are refused below.
            same = name in sums and len(sums[name]) == len(part_sum)
            sums[name] = sums[name] + part_sum if same else part_sum
    common_width(widths, embedding, NAME)
    if len(sums) == 1:
        raise SchemaError(
            f"class_prototypes: every row has the label {next(iter(sums))!r}; it needs two classes or more. "
            "Use prototypes:k=1 for the distance to the mean of all rows"
        )
    classes = sorted(sums)
    means = np.stack([sums[name] for name in classes]).astype(np.float64)
    norms = np.sqrt((means**2).sum(axis=1, keepdims=True))
    return ClassPrototypes(np.array(classes), means / np.where(norms > 0, norms, 1.0), embedding)


def _class_sums(embedding: str, rows: PartRows) -> Arrays:
    """Return the sorted classes (c,) of a part, and the sum (c, d) of the unit vectors of each, in whole steps."""
    sums: dict[str, np.ndarray] = {}
    width = 0
    for batch in rows.batches():
        names, vectors = labels(batch, NAME), batch[embedding].to_numpy()
        if not batch.height:
            continue
        refuse_widths(width or vectors.shape[1], vectors.shape[1], embedding, NAME)
        width = vectors.shape[1]
        # whole steps add up exactly, so the means do not depend on the order of the rows
        steps = np.rint(kmeans.unit(vectors).astype(np.float64) * STEPS).astype(np.int64)
        for name in names.unique().to_list():
            batch_sum = steps[(names == name).to_numpy()].sum(axis=0)
            sums[name] = sums[name] + batch_sum if name in sums else batch_sum
    classes = sorted(sums)
    arrays = [sums[name] for name in classes]
    return {
        "class": np.array(classes, dtype=np.str_),
        "sum": np.stack(arrays) if arrays else np.zeros((0, 0), np.int64),
        "width": np.array(width),
    }
