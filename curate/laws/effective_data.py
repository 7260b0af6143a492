"""Effective data: repeats are worth fewer samples (Goyal et al. 2024, arXiv 2404.07177, the variant of their code).

Constants: released with the code (results/parameter_values.jsonl at 251f695): T-MARS pools of 12.8M image-text samples,
ImageNet error, best first. Here exponents are positive.
"""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws.utility import NORMALISER, Utility, log_ends
from curate.runs.recipes import Recipes

PUBLISHED = {
    "a": 0.022, "d": 0.10, "b": (0.1822727, 0.1448485, 0.1353030, 0.0975758),
    "tau": (4.0, 4.3636364, 2.9090909, 1.4545455),
}  # fmt: skip


@dataclass(frozen=True)
class EffectiveData:
    """y = d + start * prod_s (S_s / S_s-1)^-b_s over segments s of the run in which no pool changes its pass.

    S is the number of effective samples a n / 1e5, each worth delta = (1/2)^((m - 1) h_i / tau_i) in pass m of pool i;
    b_s the mean of b_i by effective samples. Equal pools: the released code. ``start`` and ``steps`` as in ``utility``.
    """

    start: float = 1.0
    steps: int = 64

    name = "effective_data"

    def __post_init__(self) -> None:
        """Check the options."""
        if self.start <= 0 or self.steps < 1:
            raise CurateError(
                f"law effective_data has no start={self.start}, steps={self.steps}: start > 0 and steps >= 1"
            )

    def params(self) -> tuple[Param, ...]:
        """a per 1e5 samples or tokens; d in units of y; b (p,) exponents; tau (p,) half-lives in epochs."""
        return Utility().params()

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss; tensors (n, s) run over the p * steps ends of a pass in time order."""
        h, b = recipes.weights, theta["b"]
        worth = torch.exp(
            -math.log(2.0) * torch.arange(self.steps + 1, dtype=torch.float64) * (h / theta["tau"])[..., None]
        )
        drop = h[..., None] * (worth[..., 1:] - worth[..., :-1])  # what an end of a pass changes
        ends, order = torch.sort(log_ends(recipes, self.steps).exp().flatten(-2), dim=-1)
        rate = (1 + torch.gather(drop.flatten(-2), -1, order).cumsum(dim=-1)).clamp_min(1e-12)
        falls = torch.gather((b[:, None] * drop).flatten(-2), -1, order).cumsum(dim=-1)
        slope = (h * b).sum(dim=-1, keepdim=True) + falls  # (n, s) sum of h_i b_i delta_i after each end
        gained = rate[..., :-1] * (ends[..., 1:] - ends[..., :-1])
        done = ends[..., :1] + torch.cat([torch.zeros_like(gained[..., :1]), gained.cumsum(dim=-1)[..., :-1]], dim=-1)
        steps = (slope[..., :-1] / rate[..., :-1] * torch.log1p(gained / done)).sum(dim=-1)
        first = (h * b).sum(dim=-1) * (theta["a"] * recipes.tokens / NORMALISER * ends[..., 0]).log()
        return theta["d"] + self.start * torch.exp(-first - steps)
