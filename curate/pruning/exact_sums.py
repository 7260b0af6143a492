"""Mean and standard deviation of a stream of numbers, to the last bit the same for any order and any batches.

A float is a whole number times a power of two: whole numbers are summed, apart for each power, and never rounded.
"""

from dataclasses import dataclass, field
from fractions import Fraction
from math import sqrt

import numpy as np

OFFSET = 2300  # powers of two of doubles and of their squares lie within it
BITS, HALF = 53, 26  # of a mantissa, and of its lower part: sums of 2^36 parts fit in 64 bits


@dataclass(frozen=True)
class Moments:
    """Exact sums of numbers and of their (rounded) squares so far; ``add`` and ``result`` work on it."""

    sums: np.ndarray = field(default_factory=lambda: np.zeros((2, 2, 2 * OFFSET), dtype=np.int64))


def add(moments: Moments, numbers: np.ndarray) -> None:
    """Add (n,) finite float64 to the sums."""
    mantissa, power = np.frexp(numbers)
    square, more = np.frexp(mantissa * mantissa)
    for sums, m, e in ((moments.sums[0], mantissa, power), (moments.sums[1], square, 2 * power + more)):
        whole = (m * 2.0**BITS).astype(np.int64)
        np.add.at(sums[0], e + OFFSET, whole >> HALF)
        np.add.at(sums[1], e + OFFSET, whole & ((1 << HALF) - 1))


def result(moments: Moments, count: int) -> tuple[float, float]:
    """Return mean and standard deviation of ``count`` > 0 numbers."""
    first, second = (_total(sums) / count for sums in moments.sums)
    return float(first), _root(max(Fraction(0), second - first * first))


def _total(sums: np.ndarray) -> Fraction:
    found = Fraction(0)
    for at in np.flatnonzero(sums.any(axis=0)).tolist():
        whole = (int(sums[0, at]) << HALF) + int(sums[1, at])
        found += whole * Fraction(2) ** (at - OFFSET - BITS)
    return found


def _root(x: Fraction) -> float:
    """The square root, where x itself may be too large or small for a float."""
    if x == 0:
        return 0.0
    half = (x.numerator.bit_length() - x.denominator.bit_length()) // 2
    return float(sqrt(x / Fraction(4) ** half) * 2.0**half)
