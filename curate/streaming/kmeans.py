"""Spherical k-means on rows that need not fit in memory (Dhillon & Modha 2001): the same bytes for any order of them.

Unit vectors are rounded to whole multiples of 1 / scale(d), about 1/4000. No partial sum of a product of two of them
exceeds 2^24 (Cauchy-Schwarz), so float32 holds every one exactly: cosines, ties and sums of rows do not depend on the
order of additions, on the batching or on the BLAS. A cosine is off by about 1e-4, which only decides between centres
that are as near as that; cosines given to the user are computed again in float64.
"""

from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError

BLOCK = 2048  # rows compared at once; at most 4096, for sums of so many whole numbers are exact too
START_ROWS = 8  # rows a centre, of those that the first centres are drawn from
EARLY_ROWS = 64  # rows a centre that are enough while centres still move far
TRIALS = 6  # rows that each centre of a start is the best of
LATE = 0.4  # share of the iterations that see every row

Blocks = Callable[[float], Iterator[np.ndarray]]  # share of the rows -> (at most BLOCK, d) int16 of ``whole`` vectors


@dataclass(frozen=True)
class Clusters:
    """(k, d) float32 unit centres; how many rows (k,) each was made of, and their sums (k, d), of unit vectors."""

    centres: np.ndarray
    counts: np.ndarray
    sums: np.ndarray


def scale(width: int) -> int:
    """Return the length to which vectors of d numbers are stretched: rounding then leaves them no longer than 4096."""
    return int(4096 - np.sqrt(width) / 2)


def whole(vectors: np.ndarray) -> np.ndarray:
    """Return (n, d) rows of length scale(d), rounded, as int16; a zero row stays zero."""
    return np.rint(unit(vectors) * np.float32(scale(vectors.shape[1]))).astype(np.int16)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return (n, d) rows of unit length, float32; a zero row stays zero."""
    norms = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0), dtype=np.float32)


def nearest(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of each (n, d) row, (n,) int32 (of equals the first), and the cosine to it, float64.

    A zero row has cosine 0 to all centres.
    """
    rows, goal = len(vectors), whole(centres).astype(np.float32)
    label, cosine = np.zeros(rows, np.int32), np.zeros(rows)
    for at in range(0, rows, BLOCK):
        x = vectors[at : at + BLOCK]
        mine = (whole(x).astype(np.float32) @ goal.T).argmax(axis=1)
        x = x.astype(np.float64)
        norms = np.sqrt((x**2).sum(axis=1))
        label[at : at + BLOCK] = mine
        cosine[at : at + BLOCK] = (x * centres[mine]).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return label, np.clip(cosine, -1.0, 1.0)


def learn(blocks: Blocks, start: np.ndarray, *, rows: int, iterations: int) -> Clusters:
    """Move the k centres ``start``, (k, d) int16, to the means of ``rows`` rows: Lloyd's ``iterations``.

    The earlier ones see EARLY_ROWS rows a centre; an empty cluster takes half of a large one. One more pass counts the
    rows of the final centres.
    """
    centres, k = start, len(start)
    early, few = iterations - max(1, round(iterations * LATE)), min(1.0, EARLY_ROWS * k / rows)
    for i in range(iterations):
        centres = _moved(*_sums(blocks(few if i < early else 1.0), centres), centres)
    sums, counts = _sums(blocks(1.0), centres)
    return Clusters(unit(centres), counts, sums / scale(centres.shape[1]))


def _sums(blocks: Iterator[np.ndarray], centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums (k, d) float64 and numbers (k,) int64 of the rows nearest to each of (k, d) int16 centres."""
    from scipy.sparse import csr_matrix

    k, goal = len(centres), centres.T.astype(np.float32)
    sums, counts = np.zeros(centres.shape), np.zeros(k, np.int64)
    for block in blocks:
        x = block.astype(np.float32)
        label = (x @ goal).argmax(axis=1)
        sizes = np.bincount(label, minlength=k)
        ends = np.append(0, np.cumsum(sizes))
        members = csr_matrix((np.ones(len(x), np.float32), np.argsort(label), ends), shape=(k, len(x)))
        sums += members @ x
        counts += sizes
    return sums, counts


def _moved(sums: np.ndarray, counts: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the means, made ``whole``; an empty cluster and one of the largest get its mean, pushed apart a little."""
    centres = np.where((counts > 0)[:, None], unit(sums), unit(before))
    empty = np.flatnonzero(counts == 0)
    large = np.argsort(-counts, kind="stable")[: len(empty)]
    push = np.where(np.arange(centres.shape[1]) % 2, 1, -1) / 1024 * np.sqrt(384 / centres.shape[1])
    centres[empty[: len(large)]] = centres[large] + push
    centres[large] -= push
    return whole(centres)


def sampled(points: np.ndarray, k: int) -> np.ndarray:
    """Return the first k different directions of (m, d) int16 rows: a cheap start."""
    _, first = np.unique(points, axis=0, return_index=True)
    first = np.sort(first[points[first].any(axis=1)])
    if len(first) < k:
        raise _too_few(k, len(points), len(first))
    return points[first[:k]]


def plus_plus(points: np.ndarray, k: int, seed: int) -> np.ndarray:
    """Return k of (m, d) int16 rows, drawn with a chance as the squared distance to those before: the best of TRIALS.

    Greedy k-means++ (Arthur & Vassilvitskii 2007): finds clusters that are well apart; a sampled start misses some.
    """
    rng, x = np.random.default_rng(seed), points.astype(np.float32)
    squares = np.einsum("nd,nd->n", x, x)
    distance = np.where(squares > 0, np.float32(1), np.float32(0))  # a zero vector points nowhere
    chosen: list[int] = []
    while len(chosen) < k:
        total = np.cumsum(distance, dtype=np.float64)
        if total.size == 0 or total[-1] == 0:
            raise _too_few(k, len(points), len(chosen))
        drawn = np.searchsorted(total, rng.random(TRIALS if chosen else 1) * total[-1], side="right")
        drawn = np.minimum(drawn, int(np.argmax(total)))
        gaps = np.maximum(squares + squares[drawn, None] - 2 * (x[drawn] @ x.T), 0)
        gaps = np.where(squares > 0, np.minimum(gaps, distance) if chosen else gaps, 0)
        best = int(gaps.sum(axis=1, dtype=np.float64).argmin())
        distance = gaps[best]
        chosen.append(int(drawn[best]))
    return points[chosen]


def _too_few(k: int, rows: int, found: int) -> SchemaError:
    return SchemaError(
        f"k={k} centres need as many directions; the {rows} rows looked at have {found} (zero vectors have none): "
        "lower k, or leave out duplicates first"
    )
