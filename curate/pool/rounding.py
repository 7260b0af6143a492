"""Shares into whole numbers that add up exactly; advice rounded to the side on which it is enough."""

from collections.abc import Sequence
from fractions import Fraction
from math import ceil, floor, isfinite, log10

import numpy as np

from curate.errors import SchemaError

ROUNDING = Fraction(1, 10**9)  # of the last digit: what may be the rounding error of a number that ends there


def apportion(shares: Sequence[float] | np.ndarray, total: int) -> list[int]:
    """Return (p,) counts that sum to ``total``, each within 1 of its part: share / sum of shares * total.

    Largest remainder method (Hamilton), computed with exact fractions; equal remainders are served in order. A share
    of zero has no remainder, and there are always more remainders than units left over, so it gets a count of zero.
    Errors: a share that is negative or not finite, no positive share, a total that is negative or not whole.
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
    parts = [divmod(share * int(total), whole) for share in exact]
    counts = [int(count) for count, _ in parts]
    largest_first = sorted(range(len(parts)), key=lambda i: -parts[i][1])  # sorting is stable: ties in order
    for i in largest_first[: int(total) - sum(counts)]:
        counts[i] += 1
    return counts


def up(value: float, digits: int) -> float:
    """Round a positive number up to so many significant digits; rounding errors of it do not count."""
    places = digits - 1 - floor(log10(value))
    return float(Fraction(ceil(Fraction(value) * Fraction(10) ** places - ROUNDING)) / Fraction(10) ** places)


def down(value: float, digits: int) -> float:
    """Round a number that is not negative down, like ``up``."""
    if value == 0:
        return 0.0
    places = digits - 1 - floor(log10(value))
    scaled = floor(Fraction(value) * Fraction(10) ** places + ROUNDING)
    return float(Fraction(scaled) / Fraction(10) ** places)
