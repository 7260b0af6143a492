"""A law's parameters as unbounded coordinates: what the solver moves, where it starts, what the prior expects."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from curate.laws import Param

# A parameter on its bound would be at infinity in the unbounded coordinate: it is moved inside by this share.
LARGEST_SHARE_OF_RANGE = 0.999999


@dataclass(frozen=True)
class Coordinates:
    """The k unbounded coordinates u of the parameters of a law over ``pools`` pools.

    A positive parameter is moved on a log scale. Bounds are kept by u / sqrt(1 + u^2), which is nearly the identity
    well inside them.
    """

    params: tuple[Param, ...]
    pools: int

    @property
    def size(self) -> int:
        """The number k of coordinates."""
        return sum(self._width(param) for param in self.params)

    def labels(self, pools: Sequence[str]) -> tuple[str, ...]:
        """Return the (k,) names of the parameters: ``name[pool]`` where every pool has its own."""
        return tuple(
            f"{param.name}[{pool}]" if param.per_pool else param.name
            for param in self.params
            for pool in (pools if param.per_pool else ("",))
        )

    @property
    def shared(self) -> Tensor:
        """(k,) bool: the parameters that are nearly the same for all evals of the same runs, such as exponents."""
        return torch.tensor([param.shared for param in self._repeated])

    def theta(self, u: Tensor) -> dict[str, Tensor]:
        """Return the parameters by name, (...,) or (..., p), at coordinates ``u`` (..., k)."""
        middle, half, positive = self._bounds
        values = middle + u * (1 + (u / half) ** 2).rsqrt()
        values = torch.where(positive, values.exp(), values)
        result, position = {}, 0
        for param in self.params:
            end = position + self._width(param)
            result[param.name] = values[..., position:end] if param.per_pool else values[..., position]
            position = end
        return result

    def scale(self, u: Tensor) -> Tensor:
        """Return the (..., k) derivatives of each parameter by its own coordinate, at coordinates ``u`` (..., k)."""
        middle, half, positive = self._bounds
        shrink = (1 + (u / half) ** 2).rsqrt()
        return shrink**3 * torch.where(positive, (middle + u * shrink).exp(), 1.0)

    @property
    def _repeated(self) -> list[Param]:
        """The k parameters, one that each pool has repeated."""
        return [param for param in self.params for _ in range(self._width(param))]

    @cached_property
    def _bounds(self) -> tuple[Tensor, Tensor, Tensor]:
        """(k,) middles and half-widths of the bounds on the fitted scale, and which parameters are positive."""
        params = self._repeated
        low = torch.tensor([_scaled(param, param.low) for param in params], dtype=torch.float64)
        high = torch.tensor([_scaled(param, param.high) for param in params], dtype=torch.float64)
        return (low + high) / 2, (high - low) / 2, torch.tensor([param.positive for param in params])

    def point(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Return the (k,) coordinates of parameters by name: the inverse of ``theta``."""
        parts = []
        for param in self.params:
            values = theta[param.name].reshape(-1)
            parts.append(_unbounded(param, values.log() if param.positive else values))
        return torch.cat(parts)

    def starts(self, count: int, seed: int) -> Tensor:
        """Return (count, k) points spread evenly over the likely ranges (a scrambled Sobol sequence)."""
        # Low-discrepancy points leave no corner of the ranges empty, which random ones do.
        engine = torch.quasirandom.SobolEngine(self.size, scramble=True, seed=seed)  # type: ignore[no-untyped-call]
        points = engine.draw(count).double()
        columns, position = [], 0
        for param in self.params:
            low, high = (_scaled(param, end) for end in param.likely)
            end = position + self._width(param)
            columns.append(_unbounded(param, low + (high - low) * points[:, position:end]))
            position = end
        return torch.cat(columns, dim=1)

    def prior(self) -> tuple[Tensor, Tensor]:
        """Return the (k,) centre and (k,) standard deviation of the weak prior.

        They are the middle and the half-width of each parameter's likely range.
        """
        centres, widths = [], []
        for param in self.params:
            low, high = (_scaled(param, end) for end in param.likely)
            middle = torch.full((self._width(param),), (low + high) / 2, dtype=torch.float64)
            centres.append(_unbounded(param, middle))
            widths.append(torch.full((self._width(param),), (high - low) / 2, dtype=torch.float64))
        return torch.cat(centres), torch.cat(widths)

    def _width(self, param: Param) -> int:
        return self.pools if param.per_pool else 1


def _scaled(param: Param, value: float) -> float:
    """Return a value on the scale on which its parameter is fitted."""
    return float(np.log(value)) if param.positive else value


def _unbounded(param: Param, values: Tensor) -> Tensor:
    """Return coordinates of values that are on the fitted scale: the inverse of u / sqrt(1 + u^2)."""
    low, high = _scaled(param, param.low), _scaled(param, param.high)
    half = (high - low) / 2
    share = ((values - (low + high) / 2) / half).clamp(-LARGEST_SHARE_OF_RANGE, LARGEST_SHARE_OF_RANGE)
    return half * share * (1 - share**2).rsqrt()
