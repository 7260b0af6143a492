"""Utility: pools whose usefulness halves, step by step, with every few epochs."""

import math
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.errors import CurateError
from curate.laws import Param
from curate.laws._reference import column
from curate.runs.recipes import Recipes

# Released with the code (results/parameter_values.jsonl at 251f695): ImageNet error over T-MARS pools of 12.8M
# image-text samples, the best pool first. Exponents are positive here.
PUBLISHED = {
    "a": 0.025,
    "d": 0.10,
    "b": (0.16, 0.125, 0.10, 0.085),
    "tau": (6.7272727, 8.5454545, 5.2727273, 2.2727273),
}
NORMALISER = 1e5  # samples or tokens; the released code counts in these


@dataclass(frozen=True)
class Utility:
    """Predicts error or loss from a mixture of pools whose utility halves every few epochs, in steps.

    y = d + start * prod_i (a n / 1e5)^(-h_i b_i) over fresh data, where pool i has the utility b_i (1/2)^((m - 1) h_i /
    tau_i) in its pass m. For p equal pools this is theorem 1 as the released code applies it: b_eff is the mean of b_i,
    an epoch is a pass over all p pools, and the half-lives are p tau. With other weights pool i passes at its own rate,
    and its half-life is tau_i / h_i of its own passes (in ``utility_smooth`` it is tau_i). Model size does not enter.

    ``form="code"``: d is inside the product over repeats, as in the code; the best pool can then change. ``start`` is
    y - d where the curves meet, at n = 1e5 / a: 1 for an error rate, about the log of the vocabulary for nats per
    token. ``steps`` is the number of passes that are told apart; later ones decay no further.

    Source: Goyal et al. 2024 (arXiv 2404.07177), theorem 1, and their code.
    """

    form: str = "paper"
    start: float = 1.0
    steps: int = 64

    name = "utility"
    batched = True

    def __post_init__(self) -> None:
        """Check that the options are possible."""
        if self.form not in ("paper", "code") or self.start <= 0 or self.steps < 1:
            raise CurateError(
                f"law utility cannot have form={self.form!r}, start={self.start}, steps={self.steps}: "
                "form is paper or code, start > 0 and steps >= 1"
            )

    def params(self) -> tuple[Param, ...]:
        """Return a per 1e5 samples or tokens, d in units of y, exponents b (p,), and half-lives tau (p,) in epochs."""
        return (
            Param("a", 1e-8, 1e6, likely=(1e-2, 1e2)),
            Param("d", 1e-4, 10.0, likely=(0.05, 1.0)),
            Param("b", 1e-4, 3.0, likely=(0.05, 0.4), per_pool=True),
            Param("tau", 0.1, 1e3, likely=(1.5, 10.0), per_pool=True, shared=True),
        )

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in units of y."""
        h, steps = recipes.weights, torch.arange(1, self.steps, dtype=torch.float64)
        ends = log_ends(recipes, self.steps)  # (n, p, steps)
        decay = torch.exp(-math.log(2.0) * steps * column(h / theta["tau"]))
        # The repeated part of ln n, pass by pass, each with its decayed utility.
        again = ((ends[..., 1:] - ends[..., :-1]) * decay).sum(dim=-1)
        fresh = column((theta["a"] * recipes.tokens / NORMALISER).log()) + ends[..., 0]
        first = self.start * torch.exp(-(h * theta["b"] * fresh).sum(dim=-1))
        repeats = torch.exp(-(h * theta["b"] * again).sum(dim=-1))
        return first * repeats + theta["d"] if self.form == "paper" else (first + theta["d"]) * repeats


def log_ends(recipes: Recipes, steps: int) -> Tensor:
    """Return (n, p, steps) logarithms of the part of training that is done when pass 1, 2 ... of a pool ends.

    The last entry is 0, the end of training.
    """
    passes = torch.arange(1, steps + 1, dtype=torch.float64)
    ends = -(recipes.epochs[..., None] / passes).clamp_min(1.0).log()
    return torch.cat([ends[..., :-1], torch.zeros_like(ends[..., :1])], dim=-1)
