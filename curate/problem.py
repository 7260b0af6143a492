"""The search for mixtures: one problem a budget, many starts, all in one batch."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from torch import Tensor

from curate import aims, constraints, feasible, schedules, simplex
from curate.aims import Aim
from curate.blend import Predictor
from curate.errors import SchemaError
from curate.limits import Limits
from curate.pools import Budget, Pool
from curate.recipes import Recipes
from curate.regions import Region

ROUGH, KEPT = 60, 6  # steps that every start gets; starts a budget that are then finished
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
        """(m, p) the best of every problem's starts."""
        return self.point[torch.arange(len(self.value)), self.value.argmin(dim=1)]


def problem(fit: Predictor, pools: Sequence[Pool], budgets: Sequence[Budget], limits: Limits, aim: Aim) -> Problem:
    """Check and put together; pools that the prior lacks are kept at no share."""
    ordered = match(fit, pools)
    if aim.prior is not None:
        constraints.check_shares("prior", aim.prior, [pool.name for pool in ordered])
        total = sum(aim.prior.values())
        if abs(total - 1) > 1e-3:
            raise SchemaError(f"the prior mixture sums to {total:.4g}: its shares must sum to 1")
        absent = {pool.name: 0.0 for pool in ordered if not aim.prior.get(pool.name) and aim.strength > 0}
        limits = replace(limits, max_weight={**limits.max_weight, **absent})
    region = constraints.region(ordered, budgets, limits)
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
    """Minimise from ``starts`` mixtures a budget; all get a few steps, the most promising are finished."""
    first = _starts(asked, starts, seed)
    s = first.shape[1]
    losses = [_of_any_row(stage) for stage in aims.stages(asked.fit, asked.aim.quantile)]
    if not asked.fit.differentiable:
        return descend(asked, losses, first)
    rough = descend(asked, losses[:1], first, steps=ROUGH, tol=1e-5)
    kept = min(s, KEPT)
    order = rough.value.argsort(dim=1, stable=True)[:, :kept]
    chosen = rough.point.gather(1, order[..., None].expand(-1, -1, rough.point.shape[-1]))
    return descend(asked, losses, chosen)


def _of_any_row(loss: aims.Loss) -> RowLoss:
    return lambda recipes, _: loss(recipes)


def descend(asked: Problem, losses: Sequence[RowLoss], start: Tensor, *, steps: int = 400, tol: float = 1e-8) -> Found:
    """Minimise ``losses`` one after the other from ``start`` (m, s, p), each from where the last ended."""
    m, s, p = start.shape
    budgets = [b for b in asked.budgets for _ in range(s)]
    region, w = asked.region.repeat(s), start.reshape(m * s, p)
    if asked.limits.money is not None:  # the row of a mixture that can be paid may be drawn anew at every other such
        w = region.project(w)
        region = feasible.relax(region, asked.pools, budgets, asked.limits.money, w)
    for loss in losses:
        objective = _objective(asked, loss, s)
        for _ in range(ROUNDS if asked.limits.money is not None else 1):
            if asked.fit.differentiable:
                found = simplex.minimize(objective, w, region, steps=steps, tol=tol)
            else:
                found = simplex.search(objective, w, region)
            w = found.point
            if asked.limits.money is None:
                break
            drawn = feasible.relax(region, asked.pools, budgets, asked.limits.money, w)
            if torch.equal(drawn.rows, region.rows):
                break
            region = drawn
    return Found(w.reshape(m, s, p), found.value.reshape(m, s), found.residual.reshape(m, s))


def gaps(asked: Problem, points: Tensor) -> Tensor:
    """(m,) Frank-Wolfe gaps in nats at mixtures (m, p), by the least smoothed loss."""
    last = aims.stages(asked.fit, asked.aim.quantile)[-1]
    region = asked.region
    if asked.limits.money is not None:
        region = feasible.relax(region, asked.pools, asked.budgets, asked.limits.money, points)
    return simplex.gap(_objective(asked, _of_any_row(last), 1), points, region)


def _objective(asked: Problem, loss: RowLoss, each: int) -> simplex.Objective:
    p = len(asked.pools)
    rows = on_hand(asked.pools, asked.budgets, torch.zeros(len(asked.budgets) * each, p, dtype=torch.float64))
    prior, strength = asked.prior, asked.aim.strength

    def value(w: Tensor, at: Tensor) -> Tensor:
        found = loss(Recipes(w, rows.tokens[at], rows.params[at], rows.unique[at]), at)
        return found if prior is None else found + strength * aims.pull(w, prior)

    return value


def _starts(asked: Problem, count: int, seed: int) -> Tensor:
    """(m, s, p): the baselines, the single pools that promise most, and Dirichlet draws."""
    p, m, count = len(asked.pools), len(asked.budgets), max(count, 4)
    base = torch.stack(
        [torch.from_numpy(np.stack(list(schedules.baselines(asked.pools, b.tokens).values()))) for b in asked.budgets]
    )
    singles = torch.from_numpy(0.02 / p + 0.98 * np.eye(p))
    alone = asked.region.repeat(p).project(singles.repeat(m, 1))
    values = torch.nan_to_num(
        aims.stages(asked.fit, asked.aim.quantile)[0](on_hand(asked.pools, asked.budgets, alone)).detach(),
        nan=torch.inf,
    )
    order = values.reshape(m, p).argsort(dim=1, stable=True)[:, : max(1, (count - 4) // 2)]
    draws = np.random.default_rng(seed).dirichlet(np.ones(p), size=max(0, count - 4 - order.shape[1]))
    return torch.cat([base, singles[order], torch.from_numpy(draws).expand(m, -1, -1)], dim=1)[:, :count]
