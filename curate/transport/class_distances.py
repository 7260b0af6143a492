"""Measure the distance between any two classes: squared Wasserstein distances of their features.

In: the features of every class on both sides. Out: a table of distances.
"""

from collections.abc import Callable, Sequence

import numpy as np

from curate.errors import SchemaError

EXACT_SAMPLES = 256  # samples of a class that an exact distance uses; the cost is cubic in them
RANK = 1e-9  # singular values below this share of the largest count as 0

Gaussian = tuple[np.ndarray, np.ndarray]  # mean (d,), root (r, d) of the covariance


def class_distances(ours: Sequence[np.ndarray], theirs: Sequence[np.ndarray], *, classes: str) -> np.ndarray:
    """Return squared 2-Wasserstein distances (groups, groups) between samples (k, d) of classes.

    ``classes`` is "gaussian" (a Gaussian is fitted to each class; the distance is that of Bures) or "exact".

    Raises:
        SchemaError: for another kind of distance.
    """
    same = ours is theirs
    if classes == "gaussian":
        fits = [_gaussian(x) for x in ours]
        others = fits if same else [_gaussian(y) for y in theirs]
        return _pairs(len(fits), len(others), same, lambda i, j: _bures(fits[i], others[j]))
    if classes == "exact":
        return _pairs(len(ours), len(theirs), same, lambda i, j: _exact(ours[i], theirs[j]))
    raise SchemaError(f"class distances {classes!r}: give 'gaussian' or 'exact'")


def _pairs(n: int, q: int, same: bool, distance: Callable[[int, int], float]) -> np.ndarray:
    """Return all (n, q) distances. Between a set and itself, half of them are computed."""
    table = np.zeros((n, q))
    for i in range(n):
        for j in range(i + 1 if same else 0, q):
            table[i, j] = distance(i, j)
    return table + table.T if same else table


def _gaussian(x: np.ndarray) -> Gaussian:
    """Return the mean (d,) and the root (r, d) of the covariance root.T @ root, of rank r <= min(n, d)."""
    mean = x.mean(axis=0, dtype=np.float64)
    _, values, axes = np.linalg.svd((x - mean) / np.sqrt(len(x)), full_matrices=False)
    keep = values > RANK * max(values[0], 1e-300)
    return mean, values[keep, None] * axes[keep]


def _bures(a: Gaussian, b: Gaussian) -> float:
    """Return W2^2 of two Gaussians: |m - m'|^2 + tr S + tr S' - 2 |R R'^T|_nuclear, with roots R, R' of S, S'."""
    (mean_a, root_a), (mean_b, root_b) = a, b
    cross = float(np.linalg.svd(root_a @ root_b.T, compute_uv=False).sum()) if len(root_a) and len(root_b) else 0.0
    return max(0.0, float(((mean_a - mean_b) ** 2).sum() + (root_a**2).sum() + (root_b**2).sum() - 2 * cross))


def _exact(a: np.ndarray, b: np.ndarray) -> float:
    # Importing POT takes 2.5 to 6 seconds, so it is imported only where it is used.
    import ot  # type: ignore[import-untyped]

    x, y = (part[:: -(-len(part) // EXACT_SAMPLES)].astype(np.float64) for part in (a, b))
    costs = ((x[:, None] - y[None]) ** 2).sum(axis=2)
    return float(ot.emd2(np.full(len(x), 1 / len(x)), np.full(len(y), 1 / len(y)), costs))
