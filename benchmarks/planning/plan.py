"""The planner beside scipy's SLSQP and a fine grid: `benchmarks/planning/plan.py`.

Loss above the best of all methods (nats), how far limits are broken, and CPU-seconds, on planted problems and on 100
pools x 20 budgets of a law with 20 parameters a pool. SLSQP gets the same gradients, one budget at a time, from
size-proportional sampling or from 24 mixtures. Then the published cases of laws.md: InfoLaw's optima, and how much
Goyal et al.'s pools are kept.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))

import numpy as np
import polars as pl
import torch
from problems import FOUR, FOUR_POOLS, PROBLEMS, THREE, THREE_POOLS, Problem, grid, planted
from scipy.optimize import minimize

from curate.laws.effective_data import PUBLISHED as EFFECTIVE
from curate.laws.infolaw import PUBLISHED as INFOLAW
from curate.laws.utility import PUBLISHED as UTILITY
from curate.planning import plan, region_of_limits, search
from curate.planning.aims import Aim
from curate.planning.details import keep_curve
from curate.planning.limits import Group, Limits
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import Recipes

torch.set_num_threads(1)
STARTS = 24


class Skills:
    """A predictor with 20 parameters a pool: five skills, each with its own worth, exponent, half-life and origin."""

    eval, differentiable, noise, discrepancy = "skills", True, 0.005, None

    def __init__(self, p: int, seed: int = 0):
        rng = np.random.default_rng(seed)
        self.pools = tuple(f"pool{i:03d}" for i in range(p))
        draw = {
            "worth": rng.lognormal(0, 1.5, (5, p)),
            "exponent": rng.uniform(0.5, 1, (5, p)),
            "life": rng.uniform(2, 20, (5, p)),
            "origin": rng.uniform(1e6, 1e8, (5, p)),
        }
        self.of = {name: torch.from_numpy(value) for name, value in draw.items()}
        self.level = torch.tensor([400.0, 300, 500, 200, 350], dtype=torch.float64)
        self.decay = torch.tensor([0.28, 0.3, 0.32, 0.26, 0.34], dtype=torch.float64)
        self.shaken = torch.from_numpy(1 + 0.05 * rng.normal(size=(20, 5)))
        self.ranges = {"tokens": (1e6, 1e13), "params": (1e6, 1e12), "epochs": (0.0, 1e4)}
        self.ranges |= {f"share of {name}": (0.0, 1.0) for name in self.pools}

    @property
    def draw_count(self) -> int:
        return len(self.shaken)

    def _loss(self, recipes: Recipes, level: torch.Tensor) -> torch.Tensor:
        fresh = torch.minimum(recipes.seen, recipes.unique)
        over = (recipes.seen / recipes.unique - 1).clamp_min(0)
        total = torch.zeros(len(recipes), dtype=torch.float64)
        for s in range(5):
            worth, exponent, life, origin = (self.of[name][s] for name in ("worth", "exponent", "life", "origin"))
            useful = fresh - recipes.unique * life * torch.expm1(-over / life)
            learned = (worth * ((useful + origin) ** exponent - origin**exponent)).sum(dim=-1)
            total = total + level[..., s] * (learned + 1) ** -self.decay[s]
        return 1.7 + total / 5

    def loss(self, recipes: Recipes) -> torch.Tensor:
        return self._loss(recipes, self.level)

    def draw_losses(self, recipes: Recipes) -> torch.Tensor:
        return torch.stack([self._loss(recipes, self.level * by) for by in self.shaken])

    def drawn(self, recipes: Recipes, draws: torch.Tensor) -> torch.Tensor:
        return self._loss(recipes, self.level * self.shaken[draws % len(self.shaken)])

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[torch.Tensor, torch.Tensor]:
        draws = self.draw_losses(recipes)
        return draws.quantile((1 - level) / 2, dim=0), draws.quantile((1 + level) / 2, dim=0)


def slsqp(fit, pools: Sequence[Pool], budget: Budget, limits: Limits, starts: int) -> np.ndarray:
    """The best mixture (p,) that SLSQP finds."""
    problem = search.problem(fit, pools, [budget], limits, Aim())
    region = problem.region
    low, high, a, b = (x[0].numpy() for x in (region.low, region.high, region.rows, region.limits))

    def value(x: np.ndarray) -> tuple[float, np.ndarray]:
        w = torch.from_numpy(x)[None].requires_grad_(True)
        loss = fit.loss(search.on_hand(problem.pools, [budget], w)).sum()
        (slope,) = torch.autograd.grad(loss, w)
        return float(loss.detach()), slope[0].numpy()

    rules = [{"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like}]
    if len(a):
        rules.append({"type": "ineq", "fun": lambda x: b - a @ x, "jac": lambda _: -a})
    sizes = np.array([pool.tokens for pool in problem.pools])
    first = [sizes / sizes.sum(), *np.random.default_rng(0).dirichlet(np.ones(len(sizes)), starts - 1)]
    ends = []
    for x in first:
        with np.errstate(all="ignore"):
            done = minimize(
                value,
                np.clip(x, low, high),
                jac=True,
                bounds=list(zip(low, high, strict=True)),
                constraints=rules,
                method="SLSQP",
                options={"ftol": 1e-12, "maxiter": 500},
            )
        ends.append(done)
    allowed = [end for end in ends if broken(end.x, low, high, a, b) < 1e-6 and np.isfinite(end.fun)]
    return min(allowed or ends, key=lambda end: end.fun).x


def broken(x: np.ndarray, low: np.ndarray, high: np.ndarray, a: np.ndarray, b: np.ndarray) -> float:
    """By how much limits are broken, in shares."""
    over = [abs(x.sum() - 1), (low - x).max(), (x - high).max(), (a @ x - b).max() if len(a) else 0.0]
    return float(max(0.0, *over))


def finest(fit, pools: Sequence[Pool], budget: Budget, limits: Limits) -> np.ndarray:
    """The best allowed mixture (p,) of a fine grid, up to four pools."""
    region = region_of_limits.region(pools, [budget], limits)
    low, high, a, b = (x[0].numpy() for x in (region.low, region.high, region.rows, region.limits))
    points = grid(len(pools))
    box = ((points >= low - 1e-12) & (points <= high + 1e-12)).all(axis=1)
    points = points[box & (points @ a.T <= b + 1e-12).all(axis=1)]
    losses = fit.loss(search.on_hand(pools, [budget], torch.from_numpy(points)))
    return points[int(losses.argmin())] if len(points) else np.full(len(pools), np.nan)


def ours(fit, pools: Sequence[Pool], budget: Budget, limits: Limits) -> np.ndarray:
    return np.array([plan.optimize(fit, pools, budget, limits).weights[name] for name in fit.pools])


def bank() -> list[tuple[str, Problem, Limits]]:
    """The planted problems, some under groups and order."""
    problems = [(problem.name, problem, Limits(**problem.caps)) for problem in PROBLEMS]
    budget = Budget(1e11, 1e9)
    groups = Limits(groups=(Group(("a", "b"), high=0.3), Group(("b", "c"), low=0.5)), max_epochs=30)
    problems.append(("four-groups", Problem("", FOUR, FOUR_POOLS, budget), groups))
    problems.append(("three-ordered", Problem("", THREE, THREE_POOLS, budget), Limits(ordered=("c", "b", "a"))))
    return problems


def small() -> pl.DataFrame:
    methods: dict[str, Callable[..., np.ndarray]] = {
        "ours": ours,
        "SLSQP, 1 start": lambda *x: slsqp(*x, 1),
        f"SLSQP, {STARTS} starts": lambda *x: slsqp(*x, STARTS),
        "fine grid": finest,
    }
    excess: dict[str, list[float]] = {name: [] for name in methods}
    wrong: dict[str, list[float]] = {name: [] for name in methods}
    seconds = dict.fromkeys(methods, 0.0)
    for _, problem, limits in bank():
        region = region_of_limits.region(problem.pools, [problem.budget], limits)
        box = [x[0].numpy() for x in (region.low, region.high, region.rows, region.limits)]
        losses = {}
        for name, method in methods.items():
            begun = time.process_time()
            x = method(problem.fit, problem.pools, problem.budget, limits)
            seconds[name] += time.process_time() - begun
            losses[name] = float(problem.losses(torch.from_numpy(x)[None]))
            wrong[name].append(broken(x, *box) if np.isfinite(x).all() else np.nan)
        for name, loss in losses.items():
            excess[name].append(loss - np.nanmin(list(losses.values())))
    return pl.DataFrame(
        {
            "method": name,
            "problems": len(excess[name]),
            "largest loss above the best": f"{np.nanmax(excess[name]):.1e}",
            "over 1e-4 nats": int(np.nansum(np.array(excess[name]) > 1e-4)),
            "limits broken by at most": f"{np.nanmax(wrong[name]):.0e}",
            "CPU-s": round(seconds[name], 1),
        }
        for name in methods
    )


def large() -> pl.DataFrame:
    fit, rng = Skills(100), np.random.default_rng(1)
    pools = [Pool(name, float(10 ** rng.uniform(8, 11)), 1) for name in fit.pools]
    budgets = [Budget(float(t), 1e9) for t in np.geomspace(1e9, 1e12, 20)]
    groups = Limits(max_epochs=16, groups=(Group(("pool00*",), low=0.2), Group(("pool01*", "pool02*"), high=0.1)))
    rows = []
    for what, limits in (("free", Limits()), ("8 epochs", Limits(max_epochs=8)), ("16 epochs, 2 groups", groups)):
        begun = time.process_time()
        plans = plan.frontier(fit, pools, budgets, limits)
        spent = time.process_time() - begun
        begun = time.process_time()
        rival = [slsqp(fit, pools, budget, limits, 1) for budget in budgets]
        single = time.process_time() - begun
        losses = fit.loss(search.on_hand(pools, budgets, torch.from_numpy(np.stack(rival)))).numpy()
        better = np.array([planned.loss for planned in plans]) - losses
        rows.append(
            {
                "limits": what,
                "ours CPU-s": round(spent, 1),
                "largest gap": f"{max(planned.gap for planned in plans):.0e}",
                "SLSQP 1 start CPU-s": round(single, 1),
                "ours better by up to": f"{-better.min():.1e}",
                "worse by up to": f"{better.max():.1e}",
            }
        )
    return pl.DataFrame(rows)


def published() -> pl.DataFrame:
    names = tuple(f"bucket{d}" for d in range(6))
    sizes = (np.array([0.05, 0.15, 0.20, 0.20, 0.20, 0.20]) * 317e9).tolist()
    buckets = [Pool(name, size, 1) for name, size in zip(names, sizes, strict=True)]
    rows = []
    for tokens, best in ((300e9, ".552 .448 .000"), (1000e9, ".391 .391 .219")):
        best_plan = plan.optimize(
            planted("infolaw", names, INFOLAW), buckets, Budget(tokens, 7e9), Limits(ordered=names)
        )
        shares = " ".join(f"{w:.3f}".lstrip("0") for w in list(best_plan.weights.values())[:3])
        rows.append({"case": f"InfoLaw 7B, {tokens:.0e} tokens", "ours": shares, "published": best})
    tops, samples = ("top10", "10-20", "20-30", "30-40"), (32e6, 64e6, 128e6, 640e6)
    for spec, values, best in (("utility:form=code", UTILITY, "1 1 2 2"), ("effective_data", EFFECTIVE, "1 1 2 3")):
        fit = planted(spec, tops, values)
        pools = [Pool(name, 12.8e6, 1) for name in tops]
        curve = keep_curve.curve(fit, pools, [Budget(t, 1e8) for t in samples], best_first=tops)
        row = {
            "case": f"Goyal, {spec}: bins kept at 32M 64M 128M 640M",
            "ours": " ".join(map(str, curve.chosen.tolist())),
        }
        rows.append(row | {"published": best})
    return pl.DataFrame(rows)


def main() -> None:
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    with pl.Config(tbl_rows=-1, tbl_cols=-1, fmt_str_lengths=80, tbl_width_chars=200, tbl_hide_dataframe_shape=True):
        print(f"{len(bank())} planted problems of two to four pools")
        print(small())
        print("100 pools x 20 budgets, 20 parameters a pool")
        print(large())
        print(published())


if __name__ == "__main__":
    main()
