"""The search for mixtures: one problem a budget, many starts, all in one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from math import isfinite, log

import numpy as np
import torch
from torch import Tensor

from curate.errors import FitError, Infeasible, SchemaError
from curate.planning import aims, feasible, minimise, region_of_limits
from curate.planning.aims import Aim
from curate.planning.limits import Limits
from curate.planning.regions import Region
from curate.pool import baselines as schedules
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

ROUGH, KEPT = 60, 6  # steps that every start gets; starts a budget that get STEPS more
STEPS = 120
FEW = 10  # ... where several shares are limited together: projecting on such limits is dear
APART = 0.02  # total variation over which two mixtures count as different starts
POLISHED, FINE = 3, 1e-7  # points a budget that are finished where their residual is larger
ON_THE_WAY = 1e-5  # residual at which a loss that is smoothed more than the last is left
EQUAL = 1e-9  # nats: losses this near are the same
ROUNDS = 8  # of drawing the money row anew
RowLoss = Callable[[Recipes, Tensor], Tensor]  # n recipes and the rows (n,) of the batch they belong to -> (n,)


@dataclass(frozen=True)
class Problem:
    """m budgets over p pools (in the fit's order), what mixtures may be and what is minimised."""

    fit: Predictor
    pools: tuple[Pool, ...]
    budgets: tuple[Budget, ...]
    region: Region
    limits: Limits
    aim: Aim

    @property
    def prior(self) -> Tensor | None:
        """(p,) the mixture that pulls, or None."""
        if self.aim.prior is None or self.aim.strength == 0:
            return None
        return torch.tensor([self.aim.prior.get(pool.name, 0.0) for pool in self.pools], dtype=torch.float64)


@dataclass(frozen=True)
class Found:
    """Solutions: ``point`` (m, s, p), ``value`` (m, s), ``residual`` (m, s); the KKT residual is NaN where searched."""

    point: Tensor
    value: Tensor
    residual: Tensor

    @property
    def best(self) -> Tensor:
        """(m, p) the best of every problem's starts; the first of equals, so that what does not matter stays put."""
        return self.point[torch.arange(len(self.value)), ranked(self.value)[:, 0]]


def ranked(value: Tensor) -> Tensor:
    """(m, s) order of the values of every row, lowest first; those within EQUAL of the lowest in order of place."""
    lowest = value.amin(dim=1, keepdim=True)
    return torch.where(value - lowest <= EQUAL, lowest, value).argsort(dim=1, stable=True)


def problem(fit: Predictor, pools: Sequence[Pool], budgets: Sequence[Budget], limits: Limits, aim: Aim) -> Problem:
    """Check and put together; pools that the prior lacks are kept at no share."""
    ordered = match(fit, pools)
    if aim.prior is not None:
        region_of_limits.check_shares("prior", aim.prior, [pool.name for pool in ordered])
        total = sum(aim.prior.values())
        if abs(total - 1) > 1e-3:
            raise SchemaError(f"the prior mixture sums to {total:.4g}: its shares must sum to 1")
        absent = {pool.name: 0.0 for pool in ordered if not aim.prior.get(pool.name) and aim.strength > 0}
        least = {**limits.min_weight, **limits.fixed}
        if torn := [name for name in absent if least.get(name)]:
            raise Infeasible(
                f"the prior leaves out pool {torn[0]!r}, whose share must be at least {least[torn[0]]:.4g}: give it a "
                "share in the prior, or lift its minimum"
            )
        given = {name: share for name, share in limits.max_weight.items() if name not in absent}
        fixed = {name: share for name, share in limits.fixed.items() if name not in absent}
        limits = replace(limits, max_weight={**given, **absent}, fixed=fixed)
    region = region_of_limits.region(ordered, budgets, limits)
    return Problem(fit, ordered, tuple(budgets), region, limits, aim)


def match(fit: Predictor, pools: Sequence[Pool]) -> tuple[Pool, ...]:
    """Return the pools in the fit's order; a missing or unknown name is an error that lists the known ones."""
    named = {pool.name: pool for pool in pools}
    if set(named) != set(fit.pools):
        odd = sorted(set(named) ^ set(fit.pools))
        raise SchemaError(
            f"pools and fit do not match: {', '.join(odd)} on one side only; the fit knows {', '.join(fit.pools)}. "
            "Give the pools.json that the pilot runs were made from"
        )
    return tuple(named[name] for name in fit.pools)


def on_hand(pools: Sequence[Pool], budgets: Sequence[Budget], weights: Tensor) -> Recipes:
    """Mixtures (k m, p), k a budget in a row, as recipes on the pools' unique tokens."""
    each = len(weights) // len(budgets)
    tokens = torch.tensor([b.tokens for b in budgets], dtype=torch.float64).repeat_interleave(each)
    params = torch.tensor([b.params for b in budgets], dtype=torch.float64).repeat_interleave(each)
    unique = torch.tensor([pool.tokens for pool in pools], dtype=torch.float64).expand(len(weights), -1)
    return Recipes(weights, tokens, params, unique)


def solve(asked: Problem, *, starts: int, seed: int) -> Found:
    """Minimise from ``starts`` mixtures a budget: a few steps for all, then the most promising are finished.

    The first steps mind bounds alone, which are cheap to project on. What spectral steps leave unfinished, where a law
    is badly conditioned, scipy's SLSQP finishes. Errors: no mixture with a finite loss was met.
    """
    found = _solve(asked, _starts(asked, starts, seed))
    for budget, value in zip(asked.budgets, found.value.amin(dim=1).tolist(), strict=True):
        if not isfinite(value):
            raise FitError(
                f"the fit gives no finite loss to any mixture tried at {budget.tokens:.3g} tokens and "
                f"{budget.params:.3g} parameters: plan nearer to the runs, or fit another law"
            )
    return found


def _solve(asked: Problem, first: Tensor) -> Found:
    losses = [of_any_row(stage) for stage in aims.stages(asked.fit, asked.aim.quantile)]
    if not asked.fit.differentiable:
        return descend(asked, losses, first, steps=STEPS)
    bounds = replace(
        asked, region=Region.box(asked.region.low, asked.region.high), limits=replace(asked.limits, money=None)
    )
    rough = descend(bounds, losses[:1], first, steps=ROUGH, tol=1e-5)
    if asked.limits.money is not None:
        return _bought(asked, losses, _apart(rough.point, rough.value))
    if asked.region.rows.shape[1] == 0:
        return _polish(asked, losses[-1], descend(asked, losses, _apart(rough.point, rough.value), steps=STEPS))
    every = torch.cat([rough.point, first], dim=1)  # the best between bounds alone may all be near one corner
    m, s, p = every.shape
    every = asked.region.repeat(s).project(every.reshape(m * s, p))
    value = _objective(asked, losses[0], s)(every, torch.arange(m * s)).detach().reshape(m, s)
    return _polish(asked, losses[-1], descend(asked, losses, _apart(every.reshape(m, s, p), value), steps=FEW))


def _apart(point: Tensor, value: Tensor) -> Tensor:
    """(m, s, p) and values (m, s) to the KEPT lowest (m, k, p) that are APART; the next best where too few are."""
    chosen = []
    for one, order in zip(point, ranked(value).tolist(), strict=True):
        kept = order[:1]
        for i in order[1:]:
            if len(kept) < KEPT and float((one[kept] - one[i]).abs().sum(dim=1).min()) > 2 * APART:
                kept.append(i)
        chosen.append(one[[*kept, *(i for i in order if i not in kept)][:KEPT]])
    return torch.stack(chosen)


def _bought(asked: Problem, losses: Sequence[RowLoss], start: Tensor) -> Found:
    """Solve for every set of pools that may be bought wholly, each a region with straight sides; keep the best."""
    kept = []
    for i, budget in enumerate(asked.budgets):
        regions = feasible.purchases(asked.pools, budget, asked.limits, asked.region.take(torch.tensor([i])))
        each = replace(
            asked, budgets=(budget,) * len(regions), region=regions, limits=replace(asked.limits, money=None)
        )
        first = start[i : i + 1].expand(len(regions), -1, -1)
        found = _polish(each, losses[-1], descend(each, losses, first, steps=FEW))
        order = ranked(found.value.reshape(1, -1))[0, : start.shape[1]]
        p = start.shape[2]
        kept.append(
            (found.point.reshape(-1, p)[order], found.value.reshape(-1)[order], found.residual.reshape(-1)[order])
        )
    point, value, left = (torch.stack(list(x)) for x in zip(*kept, strict=True))
    return Found(point, value, left)


def _polish(asked: Problem, loss: RowLoss, found: Found) -> Found:
    """Finish the best POLISHED points of every budget whose residual is not yet small, one of those near each other."""
    point, value, left = found.point.clone(), found.value.clone(), found.residual.clone()
    every, objective, order = torch.arange(len(value)), _objective(asked, loss, 1), ranked(found.value)
    for place in range(min(value.shape[1], POLISHED)):
        at = order[:, place]
        here, before = found.point[every, at], order[:, :place]
        near = (point[every[:, None], before] - here[:, None]).abs().sum(dim=2) < 2 * APART
        rows = ((found.residual[every, at] > FINE) & ~near.any(dim=1)).nonzero()[:, 0]
        better = minimise.finish(objective, here, asked.region, rows)
        point[rows, at[rows]] = better.point[rows]
        value[rows, at[rows]], left[rows, at[rows]] = better.value[rows], better.residual[rows]
    return Found(point, value, left)


def _region_at(asked: Problem, w: Tensor) -> Region:
    """Return the regions with the money row, if there is one, drawn at mixtures (m, p)."""
    if asked.limits.money is None:
        return asked.region
    return feasible.relax(asked.region, asked.pools, asked.budgets, asked.limits.money, w)


def of_any_row(loss: aims.Loss) -> RowLoss:
    """Return a loss that does not ask which row of the batch it is."""
    return lambda recipes, _: loss(recipes)


def descend(asked: Problem, losses: Sequence[RowLoss], start: Tensor, *, steps: int, tol: float = 1e-8) -> Found:
    """Minimise ``losses`` one after the other from ``start`` (m, s, p), each from where the last ended."""
    m, s, p = start.shape
    budgets = [b for b in asked.budgets for _ in range(s)]
    region, w = asked.region.repeat(s), start.reshape(m * s, p)
    if asked.limits.money is not None:  # the row of a mixture that can be paid may be drawn anew at every other such
        own = feasible.relax(region, asked.pools, budgets, asked.limits.money, w)
        payable = (own.excess(w) <= 0).all(dim=1)[:, None]
        mixed = torch.where(payable[..., None], own.rows, region.rows), torch.where(payable, own.limits, region.limits)
        w = Region(region.low, region.high, *mixed).project(w)
        region = feasible.relax(region, asked.pools, budgets, asked.limits.money, w)
    for loss in losses:
        objective = _objective(asked, loss, s)
        only, last = len(losses) == 1, loss is losses[-1]  # a smoothed loss on the way need not be solved to the end
        for _ in range(ROUNDS if asked.limits.money is not None else 1):
            if asked.fit.differentiable:
                enough = tol if last else max(tol, ON_THE_WAY)
                found = minimise.minimize(objective, w, region, steps=steps if only else steps // 3, tol=enough)
            else:
                found = minimise.search(objective, w, region)
            w = found.point
            if asked.limits.money is None:
                break
            drawn = feasible.relax(region, asked.pools, budgets, asked.limits.money, w)
            if torch.equal(drawn.rows, region.rows):
                break
            region = drawn
    return Found(w.reshape(m, s, p), found.value.reshape(m, s), found.residual.reshape(m, s))


def values(asked: Problem, loss: RowLoss, points: Tensor) -> Tensor:
    """(m,) what is minimised, at mixtures (m, p), one a budget."""
    return _objective(asked, loss, 1)(points, torch.arange(len(points))).detach()


def gaps(asked: Problem, points: Tensor) -> Tensor:
    """(m,) Frank-Wolfe gaps in nats at mixtures (m, p); for the worst of several evals that of the least smoothed loss
    and what smoothing hides."""
    last = of_any_row(aims.stages(asked.fit, asked.aim.quantile)[-1])
    found = minimise.gap(_objective(asked, last, 1), points, _region_at(asked, points))
    if not isinstance(asked.fit, aims.Worst):
        return found
    over = values(asked, of_any_row(asked.fit.loss), points) - values(asked, last, points)
    return found + over + aims.SOFTNESS[-1] * log(len(asked.fit.parts))


def _objective(asked: Problem, loss: RowLoss, each: int) -> minimise.Objective:
    p = len(asked.pools)
    rows = on_hand(asked.pools, asked.budgets, torch.zeros(len(asked.budgets) * each, p, dtype=torch.float64))
    prior, strength = asked.prior, asked.aim.strength

    def value(w: Tensor, at: Tensor) -> Tensor:
        found = loss(Recipes(w, rows.tokens[at], rows.params[at], rows.unique[at]), at)
        return found if prior is None else found + strength * aims.pull(w, prior)

    return value


def baselines(asked: Problem) -> Tensor:
    """(m, 4, p) the standard mixtures of every budget; see ``schedules``."""
    each = [np.stack(list(schedules.baselines(asked.pools, budget.tokens).values())) for budget in asked.budgets]
    return torch.from_numpy(np.stack(each))


def _starts(asked: Problem, count: int, seed: int) -> Tensor:
    """(m, s, p): the baselines, the single pools that promise most, and Dirichlet draws."""
    p, m, count = len(asked.pools), len(asked.budgets), max(count, 4)
    singles = torch.from_numpy(0.02 / p + 0.98 * np.eye(p))
    alone = asked.region.repeat(p).project(singles.repeat(m, 1))
    loss = aims.stages(asked.fit, asked.aim.quantile)[0]
    promise = torch.nan_to_num(loss(on_hand(asked.pools, asked.budgets, alone)).detach(), nan=torch.inf)
    order = promise.reshape(m, p).argsort(dim=1, stable=True)[:, : max(1, (count - 4) // 2)]
    draws = np.random.default_rng(seed).dirichlet(np.ones(p), size=max(0, count - 4 - order.shape[1]))
    return torch.cat([baselines(asked), singles[order], torch.from_numpy(draws).expand(m, -1, -1)], dim=1)[:, :count]
