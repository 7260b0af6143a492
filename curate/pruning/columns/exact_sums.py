"""Mean and standard deviation of a stream of numbers, to the last bit the same for every order and batch size.

In: batches of finite numbers. Out: two numbers.
Every float is a whole number times a power of two. The whole numbers of each power are summed apart, as integers, so
nothing is ever rounded before the end.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import sqrt

import numpy as np

# The exponents of doubles lie within +-1074, those of their squares within +-2148.
OFFSET = 2300
# A mantissa has 53 bits. It is added in two halves, of 27 and 26 bits: so 2^36 of them sum without overflow in 64 bits.
BITS, HALF = 53, 26


@dataclass(frozen=True)
class Moments:
    """Exact sums of numbers and of their (rounded) squares so far. `add` changes them, `result` reads them.

    ``sums`` is (numbers or squares, upper or lower half, exponent) int64.
    """

    sums: np.ndarray = field(default_factory=lambda: np.zeros((2, 2, 2 * OFFSET), dtype=np.int64))


def add(moments: Moments, numbers: np.ndarray) -> None:
    """Add finite numbers (n,) float64 to the sums."""
    mantissa, exponent = np.frexp(numbers)
    square, carry = np.frexp(mantissa * mantissa)
    for sums, m, e in ((moments.sums[0], mantissa, exponent), (moments.sums[1], square, 2 * exponent + carry)):
        whole = (m * 2.0**BITS).astype(np.int64)
        np.add.at(sums[0], e + OFFSET, whole >> HALF)
        np.add.at(sums[1], e + OFFSET, whole & ((1 << HALF) - 1))


def merge(moments: Moments, others: Moments) -> None:
    """Add the sums of other numbers to the sums."""
    moments.sums[:] += others.sums


def result(moments: Moments, count: int) -> tuple[float, float]:
    """Return the mean and the standard deviation of ``count`` > 0 numbers; the sum is divided by ``count``."""
    mean, mean_square = (_total(sums) / count for sums in moments.sums)
    return float(mean), _root(max(Fraction(0), mean_square - mean * mean))


def _total(sums: np.ndarray) -> Fraction:
    total = Fraction(0)
    for place in np.flatnonzero(sums.any(axis=0)).tolist():
        whole = (int(sums[0, place]) << HALF) + int(sums[1, place])
        total += whole * Fraction(2) ** (place - OFFSET - BITS)
    return total


def _root(x: Fraction) -> float:
    """Return the square root of a number that itself may be too large or too small for a float."""
    if x == 0:
        return 0.0
    half = (x.numerator.bit_length() - x.denominator.bit_length()) // 2
    return float(sqrt(x / Fraction(4) ** half) * 2.0**half)
