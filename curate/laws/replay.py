"""Replay: continual pretraining on a domain and on replayed general data. A law of this project."""

from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from curate.laws import Param
from curate.laws._reference import SIZE, column, corpus, growth, power
from curate.laws._repeats import LEAST, effective_tokens, powered
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Replay:
    """Predicts the general or the domain loss of continual pretraining with replayed general data.

    L = E + K tau^-beta - C a - G tau / (tau + d) phi(r), where phi(r) = (q^s - 1) / s <= 0 and q = (r + eps) / (1 +
    eps); phi(1) = 0, and phi = ln q at s = 0. r is the share of the corpus whose loss is modelled, with repeats
    discounted: pool number ``pool`` (from 0; -1 is the last, the domain). With ``rest`` the corpus is all pools except
    that one; this is the general loss, and r the share of replay. Training time is t = tokens / ``length``.

    ``checkpoints``: rows with t < 1 are checkpoints of runs whose learning rate falls along a cosine to 0 at t = 1.
    Then tau = t + sin(pi t) / pi is the area under the learning rate, and a = (1 - cos(pi t)) / 2 says how far it has
    fallen. Rows with t >= 1 are complete runs, with a = 1. Without the option all runs are complete: tau = t and a = 0.
    ``harm``, for runs that repeat: repeats are not discounted but hurt, the more the fewer tokens are repeated. The law
    adds P sum_i h_i R_i^delta (length / U_i)^kappa, with R_i = max(epochs_i - 1, 0), shares h_i and unique tokens U_i.
    ``sizes``: the runs differ in size n = N / 2e8. E + A n^-alpha replaces E, G n^-phi replaces G, and P n^kappa P.

    The form was chosen by leaving out one share, and the longest runs, of one family (benchmarks/continual/cmr.py); the
    harm of repeats, on tiny runs (benchmarks/continual/cmr_loop.py).

    Sources: Wang et al. 2025 (arXiv 2505.07796), the learning-dynamics law: area under the learning rate, annealing,
    and a distribution shift that saturates. Ibrahim et al. 2024 (arXiv 2403.08763), whose tables show a shift that is
    nearly a line in the logarithm of the share. Lovelace et al. 2026 (arXiv 2605.01640), the harm of repeats.
    """

    pool: int = -1
    rest: bool = False
    length: float = 1e10
    checkpoints: bool = False
    harm: bool = False
    sizes: bool = False

    name = "replay"
    batched = True

    def params(self) -> tuple[Param, ...]:
        """Return the parameters of the formula.

        E, K, C, G, P and A are in nats per token, d in units of ``length`` tokens, and R in repeats. eps is a share.
        The others are exponents.
        """
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
        """Return (n,) losses in nats per token."""
        useful = recipes.weights
        if not self.harm:
            useful = effective_tokens(recipes, column(theta["R"])) / column(recipes.tokens)
        r = corpus(useful, self.pool, rest=self.rest)
        z = ((r + theta["eps"]) / (1 + theta["eps"])).log()
        time, fallen = self.clock(recipes.tokens)
        shift = theta["G"] * time / (time + theta["d"]) * z * growth(theta["s"] * z)
        loss = theta["E"] + theta["K"] * power(time, -theta["beta"])
        if self.checkpoints:
            loss = loss - theta["C"] * fallen
        n = recipes.params / SIZE
        if self.harm:
            loss = loss + self.penalty(theta, recipes) * (power(n, theta["kappa"]) if self.sizes else 1.0)
        if self.sizes:
            loss, shift = loss + theta["A"] * power(n, -theta["alpha"]), shift * power(n, -theta["phi"])
        return loss - shift

    def penalty(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) what repeated data add to the loss, in nats per token."""
        repeats = recipes.epochs - 1
        # Where nothing repeats the factor is set to 1: unique tokens may be infinite there, and 0^kappa has no slope.
        scarcity = power(torch.where(repeats > LEAST, self.length / recipes.unique, 1.0), column(theta["kappa"]))
        return theta["P"] * (recipes.weights * powered(repeats, column(theta["delta"])) * scarcity).sum(dim=-1)

    def clock(self, tokens: Tensor) -> tuple[Tensor, Tensor]:
        """Return tau (n,) and a (n,) of the formula, for runs of ``tokens`` (n,) training tokens.

        tau is the area under the learning rate so far, scaled to be 1 after ``length`` tokens. a is the part by which
        the learning rate has fallen, from 0 at its peak to 1 at zero; without ``checkpoints`` it is 0.
        """
        t = tokens / self.length
        if not self.checkpoints:
            return t, torch.zeros_like(t)
        angle = torch.pi * t.clamp_max(1.0)
        return t + angle.sin() / torch.pi, (1 - angle.cos()) / 2
