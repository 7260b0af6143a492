"""Distance to the nearest prototype: self-supervised pruning (Sorscher et al. 2022, arXiv 2206.14486)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.streaming.vectors import kmeans
from curate.streaming.vectors.clusters import SAMPLE, ClusterSettings, learn_clusters, row_count
from curate.tables.corpus import Corpus

# Since format 2, the best of several starts of k-means is kept. Since format 3, a job that learns from a sample takes
# the rows for the start, and for early iterations, from that sample, and not from all rows.
FORMAT = 3


@dataclass(frozen=True)
class Prototypes:
    """How far a row lies from the nearest prototype, a centre of k-means; high is hard or unusual.

    ``score.prototypes`` (float64, 0 to 2) is 1 minus the cosine to the nearest centre, and ``cluster.prototypes``
    (int32) the number of that centre; of centres equally near, as for a zero vector, it is the first. Keep high scores
    when data are plenty, low ones when data are scarce. ``centres`` is (k, d) float32 with rows of length 1.

    Source: Sorscher et al. 2022, arXiv 2206.14486.
    """

    centres: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.prototypes": pl.Float64(), "cluster.prototypes": pl.Int32()}
    meanings = {"score.prototypes": "hardness"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
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
    corpus: Corpus,
    *,
    k: int = 64,
    sample: int = SAMPLE,
    iterations: int = 20,
    start: str = "++",
    starts: int = 0,
    seed: int = 0,
    embedding: str = "emb.hashed",
) -> Prototypes:
    """Return the centres of spherical k-means, the same for any order of the rows.

    Memory is about 12 k x d floats and 100 MB, whatever the number of rows; disk is 2 d + 8 bytes a row that is learned
    from.

    Options:
        k: number of prototypes (default 64).
        sample: rows from which they are learned, chosen by the hash of their ids; 0 is all (default 1000000).
        iterations: iterations of k-means (default 20).
        start: ++ for greedy k-means++, which finds clusters that are well apart, or sample for k random rows, which is
            faster (default ++).
        starts: number of k-means++ starts. The one with the largest sum of cosines is kept; it is measured on a sample
            of at least 10,000 rows. 0 is 10 starts, or as many as cost about 2.5 CPU-seconds (default 0).
        seed: seed of the sample and the start (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: if there are fewer rows, or fewer different directions, than prototypes.
    """
    settings = ClusterSettings("prototypes", k, sample, iterations, start, seed, starts=starts)
    learned = learn_clusters(corpus, embedding, settings, row_count(corpus))
    return Prototypes(learned.centres, embedding)
