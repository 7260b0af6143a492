"""Distance to the nearest prototype: self-supervised pruning (Sorscher et al. 2022, arXiv 2206.14486)."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import Stream
from curate.tables import keys


@dataclass(frozen=True)
class Prototypes:
    """``score.prototypes``: 1 - cosine to the nearest of the k centres (float64, in [0, 2]).

    High = far from every prototype, a hard or unusual example; keep high when data are plenty, low when scarce.
    ``centres`` is (k, d) float32 with unit rows; ``embedding`` names the column read.
    """

    centres: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.prototypes": pl.Float64()}

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
        vectors = unit(batch[self.embedding].to_numpy())
        nearest = (vectors @ self.centres.T).max(axis=1) if len(vectors) else np.zeros(0)
        return pl.DataFrame({"score.prototypes": 1.0 - nearest.astype(np.float64)}, schema=dict(self.schema))


def learn(
    stream: Stream,
    *,
    k: int = 64,
    sample: int = 20_000,
    iterations: int = 25,
    seed: int = 0,
    embedding: str = "emb.hashed",
) -> Prototypes:
    """Spherical k-means (k-means++ start) on the ``sample`` rows with the smallest hash(id, seed), in any row order.

    Memory is ``sample`` x d floats whatever the stream's length. Fewer than k distinct rows is an error.
    """
    points = unit(_smallest(stream, sample, seed, embedding))
    distinct = len(np.unique(points, axis=0))
    if distinct < k:
        raise SchemaError(f"prototypes: k={k} centres need as many distinct vectors; the data has {distinct}: lower k")
    return Prototypes(_spherical_kmeans(points, k, iterations, np.random.default_rng(seed)), embedding)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Scale (n, d) rows to unit length, float32; a zero row stays zero."""
    norms = np.linalg.norm(vectors, axis=1, keepdims=True)
    return (vectors / np.where(norms > 0, norms, 1.0)).astype(np.float32)


def _smallest(stream: Stream, sample: int, seed: int, embedding: str) -> np.ndarray:
    heap: list[tuple[int, str, bytes]] = []  # the largest key is on top: negated; ids may repeat, so vectors count too
    for batch in stream((embedding,)):
        ids, vectors = batch["id"].to_list(), batch[embedding].to_numpy()
        if heap and (before := len(heap[0][2]) // 4) != vectors.shape[1]:
            raise SchemaError(
                f"{embedding} has vectors of {before} and of {vectors.shape[1]} numbers in different files; "
                "prototypes needs one length"
            )
        for key, name, vector in zip(keys(ids, seed).tolist(), ids, vectors, strict=True):
            if len(heap) < sample:
                heapq.heappush(heap, (-key, name, vector.tobytes()))
            elif -key >= heap[0][0]:
                heapq.heappushpop(heap, (-key, name, vector.tobytes()))
    if not heap:
        raise SchemaError("prototypes: the data has no rows to learn from")
    rows = sorted(heap, key=lambda item: (-item[0], *item[1:]))
    return np.stack([np.frombuffer(vector, dtype=np.float32) for _, _, vector in rows])


def _spherical_kmeans(points: np.ndarray, k: int, iterations: int, rng: np.random.Generator) -> np.ndarray:
    centres = _plus_plus(points, k, rng)
    for _ in range(iterations):
        cosine = points @ centres.T
        assigned = cosine.argmax(axis=1)
        sums = np.zeros_like(centres)
        np.add.at(sums, assigned, points)
        empty = np.bincount(assigned, minlength=k) == 0
        if empty.any():  # give an empty centre the points that are worst served
            sums[empty] = points[np.argsort(cosine.max(axis=1), kind="stable")[: int(empty.sum())]]
        centres = unit(sums)
    return centres


def _plus_plus(points: np.ndarray, k: int, rng: np.random.Generator) -> np.ndarray:
    chosen = [int(rng.integers(len(points)))]
    distance = np.maximum(1.0 - points @ points[chosen[0]], 0.0)
    while len(chosen) < k:
        total = distance.sum(dtype=np.float64)
        chosen.append(int(np.searchsorted(np.cumsum(distance, dtype=np.float64), rng.random() * total, side="right")))
        chosen[-1] = min(chosen[-1], len(points) - 1)
        distance = np.minimum(distance, np.maximum(1.0 - points @ points[chosen[-1]], 0.0))
    return points[chosen]
