"""Which ratios and lengths to run next so that the critical ratio is known within a width, at least cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from curate.continual import share_path, under_ceiling
from curate.errors import FitError, SchemaError
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

Run = tuple[float, float, float]  # share of the domain's pool, tokens, params

SHARES = tuple(round(0.05 * i, 2) for i in range(1, 20))
LENGTHS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the budget's tokens
MOST = 12  # runs that are advised at once
GRID = 201  # shares on which the curve at the budget is followed
ROBUST = 3.0  # standard deviations at which a draw's deviation is cut before covariances are taken
TAILS = torch.tensor([0.05, 0.95], dtype=torch.float64)


@dataclass(frozen=True)
class Advice:
    """``runs``: share, tokens, params, flops and the width expected after each, in the order to run them.

    Widths are of the 90 % interval of the law's critical share, ``now`` over the draws, ``expected`` after all runs:
    without the noise of the run that meets the ceiling, which ``CriticalRatio`` counts and no other run narrows.
    """

    runs: pl.DataFrame
    now: float
    expected: float
    asked: float

    @property
    def flops(self) -> float:
        """Return the compute of all runs, 6 x tokens x params."""
        return float(self.runs["flops"].sum())

    @property
    def reached(self) -> bool:
        """Whether the runs are expected to be enough."""
        return self.expected <= self.asked

    def table(self) -> pl.DataFrame:
        """Return the runs."""
        return self.runs


@dataclass(frozen=True)
class _Ensemble:
    """Log losses of b draws: ``curve`` (b, g) along ``grid`` at the budget, ``seen`` (b, m) of the candidate runs;
    ``expected`` (m,) of them by the fit, and ``target`` (b,) at the fit's own critical share."""

    grid: torch.Tensor
    curve: np.ndarray
    seen: np.ndarray
    expected: np.ndarray
    target: np.ndarray
    ceiling: float
    noise: float

    def width(self, chosen: Sequence[int]) -> float:
        """Return the width of the critical share's interval after the chosen runs.

        Ensemble Kalman update: every draw moves towards what the fit expects the runs to show, with their noise,
        by the covariances over the draws; only then the share is read off, which is far from linear in the losses.
        """
        curve = self.curve
        if chosen:
            seen = self.seen[:, chosen]
            firm = _cut(seen)
            both = np.atleast_2d(np.cov(firm.T)) + self.noise**2 * np.eye(len(chosen))
            across = (_cut(curve) - _cut(curve).mean(axis=0)).T @ (firm - firm.mean(axis=0)) / (len(seen) - 1)
            shown = self.expected[chosen] + self.noise * np.random.default_rng(0).standard_normal(seen.shape)
            curve = curve + (shown - seen) @ np.linalg.solve(both, across.T)
        ends = under_ceiling.last_under(self.grid, torch.from_numpy(np.exp(curve)), self.ceiling)
        return float(torch.quantile(ends.nan_to_num(nan=0.0, posinf=1.0), TAILS, interpolation="nearest").diff())


def advise(
    general: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    ceiling: float,
    width: float,
    *,
    pool: str = "",
    proportions: Mapping[str, float] | str | None = None,
    noise: float | None = None,
    candidates: Sequence[Run] | None = None,
    most: int = MOST,
) -> Advice:
    """Return the cheapest runs found after which the critical share at ``budget`` should be known within ``width``.

    A run measures its log loss with standard deviation ``noise`` (default: the fit's); the draws of ``general`` say
    what that tells about the loss at the critical share. Runs are added by expected reduction of its variance a FLOP,
    once for every shortest length allowed; what is not needed is dropped; the cheapest set that should do wins, else
    the one that comes nearest. ``candidates``: by default 19 shares, seven lengths up to the budget's, and the sizes
    fitted up to the budget's. Errors: a ceiling that no share reaches leaves nothing to find.
    """
    if not 0 < width < 1:
        raise SchemaError(f"a width of {width:g}: give the wanted width of the share's 90 % interval, for example 0.1")
    path = share_path.path(general, pools, budget, pool=pool or general.pools[-1], proportions=proportions)
    options = list(candidates) if candidates is not None else _candidates(general, budget)
    ensemble = _ensemble(general, path, options, ceiling, general.noise if noise is None else noise)
    cost = np.array([6 * tokens * params for _, tokens, params in options])
    now, tried = ensemble.width([]), []
    for shortest in sorted({tokens for _, tokens, _ in options}):
        allowed = np.array([tokens >= shortest for _, tokens, _ in options])
        chosen = _greedy(ensemble, cost, allowed, width, most)
        tried.append(_needed(ensemble, cost, chosen, width))
    left = [ensemble.width(chosen) for chosen in tried]
    order = [(w > width, w if w > width else float(cost[one].sum())) for w, one in zip(left, tried, strict=True)]
    best = tried[min(range(len(tried)), key=lambda i: order[i])]
    rows = [(*options[j], float(cost[j]), ensemble.width(best[: i + 1])) for i, j in enumerate(best)]
    columns = {name: pl.Float64 for name in ("share", "tokens", "params", "flops", "width")}
    return Advice(pl.DataFrame(rows, schema=columns, orient="row"), now, rows[-1][-1] if rows else now, width)


def _candidates(general: Predictor, budget: Budget) -> list[Run]:
    sizes = sorted({x for x in (*general.ranges["params"], budget.params) if 0 < x <= budget.params})
    return [(share, length * budget.tokens, size) for share in SHARES for length in LENGTHS for size in sizes]


def _ensemble(
    general: Predictor, path: share_path.Path, options: Sequence[Run], ceiling: float, noise: float
) -> _Ensemble:
    """Follow the draws along the share and at the candidates. The truth is taken to be the fit, or the draw with the
    median critical share where the fit has none."""
    grid = torch.linspace(0.0, 1.0, GRID, dtype=torch.float64)
    shares, tokens, params = (torch.tensor(column, dtype=torch.float64) for column in zip(*options, strict=True))
    along = path.recipes(grid)
    asked = Recipes(path.recipes(shares).weights, tokens, params, path.unique.expand(len(options), -1))
    curve, seen = (general.draw_losses(made).detach().log() for made in (along, asked))
    share = float(under_ceiling.last_under(grid, general.loss(along).detach()[None], ceiling))
    expected = general.loss(asked).detach().log()
    if not np.isfinite(share):
        ends = under_ceiling.last_under(grid, curve.exp(), ceiling)
        inside = torch.nonzero(torch.isfinite(ends))[:, 0]
        if not len(inside):
            what = "no share reaches" if share == np.inf else "share 0 already passes"
            raise FitError(
                f"{what} the ceiling {ceiling:.4g}: there is no critical share to find; change the tolerance"
            )
        middle = int(inside[ends[inside].argsort(stable=True)[len(inside) // 2]])
        share, expected = float(ends[middle]), seen[middle]
    target = general.draw_losses(path.recipes(torch.tensor([share], dtype=torch.float64)))[:, 0].detach().log()
    return _Ensemble(grid, curve.numpy(), seen.numpy(), expected.numpy(), target.numpy(), ceiling, noise)


def _cut(draws: np.ndarray) -> np.ndarray:
    """(b, m) with every column's deviations cut at ROBUST of its scale: a few wild refits would rule covariances."""
    middle = np.median(draws, axis=0)
    scale = 1.4826 * np.median(np.abs(draws - middle), axis=0) * ROBUST
    return np.asarray(np.clip(draws, middle - scale, middle + scale))


def _greedy(ensemble: _Ensemble, cost: np.ndarray, allowed: np.ndarray, width: float, most: int) -> list[int]:
    """Add the run with the largest reduction a FLOP of the variance of the loss at the critical share."""
    k = np.cov(_cut(np.column_stack([ensemble.target, ensemble.seen])).T)
    error, chosen = ensemble.noise**2, list[int]()
    while len(chosen) < most and ensemble.width(chosen) > width:
        gains = k[0, 1:] ** 2 / (k.diagonal()[1:].clip(min=0.0) + error) / cost
        j = int(np.where(allowed, gains, -1.0).argmax())
        chosen.append(j)
        k = k - np.outer(k[:, j + 1], k[j + 1]) / (k[j + 1, j + 1] + error)
    return chosen


def _needed(ensemble: _Ensemble, cost: np.ndarray, chosen: Sequence[int], width: float) -> list[int]:
    """Drop runs, the most expensive first, without which the width is still reached."""
    kept = list(chosen)
    for j in sorted(chosen, key=lambda j: -cost[j]):
        fewer = list(kept)
        fewer.remove(j)
        if ensemble.width(fewer) <= width:
            kept = fewer
    return kept
