"""Effective data: the utility law in which repeats count as fewer samples."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws._reference import column
from curate.laws.utility import NORMALISER, Utility, log_ends
from curate.runs.recipes import Recipes

# Released with the code (results/parameter_values.jsonl at 251f695): ImageNet error over T-MARS pools of 12.8M
# image-text samples, the best pool first. Exponents are positive here.
PUBLISHED = {
    "a": 0.022,
    "d": 0.10,
    "b": (0.1822727, 0.1448485, 0.1353030, 0.0975758),
    "tau": (4.0, 4.3636364, 2.9090909, 1.4545455),
}


@dataclass(frozen=True)
class EffectiveData:
    """Predicts error or loss from effective samples: a repeated sample counts as a part of a fresh one.

    y = d + start * prod_s (S_s / S_s-1)^-b_s over the segments s of a run in which no pool begins a new pass. S is the
    number of effective samples a n / 1e5; in pass m of pool i a sample counts as (1/2)^((m - 1) h_i / tau_i). b_s is
    the mean of b_i over effective samples. For equal pools this is the released code. ``start`` and ``steps`` are those
    of ``utility``.

    Source: Goyal et al. 2024 (arXiv 2404.07177), the variant of their code.
    """

    start: float = 1.0
    steps: int = 64

    name = "effective_data"
    batched = True

    def __post_init__(self) -> None:
        """Check that ``start`` is positive and ``steps`` at least 1."""
        if self.start <= 0 or self.steps < 1:
            raise CurateError(
                f"law effective_data cannot have start={self.start}, steps={self.steps}: use start > 0 and steps >= 1"
            )

    def params(self) -> tuple[Param, ...]:
        """Return the parameters a, d, b (p,) and tau (p,).

        a is per 1e5 samples or tokens, and d has the units of the fitted measurements. b are exponents, and tau are
        half-lives in epochs.
        """
        return Utility().params()

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) predicted losses or errors, in the units of the measurements that were fitted."""
        # Tensors (n, s) run over the p * steps ends of a pass, in the order of time.
        h, b = recipes.weights, theta["b"]
        worth = torch.exp(-math.log(2.0) * torch.arange(self.steps + 1, dtype=torch.float64) * column(h / theta["tau"]))
        drop = column(h) * (worth[..., 1:] - worth[..., :-1])  # what an end of a pass changes
        # All ends of passes of all pools, merged into one order of time.
        ends, order = torch.sort(log_ends(recipes, self.steps).exp().flatten(-2), dim=-1)
        order = order.expand(drop.flatten(-2).shape)
        rate = (1 + torch.gather(drop.flatten(-2), -1, order).cumsum(dim=-1)).clamp_min(1e-12)
        falls = torch.gather((column(b) * drop).flatten(-2), -1, order).cumsum(dim=-1)
        slope = (h * b).sum(dim=-1, keepdim=True) + falls  # (n, s) sum of h_i b_i delta_i after each end
        gained = rate[..., :-1] * (ends[..., 1:] - ends[..., :-1])
        # Effective samples when each segment begins.
        done = ends[..., :1] + torch.cat([torch.zeros_like(gained[..., :1]), gained.cumsum(dim=-1)[..., :-1]], dim=-1)
        steps = (slope[..., :-1] / rate[..., :-1] * torch.log1p(gained / done)).sum(dim=-1)
        first = (h * b).sum(dim=-1) * (theta["a"] * recipes.tokens / NORMALISER * ends[..., 0]).log()
        return theta["d"] + self.start * torch.exp(-first - steps)
