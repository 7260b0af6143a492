"""Density-based pruning: how many rows of a cluster are worth keeping (Abbas et al. 2024, arXiv 2401.04578)."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming.vectors import kmeans
from curate.streaming.vectors.clusters import SAMPLE, ClusterSettings, learn_clusters, row_count
from curate.tables.corpus import Corpus

NEIGHBOURS = 20  # nearest centres over which the distance between clusters is averaged (Abbas et al. 2024)

# Since format 2, the best of several starts of k-means is kept. Since format 3, a job that learns from a sample takes
# the rows for the start, and for early iterations, from that sample, and not from all rows.
FORMAT = 3


@dataclass(frozen=True)
class Density:
    """How wide and isolated the cluster of a row is; high deserves a larger quota.

    ``score.density`` (float64, >= 0) is C = d_inter x d_intra of the row's cluster, equal for all its rows;
    ``cluster.density`` (int32) is that cluster. Distances are 1 - cosine: d_inter is the mean distance of a centre to
    its 20 nearest centres, d_intra the mean distance of its rows to it. Keep more rows of clusters with high scores.
    ``centres`` is (k, d) float32, ``worth`` (k,) float64.

    Source: Abbas et al. 2024, arXiv 2401.04578.
    """

    centres: np.ndarray = field(repr=False)
    worth: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.density": pl.Float64(), "cluster.density": pl.Int32()}
    meanings = {"score.density": "quality"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (self.embedding,)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"centres": self.centres, "worth": self.worth}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        label, _ = kmeans.nearest(batch[self.embedding].to_numpy(), self.centres)
        return pl.DataFrame({"score.density": self.worth[label], "cluster.density": label}, schema=dict(self.schema))


def learn(
    corpus: Corpus,
    *,
    k: int = 100,
    sample: int = SAMPLE,
    iterations: int = 20,
    start: str = "++",
    starts: int = 0,
    seed: int = 0,
    embedding: str = "emb.hashed",
) -> Density:
    """Return clusters, learned as ``prototypes`` learns them, and the complexity of each.

    Options:
        k: number of clusters, at least 2 (default 100).
        sample: rows from which clusters are learned, chosen by the hash of their ids; 0 is all (default 1000000).
        iterations: iterations of k-means (default 20).
        start: ++ for k-means++, or sample for random rows, which is faster (default ++).
        starts: number of k-means++ starts. The one with the largest sum of cosines is kept; it is measured on a sample
            of at least 10,000 rows. 0 is 10 starts, or as many as cost about 2.5 CPU-seconds (default 0).
        seed: seed of the sample and the start (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: if there are fewer rows than clusters.
    """
    if k < 2:
        raise SchemaError(f"density: k={k} clusters have no distance from each other. Give k=2 or more")
    settings = ClusterSettings("density", k, sample, iterations, start, seed, starts=starts)
    learned = learn_clusters(corpus, embedding, settings, row_count(corpus))
    return Density(learned.centres, between(learned.centres) * within(learned), embedding)


def between(centres: np.ndarray) -> np.ndarray:
    """Return the mean distance (k,) of each centre to its NEIGHBOURS nearest centres."""
    near = min(NEIGHBOURS, len(centres) - 1)
    means = np.empty(len(centres))
    for start in range(0, len(centres), kmeans.BLOCK):
        part = centres[start : start + kmeans.BLOCK].astype(np.float64)
        distance = 1.0 - part @ centres.T.astype(np.float64)
        distance[np.arange(len(part)), start + np.arange(len(part))] = np.inf  # a centre is not its own neighbour
        means[start : start + len(part)] = np.sort(np.partition(distance, near - 1)[:, :near]).mean(axis=1)
    return np.maximum(means, 0.0)


def within(learned: kmeans.Clusters) -> np.ndarray:
    """Return the mean distance (k,) of the rows of each cluster to its centre; 0 for an empty cluster."""
    # rows are unit vectors, so the sum of their cosines is the product of their sum with the centre
    cosines = (learned.sums * learned.centres).sum(axis=1)
    return np.asarray(np.maximum(1.0 - cosines / np.maximum(learned.counts, 1), 0.0) * (learned.counts > 0))
