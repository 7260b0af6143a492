"""Where curves over a grid lie under a ceiling: the last such place, and all such pieces."""

from collections.abc import Callable

import torch
from torch import Tensor

BISECTIONS = 40  # halve a grid cell to the last digit of a share


def last_under(grid: Tensor, values: Tensor, ceiling: float) -> Tensor:
    """(g,) rising grid and (b, g) curves to (b,) the largest x with value <= ceiling, linear between grid points.

    inf: the curve ends under the ceiling. nan: it never is under it.
    """
    under = values <= ceiling
    count = values.shape[1]
    last = count - 1 - under.flip(1).int().argmax(dim=1)
    nxt = (last + 1).clamp_max(count - 1)
    rows = torch.arange(len(values))
    below, over = values[rows, last], values[rows, nxt]
    step = ((ceiling - below) / (over - below).clamp_min(1e-300)).clamp(0.0, 1.0)
    x = grid[last] + step * (grid[nxt] - grid[last])
    x = torch.where(last == count - 1, torch.inf, x)
    return torch.where(under.any(dim=1), x, torch.nan)


def pieces(grid: Tensor, values: Tensor, ceiling: float) -> tuple[tuple[float, float], ...]:
    """(g,) grid and (g,) curve to the intervals on which it is at or under the ceiling, linear between grid points."""
    xs, ys = grid.tolist(), (values - ceiling).tolist()
    found: list[tuple[float, float]] = []
    start = xs[0] if ys[0] <= 0 else None
    for x, later, y, new in zip(xs[:-1], xs[1:], ys[:-1], ys[1:], strict=True):
        if (y <= 0) == (new <= 0):
            continue
        crossing = x + (later - x) * y / (y - new)
        if start is None:
            start = crossing
        else:
            found.append((start, crossing))
            start = None
    return (*found, (start, xs[-1])) if start is not None else tuple(found)


def bisect(curve: Callable[[float], float], under: float, over: float, ceiling: float) -> float:
    """Return the largest x found with curve(x) <= ceiling between ``under``, where it holds, and ``over``."""
    for _ in range(BISECTIONS):
        middle = (under + over) / 2
        under, over = (middle, over) if curve(middle) <= ceiling else (under, middle)
    return under
