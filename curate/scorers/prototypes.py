"""Distance to the nearest prototype: self-supervised pruning (Sorscher et al. 2022, arXiv 2206.14486)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.streaming import kmeans
from curate.streaming.scratch import SAMPLE, Settings, clusters, workplace
from curate.tables.batches import Stream


@dataclass(frozen=True)
class Prototypes:
    """``score.prototypes``: 1 - cosine to the nearest of the k centres (float64, in [0, 2]); ``cluster.prototypes``.

    High = far from every prototype, a hard or unusual example; keep high when data are plenty, low when scarce.
    The cluster (int32) is the number of that centre; of centres equally near, as for a zero vector, the first.
    ``centres`` is (k, d) float32 with unit rows; ``embedding`` names the column read.
    """

    centres: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.prototypes": pl.Float64(), "cluster.prototypes": pl.Int32()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
        return (self.embedding,)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"centres": self.centres}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        label, cosine = kmeans.nearest(batch[self.embedding].to_numpy(), self.centres)
        return pl.DataFrame({"score.prototypes": 1.0 - cosine, "cluster.prototypes": label}, schema=dict(self.schema))


def learn(
    stream: Stream,
    *,
    k: int = 64,
    sample: int = SAMPLE,
    iterations: int = 20,
    start: str = "++",
    seed: int = 0,
    embedding: str = "emb.hashed",
    scratch: str = "",
) -> Prototypes:
    """Spherical k-means on about ``sample`` rows (0: all; all, where there are fewer), the same for any order of them.

    ``start``: "++" (greedy k-means++; finds clusters that are well apart) or "sample" (k rows; cheaper). Rows are
    sampled by hash(id, seed). Memory is about 12 k x d floats and 100 MB whatever the stream's length; disk
    2 d + 8 bytes a row learned from, in ``scratch`` (a folder; default the system's temporary one).
    """
    with workplace(scratch, "prototypes") as folder:
        asked = Settings("prototypes", k, sample, iterations, start, seed)
        _, found = clusters(stream, embedding, Path(folder), asked)
    return Prototypes(found.centres, embedding)
