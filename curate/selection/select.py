"""Which sources to buy in what ratio, from partial samples: nearest by transport, corrected by pilots if there are any.

Without trainings the mixture with the least distance to the target is taken (in our trials its regret was near that of
laws fitted to 32 pilots). Pilots say which distance that is (`curate.selection.projection.choose`), and replace the
mixture only where the lower bound of what they promise is above their own error.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import FitError
from curate.fitting import fit
from curate.planning import feasible, plan, region_of_limits, scipy_solvers, search
from curate.planning.aims import Aim
from curate.planning.limits import Limits
from curate.planning.plan import Plan
from curate.pool.pool import Budget, Pool
from curate.pool.rounding import apportion
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.selection import projection
from curate.selection.alternatives import rivals
from curate.selection.transport_predictor import Measure, Nearest, Transported
from curate.transport.ground_cost import TransportProblem

STEPS, TOL = 30, 1e-5  # of a descent; values are transport solves, whose own error is about as large
STARTS, MONEY_ROUNDS = 2, 3
SEEN = 1e-4  # of a share: less is none
LEAST = 3  # mixtures among the pilots that a law needs
NEAREST, LAW, PILOT = "nearest", "law", "best pilot"
NONE = "no trainings were given: the nearest mixture"


@dataclass(frozen=True, eq=False)
class Pilots:
    """n small trainings: ``recipes`` over the sources, ``error`` (n,) that a law predicts: an error rate or a loss,
    ``top`` its value for a model that knows nothing (0: no bound), ``eval`` its name, ``clusters`` (n,) of trainings.
    """

    recipes: Recipes
    error: np.ndarray
    top: float
    eval: str
    clusters: np.ndarray | None = None


@dataclass(frozen=True, eq=False)
class Row:
    """One way to buy. ``weights`` (p,) None for a mean over several; ``distance`` as asked for. With pilots:
    ``loss``, ``low``, ``high`` (90 % of a new run) and ``gain``: how much less the recommended one is predicted to
    lose, with its 90 % interval over draws. ``allowed``: within the limits. ``cost`` None where nothing has a price."""

    name: str
    weights: Tensor | None
    distance: float
    loss: float | None
    low: float | None
    high: float | None
    gain: tuple[float, float, float] | None
    allowed: bool
    cost: float | None


@dataclass(frozen=True, eq=False)
class Selection:
    """``chosen`` of ``rows``, ``why``; the ``plan`` of its mixture (a loss is a distance where there were no pilots),
    ``examples`` by source, ``scores``: mean absolute errors of every form on pilots left out."""

    chosen: str
    why: str
    plan: Plan
    examples: Mapping[str, int]
    rows: tuple[Row, ...]
    scores: Mapping[str, float]
    form: str

    def table(self) -> pl.DataFrame:
        """Return one row a way to buy: name, distance, loss, low, high, gain, gain_low, gain_high, allowed, cost."""
        return pl.DataFrame(
            [
                {"name": r.name, "distance": r.distance, "loss": r.loss, "low": r.low, "high": r.high}
                | dict(zip(("gain", "gain_low", "gain_high"), r.gain or (None, None, None), strict=True))
                | {"allowed": r.allowed, "cost": r.cost}
                for r in self.rows
            ],
            schema={"name": pl.String} | dict.fromkeys(
                ("distance", "loss", "low", "high", "gain", "gain_low", "gain_high"), pl.Float64
            ) | {"allowed": pl.Boolean, "cost": pl.Float64},
        )  # fmt: skip


def select(
    samples: TransportProblem,
    pools: Sequence[Pool],
    budget: Budget,
    limits: Limits = Limits(),  # noqa: B008
    *,
    pilots: Pilots | None = None,
    distance: str = "transport",
    options: fit.Options = fit.Options(starts=8),  # noqa: B008
) -> Selection:
    """Return what to buy for ``budget`` (tokens are examples) from ``pools``, whose tokens are examples on offer.

    ``distance``: of mixtures to the target, "transport", or the cheaper "sliced" or "energy"
    (`curate.transport.surrogates`). Errors: pools that are not the sources, limits that no mixture satisfies, too few
    pilots, transport that does not converge.
    """
    balanced = Measure(samples, kind=distance)
    others = rivals(balanced, pools, seed=options.seed)
    known = None if pilots is None else learn(balanced, pilots, pools, options=options)
    measure = balanced if known is None else known[0].measure
    nearest = _descend(Nearest(measure), pools, budget, limits, [others["greedy"][0]])
    mixtures = {NEAREST: nearest[None]}
    if pilots is None or known is None:
        mixtures |= others
        asked, name = (pools, budget, limits), balanced.name
        return _selection((Nearest(balanced), balanced), asked, mixtures, (NEAREST, NONE), {}, name)
    law, scores, form = known
    top_pilot = _best_pilot(pilots)
    starts = [nearest, top_pilot, *(m[0] for m in others.values() if len(m) == 1)]
    mixtures |= {LAW: _descend(law, pools, budget, limits, starts)[None], PILOT: top_pilot[None], **others}
    verdict = _recommend(law, (pools, budget, limits), mixtures, min(scores.values()) / float(pilots.error.mean()))
    return _selection((law, balanced), (pools, budget, limits), mixtures, verdict, scores, form)


def learn(
    balanced: Measure, pilots: Pilots, pools: Sequence[Pool], *, options: fit.Options
) -> tuple[Transported, dict[str, float], str]:
    """Fit the law `transport` to pilots with the distance and shares that predict left-out mixtures best.

    Offered are the balanced distance and the reach of as many draws as the smallest pilots had examples, or a quarter.
    """
    recipes, error = pilots.recipes, pilots.error
    count = len(np.unique(np.round(recipes.weights.numpy(), 6), axis=0))
    if count < LEAST:
        raise FitError(f"{count} different mixtures among {len(error)} pilots: a law needs {LEAST} or more, better 12")
    least = float(recipes.tokens.min())
    draws = [None, *(float(max(1, round(least / part))) for part in (1, 4) if least < 1e5)]
    measures = {m.name: m for m in (balanced if d is None else Measure(balanced.problem, d) for d in draws)}
    distances = {name: m(recipes.weights) for name, m in measures.items()}
    name, shares, scores = projection.choose(
        {n: d.numpy() for n, d in distances.items()}, recipes.weights.numpy(), recipes.tokens.numpy(), error,
        top=pilots.top,
    )  # fmt: skip
    spec = f"transport:top={pilots.top:g},shares={int(shares)}"
    found = fit.fit(
        spec, replace(recipes, distance=distances[name]), error, pools=[pool.name for pool in pools],
        evaluation=pilots.eval, clusters=pilots.clusters, options=options,
    )  # fmt: skip
    return Transported(found, measures[name]), scores, f"{spec} on {name}"


def _descend(of: Predictor, pools: Sequence[Pool], budget: Budget, limits: Limits, starts: Sequence[Tensor]) -> Tensor:
    """(p,) the allowed mixture with the least loss: scipy's SLSQP from the most promising of ``starts``, the uniform
    mixture and the corners. Balanced transport is convex in the mixture, so that one start is enough for it."""
    asked = search.problem(of, pools, [budget], limits, Aim())
    p = len(asked.pools)
    corners = torch.eye(p, dtype=torch.float64) * 0.9 + 0.1 / p
    first = torch.cat([torch.full((1, p), 1 / p, dtype=torch.float64), corners, *(one[None] for one in starts)])
    first = asked.region.repeat(len(first)).project(first)
    with torch.no_grad():
        promise = of.loss(search.on_hand(asked.pools, [budget], first))
    best, least = first[int(promise.argmin())], float(promise.min())
    for i in promise.argsort(stable=True)[:STARTS].tolist():
        w = first[i]
        for _ in range(MONEY_ROUNDS if limits.money is not None else 1):
            w = _slsqp(of, asked, w)
        value = float(of.loss(search.on_hand(asked.pools, [budget], w[None])).detach())
        if value < least:
            best, least = w, value
    best = torch.where(best < SEEN, 0.0, best)
    return best / best.sum()


def _slsqp(of: Predictor, problem: search.PlanningProblem, start: Tensor) -> Tensor:
    """Descend once from ``start`` (p,) within the problem's region, with the limit on money made linear there."""
    region, budgets, money = problem.region, problem.budgets, problem.limits.money
    if money is not None:
        region = feasible.relax(region, problem.pools, budgets, money, start[None])

    def value_and_gradient(x: np.ndarray) -> tuple[float, np.ndarray]:
        # SLSQP tries points that are below 0 by rounding, where a distance has no meaning.
        w = torch.from_numpy(np.clip(x, 0, None))[None].requires_grad_(True)
        loss = of.loss(search.on_hand(problem.pools, budgets, w)).sum()
        (slope,) = torch.autograd.grad(loss, w)
        return float(loss.detach()), slope[0].numpy()

    end = scipy_solvers.slsqp(value_and_gradient, start.numpy(), region, steps=STEPS, tolerance=TOL)
    return region.project(torch.from_numpy(end)[None])[0]


def _best_pilot(pilots: Pilots) -> Tensor:
    """(p,) the mixture with the least mean error among the largest pilots."""
    largest = (pilots.recipes.tokens == pilots.recipes.tokens.max()).numpy()
    weights, error = pilots.recipes.weights.numpy()[largest], pilots.error[largest]
    mixtures, at = np.unique(np.round(weights, 6), axis=0, return_inverse=True)
    at = at.reshape(-1)
    means = np.bincount(at, error) / np.bincount(at)
    best = torch.from_numpy(mixtures[means.argmin()])
    return best / best.sum()


def _recommend(
    law: Transported, asked: tuple[Sequence[Pool], Budget, Limits], mixtures: Mapping[str, Tensor], error: float
) -> tuple[str, str]:
    """Begin with the nearest mixture; another takes its place where 95 % of the draws say that it is better by more
    than ``error``, a share of the loss: how far the law errs on pilots left out. Draws know nothing of a wrong form."""
    pools, budget, limits = asked
    chosen = NEAREST
    why = f"the pilots promise less than {error:.2g} of the loss, which is how far the law errs on pilots left out"
    for name in (LAW, PILOT, "uniform"):
        if not _allowed(pools, budget, limits, mixtures[name][0]):
            continue
        gain = _gains(law, pools, budget, torch.cat([mixtures[name], mixtures[chosen]]))[1]
        if gain[1] > error * float(law.loss(_recipes(law, pools, budget, mixtures[chosen])).detach()):
            chosen, why = name, f"predicted {gain[0]:.3g} better than {chosen}, at least {gain[1]:.3g} in 95 % of draws"
    return chosen, why + _against_uniform(law, asked, mixtures, chosen, error)


def _against_uniform(
    law: Transported,
    asked: tuple[Sequence[Pool], Budget, Limits],
    mixtures: Mapping[str, Tensor],
    chosen: str,
    error: float,
) -> str:
    """Say where the pilots cannot tell the chosen mixture from the uniform one, if that can be bought: there the
    chosen one was the worse at times."""
    pools, budget, limits = asked
    both = torch.cat([mixtures[chosen], mixtures["uniform"]])
    if float((both[0] - both[1]).abs().sum()) < 2 * SEEN or not _allowed(pools, budget, limits, both[1]):
        return ""
    gain = _gains(law, pools, budget, both)[1]
    margin = error * float(law.loss(_recipes(law, pools, budget, mixtures["uniform"])).detach())
    if gain[1] > margin:
        return ""
    return (
        f". These pilots cannot tell it from the uniform mixture: the gain predicted is {gain[0]:.3g}, at least "
        f"{gain[1]:.3g} in 95 % of draws, where the law errs by {margin:.3g}. Train both before you buy"
    )


def _gains(law: Predictor, pools: Sequence[Pool], budget: Budget, w: Tensor) -> list[tuple[float, float, float]]:
    """Loss of each mixture (k, p) minus that of the first: value, 5 % and 95 % over paired draws."""
    recipes = _recipes(law, pools, budget, w)
    values, draws = law.loss(recipes), law.draw_losses(recipes)
    tails = torch.tensor([0.05, 0.95], dtype=torch.float64)
    low, high = torch.quantile(draws - draws[:, :1], tails, dim=0)
    return list(zip((values - values[0]).tolist(), low.tolist(), high.tolist(), strict=True))


def _recipes(law: Predictor, pools: Sequence[Pool], budget: Budget, w: Tensor) -> Recipes:
    recipes = search.on_hand(search.match(law, pools), [budget], w)
    return law.measured(recipes) if isinstance(law, Transported | Nearest) else recipes


def _allowed(pools: Sequence[Pool], budget: Budget, limits: Limits, w: Tensor) -> bool:
    region = region_of_limits.region(pools, [budget], replace(limits, money=None))
    inside = bool(((w >= region.low[0] - 1e-6) & (w <= region.high[0] + 1e-6)).all())
    inside = inside and bool((region.excess(w[None]) <= 1e-6).all())
    cost = feasible.paid(pools, budget, dict(zip([p.name for p in pools], w.tolist(), strict=True)))
    return inside and (limits.money is None or cost <= limits.money * (1 + 1e-6))


def _selection(
    by: tuple[Predictor, Measure],
    asked: tuple[Sequence[Pool], Budget, Limits],
    mixtures: Mapping[str, Tensor],
    verdict: tuple[str, str],
    scores: Mapping[str, float],
    form: str,
) -> Selection:
    (of, balanced), (pools, budget, limits), (chosen, why) = by, asked, verdict
    names, trained = [pool.name for pool in pools], isinstance(of, Transported)
    every = torch.cat([mixtures[chosen], *mixtures.values()])
    recipes = _recipes(of, pools, budget, every)
    low, high = of.interval(recipes)
    numbers = torch.stack([balanced(every).detach(), of.loss(recipes).detach(), low, high], dim=1)
    numbers = torch.cat([numbers, torch.tensor(_gains(of, pools, budget, every), dtype=torch.float64)], dim=1)
    costs = [feasible.paid(pools, budget, dict(zip(names, w.tolist(), strict=True))) for w in every]
    rows, at = [], 1
    for name, w in mixtures.items():
        part = slice(at, at + len(w))
        distance, loss, least, most, *gain = numbers[part].mean(dim=0).tolist()
        rows.append(
            Row(
                name=name,
                weights=w[0] if len(w) == 1 else None,
                distance=distance,
                loss=loss if trained else None,
                low=least if trained else None,
                high=most if trained else None,
                gain=(gain[0], gain[1], gain[2]) if trained else None,
                allowed=all(_allowed(pools, budget, limits, one) for one in w),
                cost=float(np.mean(costs[part])) if any(pool.cost_per_token for pool in pools) else None,
            )
        )
        at += len(w)
    weights = dict(zip(names, mixtures[chosen][0].tolist(), strict=True))
    counts = apportion(list(weights.values()), round(budget.tokens))
    found = plan.evaluate(of, pools, budget, weights)
    return Selection(chosen, why, found, dict(zip(names, counts, strict=True)), tuple(rows), scores, form)
