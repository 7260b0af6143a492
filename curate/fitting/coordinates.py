"""A law's parameters as unbounded coordinates: what the solver moves, where it starts, what the prior says."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from curate.laws import Param


@dataclass(frozen=True)
class Coordinates:
    """k unbounded coordinates u of the parameters of a law over ``pools`` pools.

    Log scale where positive; bounds by u / sqrt(1 + u^2), nearly the identity well inside them.
    """

    params: tuple[Param, ...]
    pools: int

    @property
    def size(self) -> int:
        """Return k."""
        return sum(self._width(p) for p in self.params)

    def labels(self, pools: Sequence[str]) -> tuple[str, ...]:
        """(k,) parameter names, ``name[pool]`` where there is one a pool."""
        return tuple(
            f"{p.name}[{x}]" if p.per_pool else p.name for p in self.params for x in (pools if p.per_pool else ("",))
        )

    @property
    def shared(self) -> Tensor:
        """(k,) bool: parameters that evals of the same runs share up to small differences."""
        return torch.tensor([p.shared for p in self.params for _ in range(self._width(p))])

    def theta(self, u: Tensor) -> dict[str, Tensor]:
        """(k,) to parameters by name: scalars, or (p,)."""
        middle, half, positive = self._bounds
        x = middle + u * (1 + (u / half) ** 2).rsqrt()
        x = torch.where(positive, x.exp(), x)
        result, at = {}, 0
        for p in self.params:
            result[p.name] = x[at : at + self._width(p)] if p.per_pool else x[at]
            at += self._width(p)
        return result

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor, Tensor]:
        """(k,) middles and half-widths of the bounds on the fitted scale, and which parameters are positive."""
        wide = [p for p in self.params for _ in range(self._width(p))]
        low, high = (torch.tensor([_scale(p, x) for p, x in rows], dtype=torch.float64)
                     for rows in ([(p, p.low) for p in wide], [(p, p.high) for p in wide]))  # fmt: skip
        return (low + high) / 2, (high - low) / 2, torch.tensor([p.positive for p in wide])

    def point(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Parameters by name to (k,)."""
        parts = []
        for p in self.params:
            x = theta[p.name].reshape(-1)
            parts.append(_inverse(p, x.log() if p.positive else x))
        return torch.cat(parts)

    def starts(self, count: int, seed: int) -> Tensor:
        """(count, k) points spread over the likely ranges (scrambled Sobol sequence)."""
        engine = torch.quasirandom.SobolEngine(self.size, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        points = engine.draw(count).double()
        columns, at = [], 0
        for p in self.params:
            low, high = (_scale(p, x) for x in p.likely)
            columns.append(_inverse(p, low + (high - low) * points[:, at : at + self._width(p)]))
            at += self._width(p)
        return torch.cat(columns, dim=1)

    def prior(self) -> tuple[Tensor, Tensor]:
        """(k,) centre and (k,) standard deviation of the weak prior: the middle and half-width of ``likely``."""
        centres, widths = [], []
        for p in self.params:
            low, high = (_scale(p, x) for x in p.likely)
            centres.append(_inverse(p, torch.full((self._width(p),), (low + high) / 2, dtype=torch.float64)))
            widths.append(torch.full((self._width(p),), (high - low) / 2, dtype=torch.float64))
        return torch.cat(centres), torch.cat(widths)

    def _width(self, p: Param) -> int:
        return self.pools if p.per_pool else 1


def _scale(p: Param, x: float) -> float:
    return float(np.log(x)) if p.positive else x


def _inverse(p: Param, x: Tensor) -> Tensor:
    low, high = _scale(p, p.low), _scale(p, p.high)
    half = (high - low) / 2
    off = ((x - (low + high) / 2) / half).clamp(-0.999999, 0.999999)
    return half * off * (1 - off**2).rsqrt()
