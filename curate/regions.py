"""Regions of the simplex: bounds on every share, linear limits on several at once; projection on them, in batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

BISECTIONS = 70  # halvings of an interval: to machine precision
NEWTON = 80  # steps of the dual; piecewise quadratic, so it ends after few
TIGHT = 1e-13  # violation of a linear limit that counts as none
RIDGE = 1e-9  # keeps the dual's Hessian invertible where limits coincide
HALVINGS = 60


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
    """(m, 1) nu with clip(v - nu, low, high) summing to 1, by bisection."""
    under, over = (v - high).amin(dim=1, keepdim=True) - 1, (v - low).amax(dim=1, keepdim=True) + 1
    for _ in range(BISECTIONS):
        nu = (under + over) / 2
        heavy = (v - nu).clamp(low, high).sum(dim=1, keepdim=True) > 1
        under, over = torch.where(heavy, nu, under), torch.where(heavy, over, nu)
    return (under + over) / 2


def _prices(v: Tensor, region: Region) -> Tensor:
    """(m, q) multipliers >= 0 of the linear limits at the projections of ``v`` (m, p).

    Damped Newton on the dual, which is concave and piecewise quadratic in y = (price of the sum, prices of the limits).
    """
    m, q = region.limits.shape
    rows = torch.cat([torch.ones_like(v)[:, None], region.rows], dim=1)  # (m, 1 + q, p)
    right = torch.cat([v.new_ones(m, 1), region.limits], dim=1)
    y = torch.cat([_level(v, region.low, region.high), v.new_zeros(m, q)], dim=1)
    limit = torch.arange(1 + q) > 0
    at = torch.arange(m)  # rows that are not done
    for _ in range(NEWTON):
        dual = _Dual(v[at], region.low[at], region.high[at], rows[at], right[at])
        value, slack, inside = dual(y[at])
        held = limit & (y[at] <= 0) & (slack <= 0)
        ascent = torch.where(held, torch.zeros_like(slack), slack)
        left = (ascent.abs() > TIGHT).any(dim=1)
        if not bool(left.any()):
            break
        at, dual, value = at[left], dual.take(left), value[left]
        y[at] = _climb(dual, y[at], value, ascent[left], inside[left], held[left], limit)
    return y[:, 1:]


@dataclass(frozen=True)
class _Dual:
    """The dual of m projections: points, bounds (m, p), rows (m, k, p) and their right sides (m, k)."""

    v: Tensor
    low: Tensor
    high: Tensor
    rows: Tensor
    right: Tensor

    def __call__(self, y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """(m, k) prices to values (m,), gradients (m, k), and which coordinates (m, p) are between their bounds."""
        shifted = self.v - (y[:, None] @ self.rows)[:, 0]
        w = shifted.clamp(self.low, self.high)
        slack = (self.rows @ w[..., None])[..., 0] - self.right
        value = ((w - self.v) ** 2).sum(dim=1) / 2 + (y * slack).sum(dim=1)
        return value, slack, (shifted > self.low) & (shifted < self.high)

    def take(self, rows: Tensor) -> "_Dual":
        return _Dual(self.v[rows], self.low[rows], self.high[rows], self.rows[rows], self.right[rows])


def _climb(
    dual: _Dual, y: Tensor, value: Tensor, ascent: Tensor, inside: Tensor, held: Tensor, limit: Tensor
) -> Tensor:
    """One damped Newton step (m, k) up the dual; prices of limits stay at least 0, ``held`` ones where they are."""
    k = y.shape[1]
    loose = (~held).to(y.dtype)
    hessian = (dual.rows * inside[:, None]) @ dual.rows.transpose(1, 2) * loose[:, :, None] * loose[:, None, :]
    damping = RIDGE * torch.eye(k, dtype=y.dtype) + torch.diag_embed(1 - loose)
    step = torch.linalg.solve(hessian + damping, ascent)

    def moved(length: Tensor, rows: Tensor) -> Tensor:
        to = y[rows] + length[rows, None] * step[rows]
        return torch.where(limit, to.clamp_min(0.0), to)

    length, every = torch.ones_like(value), torch.arange(len(y))
    short = every
    for _ in range(HALVINGS):
        trial = moved(length, short)
        new, _, _ = dual.take(short)(trial)
        promised = value[short] + 1e-4 * (ascent[short] * (trial - y[short])).sum(dim=1)
        short = short[new < promised - 1e-15 * value[short].abs()]
        if not len(short):
            break
        length[short] /= 2
    return moved(length, every)
