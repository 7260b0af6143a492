"""Performance from distance and ratio at one size (stage 1), and from two sizes to a third (stage 2); by least squares.

The published forms and projection (Kang et al. 2023, arXiv 2307.02460) are kept for comparison. What `curate select`
uses is the law `transport`, pooled over sizes; ``choose`` says which distance and shares it should read, by leaving
mixtures out within the pilots.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV

from curate.errors import FitError

ALPHAS = np.logspace(-4, 3, 15)  # of ridge, on standardised features; chosen by leave-one-out
EDGE = 1e-3  # of the top: errors are kept this far from 0 and the top, so that their logit is finite
FOLDS = 8  # of mixtures, within the pilots
Features = Callable[[np.ndarray, np.ndarray], np.ndarray]  # distance (n,), weights (n, p) -> (n, k)


def _ot(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(d)), d])


def _linear(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.column_stack([w, d])


def _central(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.column_stack([w, w * d[:, None]])


def _pseudo_quadratic(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    squares = np.column_stack([np.ones(len(d)), w, w**2])
    return np.column_stack([squares, squares * d[:, None]])


def _quadratic(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    p = w.shape[1]
    return np.column_stack([w, *(w[:, i] * w[:, j] for i in range(p) for j in range(i, p))])


FORMS: dict[str, tuple[Features, str]] = {  # features, and how they are fitted
    "ot": (_ot, "squares"),  # a line in the distance
    "ot+p": (_linear, "squares"),
    "cs": (_central, "squares"),  # (b0 + sum b1_i p_i) OT + c0 + sum c1_i p_i; the shares sum to 1
    "pq": (_pseudo_quadratic, "squares"),  # the paper's
    "quad": (_quadratic, "ridge"),  # no distance at all
    "ot+gp": (_ot, "gp"),  # a line in the distance and a Gaussian process over shares on what it leaves over
}


@dataclass(frozen=True, eq=False)
class Stage:
    """A form fitted at one size: ``predict`` maps distances (n,) and weights (n, p) to (n,) performance."""

    form: str
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray]


def stage(form: str, distance: np.ndarray, weights: np.ndarray, y: np.ndarray) -> Stage:
    """Fit a form to (n,) performances at distances (n,) and weights (n, p): accuracy, or any transform of it.

    Least squares of least norm where features outnumber runs, as the paper's released code has it. Raises FitError for
    fewer than 3 runs.
    """
    if len(y) < 3:
        raise FitError(f"{len(y)} pilots at one size tell nothing about a form: train at least 3 mixtures")
    features, how = FORMS[form]
    x = features(distance, weights)
    if how == "ridge":
        middle, scale = x.mean(axis=0), x.std(axis=0) + 1e-12
        ridge = RidgeCV(alphas=ALPHAS).fit((x - middle) / scale, y)
        return Stage(form, lambda d, w: np.asarray(ridge.predict((features(d, w) - middle) / scale)))
    solution = np.linalg.lstsq(x, y, rcond=None)[0]
    if how == "squares":
        return Stage(form, lambda d, w: np.asarray(features(d, w) @ solution))
    left = y - x @ solution
    kernel = ConstantKernel(1.0, (1e-3, 1e2)) * RBF(0.5, (0.2, 3.0)) + WhiteKernel(0.5, (1e-2, 2.0))
    process = GaussianProcessRegressor(kernel, optimizer=None).fit(weights, left / max(float(left.std()), 1e-12))
    spread = float(left.std())
    return Stage(form, lambda d, w: np.asarray(features(d, w) @ solution + spread * process.predict(w)))


def noise_gain(n0: float, n1: float, n: float) -> float:
    """Return how many times the noise of a run at sizes n0 < n1 is in its projection to n."""
    if not 0 < n0 < n1:
        raise FitError(f"a projection needs two sizes n0 < n1, both positive; it has {n0:g} and {n1:g}")
    return float(np.hypot(np.log(n / n0), np.log(n / n1)) / np.log(n1 / n0))


def project(
    at_n0: np.ndarray, at_n1: np.ndarray, sizes: tuple[float, float], n: float, *, logs: bool = False
) -> np.ndarray:
    """Carry performances (m,) from two sizes to ``n``, linear in ln n (stage 2, parameter free; no fit).

    ``logs``: of log error, for (m,) error rates, bounded by 1; the published form is on accuracy, ``logs=False``.
    """
    (n0, n1), gain = sizes, noise_gain(*sizes, n)
    first, second = (np.log(np.maximum(y, EDGE)) if logs else y for y in (at_n0, at_n1))
    found = (np.log(n / n0) * second - np.log(n / n1) * first) / np.log(n1 / n0)
    assert gain > 0
    return np.asarray(np.exp(np.minimum(found, 0.0)) if logs else found)


def require(noise: float, sizes: tuple[float, float], n: float, apart: float) -> float:
    """Return the noise of a projection to ``n`` of runs with ``noise``; refuse one that hides what it decides.

    ``apart``: the difference between the mixtures it shall decide between, in the unit of ``noise``.
    """
    gain = noise_gain(*sizes, n)
    if gain * noise > apart:
        raise FitError(
            f"projecting from {sizes[0]:g} and {sizes[1]:g} to {n:g} multiplies run noise {noise:.3g} by {gain:.2g} to "
            f"{gain * noise:.3g}, more than the {apart:.3g} it shall decide. Train larger pilots or repeat them "
            f"{int(np.ceil((gain * noise / max(apart, 1e-12)) ** 2))} times"
        )
    return gain * noise


@dataclass(frozen=True, eq=False)
class Pooled:
    """logit or log of error = w . [1, ln n, distance(, shares)] over all sizes, by ridge towards the plain line."""

    shares: bool
    top: float
    coefficients: np.ndarray
    scores: Mapping[str, float]

    def error(self, distance: np.ndarray, weights: np.ndarray, tokens: np.ndarray) -> np.ndarray:
        """Return (n,) predicted error, within (0, top)."""
        return _unlink(_design(distance, weights, tokens, self.shares) @ self.coefficients, self.top)


def pooled(
    distance: np.ndarray,
    weights: np.ndarray,
    tokens: np.ndarray,
    error: np.ndarray,
    *,
    shares: bool = False,
    top: float = 1.0,
    ridge: float = 0.1,
) -> Pooled:
    """Fit the pooled form to (n,) errors; the law `transport` is the same form with priors and intervals.

    ``ridge``: of the coefficients of shares (p,), which only bend the line where runs insist.
    """
    x, y = _design(distance, weights, tokens, shares), _link(error, top)
    penalty = np.concatenate([np.full(3, 1e-6), np.full(x.shape[1] - 3, ridge * len(y) ** 0.5)])
    solution = np.linalg.solve(x.T @ x + np.diag(penalty), x.T @ y)
    return Pooled(shares, top, solution, {})


def choose(
    distances: Mapping[str, np.ndarray], weights: np.ndarray, tokens: np.ndarray, error: np.ndarray, *, top: float = 1.0
) -> tuple[str, bool, dict[str, float]]:
    """Return which distance and whether shares predict mixtures left out best, and (n,)-mean absolute errors of all.

    ``distances``: (n,) by name. Eight folds of mixtures, all sizes of a mixture in one. The plain line of the first
    distance wins ties, and a choice must beat those before it by 3 %.
    """
    codes = np.unique(np.round(weights, 6), axis=0, return_inverse=True)[1].reshape(-1)
    fold = np.random.default_rng(0).permutation(int(codes.max()) + 1)[codes] % min(FOLDS, int(codes.max()) + 1)
    scores: dict[str, float] = {}
    best, least = ("", False), np.inf
    for shares in (False, True):
        for name, d in distances.items():
            wrong = np.empty_like(error)
            for k in np.unique(fold):
                out = fold == k
                fit = pooled(d[~out], weights[~out], tokens[~out], error[~out], shares=shares, top=top)
                wrong[out] = fit.error(d[out], weights[out], tokens[out]) - error[out]
            score = scores[name + (" + shares" if shares else "")] = float(np.abs(wrong).mean())
            if score < 0.97 * least:
                best, least = (name, shares), score
    return *best, scores


def _design(distance: np.ndarray, weights: np.ndarray, tokens: np.ndarray, shares: bool) -> np.ndarray:
    plain = np.column_stack([np.ones(len(distance)), np.log(tokens / 1e3), distance])
    return np.column_stack([plain, weights - 1 / weights.shape[1]]) if shares else plain


def _link(error: np.ndarray, top: float) -> np.ndarray:
    if not top:
        return np.asarray(np.log(error))
    z = np.clip(error / top, EDGE, 1 - EDGE)
    return np.asarray(np.log(z / (1 - z)))


def _unlink(y: np.ndarray, top: float) -> np.ndarray:
    return np.asarray(top / (1 + np.exp(-y)) if top else np.exp(y))
