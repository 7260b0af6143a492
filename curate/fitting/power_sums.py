"""Fit sums of powers y = sum_i a_i x^s_i + b by least squares.

Only the exponents are searched: for given exponents the scales and the floor follow from a linear problem.
"""

from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np
from scipy.optimize import least_squares

LARGEST_EXPONENT = 6.0  # in size; over a decade of x it is a factor of a million, steeper than any loss curve
SMALLEST_EXPONENT = 0.01  # flatter powers are not told from the floor
EXPONENTS = np.concatenate(
    [
        -np.geomspace(LARGEST_EXPONENT, SMALLEST_EXPONENT, 25),
        np.geomspace(SMALLEST_EXPONENT, LARGEST_EXPONENT, 25),
    ]
)
LEAST_DISTANCE = 0.1  # of two exponents: closer ones are told apart by nothing but noise
REFINED_STARTS = 3  # best points of the grid from which the search goes on


@dataclass(frozen=True)
class Powers:
    """The function y = sum_i scales_i x^exponents_i + floor, for x > 0."""

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
    """Fit one or two powers (``terms``) and a floor to (n,) points with x > 0.

    The exponents are searched on a grid of both signs, then by Gauss-Newton from the three best points (variable
    projection; Golub and Pereyra 1973). The largest exponent comes last.
    """
    # The exponents do not depend on the unit of x, but the conditioning does: x is measured in its geometric mean.
    middle = float(np.exp(np.log(x).mean()))
    scale = max(float(np.ptp(y)), 1e-9 * float(np.abs(y).max()), 1e-150)

    def residual(steps: np.ndarray) -> np.ndarray:
        design, coefficients = _solve(np.cumsum(steps), x / middle, y)
        return np.asarray(design @ coefficients - y) / scale

    starts = EXPONENTS[:, None]  # (m, terms): the smallest exponent, and the distance to the next
    if terms == 2:
        pairs = np.stack(np.meshgrid(EXPONENTS, EXPONENTS, indexing="ij"), axis=-1).reshape(-1, 2)
        starts = np.diff(pairs[pairs[:, 1] - pairs[:, 0] > LEAST_DISTANCE], prepend=0.0, axis=1)
    errors = np.array([(residual(start) ** 2).sum() for start in starts])
    bounds = ([-LARGEST_EXPONENT, LEAST_DISTANCE][:terms], [LARGEST_EXPONENT, 2 * LARGEST_EXPONENT][:terms])
    solutions = [
        least_squares(residual, starts[i], bounds=bounds, xtol=1e-14, ftol=1e-14, gtol=1e-14)
        for i in np.argsort(errors, kind="stable")[:REFINED_STARTS]
    ]
    exponents = np.cumsum(min(solutions, key=lambda solution: float(solution.cost)).x)
    coefficients = _solve(exponents, x / middle, y)[1]
    return Powers(_floats(coefficients[:-1] * middle**-exponents), _floats(exponents), float(coefficients[-1]))


def _solve(exponents: np.ndarray, x: np.ndarray, y: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the (n, terms + 1) design matrix and its least-squares coefficients."""
    design = np.column_stack([*(x**s for s in exponents), np.ones_like(x)])
    return design, np.linalg.lstsq(design, y, rcond=None)[0]


def _floats(values: Iterable[float]) -> tuple[float, ...]:
    return tuple(float(value) for value in values)
