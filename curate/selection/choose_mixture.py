"""Choose a mixture of sources from samples: the nearest to the target, unless small runs favour another.

Without runs the mixture at the least distance to the target is taken. In our trials (benchmarks/selection/transport.py)
its regret was near that of laws fitted to 32 runs. Runs decide which distance is used. They replace the mixture only
where the lower bound of the improvement that they predict is above their own error.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting import fit
from curate.planning import plan
from curate.pool.rounding import apportion
from curate.selection.alternatives import alternatives
from curate.selection.descend import lowest
from curate.selection.mixture_distance import MixtureDistance
from curate.selection.pooled_form import choose_distance
from curate.selection.purchase import ComparedMixture, MixtureChoice, Pilots, Purchase
from curate.selection.recommend import LAW, NEAREST, PILOT, Recommendation, gains, recommend
from curate.selection.transport_predictor import DistancePredictor, TransportPredictor
from curate.transport.ground_cost import TransportProblem

LEAST = 3  # different mixtures among the pilots that a law needs
# A run that sees fewer examples than this can lack the neighbours of a target example: its reach is offered as well.
FEW_EXAMPLES = 1e5
REACH_PARTS = (1, 4)  # reach of as many draws as the smallest pilot has examples, and of a quarter
OPTIONS = fit.FitOptions(starts=8)
WITHOUT_RUNS = "no small runs were given, so the mixture nearest to the target is taken"


@dataclass(frozen=True, eq=False)
class LearnedLaw:
    """The law `transport`, fitted to pilots.

    ``form`` is text that names the law and its distance. ``errors`` are those of `MixtureChoice`.
    """

    predictor: TransportPredictor
    errors: Mapping[str, float]
    form: str


def choose_mixture(
    problem: TransportProblem,
    purchase: Purchase,
    *,
    pilots: Pilots | None = None,
    distance: str = "transport",
    options: fit.FitOptions = OPTIONS,
) -> MixtureChoice:
    """Return the mixture of sources to take, and what it was compared with.

    Args:
        problem: samples of the sources and of the target.
        purchase: the pools, budget and limits of the mixture.
        pilots: results of small trainings; None chooses the mixture nearest to the target.
        distance: "transport", or the cheaper "sliced" or "energy" (`curate.transport.surrogates`).
        options: how the law is fitted to the pilots.

    Raises:
        SchemaError: if the pools do not have the names of the sources.
        Infeasible: if no mixture satisfies the limits.
        FitError: if there are too few pilots.
        Unconverged: if balanced transport does not converge.
    """
    measure = MixtureDistance(problem, kind=distance)
    others = alternatives(measure, purchase.pools, seed=options.seed)
    if pilots is None:
        nearest = lowest(DistancePredictor(measure), purchase, [others["greedy"][0]])
        recommendation = Recommendation(NEAREST, WITHOUT_RUNS)
        mixtures = {NEAREST: nearest[None], **others}
        return _choice(DistancePredictor(measure), measure, purchase, mixtures, recommendation, {}, measure.name)
    learned = learn(measure, pilots, purchase, options=options)
    law = learned.predictor
    nearest = lowest(DistancePredictor(law.measure), purchase, [others["greedy"][0]])
    best_pilot = _best_pilot(pilots)
    starts = [nearest, best_pilot, *(mixture[0] for mixture in others.values() if len(mixture) == 1)]
    by_law = lowest(law, purchase, starts)
    mixtures = {NEAREST: nearest[None], LAW: by_law[None], PILOT: best_pilot[None], **others}
    # How far the law errs on left-out pilots, as a share of their error: the draws know nothing of a wrong form.
    error = min(learned.errors.values()) / float(pilots.error.mean())
    recommendation = recommend(law, purchase, mixtures, error)
    return _choice(law, measure, purchase, mixtures, recommendation, learned.errors, learned.form)


def learn(measure: MixtureDistance, pilots: Pilots, purchase: Purchase, *, options: fit.FitOptions) -> LearnedLaw:
    """Fit the law `transport` to pilots, with the distance that best predicts the errors of left-out mixtures.

    If the pilots are small, ``measure`` is compared with the reach (`curate.transport.nearest_draws`). It draws as many
    samples as the smallest pilot has examples, or a quarter of that number.

    Raises:
        FitError: if the pilots have fewer than 3 different mixtures.
    """
    recipes, error = pilots.recipes, pilots.error
    count = len(np.unique(np.round(recipes.weights.numpy(), 6), axis=0))
    if count < LEAST:
        raise FitError(
            f"{len(error)} pilots have only {count} different mixtures. The law needs {LEAST} or more; 12 are better"
        )
    least = float(recipes.tokens.min())
    parts = REACH_PARTS if least < FEW_EXAMPLES else ()
    reaches = [MixtureDistance(measure.problem, float(max(1, round(least / part)))) for part in parts]
    measures = {candidate.name: candidate for candidate in (measure, *reaches)}
    distances = {name: candidate(recipes.weights) for name, candidate in measures.items()}
    choice = choose_distance(
        {name: values.numpy() for name, values in distances.items()},
        recipes.weights.numpy(),
        recipes.tokens.numpy(),
        error,
        top=pilots.top,
    )
    spec = f"transport:top={pilots.top:g},shares={int(choice.shares)}"
    fitted = fit.fit(
        spec,
        replace(recipes, distance=distances[choice.distance]),
        error,
        pools=purchase.names,
        evaluation=pilots.eval,
        clusters=pilots.clusters,
        options=options,
    )
    predictor = TransportPredictor(fitted, measures[choice.distance])
    return LearnedLaw(predictor, choice.errors, f"{spec} on {choice.distance}")


def _best_pilot(pilots: Pilots) -> Tensor:
    """Return the mixture (p,) with the lowest mean error among the largest pilots."""
    largest = (pilots.recipes.tokens == pilots.recipes.tokens.max()).numpy()
    weights, error = pilots.recipes.weights.numpy()[largest], pilots.error[largest]
    mixtures, code = np.unique(np.round(weights, 6), axis=0, return_inverse=True)
    code = code.reshape(-1)
    means = np.bincount(code, error) / np.bincount(code)
    best = torch.from_numpy(mixtures[means.argmin()])
    return best / best.sum()


def _choice(
    law: DistancePredictor | TransportPredictor,
    measure: MixtureDistance,
    purchase: Purchase,
    mixtures: Mapping[str, Tensor],
    recommendation: Recommendation,
    errors: Mapping[str, float],
    form: str,
) -> MixtureChoice:
    weights = dict(zip(purchase.names, mixtures[recommendation.name][0].tolist(), strict=True))
    counts = apportion(list(weights.values()), round(purchase.budget.tokens))
    return MixtureChoice(
        chosen=recommendation.name,
        why=recommendation.why,
        plan=plan.evaluate(law, purchase.pools, purchase.budget, weights),
        examples=dict(zip(purchase.names, counts, strict=True)),
        rows=_compared(law, measure, purchase, mixtures, recommendation.name),
        errors=errors,
        form=form,
    )


def _compared(
    law: DistancePredictor | TransportPredictor,
    measure: MixtureDistance,
    purchase: Purchase,
    mixtures: Mapping[str, Tensor],
    chosen: str,
) -> tuple[ComparedMixture, ...]:
    """Compare all mixtures with the chosen one. Several mixtures of the same name are averaged."""
    trained = isinstance(law, TransportPredictor)
    priced = any(pool.cost_per_token for pool in purchase.pools)
    # The chosen mixture is first, since gains are differences to the first.
    every = torch.cat([mixtures[chosen], *mixtures.values()])
    recipes = purchase.recipes(law, every)
    low, high = law.interval(recipes)
    numbers = torch.stack([measure(every).detach(), law.loss(recipes).detach(), low, high], dim=1)
    numbers = torch.cat([numbers, torch.tensor(gains(law, purchase, every), dtype=torch.float64)], dim=1)
    costs = [purchase.cost(weights) for weights in every]
    rows, start = [], 1
    for name, members in mixtures.items():
        part = slice(start, start + len(members))
        distance, loss, loss_low, loss_high, gain, gain_low, gain_high = numbers[part].mean(dim=0).tolist()
        rows.append(
            ComparedMixture(
                name=name,
                weights=members[0] if len(members) == 1 else None,
                distance=distance,
                loss=loss if trained else None,
                low=loss_low if trained else None,
                high=loss_high if trained else None,
                gain=(gain, gain_low, gain_high) if trained else None,
                allowed=all(purchase.allows(weights) for weights in members),
                cost=float(np.mean(costs[part])) if priced else None,
            )
        )
        start += len(members)
    return tuple(rows)
