"""The published way to predict performance from transport distance (Kang et al. 2023, arXiv 2307.02460).

Stage 1 predicts from distance and shares at one size, stage 2 from two sizes to a third. Benchmarks compare with it;
`select` itself uses the law `transport`, which reads all sizes at once.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from sklearn.gaussian_process import GaussianProcessRegressor
from sklearn.gaussian_process.kernels import RBF, ConstantKernel, WhiteKernel
from sklearn.linear_model import RidgeCV

from curate.errors import FitError

ALPHAS = np.logspace(-4, 3, 15)  # of ridge, on standardised features; chosen by leave-one-out
LEAST_ERROR = 1e-3  # smaller errors are raised to it, so that their logarithm is finite
FEWEST = 3  # runs from which a form at one size can be fitted
Features = Callable[[np.ndarray, np.ndarray], np.ndarray]  # distance (n,), weights (n, p) -> (n, k)


def _line(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.column_stack([np.ones(len(d)), d])


def _line_and_shares(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.column_stack([w, d])


def _central(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    return np.column_stack([w, w * d[:, None]])


def _pseudo_quadratic(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    squares = np.column_stack([np.ones(len(d)), w, w**2])
    return np.column_stack([squares, squares * d[:, None]])


def _quadratic(d: np.ndarray, w: np.ndarray) -> np.ndarray:
    p = w.shape[1]
    return np.column_stack([w, *(w[:, i] * w[:, j] for i in range(p) for j in range(i, p))])


# Features, and how they are fitted.
FORMS: dict[str, tuple[Features, str]] = {
    "ot": (_line, "squares"),  # a line in the distance
    "ot+p": (_line_and_shares, "squares"),
    "cs": (_central, "squares"),  # (b0 + sum b1_i p_i) OT + c0 + sum c1_i p_i; the shares sum to 1
    "pq": (_pseudo_quadratic, "squares"),  # the paper's
    "quad": (_quadratic, "ridge"),  # no distance at all
    "ot+gp": (_line, "gp"),  # a line in the distance and a Gaussian process over shares on what it leaves over
}


@dataclass(frozen=True, eq=False)
class FormAtSize:
    """A form fitted at one size. ``predict`` maps distances (n,) and mixtures (n, p) to (n,) performances."""

    form: str
    predict: Callable[[np.ndarray, np.ndarray], np.ndarray]


def fit_at_size(form: str, distance: np.ndarray, weights: np.ndarray, y: np.ndarray) -> FormAtSize:
    """Fit a form to (n,) performances at distances (n,) and mixtures (n, p), all of one size.

    ``y``: accuracy, or any transform of it. Where features outnumber runs, the solution of least norm is taken, as in
    the paper's released code.

    Raises:
        FitError: if there are fewer than 3 runs.
    """
    if len(y) < FEWEST:
        raise FitError(f"{len(y)} pilots at one size tell nothing about a form: train at least {FEWEST} mixtures")
    features, method = FORMS[form]
    x = features(distance, weights)
    if method == "ridge":
        middle, scale = x.mean(axis=0), x.std(axis=0) + 1e-12
        ridge = RidgeCV(alphas=ALPHAS).fit((x - middle) / scale, y)
        return FormAtSize(form, lambda d, w: np.asarray(ridge.predict((features(d, w) - middle) / scale)))
    solution = np.linalg.lstsq(x, y, rcond=None)[0]
    if method == "squares":
        return FormAtSize(form, lambda d, w: np.asarray(features(d, w) @ solution))
    residual = y - x @ solution
    spread = float(residual.std())
    # Length scale and noise are fixed: a dozen runs cannot determine them.
    kernel = ConstantKernel(1.0, (1e-3, 1e2)) * RBF(0.5, (0.2, 3.0)) + WhiteKernel(0.5, (1e-2, 2.0))
    process = GaussianProcessRegressor(kernel, optimizer=None).fit(weights, residual / max(spread, 1e-12))
    return FormAtSize(form, lambda d, w: np.asarray(features(d, w) @ solution + spread * process.predict(w)))


def noise_gain(smaller: float, larger: float, target: float) -> float:
    """Return by how much a projection from two sizes to a third multiplies the noise of a run.

    Raises:
        FitError: if the sizes are not positive and rising.
    """
    if not 0 < smaller < larger:
        raise FitError(f"a projection needs two sizes n0 < n1, both positive; it has {smaller:g} and {larger:g}")
    return float(np.hypot(np.log(target / smaller), np.log(target / larger)) / np.log(larger / smaller))


def project(
    at_smaller: np.ndarray, at_larger: np.ndarray, sizes: tuple[float, float], target: float, *, logs: bool = False
) -> np.ndarray:
    """Carry performances (m,) from two sizes to a third, linear in the logarithm of the size (stage 2).

    ``logs``: the performances are error rates, and their logarithms are carried. The published form carries accuracy.
    """
    smaller, larger = sizes
    assert noise_gain(smaller, larger, target) > 0
    first, second = (np.log(np.maximum(y, LEAST_ERROR)) if logs else y for y in (at_smaller, at_larger))
    ratio_smaller, ratio_larger = np.log(target / smaller), np.log(target / larger)
    carried = (ratio_smaller * second - ratio_larger * first) / np.log(larger / smaller)
    return np.asarray(np.exp(np.minimum(carried, 0.0)) if logs else carried)


def require(noise: float, sizes: tuple[float, float], target: float, difference: float) -> float:
    """Return the noise of a projection of runs with ``noise``, or stop if it hides the difference of interest.

    ``difference``: between the mixtures that the projection shall compare, in the unit of ``noise``.

    Raises:
        FitError: if the projected noise is larger than the difference.
    """
    gain = noise_gain(*sizes, target)
    if gain * noise > difference:
        repeats = int(np.ceil((gain * noise / max(difference, 1e-12)) ** 2))
        raise FitError(
            f"projecting from {sizes[0]:g} and {sizes[1]:g} to {target:g} multiplies run noise {noise:.3g} by "
            f"{gain:.2g} to {gain * noise:.3g}, more than the {difference:.3g} it shall decide. Train larger pilots or "
            f"repeat them {repeats} times"
        )
    return gain * noise
