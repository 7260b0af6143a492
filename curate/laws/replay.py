"""Continual pretraining on a mixture of a domain and replayed general data; a law of this project.

After the learning-dynamics law (Wang et al. 2025, arXiv 2505.07796: area under the learning rate, annealing, and a
distribution shift that saturates) with a shift that depends on the share, as replay tables do (Ibrahim et al. 2024,
arXiv 2403.08763): nearly a straight line in the share's logarithm. Chosen by leaving out one share, and the longest
runs, of one family (benchmarks/continual/cmr.py); the harm of repeats, on tiny runs (benchmarks/continual/cmr_loop.py).
"""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.laws import Param
from curate.laws.ces import SIZE
from curate.laws.repetition import effective_tokens
from curate.runs.recipes import Recipes

FLAT = 1e-4  # |z| below which (e^z - 1) / z is its series: exact to 1e-13
LEAST = 1e-6  # repeats below this do no harm; R^delta has no derivative at 0


@dataclass(frozen=True)
class Replay:
    """L = E + K tau^-beta - C a - G tau / (tau + d) phi(r); phi(r) = (q^s - 1) / s <= 0, q = (r + eps) / (1 + eps).

    r is the share of the corpus whose loss is modelled, repeats discounted: pool number ``pool`` (0-based; -1 the last,
    the domain), or all pools but that one with ``rest`` (the general loss; r is the share of replay). phi(1) = 0, and
    phi = ln q at s = 0. t = tokens / ``length``. Of complete runs tau = t and a = 0. ``checkpoints``: rows with t < 1
    are checkpoints of runs whose learning rate falls along a cosine to 0 at t = 1, so that tau = t + sin(pi t) / pi is
    the area under it, a = (1 - cos(pi t)) / 2 how far it has fallen; rows with t >= 1 are complete runs, a = 1.
    ``harm``: repeats are not discounted but hurt, and the fewer tokens are repeated the more; for runs that repeat:
    + P sum_i h_i R_i^delta (length / U_i)^kappa with R_i = max(epochs_i - 1, 0), h_i the shares, U_i the unique tokens
    (after Lovelace et al. 2026, arXiv 2605.01640). ``sizes``: the runs differ in size n = N / 2e8; E + A n^-alpha
    stands for E, G n^-phi for G, P n^kappa for P.
    """

    pool: int = -1
    rest: bool = False
    length: float = 1e10
    checkpoints: bool = False
    harm: bool = False
    sizes: bool = False

    name = "replay"

    def params(self) -> tuple[Param, ...]:
        """E, K, C, G, P, A in nats; d in ``length``; R repeats after which 1/e of the value is left."""
        core = (
            Param("E", 0.01, 10.0, likely=(0.5, 3.0)),
            Param("K", 1e-4, 1e2, likely=(0.03, 1.0)),
            Param("beta", 0.02, 2.0, likely=(0.05, 0.5), shared=True),
            Param("G", 1e-5, 10.0, likely=(0.02, 0.3)),
            Param("d", 1e-3, 1e2, likely=(0.03, 1.0), shared=True),
            Param("s", -2.0, 2.0, likely=(-0.3, 0.3), positive=False),
            Param("eps", 1e-7, 0.2, likely=(1e-4, 1e-2)),
        )
        repeats: tuple[Param, ...] = (Param("R", 0.1, 1e4, likely=(2.0, 50.0), shared=True),)
        if self.harm:
            repeats = (
                Param("P", 1e-8, 1e3, likely=(2e-3, 0.2)),
                Param("delta", 0.02, 5.0, likely=(0.5, 1.5), shared=True),
                Param("kappa", 0.02, 5.0, likely=(0.2, 1.0), shared=True),
            )
        fall = (Param("C", 1e-5, 10.0, likely=(0.005, 0.1)),)
        size = (
            Param("A", 1e-4, 1e2, likely=(0.2, 2.0)),
            Param("alpha", 0.02, 2.0, likely=(0.25, 0.45), shared=True),
            Param("phi", -1.0, 2.0, likely=(0.0, 0.4), positive=False, shared=True),
        )
        return core + repeats + fall * self.checkpoints + size * self.sizes

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) loss."""
        useful = recipes.weights if self.harm else effective_tokens(recipes, theta["R"]) / recipes.tokens[..., None]
        own = useful[..., self.pool]
        r = useful.sum(dim=-1) - own if self.rest else own
        z = ((r + theta["eps"]) / (1 + theta["eps"])).log()
        time, fallen = self.clock(recipes.tokens)
        shift = theta["G"] * time / (time + theta["d"]) * z * growth(theta["s"] * z)
        loss = theta["E"] + theta["K"] * time ** -theta["beta"]
        if self.checkpoints:
            loss = loss - theta["C"] * fallen
        n = recipes.params / SIZE
        if self.harm:
            loss = loss + self.penalty(theta, recipes) * (n ** theta["kappa"] if self.sizes else 1.0)
        if self.sizes:
            loss, shift = loss + theta["A"] * n ** -theta["alpha"], shift * n ** -theta["phi"]
        return loss - shift

    def penalty(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """(n,) harm of repeats in nats."""
        repeats = recipes.epochs - 1
        some = repeats > LEAST
        few = torch.where(some, self.length / recipes.unique, 1.0) ** theta["kappa"]
        power = torch.where(some, repeats.clamp_min(LEAST) ** theta["delta"], 0.0)
        return theta["P"] * (recipes.weights * power * few).sum(dim=-1)

    def clock(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """(n,) tau and a of (n,) tokens."""
        t = tokens / self.length
        if not self.checkpoints:
            return t, torch.zeros_like(t)
        angle = torch.pi * t.clamp_max(1.0)
        return t + angle.sin() / torch.pi, (1 - angle.cos()) / 2


def growth(z: Tensor) -> Tensor:
    """(e^z - 1) / z, 1 at z = 0."""
    flat = z.abs() < FLAT
    safe = torch.where(flat, 1.0, z)
    return torch.where(flat, 1 + z / 2 + z**2 / 6, torch.expm1(safe) / safe)
