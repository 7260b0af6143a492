"""The reference run of the laws, and powers of shares that stay differentiable at the corners of the simplex."""

import math

from torch import Tensor

# The run at which amplitudes are read: 2e8 parameters and 1e10 tokens. The size term of a law is A (N / 2e8)^-alpha, so
# that A is in nats per token. Fits then start from amplitudes of about 1, and A and alpha are nearly independent.
SIZE, TOKENS = 2e8, 1e10
TRACE = 1e-6  # is added to shares: h^g has no finite slope at h = 0 for g < 1


def log_mean(shares: Tensor, k: Tensor, g: Tensor, trace: Tensor | float) -> Tensor:
    """Return (n,) logarithms of the weighted power mean of shares (n, p), relative to its value at equal shares.

    (1/g) [ln sum_i k_i (h_i + trace)^g - ln sum_i k_i p^-g] with values k (p,) and exponent g. It is 0 at equal shares,
    and falls by ln r where all shares are divided by r.
    """
    top = (k * (shares + trace) ** g).sum(dim=-1)
    return (top.log() - k.sum(dim=-1).log()) / g + math.log(shares.shape[-1])
