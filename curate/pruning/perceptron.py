"""What pruning does to a perceptron: exact test errors of a max-margin student of pruned data (Sorscher et al. 2022).

P = alpha N Gaussian examples of N dimensions, labelled by a teacher; the share ``keep`` with the smallest (hard) or
largest (easy) margin to a probe is kept, and a student with the largest margin is trained on it (arXiv 2206.14486,
section 2). The probe is the teacher, or ``angle`` radians away from it. In the limit of large N the student's overlaps
with the teacher maximise its margin kappa, which at given overlaps solves

    alpha keep E[(kappa - m - s t)_+^2] = s^2

over a standard normal t and the margins m of the kept examples along the student's part in the plane of teacher and
probe, where s is the length of its part outside. The integral over t is closed; Newton finds kappa.
"""

from dataclasses import dataclass
from functools import cache
from math import acos, cos, erf, log, pi, sin, sqrt
from typing import Literal

import numpy as np
from scipy.optimize import brentq, minimize, minimize_scalar
from scipy.special import ndtr, ndtri

Mode = Literal["hard", "easy", "random"]
LEAST = 1e-7  # error, the smallest that is looked for
WIDE = 9.0  # standard deviations after which a Gaussian tail is left out
LOSSLESS = 0.01  # relative: "loses nothing"


@dataclass(frozen=True)
class Kept:
    """Margins of kept examples in the plane: ``m = across * first + along * second`` at weighted nodes, (q,) each."""

    first: np.ndarray
    second: np.ndarray
    weight: np.ndarray


def error(alpha: float, keep: float = 1.0, mode: Mode = "random", *, angle: float = 0.0) -> float:
    """Return the test error of a student of the ``keep`` share of ``alpha`` examples a dimension; chance is 0.5."""
    if mode == "random" or keep == 1:
        return _straight(alpha * keep, 0.0, np.inf)
    edge = float(ndtri((1 + keep) / 2 if mode == "hard" else 1 - keep / 2))
    low, high = (0.0, edge) if mode == "hard" else (edge, np.inf)
    return _straight(alpha * keep, low, high) if angle == 0 else _slanted(alpha * keep, low, high, angle)


def crossover(keep: float, *, angle: float = 0.0) -> float:
    """Return the examples a dimension, before pruning, above which keeping hard ones beats keeping easy ones."""

    def apart(x: float) -> float:
        alpha = float(np.exp(x))
        return log(error(alpha, keep, "hard", angle=angle) / error(alpha, keep, "easy", angle=angle))

    low, high = log(1.0), log(8.0 / min(keep, 1 - keep))
    return float(np.exp(brentq(apart, low, high, xtol=1e-6)))


def best_keep(alpha: float, mode: Mode) -> tuple[float, float]:
    """Return the share to keep that gives the least error, and that error; 1 where pruning does not help."""
    found = minimize_scalar(lambda keep: error(alpha, keep, mode), bounds=(0.02, 1.0), method="bounded")
    full = error(alpha)
    return (float(found.x), float(found.fun)) if found.fun < full * (1 - 1e-6) else (1.0, full)


def lossless(alpha: float) -> float:
    """Return the least share of hard examples that gives the full set's error to within 1 %."""
    most = (1 + LOSSLESS) * error(alpha)
    if error(alpha, 0.99, "hard") > most:
        return 1.0
    return float(brentq(lambda keep: error(alpha, keep, "hard") - most, 0.01, 0.99, xtol=1e-5))


@cache
def _straight(alpha: float, low: float, high: float) -> float:
    """The error where the probe is the teacher and kept margins lie in [low, high]."""
    share = (erf(high / sqrt(2)) if np.isfinite(high) else 1.0) - erf(low / sqrt(2))

    def falls(x: np.ndarray) -> np.ndarray:
        angles = pi * np.exp(x)
        return -_margin(alpha, np.cos(angles), np.sin(angles), low, min(high, low + WIDE), share)

    x = np.linspace(log(LEAST), log(0.5), 65)
    while x[-1] - x[0] > 1e-7:
        at = int(np.argmin(falls(x)))
        x = np.linspace(x[max(0, at - 1)], x[min(len(x) - 1, at + 1)], 17)
    return float(np.exp(x[len(x) // 2]))


def _margin(alpha: float, r: np.ndarray, s: np.ndarray, low: float, high: float, share: float) -> np.ndarray:
    """kappa (n,) at overlaps r and lengths s, by Newton from above: the expectation is convex and rises in kappa."""
    node, weight = legendre(80)
    mean = 2 * (np.exp(-low * low / 2) - np.exp(-high * high / 2)) / sqrt(2 * pi) / share
    kappa = r * mean + s / sqrt(alpha)  # Jensen: not below the root
    for _ in range(100):
        reach = np.clip((kappa + WIDE * s) / np.maximum(r, 1e-12), low + 1e-12, high)  # further out nothing counts
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
    """The error where the probe is ``angle`` away from the teacher: overlaps with both are sought."""
    kept = _plane(low, min(high, low + WIDE), angle)

    def overlaps(free: np.ndarray) -> tuple[float, float, float]:
        outside, turn = 1 / (1 + np.exp(-free[0])) * pi / 2, free[1]
        return cos(outside) * cos(turn), cos(outside) * sin(turn), sin(outside)

    def falls(free: np.ndarray) -> float:
        r, b, s = overlaps(free)
        return -_kappa(alpha, r * kept.first + b * kept.second, s, kept.weight)

    starts = [np.array([0.0, turn]) for turn in (0.0, angle / 2, -angle / 2)]
    options = {"xatol": 1e-7, "fatol": 1e-12, "maxiter": 600}
    found = [minimize(falls, start, method="Nelder-Mead", options=options) for start in starts]
    return acos(overlaps(min(found, key=lambda one: float(one.fun)).x)[0]) / pi


def _plane(low: float, high: float, angle: float) -> Kept:
    """Nodes over kept examples with a positive label: along the probe and across it.

    The teacher is the first axis. The label's edge is met at the same place for each margin to the probe, so the inner
    interval is cut there.
    """
    node, weight = legendre(48)
    sides = []
    for side in (1.0, -1.0):
        v = side * (low + (high - low) * node)
        edge = v * cos(angle) / sin(angle)  # first axis = v cos - w sin > 0 below it
        bottom, top = np.full_like(edge, -WIDE), np.clip(edge, -WIDE, WIDE)
        w = bottom[:, None] + (top - bottom)[:, None] * node
        each = (high - low) * weight[:, None] * (top - bottom)[:, None] * weight * _phi(v)[:, None] * _phi(w)
        first = v[:, None] * cos(angle) - w * sin(angle)
        second = v[:, None] * sin(angle) + w * cos(angle)
        sides.append((first.ravel(), second.ravel(), each.ravel()))
    first, second, total = (np.concatenate(part) for part in zip(*sides, strict=True))
    return Kept(first, second, total / total.sum())


def _kappa(alpha: float, m: np.ndarray, s: float, weight: np.ndarray) -> float:
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
    """E[(a - t)_+^2] of a standard normal t."""
    return np.asarray((a * a + 1) * ndtr(a) + a * _phi(a))


def _slope(a: np.ndarray) -> np.ndarray:
    return np.asarray(2 * (a * ndtr(a) + _phi(a)))
