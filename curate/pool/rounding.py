"""Whole counts that add up exactly, and numbers in advice that are rounded to the safe side."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, isfinite, log10

import numpy as np

from curate.errors import SchemaError

# A number that should end at its last digit may miss it by a rounding error of this many units of that digit.
ROUNDING = Fraction(1, 10**9)


def apportion(shares: Sequence[float] | np.ndarray, total: int) -> list[int]:
    """Return (p,) counts that sum to ``total``, each within 1 of share / sum of shares * total.

    This is the largest remainder method (Hamilton), computed with exact fractions; equal remainders are served in
    order. A share of zero gets a count of zero.

    Raises:
        SchemaError: a share is negative or not finite, no share is positive, or the total is not a count.
    """
    if total < 0 or total != int(total):
        raise SchemaError(f"{total} cannot be split into counts: give a whole number, 0 or more")
    exact = []
    for i, share in enumerate(map(float, shares)):
        if not (isfinite(share) and share >= 0):
            raise SchemaError(f"share {i} of {len(shares)} is {share:g}: shares must be finite and 0 or more")
        exact.append(Fraction(share))
    whole = sum(exact)
    if whole == 0:
        raise SchemaError(f"the {len(exact)} shares sum to 0: at least one must be positive")
    return round_to_sum([share * int(total) / whole for share in exact], int(total))


def round_to_sum(parts: Sequence[Fraction] | Sequence[float] | np.ndarray, total: int) -> list[int]:
    """Round (p,) parts, which sum to about ``total``, to counts that sum to it.

    Every part is rounded down, and the units that are missing go to the largest remainders, in order where remainders
    are equal. Floats are taken as they are: a tie that their rounding errors break, or make, stays so.
    """
    pairs = [divmod(Fraction(part), 1) for part in parts]
    counts = [int(count) for count, _ in pairs]
    # Python's sort is stable, so equal remainders keep their order. A part without remainder gets no further unit,
    # because fewer units are missing than there are remainders.
    largest_first = sorted(range(len(pairs)), key=lambda i: -pairs[i][1])
    for i in largest_first[: total - sum(counts)]:
        counts[i] += 1
    return counts


def up(value: float, digits: int) -> float:
    """Return a positive number rounded up to ``digits`` significant digits.

    A rounding error of the number itself does not raise it: 0.15 stays 0.15.
    """
    places = digits - 1 - floor(log10(value))
    return float(Fraction(ceil(Fraction(value) * Fraction(10) ** places - ROUNDING)) / Fraction(10) ** places)


def down(value: float, digits: int) -> float:
    """Return a number of at least 0 rounded down to ``digits`` significant digits, as ``up`` rounds up."""
    if value == 0:
        return 0.0
    places = digits - 1 - floor(log10(value))
    scaled = floor(Fraction(value) * Fraction(10) ** places + ROUNDING)
    return float(Fraction(scaled) / Fraction(10) ** places)
