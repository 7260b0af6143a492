"""Spherical k-means on rows that need not fit in memory (Dhillon and Modha 2001); row order does not matter.

In: unit vectors as whole numbers. Out: unit centres, with the number and the sum of their rows.

Unit vectors are rounded to whole multiples of 1 / scale(d), about 1/4000. No partial sum of a product of two such
vectors exceeds 2^24 (Cauchy-Schwarz), and float32 holds every whole number up to 2^24. So cosines, ties and sums do not
depend on the order of additions, on the batches or on the BLAS library. The rounding moves a cosine by about 1e-4. That
decides only between centres which are that close; cosines that a user sees are computed again in float64.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError
from curate.progress import counted

BLOCK = 2048  # rows compared at a time; up to 4096 of them, sums of rows are exact in float32 as well
START_ROWS = 8  # rows for each centre from which the first centres are drawn
EARLY_ROWS = 64  # rows for each centre that suffice while centres still move far
# Lloyd's steps find a local optimum, which depends on the start. Ten starts were the default of scikit-learn
# (n_init=10) until its version 1.4.
MOST_STARTS = 10
STARTS_WORK = 1e11  # multiplications of all starts together: about 2.5 CPU-seconds at 40e9 a second
# Starts are compared on a sample in memory of at least this many rows. At most 16 MB of float32 numbers are read.
COMPARED_ROWS = 10_000
COMPARED_NUMBERS = 1 << 22
TRIALS = 6  # candidates of greedy k-means++ for each centre; more find a better start and take longer
LATE = 0.4  # share of the iterations that see every row

# A function of the centres (k, d) int16 and of a share of the rows. For each centre it returns the sum of the rows that
# are nearest to it, (k, d) float64, and their number, (k,) int64.
Summation = Callable[[np.ndarray, float], tuple[np.ndarray, np.ndarray]]


@dataclass(frozen=True)
class Clusters:
    """Clusters of unit vectors: centres (k, d) float32, numbers of rows (k,), and sums of their rows (k, d)."""

    centres: np.ndarray
    counts: np.ndarray
    sums: np.ndarray


def scale(width: int) -> int:
    """Return the length to which unit vectors of ``width`` numbers are stretched before rounding.

    Rounding adds at most sqrt(width) / 2 to a length, so no rounded vector is longer than 4096.
    """
    return int(4096 - np.sqrt(width) / 2)


def quantise(vectors: np.ndarray) -> np.ndarray:
    """Return (n, d) rows stretched to length scale(d) and rounded to int16; a zero row stays zero."""
    return np.rint(unit(vectors) * np.float32(scale(vectors.shape[1]))).astype(np.int16)


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return (n, d) rows of length 1 as float32; a zero row stays zero."""
    norms = np.sqrt((vectors.astype(np.float64) ** 2).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.where(norms > 0, norms, 1.0), dtype=np.float32)


def nearest(vectors: np.ndarray, centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest centre of each (n, d) row, (n,) int32, and the cosine to it, (n,) float64.

    Of equally near centres the first is taken. A zero row has cosine 0 to all centres.
    """
    rows, whole_centres = len(vectors), quantise(centres).astype(np.float32)
    label, cosine = np.zeros(rows, np.int32), np.zeros(rows)
    for start in range(0, rows, BLOCK):
        x = vectors[start : start + BLOCK]
        block_label = (quantise(x).astype(np.float32) @ whole_centres.T).argmax(axis=1)
        x = x.astype(np.float64)
        norms = np.sqrt((x**2).sum(axis=1))
        label[start : start + BLOCK] = block_label
        cosine[start : start + BLOCK] = (x * centres[block_label]).sum(axis=1) / np.where(norms > 0, norms, 1.0)
    return label, np.clip(cosine, -1.0, 1.0)


def learn(summed: Summation, start: np.ndarray, *, rows: int, iterations: int) -> Clusters:
    """Move the centres ``start``, (k, d) int16, to the means of their rows, as often as ``iterations`` says (Lloyd).

    ``summed`` reads the data, ``rows`` rows in all. Early iterations see EARLY_ROWS rows for each centre. An empty
    cluster takes about half of the rows of a large one.
    """
    centres, k = start, len(start)
    early, early_share = iterations - max(1, round(iterations * LATE)), min(1.0, EARLY_ROWS * k / rows)
    for i in counted(range(iterations), "rounds of clustering done", iterations):
        centres = _moved(*summed(centres, early_share if i < early else 1.0), centres)
    # the last move changed which rows are nearest, so count the rows of the final centres
    sums, counts = summed(centres, 1.0)
    return Clusters(unit(centres), counts, sums / scale(centres.shape[1]))


def in_blocks(points: np.ndarray) -> Iterator[np.ndarray]:
    """Yield (at most BLOCK, d) slices of rows."""
    return (points[low : low + BLOCK] for low in range(0, len(points), BLOCK))


def sums_of_blocks(blocks: Iterable[np.ndarray], centres: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return what a `Summation` returns, for (at most BLOCK, d) int16 rows and (k, d) int16 centres."""
    from scipy.sparse import csr_matrix

    k, columns = len(centres), centres.T.astype(np.float32)
    sums, counts = np.zeros(centres.shape), np.zeros(k, np.int64)
    for block in blocks:
        x = block.astype(np.float32)
        label = (x @ columns).argmax(axis=1)
        sizes = np.bincount(label, minlength=k)
        ends = np.append(0, np.cumsum(sizes))
        # line c of this sparse matrix has a 1 for every row of cluster c: its product with x sums each cluster's rows
        members = csr_matrix((np.ones(len(x), np.float32), np.argsort(label), ends), shape=(k, len(x)))
        sums += members @ x
        counts += sizes
    return sums, counts


def _moved(sums: np.ndarray, counts: np.ndarray, before: np.ndarray) -> np.ndarray:
    """Return the centres at the means of their rows, quantised."""
    centres = np.where((counts > 0)[:, None], unit(sums), unit(before))
    # an empty cluster and one of the largest share the mean of the large one, pushed apart a little, so that the next
    # iteration divides its rows between the two; the push has the same length whatever the width
    empty = np.flatnonzero(counts == 0)
    large = np.argsort(-counts, kind="stable")[: len(empty)]
    push = np.where(np.arange(centres.shape[1]) % 2, 1, -1) / 1024 * np.sqrt(384 / centres.shape[1])
    centres[empty[: len(large)]] = centres[large] + push
    centres[large] -= push
    return quantise(centres)


def first_directions(points: np.ndarray, k: int) -> np.ndarray:
    """Return the first k different directions of (m, d) int16 rows: a cheap start."""
    _, first = np.unique(points, axis=0, return_index=True)
    first = np.sort(first[points[first].any(axis=1)])
    if len(first) < k:
        raise _too_few(k, len(points), len(first))
    return points[first[:k]]


def starts(k: int, rows: int, width: int, iterations: int) -> int:
    """Return how many starts of k centres to compare on (rows, width) points: more where each is cheap."""
    work = rows * k * width * (TRIALS + iterations)
    return int(min(MOST_STARTS, max(1, STARTS_WORK // work)))


def best_start(points: np.ndarray, k: int, *, iterations: int, count: int, seed: int) -> np.ndarray:
    """Return centres (k, d) int16 from which to learn, the best of ``count`` runs of k-means on (m, d) int16 points.

    Each run starts from another draw of ``plus_plus``. The best run has the largest sum of cosines; among equal runs it
    is the first. If ``count`` is 1 there is nothing to compare, so the start itself is returned without iterations.
    """
    if count == 1:
        return plus_plus(points, k, (seed,))

    def summed(centres: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        return sums_of_blocks(in_blocks(points[: round(share * len(points))]), centres)

    best, best_cosines = points[:0], -np.inf
    for run in counted(range(count), "starts of clustering compared", count):
        learned = learn(summed, plus_plus(points, k, (seed, run)), rows=len(points), iterations=iterations)
        cosines = float((learned.sums * learned.centres).sum())
        if cosines > best_cosines:
            best, best_cosines = quantise(learned.centres), cosines
    return best


def plus_plus(points: np.ndarray, k: int, seed: Sequence[int]) -> np.ndarray:
    """Return k of (m, d) int16 rows that lie far apart: greedy k-means++ (Arthur and Vassilvitskii 2007).

    A row is drawn with a chance proportional to its squared distance to the rows drawn before, and the best of TRIALS
    draws is taken. This start finds clusters that are well apart; a start of random rows misses some.
    """
    rng, x = np.random.default_rng(seed), points.astype(np.float32)
    squares = np.einsum("nd,nd->n", x, x)
    distance = np.where(squares > 0, np.float32(1), np.float32(0))  # a zero vector has no direction: never drawn
    chosen: list[int] = []
    while len(chosen) < k:
        total = np.cumsum(distance, dtype=np.float64)
        if total.size == 0 or total[-1] == 0:
            raise _too_few(k, len(points), len(chosen))
        drawn = np.searchsorted(total, rng.random(TRIALS if chosen else 1) * total[-1], side="right")
        # rounding may put a draw beyond the last row with a chance above 0
        drawn = np.minimum(drawn, int(np.argmax(total)))
        gaps = np.maximum(squares + squares[drawn, None] - 2 * (x[drawn] @ x.T), 0)
        gaps = np.where(squares > 0, np.minimum(gaps, distance) if chosen else gaps, 0)
        best = int(gaps.sum(axis=1, dtype=np.float64).argmin())
        distance = gaps[best]
        chosen.append(int(drawn[best]))
    return points[chosen]


def _too_few(k: int, rows: int, directions: int) -> SchemaError:
    return SchemaError(
        f"k={k} centres need {k} different directions; the {rows} rows that were looked at have {directions} "
        "(a zero vector has none). Lower k, or remove duplicates first"
    )
