"""Regions of the simplex: bounds on every share, linear limits on several at once; projection on them, in batches."""

from dataclasses import dataclass

import torch
from torch import Tensor

BISECTIONS = 70  # halvings of an interval: to machine precision
NEWTON = 80  # steps of the dual; piecewise quadratic, so it ends after few
TIGHT = 1e-13  # violation of a linear limit that counts as none


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
    """Euclidean projection of (m, p) rows on {low <= w <= high, sum w = 1}: clip(v - nu), nu per row by bisection."""
    under, over = (v - high).amin(dim=1, keepdim=True) - 1, (v - low).amax(dim=1, keepdim=True) + 1
    for _ in range(BISECTIONS):
        nu = (under + over) / 2
        heavy = (v - nu).clamp(low, high).sum(dim=1, keepdim=True) > 1
        under, over = torch.where(heavy, nu, under), torch.where(heavy, over, nu)
    return (v - (under + over) / 2).clamp(low, high)


def _prices(v: Tensor, region: Region) -> Tensor:
    """(m, q) multipliers >= 0 of the linear limits at the projection of ``v``.

    Damped Newton on the dual, which is concave and piecewise quadratic in y = (price of the sum, prices of the limits).
    """
    m, q = region.limits.shape
    rows = torch.cat([torch.ones_like(v)[:, None], region.rows], dim=1)  # (m, 1 + q, p)
    right = torch.cat([v.new_ones(m, 1), region.limits], dim=1)
    identity = torch.eye(1 + q, dtype=v.dtype)
    y = v.new_zeros(m, 1 + q)
    bounded = torch.arange(1 + q) > 0

    def dual(y: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        shifted = v - (y[:, None] @ rows)[:, 0]
        w = shifted.clamp(region.low, region.high)
        slack = (rows @ w[..., None])[..., 0] - right
        inside = (shifted > region.low) & (shifted < region.high)
        return ((w - v) ** 2).sum(dim=1) / 2 + (y * slack).sum(dim=1), slack, inside

    value, slack, inside = dual(y)
    for _ in range(NEWTON):
        held = bounded & (y <= 0) & (slack <= 0)
        ascent = torch.where(held, torch.zeros_like(slack), slack)
        if bool((ascent.abs() <= TIGHT).all()):
            break
        hessian = (rows * inside[:, None]) @ rows.transpose(1, 2)
        loose = (~held).to(v.dtype)
        hessian = hessian * loose[:, :, None] * loose[:, None, :] + 1e-9 * identity + torch.diag_embed(1 - loose)
        step = torch.linalg.solve(hessian, ascent)
        length = torch.ones_like(value)
        for _ in range(60):
            trial = y + length[:, None] * step
            trial = torch.where(bounded, trial.clamp_min(0.0), trial)
            new, new_slack, new_inside = dual(trial)
            short = new < value + 1e-4 * (ascent * (trial - y)).sum(dim=1) - 1e-15 * value.abs()
            if not bool(short.any()):
                break
            length = torch.where(short, length / 2, length)
        y, value, slack, inside = trial, new, new_slack, new_inside
    return y[:, 1:]
