"""Density-based pruning: how much of the data a cluster deserves (Abbas et al. 2024, arXiv 2401.04578)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming import kmeans
from curate.streaming.scratch import SAMPLE, Settings, clusters, workplace
from curate.tables.batches import Stream

NEIGHBOURS = 20  # nearest centres that a centre's distance to others is the mean over


@dataclass(frozen=True)
class Density:
    """``score.density``: C = d_inter x d_intra of the row's cluster (float64, >= 0); ``cluster.density`` (int32).

    High = a cluster that is wide and far from others: more of its rows are worth keeping, so give it the larger quota.
    All rows of a cluster have the same score. Distances are 1 - cosine: d_inter is a centre's mean distance to the 20
    nearest others, d_intra the mean of its rows to it. ``centres`` is (k, d) float32, ``worth`` (k,) float64.
    """

    centres: np.ndarray = field(repr=False)
    worth: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.density": pl.Float64(), "cluster.density": pl.Int32()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
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
    stream: Stream,
    *,
    k: int = 100,
    sample: int = SAMPLE,
    iterations: int = 20,
    start: str = "++",
    seed: int = 0,
    embedding: str = "emb.hashed",
    scratch: str = "",
) -> Density:
    """Learn clusters as ``prototypes`` does, and what each is worth; k of at least 2."""
    if k < 2:
        raise SchemaError(f"density: k={k} clusters have no distance from each other: give at least 2")
    with workplace(scratch, "density") as folder:
        asked = Settings("density", k, sample, iterations, start, seed)
        _, found = clusters(stream, embedding, Path(folder), asked)
    return Density(found.centres, between(found.centres) * within(found), embedding)


def between(centres: np.ndarray) -> np.ndarray:
    """Return the mean distance (k,) of each centre to its nearest others, at most NEIGHBOURS."""
    near = min(NEIGHBOURS, len(centres) - 1)
    result = np.empty(len(centres))
    for at in range(0, len(centres), kmeans.BLOCK):
        part = centres[at : at + kmeans.BLOCK].astype(np.float64)
        distance = 1.0 - part @ centres.T.astype(np.float64)
        distance[np.arange(len(part)), at + np.arange(len(part))] = np.inf
        result[at : at + len(part)] = np.sort(np.partition(distance, near - 1)[:, :near]).mean(axis=1)
    return np.maximum(result, 0.0)


def within(found: kmeans.Clusters) -> np.ndarray:
    """Return the mean distance (k,) of the rows of each cluster to its centre; of an empty one 0."""
    total = (found.sums * found.centres).sum(axis=1)
    return np.asarray(np.maximum(1.0 - total / np.maximum(found.counts, 1), 0.0) * (found.counts > 0))
