"""Sums of powers y = sum_i a_i x^s_i + b, fitted by least squares: exponents searched, scales and floor solved for."""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

LARGEST = 6.0  # of an exponent's size; the smallest is 0.01
EXPONENTS = np.concatenate([-np.geomspace(LARGEST, 0.01, 25), np.geomspace(0.01, LARGEST, 25)])
APART = 0.1  # least distance of two exponents: closer ones are told apart by nothing but noise
REFINED = 3  # best points of the search from which it is refined


@dataclass(frozen=True)
class Powers:
    """y = sum_i scales_i x^exponents_i + floor for x > 0."""

    scales: tuple[float, ...]
    exponents: tuple[float, ...]
    floor: float

    def __call__(self, x: float | np.ndarray) -> np.ndarray:
        """Return y at x, of the same shape."""
        terms = (a * np.power(x, s) for a, s in zip(self.scales, self.exponents, strict=True))
        return np.asarray(sum(terms) + self.floor)

    def slope(self, x: float | np.ndarray) -> np.ndarray:
        """Return dy/dx at x."""
        terms = (a * s * np.power(x, s - 1) for a, s in zip(self.scales, self.exponents, strict=True))
        return np.asarray(sum(terms))


def fit_powers(x: np.ndarray, y: np.ndarray, *, terms: int = 1) -> Powers:
    """Fit ``terms`` (1 or 2) powers to (n,) points, x > 0, by least squares; the largest exponent last.

    For given exponents the scales and the floor are linear, so only the exponents are searched: on a grid of both
    signs, then by Gauss-Newton from the best three (variable projection; Golub and Pereyra 1973).
    """
    middle = float(np.exp(np.log(x).mean()))  # exponents do not depend on the unit of x, the conditioning does
    scale = max(float(np.ptp(y)), 1e-9 * float(np.abs(y).max()), 1e-150)

    def left(steps: np.ndarray) -> np.ndarray:
        design, coefficients = _solve(np.cumsum(steps), x / middle, y)
        return np.asarray(design @ coefficients - y) / scale

    starts = EXPONENTS[:, None]  # (m, terms): the smallest exponent, and the distance of the next
    if terms == 2:
        pairs = np.stack(np.meshgrid(EXPONENTS, EXPONENTS, indexing="ij"), axis=-1).reshape(-1, 2)
        starts = np.diff(pairs[pairs[:, 1] - pairs[:, 0] > APART], prepend=0.0, axis=1)
    errors = np.array([(left(one) ** 2).sum() for one in starts])
    bounds = ([-LARGEST, APART][:terms], [LARGEST, 2 * LARGEST][:terms])
    found = [
        least_squares(left, starts[i], bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        for i in np.argsort(errors, kind="stable")[:REFINED]
    ]
    exponents = np.cumsum(min(found, key=lambda one: float(one.cost)).x)
    coefficients = _solve(exponents, x / middle, y)[1]
    return Powers(_floats(coefficients[:-1] * middle**-exponents), _floats(exponents), float(coefficients[-1]))


def _solve(exponents: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """(n, terms + 1) design and its least-squares coefficients."""
    design = np.column_stack([*(x**s for s in exponents), np.ones_like(x)])
    return design, np.linalg.lstsq(design, y, rcond=None)[0]


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
