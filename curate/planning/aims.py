"""Turn predictions into the one number that a plan minimises.

In: a predictor and an `Aim`. Out: losses to minimise: the prediction, an upper quantile over bootstrap draws, or the
worst of several evals, each with or without a pull towards a prior mixture.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from math import inf

import numpy as np
import torch
from scipy.special import betainc
from torch import Tensor

from curate.errors import SchemaError, first_few
from curate.runs import discrepancy, fitted_size
from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors import intervals, paired_draws
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

Loss = Callable[[Recipes], Tensor]  # n recipes -> (n,)
# Nats. A maximum over E evals has kinks, so it is minimised smoothed, by ever less. Smoothing adds at most
# softness x ln E to it.
SOFTNESS = (1e-1, 1e-2, 1e-3, 1e-4, 1e-5)
SMALLEST_SHARE = 1e-12  # a share in the logarithm of the pull towards a prior is at least this, so that it is finite


@dataclass(frozen=True)
class Aim:
    """How predictions become the one number that is minimised. Without arguments it is the predicted loss.

    Attributes:
        worst: None, or "loss" for the largest loss over the evals, or "regret" for the largest excess over the loss
            that a plan for that eval alone would have.
        quantile: None, or the quantile over bootstrap draws that is minimised; 0.9 is cautious.
        prior: a mixture to stay near, shares by pool that sum to 1. Pools that it lacks get no share.
        strength: nats of loss that are added for each nat of KL(w | prior).
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
            raise SchemaError(f"the quantile {self.quantile:g} must lie between 0 and 1: 0.9 is cautious")
        if self.worst is not None and self.quantile is not None:
            raise SchemaError(
                "a plan minimises the worst of several evals or a quantile over draws: choose one of them"
            )
        if not (0 <= self.strength < inf) or (self.strength > 0 and self.prior is None):
            raise SchemaError(
                f"a pull of strength {self.strength:g} needs a prior mixture and a finite strength of at least 0"
            )


PREDICTED_LOSS = Aim()


@dataclass(frozen=True)
class Worst:
    """A predictor of the largest, over E evals, of scale_e x (loss_e - level_e).

    ``parts`` are the predictors of the evals; ``levels`` and ``scales`` have one number each. If the levels are
    predicted losses of other mixtures of the same size, ``drawn_levels`` (E, b) are their losses in each draw. An
    excess is then a difference: draws are paired, and a shift that all mixtures of a size share cancels. The methods
    are those of `curate.runs.predictors.predictor.Predictor`.
    """

    parts: tuple[Predictor, ...]
    levels: tuple[float, ...]
    scales: tuple[float, ...]
    eval: str
    drawn_levels: Tensor | None = None

    @property
    def pools(self) -> tuple[str, ...]:
        """Pool names."""
        return self.parts[0].pools

    @property
    def ranges(self) -> Mapping[str, tuple[float, float]]:
        """Smallest and largest tokens, parameters, shares and epochs that were fitted."""
        return self.parts[0].ranges

    @property
    def differentiable(self) -> bool:
        """Whether the predictors of all evals have a gradient."""
        return all(part.differentiable for part in self.parts)

    @property
    def draw_count(self) -> int:
        """The number b of bootstrap draws: that of the part with the most."""
        return max(part.draw_count for part in self.parts)

    @property
    def noise(self) -> float:
        """The largest standard deviation of the log loss of a new run, over the evals."""
        return max(part.noise for part in self.parts)

    @property
    def discrepancy(self) -> Discrepancy | None:
        """What the laws leave open of the level of the loss: the mean over the evals."""
        return discrepancy.combined([part.discrepancy for part in self.parts], [1.0] * len(self.parts))

    def _excess(self, losses: Tensor, levels: Tensor | None = None) -> Tensor:
        """Return losses (E, ...) minus ``levels`` of a shape that fits, scaled. Without ``levels`` they are fixed."""
        # Losses are (E, n), or (E, b, n) with draws; levels and scales belong to the first axis.
        shape = (len(self.parts),) + (1,) * (losses.ndim - 1)
        if levels is None:
            levels = losses.new_tensor(self.levels).reshape(shape)
        return (losses - levels) * losses.new_tensor(self.scales).reshape(shape)

    def _levels_of_draws(self, draws: Tensor) -> Tensor:
        """Return the levels (E, k) in the draws of the indices ``draws`` (k,)."""
        if self.drawn_levels is None:
            return torch.tensor(self.levels, dtype=torch.float64)[:, None].expand(-1, len(draws))
        return self.drawn_levels[:, draws % self.drawn_levels.shape[1]]

    def loss(self, recipes: Recipes) -> Tensor:
        """Return the largest excess (n,) of n recipes."""
        return self._excess(torch.stack([part.loss(recipes) for part in self.parts])).amax(dim=0)

    def smooth_loss(self, recipes: Recipes, softness: float, levels: Tensor | None = None) -> Tensor:
        """Return a smooth maximum (n,), at most ``softness`` x ln E above the largest excess.

        ``levels`` (E, n) replace those of the predictor where recipes of several sizes are minimised together.
        """
        excess = self._excess(torch.stack([part.loss(recipes) for part in self.parts]), levels)
        return softness * torch.logsumexp(excess / softness, dim=0)

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return the largest excess (b, n) in every bootstrap draw."""
        losses = paired_draws.stacked_draws(self.parts, recipes)
        levels = self._levels_of_draws(torch.arange(losses.shape[1]))
        return self._excess(losses, levels[:, :, None]).amax(dim=0)

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return the largest excess (n,), every recipe by its own draw: ``draws`` (n,) are indices."""
        draws = draws % self.draw_count
        losses = torch.stack([part.drawn(recipes, draws) for part in self.parts])
        return self._excess(losses, self._levels_of_draws(draws)).amax(dim=0)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return low and high (n,) of a new run's largest excess.

        The parameters of the laws differ between evals as their joint draws do. The noise of a run and the discrepancy
        of the laws are taken as fully correlated: a run that is worse for one eval is worse for all. The largest excess
        then rises with their common part z, which is normal, so its distribution is exact: it is below x if z is below
        the smallest, over the evals, of the z at which an eval's excess is x. An excess over another mixture of the
        same size has no discrepancy.
        """
        deviation = intervals.level_deviation if self.drawn_levels is None else fitted_size.relative_run_deviation
        deviations = torch.stack([deviation(part, recipes) for part in self.parts])
        deviations = deviations[:, None].clamp_min(intervals.TINY)  # (E, 1, n)
        losses = paired_draws.stacked_draws(self.parts, recipes)  # (E, b, n)
        levels = self._levels_of_draws(torch.arange(losses.shape[1]))[:, :, None]  # (E, b, 1)
        scales = losses.new_tensor(self.scales)[:, None, None]

        def mass(points: Tensor) -> Tensor:
            # The loss (E, 2, 1, n) at which an eval's excess is the point. A loss of 0 or less is never reached.
            reached = (points[None, :, None] / scales[:, None] + levels[:, None]).clamp_min(intervals.TINY)
            z = (reached.log() - losses[:, None].log()) / deviations[:, None]
            below: Tensor = torch.special.ndtr(z.amin(dim=0))
            return below.mean(dim=1)

        far = intervals.FAR_OUT * deviations
        low = self._excess(losses * torch.exp(-far), levels).amax(dim=0).amin(dim=0)
        high = self._excess(losses * torch.exp(far), levels).amax(dim=0).amax(dim=0)
        return intervals.holding(intervals.central_ends(mass, low, high, level), self.loss(recipes).detach())


def run_deviation(fit: Predictor, recipes: Recipes) -> Tensor:
    """Return the standard deviations (n,) of new runs of n recipes from what ``fit`` predicts, in nats.

    It is what does not cancel in a difference of two runs of one size; see
    `curate.runs.fitted_size.relative_run_deviation`.
    """
    if not isinstance(fit, Worst):
        return fitted_size.relative_run_deviation(fit, recipes) * fit.loss(recipes).detach()
    # Which eval is the worst may change with the noise, so the largest deviation is taken.
    parts = zip(fit.parts, fit.scales, strict=True)
    return torch.stack([scale * run_deviation(part, recipes) for part, scale in parts]).amax(dim=0)


def evals(fit: Predictor) -> tuple[Predictor, ...]:
    """Return a predictor for each eval: the parts of a blend over several evals, otherwise the fit alone."""
    return tuple(fit.parts().values()) if isinstance(fit, Blend) else (fit,)


def leaves(fit: Predictor) -> tuple[Predictor, ...]:
    """Return the fits of single laws that a predictor is made of, or the predictor itself."""
    members = fit.fits if isinstance(fit, Blend) else fit.parts if isinstance(fit, Worst) else ()
    return tuple(leaf for member in members for leaf in leaves(member)) or (fit,)


def weighted(fit: Predictor, weights: Mapping[str, float]) -> Predictor:
    """Return the weighted sum of evals of ``fit``. ``weights`` are by eval and are rescaled to sum to 1.

    Raises:
        SchemaError: for an unknown eval, a negative weight, or weights that are all 0.
    """
    parts = {part.eval: part for part in evals(fit)}
    if missing := sorted(set(weights) - set(parts)):
        raise SchemaError(f"the fit has no eval {missing[0]!r}; it has {first_few(parts, near=missing[0])}")
    total = sum(weights.values())
    if not (0 < total < inf) or min(weights.values()) < 0:
        raise SchemaError(f"weights of evals {dict(weights)} must be at least 0 and not all 0")
    shares = tuple(weight / total for weight in weights.values())
    return Blend(tuple(parts[name] for name in weights), shares, "+".join(weights))


def stages(fit: Predictor, quantile: float | None) -> tuple[Loss, ...]:
    """Return the losses to minimise one after the other.

    Each is minimised from the solution of the one before. There are several for the worst of several evals, which is
    smoothed ever less; otherwise there is one.

    Raises:
        SchemaError: if the worst of several evals and a quantile are asked for together.
    """
    if isinstance(fit, Worst):
        if quantile is not None:
            raise SchemaError(
                "a plan minimises the worst of several evals or a quantile over draws: choose one of them"
            )
        # t=t binds each lambda to its own softness, not to the last one of the loop.
        return tuple(lambda recipes, t=t: fit.smooth_loss(recipes, t) for t in SOFTNESS)
    if quantile is not None:
        return (lambda recipes: upper(fit.draw_losses(recipes), quantile),)
    return (fit.loss,)


def upper(draws: Tensor, quantile: float) -> Tensor:
    """Return the quantile (n,) over draws (b, n), as Harrell and Davis (1982) estimate it.

    It is a weighted sum of all order statistics, and so nearly smooth in the mixture.
    """
    # The weight of an order statistic is the mass that a beta distribution has between its two edges.
    b = len(draws)
    edges = betainc((b + 1) * quantile, (b + 1) * (1 - quantile), np.arange(b + 1) / b)
    return torch.from_numpy(np.diff(edges)) @ draws.sort(dim=0).values


def pull(w: Tensor, prior: Tensor) -> Tensor:
    """Return KL(w | prior) (k,) in nats, of mixtures (k, p) and a prior (p,).

    A pool without a share in the prior must have none in the mixtures.
    """
    # Pools without a share in the prior have none in the mixture either (`search.problem` sees to it), so they add 0.
    in_prior = prior > 0
    shares = w[:, in_prior]
    return (shares * (shares.clamp_min(SMALLEST_SHARE) / prior[in_prior]).log()).sum(dim=1)
