"""Shared parts of laws: the reference run, sums and powers of shares, and (e^x - 1) / x, which is smooth at 0."""

import math

import torch
from torch import Tensor

# The run at which amplitudes are read: 2e8 parameters and 1e10 tokens. The size term of a law is A (N / 2e8)^-alpha, so
# that A is in nats per token. Fits then start from amplitudes of about 1, and A and alpha are nearly independent.
SIZE, TOKENS = 2e8, 1e10
TRACE = 1e-6  # is added to shares: h^g has no finite slope at h = 0 for g < 1
FLAT = 1e-4  # for |z| below this (e^z - 1) / z is computed as a series, which is exact to 1e-13 there


def corpus(parts: Tensor, pool: int, *, rest: bool) -> Tensor:
    """Return (n,) parts of the corpus whose loss is modelled, from (n, p) parts of the pools.

    The corpus is pool number ``pool``; with ``rest`` it is all pools except that one.
    """
    own = parts[..., pool]
    return parts.sum(dim=-1) - own if rest else own


def power(base: Tensor, exponent: Tensor) -> Tensor:
    """Return ``base`` ** ``exponent`` for a positive base."""
    # The slope of exp(exponent ln base) reuses its value, and where the base is a column of the recipes, its logarithm
    # is taken once for all parameters. The slope of ``base ** exponent`` costs a second power and a logarithm for each.
    return (exponent * base.log()).exp()


def column(parameter: Tensor) -> Tensor:
    """Return a parameter (...) with one value for all pools as (..., 1), to combine with (..., p) values of pools."""
    return parameter[..., None]


def log_mean(shares: Tensor, k: Tensor, g: Tensor, trace: Tensor | float) -> Tensor:
    """Return (n,) logarithms of the weighted power mean of shares (n, p), relative to its value at equal shares.

    (1/g) [ln sum_i k_i (h_i + trace)^g - ln sum_i k_i p^-g] with values k (p,) and exponent g. It is 0 at equal shares,
    and falls by ln r where all shares are divided by r. A ``trace`` that is a tensor has the shape of ``column(g)``.
    """
    top = (k * power(shares + trace, column(g))).sum(dim=-1)
    return (top.log() - k.sum(dim=-1).log()) / g + math.log(shares.shape[-1])


def growth(z: Tensor) -> Tensor:
    """Return (e^z - 1) / z, which is 1 at z = 0."""
    flat = z.abs() < FLAT
    # The branch that is not taken is differentiated as well, and must not divide by 0.
    safe = torch.where(flat, 1.0, z)
    return torch.where(flat, 1 + z / 2 + z**2 / 6, torch.expm1(safe) / safe)
