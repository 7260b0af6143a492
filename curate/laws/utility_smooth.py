"""Smooth utility: pools whose usefulness decays continuously with their own repeats."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.laws import Param
from curate.laws._reference import column
from curate.runs.recipes import Recipes

LN2 = math.log(2.0)  # tau is a half-life
# Exponential integral E1, Abramowitz & Stegun 5.1.53 (x <= 1, error 2e-7) and 5.1.56 (x >= 1, relative error 2e-8).
SMALL = (-0.57721566, 0.99999193, -0.24991055, 0.05519968, -0.00976004, 0.00107857)
ABOVE = (0.2677737343, 8.6347608925, 18.0590169730, 8.5733287401, 1.0)
BELOW = (3.9584969228, 21.0996530827, 25.6329561486, 9.5733223454, 1.0)


@dataclass(frozen=True)
class UtilitySmooth:
    """Predicts the loss from a mixture of pools whose utility decays with their own repeats.

    L = d + a exp(-sum_i h_i b_i I_i). A pool of share h_i and utility b_i lowers ln(L - d) by h_i b_i for each unit of
    ln D, and its utility halves every tau_i repeats. At D tokens pool i has r_i = max(D h_i / U_i - 1, 0) repeats, and
    I_i = ln(1 + fresh / n0) + the integral of 2^(-r_i / tau_i) over the repeated part of ln D. Mixtures begin to matter
    at n0 tokens. Model size does not enter: fit one law for each size.

    The paper steps by epoch. Equal shares give its b_eff, the mean of b_i. Its released code counts epochs over all p
    pools, and stretches tau to p tau (``utility`` follows it); a pool's own passes are worth more there than here.

    Source: Goyal et al. 2024 (arXiv 2404.07177), made continuous by this project.
    """

    name = "utility_smooth"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return a and d in nats per token, n0 in tokens, exponents b (p,), and half-lives tau (p,) in epochs."""
        return (
            Param("a", 1e-2, 1e2, likely=(1.0, 8.0)),
            Param("d", 1e-3, 10.0, likely=(0.3, 2.0)),
            Param("n0", 1.0, 1e9, likely=(1e2, 1e6)),
            Param("b", 1e-4, 3.0, likely=(0.05, 0.4), per_pool=True),
            Param("tau", 0.1, 1e3, likely=(2.0, 15.0), per_pool=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        passes = recipes.epochs.clamp_min(1.0)
        # (n, p) tokens of the whole run at which the first pass of each pool ends.
        fresh = recipes.tokens[..., None] / passes
        useful = torch.log1p(fresh / column(theta["n0"])) + _decayed(passes, LN2 / theta["tau"])
        return theta["d"] + theta["a"] * torch.exp(-(recipes.weights * theta["b"] * useful).sum(dim=-1))


def _decayed(passes: Tensor, c: Tensor) -> Tensor:
    """Return (n, p) integrals of exp(-c (x - 1)) dx / x over x in [1, passes]: e^c (E1(c) - E1(c passes))."""
    return _scaled_e1(c) - torch.exp(-c * (passes - 1)) * _scaled_e1(c * passes)


def _scaled_e1(x: Tensor) -> Tensor:
    """Return e^x E1(x) for x > 0, without overflow."""
    small, large = x.clamp_max(1.0), x.clamp_min(1.0)
    near = small.exp() * (_polynomial(SMALL, small) - small.log())
    far = _polynomial(ABOVE, large) / (_polynomial(BELOW, large) * large)
    return torch.where(x < 1.0, near, far)


def _polynomial(coefficients: Sequence[float], x: Tensor) -> Tensor:
    value = torch.zeros_like(x)
    for c in reversed(coefficients):
        value = value * x + c
    return value
