"""The published procedure for the critical mixture ratio of one model size (Gu et al. 2024, arXiv 2407.17467).

It has no term for model size or for repeats, and in it longer training always lets more domain data in. For anything
else use `curate.continual.critical_ratio`, which takes any fitted law.
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
REACH = 100.0  # turning points are searched up to so many times the longest run
POINTS = 2000  # of that search
FIXED_STEPS = 500  # of the fixed-point iteration; it settles within some tens, or never
CHECKPOINTS = 6  # that a share needs: the change of general loss (Eq. 6) has five parameters


@dataclass(frozen=True)
class Procedure:
    """What the procedure gives for g shares R of domain data.

    - ``shares`` (g,): the shares R.
    - ``turning`` (g,): tokens T0 from which F = domain + lambda general falls for good, by a root finder. It is 0 if F
      falls from the start, and inf if F does not turn within 100 times the longest run.
    - ``fixed`` (g,): the same T0 by the paper's fixed point (Eq. 7); nan where the iteration diverges.
    - ``admissible`` (g,) bool: the measured general loss of the longest run is under the ceiling.
    - ``general``, ``domain``: laws in R at ``longest`` tokens.
    - ``lost`` (g,): laws in T of general loss minus that of the start.
    - ``token_law``: R = a4 T^s4 + b3 (Eq. 8); None if fewer than three shares turn.

    The laws count T in units of 0.2e9 tokens, as published.
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
        """Which shares could be used in the longest run, (g,) bool.

        Such a share is admissible, and its sum F begins to fall for good before the run ends.
        """
        return self.admissible & (self.turning < self.longest)

    @property
    def ratio(self) -> float | None:
        """The largest feasible share among those that were run; None if there is none."""
        return float(self.shares[self.feasible].max()) if self.feasible.any() else None

    def admissible_share(self, tokens: float) -> float:
        """Return the largest share whose general loss after ``tokens`` is under the ceiling.

        A power law in R goes through the changes of general loss of all shares at that T. The result is 1 if all shares
        are under the ceiling, and 0 if none is.
        """
        grid = np.linspace(1 / POINTS, 1.0, POINTS)
        change = fit_powers(self.shares, np.array([float(law(tokens / UNIT)) for law in self.lost]))(grid)
        under = np.flatnonzero(change <= self.tolerance)
        return float(grid[under[-1]]) if len(under) else 0.0

    def critical(self, tokens: float) -> float | None:
        """Return the critical ratio after ``tokens`` by the token law, or None if there is no token law.

        The ratio is at least 0 and at most the largest admissible share.
        """
        if self.token_law is None:
            return None
        return min(1.0, max(0.0, float(self.token_law(tokens / UNIT))), self.admissible_share(tokens))

    def table(self) -> pl.DataFrame:
        """Return a table with one row for each share.

        Columns: share, turning and fixed (both in tokens), admissible, feasible.
        """
        names = ("shares", "turning", "fixed", "admissible", "feasible")
        return pl.DataFrame({name.removesuffix("s"): getattr(self, name) for name in names})

    def to_json(self, tokens: Sequence[float]) -> dict[str, object]:
        """Return the field ``published`` of cmr.json, with the critical ratio at each of these tokens."""
        law = self.token_law
        return {
            "tolerance": self.tolerance,
            "feasible": self.shares[self.feasible].tolist(),
            "turning": [turn if isfinite(turn) else None for turn in self.turning.tolist()],
            "token_law": None if law is None else {"a": law.scales[0], "s": law.exponents[0], "b": law.floor},
            "critical": {f"{count:g}": self.critical(count) for count in tokens},
        }


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
    """Run the published procedure on losses of g shares after t token counts.

    ``shares`` (g,), ``tokens`` (t,), ``general`` and ``domain`` (g, t) in nats per token. ``start``: general and domain
    loss before training. ``tolerance``: nats over the start's general loss. ``price``: lambda, the weight of general
    loss.

    For every share the changes from the start follow a1 T^s1 + b1 (domain) and a2 T^s2 + a3 T^s3 + b2 (general), Eq. 6.
    T0 solves a1 s1 T^(s1-1) + lambda (a2 s2 T^(s2-1) + a3 s3 T^(s3-1)) = 0, Eq. 26. The shares and their T0 give Eq. 8.

    Raises:
        FitError: if there are fewer than three shares or six token counts.
        SchemaError: if a share is not in (0, 1].
    """
    ratios, counts = np.asarray(shares, dtype=np.float64), np.asarray(tokens, dtype=np.float64)
    _check(ratios, counts, general, domain)
    units, last = counts / UNIT, int(counts.argmax())
    gained = [fit_powers(units, row - start[1]) for row in domain]
    lost = [fit_powers(units, row - start[0], terms=2) for row in general]
    laws = list(zip(gained, lost, strict=True))
    within, first = (float(units.min()) / REACH, REACH * float(units.max())), float(units[last])
    turning = np.array([UNIT * turning_point(*pair, price, within=within) for pair in laws])
    fixed = np.array([UNIT * fixed_point(*pair, price, first=first) for pair in laws])
    turns = np.isfinite(turning) & (turning > 0)
    return Procedure(
        shares=ratios,
        turning=turning,
        fixed=fixed,
        admissible=general[:, last] <= start[0] + tolerance,
        longest=float(counts[last]),
        tolerance=tolerance,
        general=fit_powers(ratios, general[:, last]),
        domain=fit_powers(ratios, domain[:, last]),
        lost=tuple(lost),
        token_law=fit_powers(turning[turns] / UNIT, ratios[turns]) if turns.sum() >= FEWEST else None,
    )


def turning_point(gained: Powers, lost: Powers, price: float, *, within: tuple[float, float]) -> float:
    """Return the last T at which gained + price * lost turns from rising to falling.

    ``within``: the smallest and largest T to search, in units of 0.2e9 tokens. The result is 0 if the sum never rises,
    and inf if it still rises at the end.
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
    """Return T0 by iterating Eq. 7 of the paper from T = ``first``.

    T0 = [-a1 s1 / (lambda a2 s2) / (1 + a3 s3 / (a2 s2) T0^(s3-s2))]^(1/(s2-s1)). The result is nan if the iteration
    leaves the real numbers or does not settle. It contracts on one side of the root only; ``turning_point`` also finds
    the roots that it misses.
    """
    (a1,), (s1,) = gained.scales, gained.exponents
    (a2, a3), (s2, s3) = lost.scales, lost.exponents
    t = first
    for _ in range(FIXED_STEPS):
        inside = -a1 * s1 / (price * a2 * s2) / (1 + a3 * s3 / (a2 * s2) * t ** (s3 - s2)) if t > 0 else -1.0
        if not (isfinite(inside) and inside > 0):
            return float("nan")
        log_next = np.log(inside) / (s2 - s1)
        # e^100 is beyond any number of tokens: the iteration has left for 0 or infinity.
        if abs(log_next) > 100:
            return float("nan")
        next_t = float(np.exp(log_next))
        if abs(next_t - t) <= 1e-10 * next_t:
            return next_t
        t = next_t
    return float("nan")


def _check(shares: np.ndarray, tokens: np.ndarray, general: np.ndarray, domain: np.ndarray) -> None:
    different = np.unique(shares)
    if len(shares) < FEWEST or len(different) < len(shares):
        raise FitError(
            f"{len(different)} different shares {different.tolist()}: a power law in the share needs at least "
            f"{FEWEST}; run more ratios, for example 0.25, 0.5 and 0.75"
        )
    if not ((shares > 0) & (shares <= 1)).all():
        raise SchemaError(f"shares {shares.tolist()} of domain data must lie in (0, 1]: divide percents by 100")
    shape = (len(shares), len(tokens))
    if len(tokens) < CHECKPOINTS or general.shape != shape or domain.shape != shape:
        raise FitError(
            f"losses {general.shape} and {domain.shape} for {len(shares)} shares and {len(tokens)} token counts: the "
            "change of general loss has five parameters, so give each share the same six or more checkpoints"
        )
