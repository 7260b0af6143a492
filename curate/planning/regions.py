"""Describe sets of allowed mixtures and project on them: bounds on every share, and linear limits on several at once.

In: bounds and linear limits as tensors. Out: `Region`, with a projection that treats many regions in one batch.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

NEWTON = 150  # most Newton steps on the dual; it ends after few
TIGHT = 1e-13  # an excess over a linear limit that counts as none
ROUNDING = 1e-14  # ... in units of the largest coordinate of the point that is projected
RIDGE = 1e-9  # keeps the dual's Hessian invertible where limits coincide
CUTS = 80  # how often a Newton step may be shortened


@dataclass(frozen=True)
class Region:
    """m sets of mixtures {w: low <= w <= high, sum w = 1, rows w <= limits}.

    ``low`` and ``high`` are (m, p), ``rows`` (m, q, p) with largest entry 1 in size, and ``limits`` (m, q).
    """

    low: Tensor
    high: Tensor
    rows: Tensor
    limits: Tensor

    @staticmethod
    def box(low: Tensor, high: Tensor) -> "Region":
        """Return the regions that have bounds alone, from (m, p) lowest and highest shares."""
        m, p = low.shape
        return Region(low, high, low.new_zeros(m, 0, p), low.new_zeros(m, 0))

    def __len__(self) -> int:
        """Return m."""
        return len(self.low)

    def repeat(self, times: int) -> "Region":
        """Return every region ``times`` times in a row: a, a, b, b."""
        return Region(*(x.repeat_interleave(times, 0) for x in (self.low, self.high, self.rows, self.limits)))

    def tile(self, times: int) -> "Region":
        """Return all regions, ``times`` times over: a, b, a, b."""
        return Region(*(x.repeat(times, *[1] * (x.ndim - 1)) for x in (self.low, self.high, self.rows, self.limits)))

    def take(self, rows: Tensor) -> "Region":
        """Return the regions at these positions, or where a mask is true."""
        return Region(self.low[rows], self.high[rows], self.rows[rows], self.limits[rows])

    def excess(self, w: Tensor) -> Tensor:
        """Return by how much mixtures (m, p) exceed the linear limits, (m, q); a negative excess is room."""
        return (self.rows @ w[..., None])[..., 0] - self.limits

    def project(self, v: Tensor) -> Tensor:
        """Return the points (m, p) of the regions nearest to the rows of ``v`` (m, p). No region may be empty."""
        w = clip(v, self.low, self.high)
        # Bounds are cheap to project on. Only rows that break a linear limit need the dual.
        over = (self.excess(w) > TIGHT).any(dim=1)
        if bool(over.any()):
            regions, points = self.take(over), v[over]
            prices = _prices(points, regions)
            w[over] = clip(points - (prices[:, None] @ regions.rows)[:, 0], regions.low, regions.high)
        return w


def clip(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return for each row of ``v`` the nearest point with low <= w <= high and sum w = 1.

    ``v``, ``low``, ``high`` and the result are (m, p).
    """
    return (v - _level(v, low, high)).clamp(low, high)


def _level(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Return the (m, 1) number nu for which clip(v - nu, low, high) sums to 1.

    That sum falls in nu, linearly between the 2p sorted places where a share comes off its maximum or meets its
    minimum.
    """
    p = v.shape[1]
    edges, order = torch.cat([v - high, v - low], dim=1).sort(dim=1)
    moving = torch.where(order < p, 1.0, -1.0).to(v.dtype).cumsum(dim=1)
    fallen = (moving[:, :-1] * edges.diff(dim=1)).cumsum(dim=1)
    above = high.sum(dim=1, keepdim=True) - 1 - torch.cat([torch.zeros_like(v[:, :1]), fallen], dim=1)
    last = ((above > 0).sum(dim=1, keepdim=True) - 1).clamp_min(0)  # the last edge at which the sum is over 1
    nu = edges.gather(1, last) + above.gather(1, last).clamp_min(0) / moving.gather(1, last).clamp_min(1)
    # Adding up the pieces rounds. Two Newton steps remove that error.
    for _ in range(2):
        w = v - nu
        between = ((w > low) & (w < high)).sum(dim=1, keepdim=True).clamp_min(1)
        nu = nu + (w.clamp(low, high).sum(dim=1, keepdim=True) - 1) / between
    return nu


def _prices(v: Tensor, region: Region) -> Tensor:
    """Return the (m, q) multipliers >= 0 of the linear limits at the projections of ``v`` (m, p).

    Newton's method on the dual, which is concave and piecewise quadratic in y = (price of the sum, prices of the
    limits). Its gradient at y is by how much the sum and the limits are exceeded there.
    """
    dual = _projection_dual(v, region)
    m, q = region.limits.shape
    y = torch.cat([_level(v, region.low, region.high), v.new_zeros(m, q)], dim=1)
    unsolved = torch.arange(m)
    excess, inside = dual(y)
    for _ in range(NEWTON):
        error = torch.where(dual.at_zero(y[unsolved]), excess, excess.abs()).amax(dim=1)
        again = error > ROUNDING * dual.size
        if not bool(again.any()):
            break
        unsolved, dual, excess = unsolved[again], dual.rows_at(again), excess[again]
        y[unsolved], excess, inside = _climb(dual, y[unsolved], excess, inside[again])
    return y[:, 1:]


@dataclass(frozen=True)
class _Dual:
    """The dual of m projections: the points and bounds (m, p), ``rows`` (m, k, p) and their right sides (m, k).

    The first of the k rows is that of the sum. ``size`` (m,) is the largest coordinate of a point, at least 1.
    """

    v: Tensor
    low: Tensor
    high: Tensor
    rows: Tensor
    right: Tensor
    size: Tensor

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """Return the gradients (m, k) at prices (m, k), and which coordinates (m, p) are between their bounds."""
        w = self.v - (y[:, None] @ self.rows)[:, 0]
        excess = (self.rows @ w.clamp(self.low, self.high)[..., None])[..., 0] - self.right
        return excess, (w > self.low) & (w < self.high)

    def at_zero(self, y: Tensor) -> Tensor:
        """Return which prices may not fall, (m, k): those of limits stay at least 0; the first, of the sum, is free."""
        return (y <= 0) & (torch.arange(y.shape[1]) > 0)

    def rows_at(self, positions: Tensor) -> "_Dual":
        return _Dual(*(x[positions] for x in (self.v, self.low, self.high, self.rows, self.right, self.size)))


def _projection_dual(v: Tensor, region: Region) -> _Dual:
    rows = torch.cat([torch.ones_like(v)[:, None], region.rows], dim=1)
    right = torch.cat([v.new_ones(len(v), 1), region.limits], dim=1)
    return _Dual(v, region.low, region.high, rows, right, v.abs().amax(dim=1).clamp_min(1.0))


def _climb(dual: _Dual, y: Tensor, excess: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """Take one damped Newton step (m, k) up the dual; return the prices, and the gradients and ``inside`` there.

    A step is cut until the gradient at its end does not point back. Unlike a comparison of two values, which may be
    nearly equal, this works down to rounding.
    """
    step = _direction(dual, y, excess, inside)
    lowest = torch.where(torch.arange(y.shape[1]) > 0, 0.0, -torch.inf).to(y.dtype)
    length, too_long, new = y.new_ones(len(y)), torch.arange(len(y)), y.clone()
    excess, inside = excess.clone(), inside.clone()
    for cut in range(CUTS):
        new[too_long] = (y[too_long] + length[too_long, None] * step[too_long]).clamp_min(lowest)
        excess[too_long], inside[too_long] = dual.rows_at(too_long)(new[too_long])
        too_long = too_long[(excess[too_long] * (new[too_long] - y[too_long])).sum(dim=1) < 0]
        if not len(too_long):
            break
        length[too_long] /= 2 if cut < 6 else 4
    return new, excess, inside


def _direction(dual: _Dual, y: Tensor, excess: Tensor, inside: Tensor) -> Tensor:
    """Return (m, k) Newton directions, damped in proportion to the gradient; prices that may not fall do not fall."""
    k = y.shape[1]
    hessian = (dual.rows * inside[:, None]) @ dual.rows.transpose(1, 2)
    free = ~dual.at_zero(y) | (excess > 0)
    damping = (excess * free).abs().amax(dim=1).clamp(RIDGE, 1.0) / dual.size
    for _ in range(k):
        f = free.to(y.dtype)
        matrix = hessian * f[:, :, None] * f[:, None, :] + torch.diag_embed(damping[:, None] + 1 - f)
        step: Tensor = torch.linalg.solve(matrix, excess * f)
        falls = free & dual.at_zero(y) & (step < 0)
        if not bool(falls.any()):
            break
        free = free & ~falls
    return step * free
