"""Compute what pruning does to a perceptron: the exact test error of a student that learns from pruned data.

In: examples for each dimension, and which share of them is kept. Out: test errors, and the best choices among them.
The model is that of Sorscher et al. 2022 (arXiv 2206.14486, section 2). P = alpha N Gaussian examples of N dimensions
are labelled by a teacher. The share ``keep`` with the smallest (hard) or the largest (easy) margin to a probe is kept,
and a student with the largest margin learns from it. The probe is the teacher, or ``angle`` radians away from it. In
the limit of large N, the overlaps of student and teacher maximise the student's margin kappa, which solves

    alpha keep E[(kappa - m - s t)_+^2] = s^2

over a standard normal t and the margins m of the kept examples along the student's part in the plane of teacher and
probe; s is the length of its part outside. The integral over t has a closed form, and Newton's method gives kappa.
"""

from dataclasses import dataclass
from functools import cache
from math import acos, cos, erf, log, pi, sin, sqrt
from typing import Literal

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import ndtr, ndtri

Mode = Literal["hard", "easy", "random"]
SMALLEST_ERROR = 1e-7  # that is searched for
WIDE = 9.0  # standard deviations after which a Gaussian tail is left out: it holds 1e-19
LOSSLESS = 0.01  # relative difference of errors that counts as no loss
LARGEST_ALPHA = 1e6  # beyond it errors come near `SMALLEST_ERROR`, and lossless shares fall as 1 / alpha


@dataclass(frozen=True)
class KeptMargins:
    """Margins of the kept examples in the plane of teacher and probe, at q quadrature nodes, (q,) each.

    A student with the overlaps r and b has the margins r * first + b * second there.
    """

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray


def error(alpha: float, keep: float = 1.0, mode: Mode = "random", *, angle: float = 0.0) -> float:
    """Return the test error of a student that learns from a share of the examples; chance is 0.5.

    ``alpha`` is the examples for each dimension before pruning, ``keep`` the share kept.
    """
    if mode == "random" or keep == 1:
        return _straight(alpha * keep, 0.0, np.inf)
    edge = float(ndtri((1 + keep) / 2 if mode == "hard" else 1 - keep / 2))
    low, high = (0.0, edge) if mode == "hard" else (edge, np.inf)
    return _straight(alpha * keep, low, high) if angle == 0 else _slanted(alpha * keep, low, high, angle)


def crossover(keep: float) -> float:
    """Return the examples for each dimension, before pruning, above which hard ones are better kept than easy ones."""

    def log_ratio(log_alpha: float) -> float:
        alpha = float(np.exp(log_alpha))
        return log(error(alpha, keep, "hard") / error(alpha, keep, "easy"))

    low, high = log(1.0), log(8.0 / min(keep, 1 - keep))
    return float(np.exp(brentq(log_ratio, low, high, xtol=1e-6)))


def best_keep(alpha: float, mode: Mode) -> tuple[float, float]:
    """Return the share to keep that gives the least error, and that error; the share is 1 if pruning does not help."""
    solution = minimize_scalar(lambda keep: error(alpha, keep, mode), bounds=(0.02, 1.0), method="bounded")
    full = error(alpha)
    return (float(solution.x), float(solution.fun)) if solution.fun < full * (1 - 1e-6) else (1.0, full)


def lossless(alpha: float) -> float:
    """Return the least share of hard examples that gives the error of all examples to within 1 %; 1 if none does.

    With many examples it is 3.72 / ``alpha``: so many hard examples for each dimension tell as much as all.
    """
    if alpha > LARGEST_ALPHA:
        return lossless(LARGEST_ALPHA) * LARGEST_ALPHA / alpha
    largest = (1 + LOSSLESS) * error(alpha)
    if error(alpha, 0.99, "hard") > largest:
        return 1.0
    least = min(0.01, 0.5 / alpha)  # half an example for each dimension always loses
    precision = 1e-5 * min(1.0, 1 / alpha)
    return float(brentq(lambda keep: error(alpha, keep, "hard") - largest, least, 0.99, xtol=precision))


@cache
def _straight(alpha: float, low: float, high: float) -> float:
    """Return the error where the probe is the teacher and the kept margins lie in [low, high]."""
    share = (erf(high / sqrt(2)) if np.isfinite(high) else 1.0) - erf(low / sqrt(2))

    def negative_margin(log_errors: np.ndarray) -> np.ndarray:
        angles = pi * np.exp(log_errors)
        return -_margin(alpha, np.cos(angles), np.sin(angles), low, min(high, low + WIDE), share)

    # The error is the angle to the teacher over pi. A grid in its logarithm closes in on the largest margin.
    x = np.linspace(log(SMALLEST_ERROR), log(0.5), 65)
    while x[-1] - x[0] > 1e-7:
        best = int(np.argmin(negative_margin(x)))
        x = np.linspace(x[max(0, best - 1)], x[min(len(x) - 1, best + 1)], 17)
    return float(np.exp(x[len(x) // 2]))


def _margin(alpha: float, r: np.ndarray, s: np.ndarray, low: float, high: float, share: float) -> np.ndarray:
    """Return kappa (n,) at overlaps r (n,) and lengths s (n,)."""
    node, weight = legendre(80)
    mean = 2 * (np.exp(-low * low / 2) - np.exp(-high * high / 2)) / sqrt(2 * pi) / share
    # Newton's method from above: the expectation is convex and rises in kappa, and by Jensen's inequality the root is
    # not above this start.
    kappa = r * mean + s / sqrt(alpha)
    for _ in range(100):
        # Margins further out than this are met by every student, so they do not count.
        reach = np.clip((kappa + WIDE * s) / np.maximum(r, 1e-12), low + 1e-12, high)
        z = low + (reach - low)[:, None] * node
        density = (reach - low)[:, None] * weight * 2 * _phi(z) / share
        a = (kappa[:, None] - r[:, None] * z) / s[:, None]
        value, slope = (density * _squared(a)).sum(axis=1), (density * _slope(a)).sum(axis=1)
        step = (alpha * value - 1) * s / np.maximum(alpha * slope, 1e-300)
        kappa = kappa - step
        if (np.abs(step) <= 1e-12 * (np.abs(kappa) + s)).all():
            break
    return np.asarray(kappa)


def _slanted(alpha: float, low: float, high: float, angle: float) -> float:
    """Return the error where the probe is ``angle`` away from the teacher: both overlaps are optimised."""
    kept = _plane(low, min(high, low + WIDE), angle)

    def overlaps(free: np.ndarray) -> tuple[float, float, float]:
        outside, turn = 1 / (1 + np.exp(-free[0])) * pi / 2, free[1]
        return cos(outside) * cos(turn), cos(outside) * sin(turn), sin(outside)

    def negative_margin(free: np.ndarray) -> float:
        r, b, s = overlaps(free)
        return -_kappa(alpha, r * kept.first + b * kept.second, s, kept.weight)

    starts = [np.array([0.0, turn]) for turn in (0.0, angle / 2, -angle / 2)]
    options = {"xatol": 1e-7, "fatol": 1e-12, "maxiter": 600}
    solutions = [minimize(negative_margin, start, method="Nelder-Mead", options=options) for start in starts]
    return acos(overlaps(min(solutions, key=lambda solution: float(solution.fun)).x)[0]) / pi


def _plane(low: float, high: float, angle: float) -> KeptMargins:
    """Return nodes over the kept examples with a positive label, along the probe and across it.

    The teacher is the first axis.
    """
    node, weight = legendre(48)
    sides = []
    for side in (1.0, -1.0):
        v = side * (low + (high - low) * node)
        # The label is positive where first = v cos - w sin > 0. The inner interval ends there, so that quadrature does
        # not meet a jump.
        edge = v * cos(angle) / sin(angle)
        bottom, top = np.full_like(edge, -WIDE), np.clip(edge, -WIDE, WIDE)
        w = bottom[:, None] + (top - bottom)[:, None] * node
        each = (high - low) * weight[:, None] * (top - bottom)[:, None] * weight * _phi(v)[:, None] * _phi(w)
        first = v[:, None] * cos(angle) - w * sin(angle)
        second = v[:, None] * sin(angle) + w * cos(angle)
        sides.append((first.ravel(), second.ravel(), each.ravel()))
    first, second, total = (np.concatenate(part) for part in zip(*sides, strict=True))
    return KeptMargins(first, second, total / total.sum())


def _kappa(alpha: float, m: np.ndarray, s: float, weight: np.ndarray) -> float:
    """Return kappa for margins m (q,) with weights (q,), by the same steps as `_margin`."""
    kappa = float(weight @ m) + s / sqrt(alpha)
    for _ in range(100):
        a = (kappa - m) / s
        step = s * (alpha * float(weight @ _squared(a)) - 1) / max(alpha * float(weight @ _slope(a)), 1e-300)
        kappa -= step
        if abs(step) <= 1e-12 * (abs(kappa) + s):
            break
    return kappa


@cache
def legendre(points: int) -> tuple[np.ndarray, np.ndarray]:
    """Return Gauss-Legendre nodes and weights on [0, 1]."""
    node, weight = np.polynomial.legendre.leggauss(points)
    return (node + 1) / 2, weight / 2


def _phi(x: np.ndarray) -> np.ndarray:
    return np.asarray(np.exp(-x * x / 2) / sqrt(2 * pi))


def _squared(a: np.ndarray) -> np.ndarray:
    """Return E[(a - t)_+^2] of a standard normal t."""
    return np.asarray((a * a + 1) * ndtr(a) + a * _phi(a))


def _slope(a: np.ndarray) -> np.ndarray:
    """Return the derivative of `_squared`."""
    return np.asarray(2 * (a * ndtr(a) + _phi(a)))
