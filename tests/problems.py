"""Planted problems: laws with known parameters, pools, and the best mixture by brute force."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations
from typing import cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate import open_sets
from curate.fitting.fit import Fit
from curate.laws import Law
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import Recipes
from curate.runs.recipes import recipes as recipe_rows

RANGES = {"tokens": (1e6, 1e13), "params": (1e6, 1e12), "epochs": (0.0, 1e4)}


def law_of(spec: str) -> Law:
    return cast(Law, open_sets.build("laws", spec))


def theta(spec: str, pools: int, seed: int | None = None, inner: float = 1.0) -> dict[str, Tensor]:
    """The middle of ``likely``, or a random point in its ``inner`` part (on the scale on which it is fitted)."""
    rng = np.random.default_rng(seed)
    result = {}
    for p in law_of(spec).params():
        low, high = np.log(p.likely) if p.positive else p.likely
        shift = 0.0 if seed is None else rng.uniform(-inner, inner, size=pools if p.per_pool else ())
        x = np.broadcast_to((low + high) / 2 + (high - low) / 2 * shift, (pools,) if p.per_pool else ())
        result[p.name] = torch.from_numpy(np.array(np.exp(x) if p.positive else x))
    return result


def planted(
    spec: str, names: Sequence[str], values: Mapping[str, object], *, draws: int = 20, noise: float = 0.01
) -> Fit:
    """A Fit with these parameters; its draws are a few percent around them."""
    base = {k: torch.tensor(v, dtype=torch.float64) if not isinstance(v, Tensor) else v for k, v in values.items()}
    rng = torch.Generator().manual_seed(0)
    shaken = {
        k: v * (1 + 0.02 * torch.randn((draws, *v.shape), dtype=torch.float64, generator=rng)) for k, v in base.items()
    }
    ranges = RANGES | {f"share of {name}": (0.0, 1.0) for name in names}
    return Fit(spec, tuple(names), "web", base, shaken, noise, noise, 40, ranges)


def recipes(n: int, p: int, seed: int, *, distance: bool = True) -> Recipes:
    """Recipes varied in mixture, tokens, size and unique tokens; the epochs run from none to about a hundred."""
    rng = np.random.default_rng(seed)
    weights = rng.dirichlet(np.ones(p), size=n)
    tokens, params = 10 ** rng.uniform(8, 11, n), 10 ** rng.uniform(7, 10, n)
    unique = tokens[:, None] * 10 ** rng.uniform(-2.3, 0.7, (n, p))
    columns = (weights, tokens, params, unique, rng.uniform(0.05, 1.0, n))
    result = Recipes(*(torch.from_numpy(x) for x in columns))
    return result if distance else Recipes(result.weights, result.tokens, result.params, result.unique)


@dataclass(frozen=True)
class Problem:
    """Pools, a law and a budget; ``caps`` are keywords of ``optimize``."""

    name: str
    fit: Fit
    pools: tuple[Pool, ...]
    budget: Budget
    caps: Mapping[str, object] = field(default_factory=dict)

    def losses(self, weights: Tensor) -> Tensor:
        n = len(weights)
        columns = [torch.full((n,), x, dtype=torch.float64) for x in (self.budget.tokens, self.budget.params)]
        unique = torch.tensor([[pool.tokens for pool in self.pools]], dtype=torch.float64).expand(n, -1)
        return self.fit.loss(Recipes(weights, *columns, unique))

    def box(self) -> tuple[np.ndarray, np.ndarray]:
        """Lowest and highest share of each pool, computed apart from the planner."""
        low = np.array([dict(self.caps.get("min_weight", {})).get(p.name, 0.0) for p in self.pools])
        high = np.array([dict(self.caps.get("max_weight", {})).get(p.name, 1.0) for p in self.pools])
        if epochs := self.caps.get("max_epochs"):
            high = np.minimum(high, epochs * np.array([p.tokens for p in self.pools]) / self.budget.tokens)
        return low, high

    def best(self) -> tuple[float, np.ndarray]:
        """Loss and mixture of the best feasible point of the grid."""
        low, high = self.box()
        points = grid(len(self.pools))
        points = points[((points >= low - 1e-12) & (points <= high + 1e-12)).all(axis=1)]
        losses = self.losses(torch.from_numpy(points)).numpy()
        return float(losses.min()), points[losses.argmin()]


def grid(p: int) -> np.ndarray:
    """All mixtures of p pools whose shares are multiples of 1/m."""
    m = {2: 5000, 3: 200, 4: 50}[p]
    bars = np.array(list(combinations(range(m + p - 1), p - 1)))
    edges = np.hstack([np.full((len(bars), 1), -1), bars, np.full((len(bars), 1), m + p - 1)])
    return (np.diff(edges, axis=1) - 1) / m


def pools(**tokens: float) -> tuple[Pool, ...]:
    return tuple(Pool(name, count, 1) for name, count in tokens.items())


UTILITY = {"a": 4.0, "d": 0.8, "n0": 1e4}
SCARCE = planted("utility_smooth", "ab", {**UTILITY, "b": [0.16, 0.12], "tau": [4.0, 8.0]})
THREE = planted("utility_smooth", "abc", {**UTILITY, "b": [0.2, 0.15, 0.1], "tau": [2.0, 6.0, 10.0]})
FOUR = planted("utility_smooth", "abcd", {**UTILITY, "b": [0.16, 0.125, 0.1, 0.085], "tau": [6.7, 8.5, 5.3, 2.3]})
MIXING = planted("mixing", "abc", {"c": 1.2, "t": [-1.0, 0.2, -0.4]})
PUBLISHED = {
    "E": 1.86914,
    "A": 520.825,
    "B": 1487.716,
    "alpha": 0.3526596,
    "beta": 0.3526596,
    "R_D": 15.387756,
    "R_N": 5.309743,
}
REPEATED = planted("repetition", "abc", PUBLISHED)

TWO_POOLS, THREE_POOLS = pools(a=1e8, b=1e12), pools(a=2e8, b=2e9, c=1e12)
FOUR_POOLS = pools(a=1.3e9, b=1.3e9, c=1.3e9, d=1.3e9)
LITTLE = {"b": 0.1}
ALL_CAPS = {"max_epochs": 4.0, "min_weight": {"c": 0.3}, "max_weight": {"b": 0.4}}
PROBLEMS = (
    *(Problem(f"scarce-{t:g}", SCARCE, TWO_POOLS, Budget(t, 1e9)) for t in (1e8, 1e9, 1e10, 1e11, 1e12)),
    *(Problem(f"three-{t:g}", THREE, THREE_POOLS, Budget(t, 1e9)) for t in (1e8, 1e10, 1e12)),
    *(Problem(f"four-{t:g}", FOUR, FOUR_POOLS, Budget(t, 1e9)) for t in (1e9, 1e10, 1e11)),
    Problem("scarce-epochs", SCARCE, TWO_POOLS, Budget(1e10, 1e9), {"max_epochs": 2.0}),
    Problem("scarce-min", SCARCE, TWO_POOLS, Budget(1e10, 1e9), {"min_weight": {"b": 0.9}}),
    Problem("scarce-max", SCARCE, TWO_POOLS, Budget(1e10, 1e9), {"max_weight": {"a": 0.1}}),
    Problem("three-all", THREE, THREE_POOLS, Budget(1e10, 1e9), ALL_CAPS),
    Problem("four-epochs", FOUR, FOUR_POOLS, Budget(1e10, 1e9), {"max_epochs": 2.5, "max_weight": {"d": 0.2}}),
    Problem("corner", MIXING, THREE_POOLS, Budget(1e9, 1e9)),
    Problem("corner-capped", MIXING, THREE_POOLS, Budget(1e9, 1e9), {"max_weight": {"a": 0.6}, "min_weight": LITTLE}),
    Problem("repeated", REPEATED, pools(a=1e9, b=4e9, c=1e10), Budget(1e11, 2.8e9)),
    Problem("repeated-capped", REPEATED, pools(a=1e9, b=4e9, c=1e10), Budget(5e10, 2.8e9), {"max_epochs": 6.0}),
)  # fmt: skip


CONTINUED_LAWS = {  # planted: general loss rises with the share of code, code's falls
    "web": {"none": 2.5, "full": 3.0, "s": 2.0},
    "code": {"none": 1.9, "full": 1.3, "s": 0.5},
}


def continued(shares=(0.2, 0.4, 0.6, 0.8), tokens=(1e9, 2e9, 4e9), params=(1e8,), start=True, noise=0.0):
    """Runs on pools web and code, evals web, news (web + .1) and code, and a start row a size."""
    rng = np.random.default_rng(0)
    cells = [(s, t, n) for n in params for s in shares for t in tokens]
    s, t, n = map(np.array, zip(*cells, strict=True))
    rows = recipe_rows(np.stack([1 - s, s], axis=1), t, n)
    loss = {
        name: law_of("cmr").loss({k: torch.tensor(v).double() for k, v in values.items()}, rows).numpy()
        * np.exp(noise * rng.standard_normal(len(s)))
        for name, values in CONTINUED_LAWS.items()
    }
    table = pl.DataFrame(
        {
            "run": [f"r{i}" for i in range(len(s))], "params": n, "tokens": t, "weight.web": 1 - s, "weight.code": s,
            "loss.web": loss["web"], "loss.news": loss["web"] + 0.1, "loss.code": loss["code"],
        }
    )  # fmt: skip
    begun = [("start", x, 0.0, 1.0, 0.0, 2.5, 2.6, 1.9) for x in params]
    return pl.concat([pl.DataFrame(begun, schema=table.schema, orient="row"), table]) if start else table
