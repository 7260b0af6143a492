"""What a plan minimises: predicted loss, its upper quantile over draws, or the worst of several evals; and a pull
towards a prior mixture."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor

from curate.errors import SchemaError
from curate.runs import predictor
from curate.runs.predictor import Blend, Predictor
from curate.runs.recipes import Recipes

Loss = Callable[[Recipes], Tensor]  # n recipes -> (n,)
SOFTNESS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)  # nats: a maximum over E evals is smoothed by at most softness x ln E
TINY = 1e-12  # share under which the pull to a prior no longer grows


@dataclass(frozen=True)
class Aim:
    """How to turn predictions into one number to minimise.

    ``worst``: None, "regret" (largest excess over what each eval could have at best) or "loss" (largest loss).
    ``quantile``: None, or which quantile over bootstrap draws (.9 is cautious). ``prior``: a mixture towards which
    ``strength`` (nats) x KL(w | prior) pulls; pools that it lacks are left out.
    """

    worst: str | None = None
    quantile: float | None = None
    prior: Mapping[str, float] | None = None
    strength: float = 0.0

    def __post_init__(self) -> None:
        """Check the options."""
        if self.worst not in (None, "regret", "loss"):
            raise SchemaError(f"worst={self.worst!r}: it is 'regret' or 'loss'")
        if self.quantile is not None and not 0 < self.quantile < 1:
            raise SchemaError(f"the quantile {self.quantile:g} must lie between 0 and 1: .9 is cautious")
        if self.worst is not None and self.quantile is not None:
            raise SchemaError("the worst of several evals and a quantile over draws: choose one of them")
        if not (0 <= self.strength < inf) or (self.strength > 0 and self.prior is None):
            raise SchemaError(
                f"a pull of strength {self.strength:g} needs a prior mixture and a finite strength of at least 0"
            )


@dataclass(frozen=True)
class Worst:
    """A Predictor: the largest over E evals of scale_e x (loss_e - level_e); ``levels``, ``scales`` (E,)."""

    parts: tuple[Predictor, ...]
    levels: tuple[float, ...]
    scales: tuple[float, ...]
    eval: str

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names."""
        return self.parts[0].pools

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, params and epochs fitted."""
        return self.parts[0].ranges

    @property
    def differentiable(self) -> bool:
        """Whether all evals are."""
        return all(one.differentiable for one in self.parts)

    @property
    def noise(self) -> float:
        """Largest standard deviation of log loss of a new run over the evals."""
        return max(one.noise for one in self.parts)

    def _excess(self, losses: Tensor) -> Tensor:
        shape = (len(self.parts),) + (1,) * (losses.ndim - 1)
        return (losses - losses.new_tensor(self.levels).reshape(shape)) * losses.new_tensor(self.scales).reshape(shape)

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) the largest excess."""
        return self._excess(torch.stack([one.loss(recipes) for one in self.parts])).amax(dim=0)

    def soft(self, recipes: Recipes, softness: float) -> Tensor:
        """(n,) a smooth maximum, at most ``softness`` x ln E above the largest excess."""
        excess = self._excess(torch.stack([one.loss(recipes) for one in self.parts]))
        return softness * torch.logsumexp(excess / softness, dim=0)

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) the largest excess in every draw."""
        return predictor.combined_draws(self.parts, self._largest, recipes)

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) the largest excess, every recipe by its own draw (n,)."""
        return predictor.combined_drawn(self.parts, self._largest, recipes, draws)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high of a new run's largest excess; the run noise of the evals goes together."""
        noise = torch.tensor([part.noise for part in self.parts], dtype=torch.float64)[:, None, None]
        losses = predictor.stacked_draws(self.parts, recipes)
        values = torch.cat([self._largest(losses * torch.exp(shift * noise)) for shift in predictor.NORMAL])
        return predictor.central(values, level)

    def _largest(self, losses: Tensor) -> Tensor:
        return self._excess(losses).amax(dim=0)


def evals(fit: Predictor) -> tuple[Predictor, ...]:
    """Return a predictor for each eval: the parts of a blend over several, else the fit alone."""
    return tuple(fit.parts().values()) if isinstance(fit, Blend) else (fit,)


def leaves(fit: Predictor) -> tuple[Predictor, ...]:
    """Return the fits that a predictor is made of, or itself."""
    inside = fit.fits if isinstance(fit, Blend) else fit.parts if isinstance(fit, Worst) else ()
    return tuple(leaf for one in inside for leaf in leaves(one)) or (fit,)


def weighted(fit: Predictor, weights: Mapping[str, float]) -> Predictor:
    """Return the weighted sum of evals of ``fit``; ``weights`` by eval, rescaled to sum 1."""
    known = {part.eval: part for part in evals(fit)}
    if missing := sorted(set(weights) - set(known)):
        raise SchemaError(f"the fit has no eval {missing[0]!r}; it has {', '.join(known)}")
    total = sum(weights.values())
    if not (0 < total < inf) or min(weights.values()) < 0:
        raise SchemaError(f"weights of evals {dict(weights)} must be at least 0 and not all 0")
    shares = tuple(weight / total for weight in weights.values())
    return Blend(tuple(known[name] for name in weights), shares, "+".join(weights))


def stages(fit: Predictor, quantile: float | None) -> tuple[Loss, ...]:
    """Return the losses to minimise one after the other, each from the last's solution: ever less smoothed."""
    if isinstance(fit, Worst):
        if quantile is not None:
            raise SchemaError("the worst of several evals and a quantile over draws: choose one of them")
        return tuple(lambda recipes, t=t: fit.soft(recipes, t) for t in SOFTNESS)
    if quantile is not None:
        return (lambda recipes: upper(fit.draw_losses(recipes), quantile),)
    return (fit.loss,)


def upper(draws: Tensor, quantile: float) -> Tensor:
    """(b, n) draws to (n,) their quantile, as Harrell and Davis (1982) estimate it: all order statistics, weighted, so
    that it is nearly smooth in the mixture."""
    b = len(draws)
    edges = betainc((b + 1) * quantile, (b + 1) * (1 - quantile), np.arange(b + 1) / b)
    return torch.from_numpy(np.diff(edges)) @ draws.sort(dim=0).values


def pull(w: Tensor, prior: Tensor) -> Tensor:
    """(k, p) mixtures and a prior (p,) to (k,) KL(w | prior), nats; a pool without prior must have no share."""
    inside = prior > 0
    mine = w[:, inside]
    return (mine * (mine.clamp_min(TINY) / prior[inside]).log()).sum(dim=1)
