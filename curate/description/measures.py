"""Measures of a data set: intrinsic dimension, label sharpness, Vendi score, overlap of sources.

In: (n, d) vectors, labels, names of sources. Out: numbers. Vectors must differ from each other: equal ones have
distance 0, which has no logarithm.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from curate.progress import report

BLOCK = 1 << 20  # distances in memory at a time: 8 MB
TAIL = 0.1  # share of the rows, those with the largest ratios, that TwoNN leaves out (Facco et al. 2017)
SMALLEST_SHARE = 1e-300  # an eigenvalue of 0 counts as this, so that its logarithm is finite


def distinct(x: np.ndarray) -> np.ndarray:
    """Return the positions (m,) of the first of each group of equal rows, in order."""
    rows = np.ascontiguousarray(x + 0.0)  # rows are compared as bytes: make -0.0 the same as 0.0
    _, first = np.unique(rows.view([("", rows.dtype)] * rows.shape[1]).ravel(), return_index=True)
    return np.sort(first)


def neighbours(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, k) distances to the nearest other rows, nearest first, and the positions of those rows."""
    distances, positions = np.empty((len(x), k)), np.empty((len(x), k), np.int64)
    for rows, squares in _squares(x):
        squares[np.arange(len(rows)), rows] = np.inf  # a row is not its own neighbour
        near = np.argpartition(squares, k - 1, axis=1)[:, :k]
        # squares lose digits by their subtraction: measure the chosen few again
        exact = np.sqrt(((x[rows][:, None].astype(np.float64) - x[near]) ** 2).sum(axis=2))
        order = np.lexsort((near, exact))
        distances[rows] = np.take_along_axis(exact, order, axis=1)
        positions[rows] = np.take_along_axis(near, order, axis=1)
    return distances, positions


def dimension(distances: np.ndarray) -> float:
    """Return the maximum-likelihood intrinsic dimension from (n, k) distances T to the nearest rows.

    The inverse of the dimension is the mean over rows i and j < k of ln(T_k(i) / T_j(i)). This is the estimator of
    Levina and Bickel (2004), averaged as MacKay and Ghahramani (2005) correct it. It is biased low in high dimensions.
    """
    return float(1 / np.log(distances[:, -1:] / distances[:, :-1]).mean())


def two_nn(distances: np.ndarray) -> float:
    """Return the intrinsic dimension by TwoNN from (n, k) distances T to the nearest rows, k at least 2.

    It is the slope through the origin of -ln(1 - F) over ln(T_2 / T_1), where F is the empirical distribution of the
    ratios, without the tenth of the rows with the largest (Facco et al. 2017, doi 10.1038/s41598-017-11873-y).
    """
    ratios = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = int(len(ratios) * (1 - TAIL))
    height = -np.log(1 - np.arange(1, kept + 1) / len(ratios))
    return float((ratios[:kept] @ height) / (ratios[:kept] @ ratios[:kept]))


def sharpness(x: np.ndarray, labels: Sequence[object]) -> float | None:
    """Return label sharpness, the inverse of the smallest distance of two rows with different labels.

    K_F = max over pairs of 1[y_j != y_k] / ||x_j - x_k|| (Konz and Mazurowski 2024, arXiv 2401.08865). A maximum grows
    with the number of rows, so compare equal numbers. None if all labels are equal.
    """
    _, codes = np.unique(np.array([str(label) for label in labels]), return_inverse=True)
    if codes.max() == 0:
        return None
    least = np.inf
    for rows, squares in _squares(x):
        squares[codes[rows][:, None] == codes] = np.inf  # only rows with another label count
        near = squares.argmin(axis=1)
        exact = np.sqrt(((x[rows].astype(np.float64) - x[near]) ** 2).sum(axis=1))
        least = min(least, float(exact[codes[rows] != codes[near]].min(initial=np.inf)))
    return 1 / least


def vendi(x: np.ndarray) -> float:
    """Return the Vendi score under cosine similarity, 1 to n: how many rows at right angles would be as varied.

    It is exp of the entropy of the eigenvalues of K / n, where K (n, n) are the cosines (Friedman and Dieng 2023, arXiv
    2210.02410). Zero rows have no direction and are left out; without other rows the score is 0.
    """
    lengths = np.linalg.norm(x.astype(np.float64), axis=1)
    unit = x[lengths > 0] / lengths[lengths > 0, None]
    if not len(unit):
        return 0.0
    # both products have the same eigenvalues but for zeros: take the smaller matrix
    gram = unit.T @ unit if unit.shape[1] < len(unit) else unit @ unit.T
    shares = np.clip(np.linalg.eigvalsh(gram) / len(unit), SMALLEST_SHARE, None)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def overlap(nearest: np.ndarray, sources: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return how far sources overlap: their sorted names, and an (s, s) table of shares.

    Line i has the shares of source i's rows whose nearest other row is in each source; ``nearest`` (n,) are the
    positions of those rows. Shares are weighted as if all sources had equally many rows: sources with one distribution
    give about 1 / s everywhere, sources far apart give the identity matrix.
    """
    names, codes = np.unique(np.array(sources, dtype=str), return_inverse=True)
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (codes, codes[nearest]), 1)
    # divide by the rows that could be nearest: in its own source a row cannot be its own neighbour
    shares = counts / np.maximum(np.bincount(codes) - np.eye(len(names)), 1)
    return names.tolist(), shares / shares.sum(axis=1, keepdims=True)


def _squares(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield the positions of a block of rows, and their (rows, n) squared distances to all rows."""
    # far from the origin the squares would lose digits, so move the mean there
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    squares = (centred**2).sum(axis=1)
    for start in range(0, len(x), step := max(1, BLOCK // len(x))):
        rows = np.arange(start, min(start + step, len(x)))
        report("rows compared with all others", start, len(x))
        yield rows, squares[rows][:, None] + squares - 2 * centred[rows] @ centred.T
