"""Distance to the prototype of the row's own class: supervised prototypes (Sorscher et al. 2022, arXiv 2206.14486)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers._labels import codes, labels
from curate.streaming import kmeans
from curate.streaming.scratch import same_width
from curate.tables.batches import Stream

LEARNS_FROM = ("label",)  # columns that ``learn`` reads whatever its options
STEPS = float(1 << 32)  # of a unit: sums of whole steps are exact in any order, of up to 2^31 rows


@dataclass(frozen=True)
class ClassPrototypes:
    """``score.class_prototypes``: 1 - cosine to the mean of the unit vectors of the row's class (float64, in [0, 2]).

    High = unlike the rest of its class, hard or mislabelled; keep high when data are plenty, low when scarce.
    ``classes`` are (c,) sorted names, ``means`` (c, d) float64 unit rows.
    """

    classes: np.ndarray = field(repr=False)
    means: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.class_prototypes": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (self.embedding, "label")

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"classes": self.classes, "means": self.means}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch; a class that was not learned is an error."""
        mine = self.means[codes(labels(batch, "class_prototypes"), self.classes, "class_prototypes")]
        x = batch[self.embedding].to_numpy().astype(np.float64)
        norms = np.sqrt((x**2).sum(axis=1))
        cosine = (x * mine).sum(axis=1) / np.where(norms > 0, norms, 1.0) if len(x) else np.zeros(0)
        return pl.DataFrame({"score.class_prototypes": 1.0 - np.clip(cosine, -1, 1)}, schema=dict(self.schema))


def learn(stream: Stream, *, embedding: str = "emb.hashed") -> ClassPrototypes:
    """Sum the unit vectors of each class; every row needs a label, and there must be two classes or more.

    Memory is c x d numbers.
    """
    sums: dict[str, np.ndarray] = {}
    width = 0
    for batch in stream((embedding, "label")):
        names, vectors = labels(batch, "class_prototypes"), batch[embedding].to_numpy()
        if not batch.height:
            continue
        width = same_width(vectors, width, embedding, "class_prototypes")
        steps = np.rint(kmeans.unit(vectors).astype(np.float64) * STEPS).astype(np.int64)
        for name in names.unique().to_list():
            mine = steps[(names == name).to_numpy()].sum(axis=0)
            sums[name] = sums[name] + mine if name in sums else mine
    if not sums:
        raise SchemaError("class_prototypes: the data has no rows to learn from")
    if len(sums) == 1:
        raise SchemaError(
            f"class_prototypes: every row has the label {next(iter(sums))!r}: it needs two classes or more; "
            "prototypes:k=1 measures the distance to the mean of all"
        )
    classes = sorted(sums)
    means = np.stack([sums[name] for name in classes]).astype(np.float64)
    norms = np.sqrt((means**2).sum(axis=1, keepdims=True))
    return ClassPrototypes(np.array(classes), means / np.where(norms > 0, norms, 1.0), embedding)
