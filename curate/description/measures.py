"""What vectors and labels say of a data set: intrinsic dimension, label sharpness, Vendi score, overlap of sources.

All functions take (n, d) vectors without equal rows: duplicates have distance 0, which has no logarithm.
"""

from collections.abc import Iterator, Sequence

import numpy as np

BLOCK = 1 << 20  # distances held at a time
TAIL = 0.1  # of the largest ratios that TwoNN leaves out (Facco et al. 2017)


def distinct(x: np.ndarray) -> np.ndarray:
    """Return the (m,) places of the first of each group of equal rows, in order."""
    rows = np.ascontiguousarray(x + 0.0)  # -0.0 is 0.0
    _, first = np.unique(rows.view([("", rows.dtype)] * rows.shape[1]).ravel(), return_index=True)
    return np.sort(first)


def neighbours(x: np.ndarray, k: int) -> tuple[np.ndarray, np.ndarray]:
    """Return (n, k) distances to the nearest other rows, nearest first, and their places; blocked brute force."""
    distances, places = np.empty((len(x), k)), np.empty((len(x), k), np.int64)
    for rows, squares in _squares(x):
        squares[np.arange(len(rows)), rows] = np.inf
        near = np.argpartition(squares, k - 1, axis=1)[:, :k]
        exact = np.sqrt(((x[rows][:, None].astype(np.float64) - x[near]) ** 2).sum(axis=2))
        order = np.lexsort((near, exact))
        distances[rows] = np.take_along_axis(exact, order, axis=1)
        places[rows] = np.take_along_axis(near, order, axis=1)
    return distances, places


def dimension(distances: np.ndarray) -> float:
    """Return the maximum-likelihood intrinsic dimension.

    Levina and Bickel (2004), averaged as MacKay and Ghahramani (2005) correct it: the inverse is the mean over rows i
    and j < k of ln(T_k(i) / T_j(i)), with T (n, k) distances to the nearest rows. Biased low in high dimensions.
    """
    return float(1 / np.log(distances[:, -1:] / distances[:, :-1]).mean())


def two_nn(distances: np.ndarray) -> float:
    """Return TwoNN's dimension (Facco et al. 2017, doi 10.1038/s41598-017-11873-y).

    Slope through the origin of -ln(1 - F) over ln(T_2 / T_1), without the tenth of the rows with the largest ratios.
    """
    ratios = np.sort(np.log(distances[:, 1] / distances[:, 0]))
    kept = int(len(ratios) * (1 - TAIL))
    height = -np.log(1 - np.arange(1, kept + 1) / len(ratios))
    return float((ratios[:kept] @ height) / (ratios[:kept] @ ratios[:kept]))


def sharpness(x: np.ndarray, labels: Sequence[object]) -> float | None:
    """Return label sharpness K_F = max over pairs of 1[y_j != y_k] / ||x_j - x_k|| (Konz and Mazurowski, 2401.08865).

    A maximum: it grows with the rows, so compare equal numbers of them. None where all labels are alike.
    """
    _, codes = np.unique(np.array([str(label) for label in labels]), return_inverse=True)
    if codes.max() == 0:
        return None
    least = np.inf
    for rows, squares in _squares(x):
        squares[codes[rows][:, None] == codes] = np.inf
        near = squares.argmin(axis=1)
        exact = np.sqrt(((x[rows].astype(np.float64) - x[near]) ** 2).sum(axis=1))
        least = min(least, float(exact[codes[rows] != codes[near]].min(initial=np.inf)))
    return 1 / least


def vendi(x: np.ndarray) -> float:
    """Return the Vendi score (Friedman and Dieng 2023, arXiv 2210.02410) under cosine similarity, 1 to n.

    exp of the entropy of the eigenvalues of K / n, with K (n, n) the cosines: how many rows at right angles would be as
    varied. Zero rows have no direction and are left out.
    """
    lengths = np.linalg.norm(x.astype(np.float64), axis=1)
    unit = x[lengths > 0] / lengths[lengths > 0, None]
    if not len(unit):
        return 0.0
    gram = unit.T @ unit if unit.shape[1] < len(unit) else unit @ unit.T  # equal eigenvalues but for zeros
    shares = np.clip(np.linalg.eigvalsh(gram) / len(unit), 1e-300, None)
    return float(np.exp(-(shares * np.log(shares)).sum()))


def overlap(nearest: np.ndarray, sources: Sequence[str]) -> tuple[list[str], np.ndarray]:
    """Return sorted names and the (s, s) share of each source's rows whose nearest other row is of each source.

    ``nearest`` (n,) places. Shares are as if all sources had equally many rows: sources drawn alike give about 1 / s
    everywhere, sources apart the identity.
    """
    names, codes = np.unique(np.array(sources, dtype=str), return_inverse=True)
    counts = np.zeros((len(names), len(names)))
    np.add.at(counts, (codes, codes[nearest]), 1)
    shares = counts / np.maximum(np.bincount(codes) - np.eye(len(names)), 1)
    return names.tolist(), shares / shares.sum(axis=1, keepdims=True)


def _squares(x: np.ndarray) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield places of some rows and their (rows, n) squared distances to all."""
    centred = x.astype(np.float64) - x.mean(axis=0, dtype=np.float64)
    squares = (centred**2).sum(axis=1)
    for start in range(0, len(x), step := max(1, BLOCK // len(x))):
        rows = np.arange(start, min(start + step, len(x)))
        yield rows, squares[rows][:, None] + squares - 2 * centred[rows] @ centred.T
