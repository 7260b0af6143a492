"""Where curves over a grid lie at or under a ceiling: the last such point, and all such intervals."""

from collections.abc import Callable

import torch
from torch import Tensor

BISECTIONS = 40  # halve a cell of the grid until a share is exact to its last digit


def last_under(grid: Tensor, values: Tensor, ceiling: float) -> Tensor:
    """Return the (b,) largest x at which each of b curves is at or under the ceiling.

    ``grid`` (g,) rises; ``values`` (b, g) are linear between its points. The result is inf if a curve ends under the
    ceiling, and nan if it is never under it.
    """
    under = values <= ceiling
    count = values.shape[1]
    last = count - 1 - under.flip(1).int().argmax(dim=1)
    following = (last + 1).clamp_max(count - 1)
    rows = torch.arange(len(values))
    below, over = values[rows, last], values[rows, following]
    step = ((ceiling - below) / (over - below).clamp_min(1e-300)).clamp(0.0, 1.0)
    x = grid[last] + step * (grid[following] - grid[last])
    x = torch.where(last == count - 1, torch.inf, x)
    # Where nothing is under the ceiling, argmax of zeros is 0 and ``last`` has no meaning.
    return torch.where(under.any(dim=1), x, torch.nan)


def pieces(grid: Tensor, values: Tensor, ceiling: float) -> tuple[tuple[float, float], ...]:
    """Return the intervals on which one curve is at or under the ceiling.

    ``grid`` (g,) rises; ``values`` (g,) are linear between its points.
    """
    xs, excesses = grid.tolist(), (values - ceiling).tolist()
    intervals: list[tuple[float, float]] = []
    start = xs[0] if excesses[0] <= 0 else None
    for x, next_x, excess, next_excess in zip(xs[:-1], xs[1:], excesses[:-1], excesses[1:], strict=True):
        if (excess <= 0) == (next_excess <= 0):
            continue
        crossing = x + (next_x - x) * excess / (excess - next_excess)
        if start is None:
            start = crossing
        else:
            intervals.append((start, crossing))
            start = None
    return (*intervals, (start, xs[-1])) if start is not None else tuple(intervals)


def bisect(curve: Callable[[float], float], under: float, over: float, ceiling: float) -> float:
    """Return the x between ``under`` and ``over`` at which the curve passes the ceiling.

    The curve must be at or under the ceiling at ``under``, and so it is at the result.
    """
    for _ in range(BISECTIONS):
        middle = (under + over) / 2
        under, over = (middle, over) if curve(middle) <= ceiling else (under, middle)
    return under
