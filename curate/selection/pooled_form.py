"""One form for the error at all sizes: logit or log of error, linear in log size and in distance.

The law `transport` is the same form with priors and intervals, and it is what `select` predicts with. The ridge
regression here is fast, so that left-out mixtures can decide which distance the law reads.
"""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

EDGE = 1e-3  # of the top: errors are kept this far from 0 and the top, so that their logit is finite
FOLDS = 8  # of mixtures, within the pilots
BETTER = 0.97  # a choice must have at most this part of the error of those before it, so that noise does not choose
NO_RIDGE = 1e-6  # of the three plain coefficients: only keeps the equations solvable


@dataclass(frozen=True, eq=False)
class PooledForm:
    """A fitted form: link(error) = coefficients . [1, ln size, distance(, shares)], with a logit or a log as link.

    ``top``: error of a model that knows nothing; 0: the error has no bound, and the link is the log. ``shares``:
    whether it reads shares as well as the distance.
    """

    shares: bool
    top: float
    coefficients: np.ndarray

    def error(self, distance: np.ndarray, weights: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return (n,) predicted errors, between 0 and ``top``."""
        return _unlink(_features(distance, weights, tokens, self.shares) @ self.coefficients, self.top)


@dataclass(frozen=True)
class DistanceChoice:
    """Which distance predicts left-out mixtures best, with or without shares.

    ``errors``: mean absolute error on left-out mixtures, by distance, and by distance + shares.
    """

    distance: str
    shares: bool
    errors: Mapping[str, float]


def fit_pooled(
    distance: np.ndarray,
    weights: np.ndarray,
    tokens: np.ndarray,
    error: np.ndarray,
    *,
    shares: bool = False,
    top: float = 1.0,
    ridge: float = 0.1,
) -> PooledForm:
    """Fit the form to (n,) errors at distances (n,), mixtures (n, p) and sizes (n,).

    ``ridge``: of the coefficients of shares. They bend the plain line only where the runs insist.
    """
    x, y = _features(distance, weights, tokens, shares), _link(error, top)
    penalty = np.concatenate([np.full(3, NO_RIDGE), np.full(x.shape[1] - 3, ridge * len(y) ** 0.5)])
    return PooledForm(shares, top, np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y))


def choose_distance(
    distances: Mapping[str, np.ndarray], weights: np.ndarray, tokens: np.ndarray, error: np.ndarray, *, top: float = 1.0
) -> DistanceChoice:
    """Choose the distance, and whether to read shares, by the error on left-out mixtures.

    ``distances``: (n,) by name. Mixtures are left out in eight folds; all sizes of a mixture are in one fold. The plain
    line of the first distance wins ties, and a choice must beat those before it by 3 %.
    """
    mixture = np.unique(np.round(weights, 6), axis=0, return_inverse=True)[1].reshape(-1)
    count = int(mixture.max()) + 1
    fold = np.random.default_rng(0).permutation(count)[mixture] % min(FOLDS, count)
    errors: dict[str, float] = {}
    best, least = ("", False), np.inf
    for shares in (False, True):
        for name, distance in distances.items():
            residual = np.empty_like(error)
            for k in np.unique(fold):
                out = fold == k
                form = fit_pooled(distance[~out], weights[~out], tokens[~out], error[~out], shares=shares, top=top)
                residual[out] = form.error(distance[out], weights[out], tokens[out]) - error[out]
            mean_error = errors[name + (" + shares" if shares else "")] = float(np.abs(residual).mean())
            if mean_error < BETTER * least:
                best, least = (name, shares), mean_error
    return DistanceChoice(*best, errors)


def _features(distance: np.ndarray, weights: np.ndarray, tokens: np.ndarray, shares: bool) -> np.ndarray:
    plain = np.column_stack([np.ones(len(distance)), np.log(tokens / 1e3), distance])
    return np.column_stack([plain, weights - 1 / weights.shape[1]]) if shares else plain


def _link(error: np.ndarray, top: float) -> np.ndarray:
    if not top:
        return np.asarray(np.log(error))
    z = np.clip(error / top, EDGE, 1 - EDGE)
    return np.asarray(np.log(z / (1 - z)))


def _unlink(y: np.ndarray, top: float) -> np.ndarray:
    return np.asarray(top / (1 + np.exp(-y)) if top else np.exp(y))
