"""Utility of a mixture under repetition, for any weights: the continuous form of Goyal et al. 2024 (arXiv 2404.07177)."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.laws import Param
from curate.recipes import Recipes

NODES, NODE_WEIGHTS = (torch.from_numpy(x) for x in np.polynomial.legendre.leggauss(32))  # on [-1, 1]
UNIT = 1e5  # tokens at which y = a, so that a is of the order of the loss


@dataclass(frozen=True)
class UtilitySmooth:
    """L = d + a * exp(-sum_i h_i b_i I_i): d ln(L - d) / d ln D = -sum_i h_i b_i 2^(-r_i / tau_i), r_i repeats so far.

    Goyal's law halves a pool's utility b_i every tau_i epochs, stepped by epoch, for equal pools (b_eff the mean,
    tau_hat = p tau). Here pool i of share h_i has r_i = max(D h_i / U_i - 1, 0) repeats at D tokens, which gives
    b_eff and tau_hat for any shares, and I_i = ln(fresh) + integral of 2^(-r / tau) over the repeated part of ln D.
    Model size does not enter: one law a size.
    """

    name = "utility_smooth"

    def params(self) -> tuple[Param, ...]:
        """b (p,) exponents; tau (p,) half-lives in epochs; d in nats per token."""
        return (
            Param("a", 1e-3, 1e3, start=(0.5, 5.0)),
            Param("d", 1e-3, 10.0, start=(0.1, 2.0)),
            Param("b", 1e-4, 2.0, per_pool=True, start=(0.03, 0.4)),
            Param("tau", 0.1, 1e3, per_pool=True, start=(1.0, 20.0)),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        tokens = recipes.tokens[..., None]
        past = recipes.epochs.clamp_min(1.0).log()  # (n, p) ln D since the pool's first pass ended
        first = (tokens / UNIT).log() - past
        exponent = (recipes.weights * theta["b"] * (first + _decayed(past, theta["tau"]))).sum(dim=-1)
        return theta["d"] + theta["a"] * torch.exp(-exponent)


def _decayed(past: Tensor, tau: Tensor) -> Tensor:
    """(n, p) integral over s in [0, past] of 2^(-(e^s - 1) / tau): Gauss-Legendre, 32 nodes, error under 1e-6."""
    s = past[..., None] * (NODES + 1) / 2
    value = torch.exp(-np.log(2) * torch.expm1(s) / tau[..., None])
    return past / 2 * (value * NODE_WEIGHTS).sum(dim=-1)
