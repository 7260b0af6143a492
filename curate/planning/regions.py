"""Regions of the simplex: bounds on every share, linear limits on several at once; projection on them, in batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

NEWTON = 150  # steps of the dual, which ends after few
TIGHT = 1e-13  # excess over a linear limit that counts as none
ROUNDING = 1e-14  # ... in units of the largest coordinate of what is projected
RIDGE = 1e-9  # keeps the dual's Hessian invertible where limits coincide
CUTS = 80


@dataclass(frozen=True)
class Region:
    """m sets {w: low <= w <= high, sum w = 1, rows w <= limits}: ``low``, ``high`` (m, p), ``rows`` (m, q, p) with
    largest entry 1 in size, ``limits`` (m, q)."""

    low: Tensor
    high: Tensor
    rows: Tensor
    limits: Tensor

    @staticmethod
    def box(low: Tensor, high: Tensor) -> "Region":
        """Return the regions with bounds alone."""
        m, p = low.shape
        return Region(low, high, low.new_zeros(m, 0, p), low.new_zeros(m, 0))

    def __len__(self) -> int:
        """Return m."""
        return len(self.low)

    def repeat(self, times: int) -> "Region":
        """Return every region ``times`` times in a row."""
        return Region(*(x.repeat_interleave(times, 0) for x in (self.low, self.high, self.rows, self.limits)))

    def tile(self, times: int) -> "Region":
        """Return all regions, ``times`` times over."""
        return Region(*(x.repeat(times, *[1] * (x.ndim - 1)) for x in (self.low, self.high, self.rows, self.limits)))

    def take(self, rows: Tensor) -> "Region":
        """Return the regions at positions (or where a mask is true)."""
        return Region(self.low[rows], self.high[rows], self.rows[rows], self.limits[rows])

    def excess(self, w: Tensor) -> Tensor:
        """(m, q) by how much mixtures (m, p) are over the linear limits; negative: room left."""
        return (self.rows @ w[..., None])[..., 0] - self.limits

    def project(self, v: Tensor) -> Tensor:
        """Return the nearest points (m, p) of the regions to rows (m, p); the regions must not be empty."""
        w = clip(v, self.low, self.high)
        over = (self.excess(w) > TIGHT).any(dim=1)
        if bool(over.any()):
            some, far = self.take(over), v[over]
            prices = _prices(far, some)
            w[over] = clip(far - (prices[:, None] @ some.rows)[:, 0], some.low, some.high)
        return w


def clip(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """Euclidean projection of (m, p) rows on {low <= w <= high, sum w = 1}."""
    return (v - _level(v, low, high)).clamp(low, high)


def _level(v: Tensor, low: Tensor, high: Tensor) -> Tensor:
    """(m, 1) nu with clip(v - nu, low, high) summing to 1.

    That sum falls in nu, linearly between the 2p sorted places where a share comes off its maximum or meets its
    minimum. The last steps, of Newton, remove what adding up the pieces rounds.
    """
    p = v.shape[1]
    edges, order = torch.cat([v - high, v - low], dim=1).sort(dim=1)
    moving = torch.where(order < p, 1.0, -1.0).to(v.dtype).cumsum(dim=1)
    fallen = (moving[:, :-1] * edges.diff(dim=1)).cumsum(dim=1)
    above = high.sum(dim=1, keepdim=True) - 1 - torch.cat([torch.zeros_like(v[:, :1]), fallen], dim=1)
    last = ((above > 0).sum(dim=1, keepdim=True) - 1).clamp_min(0)  # where the sum is still over 1
    nu = edges.gather(1, last) + above.gather(1, last).clamp_min(0) / moving.gather(1, last).clamp_min(1)
    for _ in range(2):
        w = v - nu
        between = ((w > low) & (w < high)).sum(dim=1, keepdim=True).clamp_min(1)
        nu = nu + (w.clamp(low, high).sum(dim=1, keepdim=True) - 1) / between
    return nu


def _prices(v: Tensor, region: Region) -> Tensor:
    """(m, q) multipliers >= 0 of the linear limits at the projections of ``v`` (m, p).

    Newton on the dual, which is concave and piecewise quadratic in y = (price of the sum, prices of the limits). Its
    gradient at y is by how much the sum and the limits are exceeded there; a step is cut until that gradient does not
    point back, which needs no difference of two near values and so works down to rounding.
    """
    dual = _Dual.of(v, region)
    m, q = region.limits.shape
    y = torch.cat([_level(v, region.low, region.high), v.new_zeros(m, q)], dim=1)
    at = torch.arange(m)  # rows that are not done
    over, inside = dual(y)
    for _ in range(NEWTON):
        left = torch.where(dual.held(y[at]), over, over.abs()).amax(dim=1) > ROUNDING * dual.size
        if not bool(left.any()):
            break
        at, dual, over = at[left], dual.take(left), over[left]
        y[at], over, inside = _climb(dual, y[at], over, inside[left])
    return y[:, 1:]


@dataclass(frozen=True)
class _Dual:
    """The dual of m projections: points, bounds (m, p), rows (m, k, p) and their right sides (m, k), the first of which
    is the sum's; ``size`` (m,) of the points, at least 1."""

    v: Tensor
    low: Tensor
    high: Tensor
    rows: Tensor
    right: Tensor
    size: Tensor

    @staticmethod
    def of(v: Tensor, region: Region) -> "_Dual":
        rows = torch.cat([torch.ones_like(v)[:, None], region.rows], dim=1)
        right = torch.cat([v.new_ones(len(v), 1), region.limits], dim=1)
        return _Dual(v, region.low, region.high, rows, right, v.abs().amax(dim=1).clamp_min(1.0))

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor]:
        """(m, k) prices to gradients (m, k), and which coordinates (m, p) are between their bounds."""
        w = self.v - (y[:, None] @ self.rows)[:, 0]
        over = (self.rows @ w.clamp(self.low, self.high)[..., None])[..., 0] - self.right
        return over, (w > self.low) & (w < self.high)

    def held(self, y: Tensor) -> Tensor:
        """(m, k) prices that may not fall: those of limits at 0."""
        return (y <= 0) & (torch.arange(y.shape[1]) > 0)

    def take(self, rows: Tensor) -> "_Dual":
        return _Dual(*(x[rows] for x in (self.v, self.low, self.high, self.rows, self.right, self.size)))


def _climb(dual: _Dual, y: Tensor, over: Tensor, inside: Tensor) -> tuple[Tensor, Tensor, Tensor]:
    """One damped Newton step (m, k) up the dual; return the prices, and the gradients and ``inside`` there."""
    step = _direction(dual, y, over, inside)
    lowest = torch.where(torch.arange(y.shape[1]) > 0, 0.0, -torch.inf).to(y.dtype)
    length, short, new = y.new_ones(len(y)), torch.arange(len(y)), y.clone()
    over, inside = over.clone(), inside.clone()
    for cut in range(CUTS):
        new[short] = (y[short] + length[short, None] * step[short]).clamp_min(lowest)
        over[short], inside[short] = dual.take(short)(new[short])
        short = short[(over[short] * (new[short] - y[short])).sum(dim=1) < 0]
        if not len(short):
            break
        length[short] /= 2 if cut < 6 else 4
    return new, over, inside


def _direction(dual: _Dual, y: Tensor, over: Tensor, inside: Tensor) -> Tensor:
    """(m, k) Newton directions, damped in proportion to the gradient; prices that may not fall do not."""
    k = y.shape[1]
    hessian = (dual.rows * inside[:, None]) @ dual.rows.transpose(1, 2)
    free = ~dual.held(y) | (over > 0)
    damping = (over * free).abs().amax(dim=1).clamp(RIDGE, 1.0) / dual.size
    for _ in range(k):
        f = free.to(y.dtype)
        matrix = hessian * f[:, :, None] * f[:, None, :] + torch.diag_embed(damping[:, None] + 1 - f)
        step: Tensor = torch.linalg.solve(matrix, over * f)
        falls = free & dual.held(y) & (step < 0)
        if not bool(falls.any()):
            break
        free = free & ~falls
    return step * free
