"""The published procedure for the critical mixture ratio of one model size (Gu et al. 2024, arXiv 2407.17467).

Loss only, one law a model size, fresh domain data only, and longer training always lets more domain data in; for
anything else use ``curate.continual.critical_ratio`` with any fitted law.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from math import inf, isfinite

import numpy as np
import polars as pl
from scipy.optimize import brentq

from curate.errors import FitError, SchemaError
from curate.fitting.power_sums import Powers, fit_powers
from curate.laws.cmr import UNIT

TOLERANCE = 0.05  # nats over the start's general loss, the paper's only value
PRICE = 1000.0  # the multiplier lambda of general loss; the paper uses 100 to 7000
FEWEST = 3  # ratios that determine a power law in the ratio
REACH = 100.0  # times the longest run: turning points are looked for up to there
POINTS = 2000  # of that search
FIXED_STEPS = 500


@dataclass(frozen=True)
class Procedure:
    """What the procedure gives for g shares R of domain data; tokens T are counted in 0.2e9 inside, as published.

    ``shares`` (g,); ``turning`` (g,) tokens T0 from which F = domain + lambda general falls for good (0: from the
    start, inf: not within 100 runs), by a root finder; ``fixed`` (g,) the same by the paper's fixed point (Eq. 7), nan
    where it diverges; ``admissible`` (g,) bool: the measured general loss of the longest run is under the ceiling.
    ``general``, ``domain``: laws in R at ``longest`` tokens. ``lost`` (g,): general loss over T minus the start's.
    ``token_law``: R = a4 T^s4 + b3 (Eq. 8), None with fewer than three shares that turn.
    """

    shares: np.ndarray
    turning: np.ndarray
    fixed: np.ndarray
    admissible: np.ndarray
    longest: float
    tolerance: float
    general: Powers
    domain: Powers
    lost: tuple[Powers, ...]
    token_law: Powers | None

    @property
    def feasible(self) -> np.ndarray:
        """(g,) bool: feasible mixture ratios among the shares, admissible and past their turning point in time."""
        return self.admissible & (self.turning < self.longest)

    @property
    def ratio(self) -> float | None:
        """The critical ratio among the shares that were run: the largest feasible one, None where none is."""
        return float(self.shares[self.feasible].max()) if self.feasible.any() else None

    def admissible_share(self, tokens: float) -> float:
        """Return the largest share whose general loss after ``tokens`` is under the ceiling; 1 where all are, else 0
        where none is: a power law in R through the shares' changes at that T."""
        grid = np.linspace(1 / POINTS, 1.0, POINTS)
        change = fit_powers(self.shares, np.array([float(one(tokens / UNIT)) for one in self.lost]))(grid)
        under = np.flatnonzero(change <= self.tolerance)
        return float(grid[under[-1]]) if len(under) else 0.0

    def critical(self, tokens: float) -> float | None:
        """Return the critical ratio at ``tokens``: the token law's, held to [0, 1] and to the admissible shares."""
        if self.token_law is None:
            return None
        return min(1.0, max(0.0, float(self.token_law(tokens / UNIT))), self.admissible_share(tokens))

    def table(self) -> pl.DataFrame:
        """Return one row a share: share, turning and fixed (tokens), admissible, feasible."""
        names = ("shares", "turning", "fixed", "admissible", "feasible")
        return pl.DataFrame({name.removesuffix("s"): getattr(self, name) for name in names})


def procedure(
    shares: Sequence[float] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    general: np.ndarray,
    domain: np.ndarray,
    *,
    start: tuple[float, float],
    tolerance: float = TOLERANCE,
    price: float = PRICE,
) -> Procedure:
    """Run it on (g, t) losses of g shares after t token counts; ``start``: general and domain loss before training.

    Per share the changes from the start follow a1 T^s1 + b1 (domain) and a2 T^s2 + a3 T^s3 + b2 (general), Eq. 6; T0
    solves a1 s1 T^(s1-1) + lambda (a2 s2 T^(s2-1) + a3 s3 T^(s3-1)) = 0, Eq. 26; the ratios and their T0 give Eq. 8.
    """
    r, t = np.asarray(shares, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    _check(r, t, general, domain)
    units = t / UNIT
    gained = [fit_powers(units, row - start[1]) for row in domain]
    lost = [fit_powers(units, row - start[0], terms=2) for row in general]
    within, last = (float(units.min()) / REACH, REACH * float(units.max())), int(t.argmax())
    turning = np.array([UNIT * turning_point(*both, price, within=within) for both in zip(gained, lost, strict=True)])
    first = float(units[last])
    fixed = np.array([UNIT * fixed_point(*both, price, first=first) for both in zip(gained, lost, strict=True)])
    turns = np.isfinite(turning) & (turning > 0)
    return Procedure(
        shares=r,
        turning=turning,
        fixed=fixed,
        admissible=general[:, last] <= start[0] + tolerance,
        longest=float(t[last]),
        tolerance=tolerance,
        general=fit_powers(r, general[:, last]),
        domain=fit_powers(r, domain[:, last]),
        lost=tuple(lost),
        token_law=fit_powers(turning[turns] / UNIT, r[turns]) if turns.sum() >= FEWEST else None,
    )


def turning_point(gained: Powers, lost: Powers, price: float, *, within: tuple[float, float]) -> float:
    """Return the last T at which the slope of gained + price * lost turns from rising to falling, by a root finder.

    0 where it never rises, inf where it still rises at the end of ``within``.
    """

    def slope(log_t: float | np.ndarray) -> np.ndarray:
        t = np.exp(log_t)
        return np.asarray(t * (gained.slope(t) + price * lost.slope(t)))

    grid = np.linspace(np.log(within[0]), np.log(within[1]), POINTS)
    rising = slope(grid) > 0
    if rising[-1]:
        return inf
    if not rising.any():
        return 0.0
    i = int(np.flatnonzero(rising).max())
    return float(np.exp(brentq(slope, grid[i], grid[i + 1], xtol=1e-13)))


def fixed_point(gained: Powers, lost: Powers, price: float, *, first: float) -> float:
    """Return T0 by iterating Eq. 7 from T = ``first``; nan where it leaves the real numbers or does not settle.

    T0 = [-a1 s1 / (lambda a2 s2) / (1 + a3 s3 / (a2 s2) T0^(s3-s2))]^(1/(s2-s1)). It is a contraction only on one side
    of the root: ``turning_point`` finds what this misses.
    """
    (a1,), (s1,) = gained.scales, gained.exponents
    (a2, a3), (s2, s3) = lost.scales, lost.exponents
    t = first
    for _ in range(FIXED_STEPS):
        inside = -a1 * s1 / (price * a2 * s2) / (1 + a3 * s3 / (a2 * s2) * t ** (s3 - s2)) if t > 0 else -1.0
        if not (isfinite(inside) and inside > 0):
            return float("nan")
        log_new = np.log(inside) / (s2 - s1)
        if abs(log_new) > 100:
            return float("nan")
        new = float(np.exp(log_new))
        if abs(new - t) <= 1e-10 * new:
            return new
        t = new
    return float("nan")


def _check(r: np.ndarray, t: np.ndarray, general: np.ndarray, domain: np.ndarray) -> None:
    if len(r) < FEWEST or len(np.unique(r)) < len(r):
        raise FitError(
            f"{len(np.unique(r))} different shares {np.unique(r).tolist()}: a power law in the share needs at least "
            f"{FEWEST}; run more ratios, for example 0.25, 0.5 and 0.75"
        )
    if not ((r > 0) & (r <= 1)).all():
        raise SchemaError(f"shares {r.tolist()} of domain data must lie in (0, 1]: divide percents by 100")
    if len(t) < 6 or general.shape != (len(r), len(t)) or domain.shape != general.shape:
        raise FitError(
            f"losses {general.shape} and {domain.shape} for {len(r)} shares and {len(t)} token counts: the change of "
            "general loss has five parameters, so give each share the same six or more checkpoints"
        )
