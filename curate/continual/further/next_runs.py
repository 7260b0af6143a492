"""Suggest which shares and lengths to run next, so that the critical ratio is known within a width, at least cost."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from curate.continual import share_path, under_ceiling
from curate.continual.share_path import SharePath
from curate.errors import FitError, SchemaError
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

Candidate = tuple[float, float, float]  # a run: share of the domain's pool, tokens, params

SHARES = tuple(round(0.05 * i, 2) for i in range(1, 20))
LENGTHS = (1 / 64, 1 / 32, 1 / 16, 1 / 8, 1 / 4, 1 / 2, 1.0)  # of the budget's tokens
MOST = 12  # runs that are suggested at once
GRID = 201  # shares on which the curve at the budget is followed
ROBUST = 3.0  # standard deviations at which a draw's deviation is cut before covariances are taken
TAILS = torch.tensor([0.05, 0.95], dtype=torch.float64)  # of a 90 % interval
COLUMNS = ("share", "tokens", "params", "flops", "width")


@dataclass(frozen=True)
class NextRuns:
    """Suggested runs, and how well the critical ratio would be known after them.

    ``runs``: one row a run, in the order to run them, with the columns share, tokens, params, flops, and width: the
    width expected after this run and those above it. All widths are of the 90 % interval of the critical share that
    the law gives: ``present_width`` over the bootstrap draws, ``expected_width`` after all runs, ``target_width`` as
    the user wants it. They leave out the noise of the run that meets the ceiling. `CriticalRatio` counts that noise,
    and no other run reduces it.
    """

    runs: pl.DataFrame
    present_width: float
    expected_width: float
    target_width: float

    @property
    def flops(self) -> float:
        """The compute of all runs, 6 x tokens x params."""
        return float(self.runs["flops"].sum())

    @property
    def reached(self) -> bool:
        """Whether the runs are expected to be enough."""
        return self.expected_width <= self.target_width

    def table(self) -> pl.DataFrame:
        """Return the suggested runs, one row each."""
        return self.runs

    def to_json(self) -> dict[str, object]:
        """Return the field ``next_runs`` of cmr.json."""
        return {
            "now": self.present_width,
            "expected": self.expected_width,
            "asked": self.target_width,
            "runs": self.runs.to_dicts(),
        }


@dataclass(frozen=True)
class NothingToRun:
    """The reason why no runs are suggested: no share passes the ceiling, or all do."""

    target_width: float
    why: str

    def to_json(self) -> dict[str, object]:
        """Return the field ``next_runs`` of cmr.json."""
        return {"asked": self.target_width, "why": self.why}


@dataclass(frozen=True)
class Ensemble:
    """Log losses of b bootstrap draws.

    ``curve`` (b, g): along the shares ``grid`` at the budget. ``candidates`` (b, m): of the candidate runs;
    ``expected`` (m,): of these by the fit. ``target`` (b,): at the fit's own critical share. ``noise``: standard
    deviation of the log loss of a run.
    """

    grid: torch.Tensor
    curve: np.ndarray
    candidates: np.ndarray
    expected: np.ndarray
    target: np.ndarray
    ceiling: float
    noise: float

    def width(self, chosen: Sequence[int]) -> float:
        """Return the width of the critical share's interval after the chosen runs.

        This is an ensemble Kalman update (Evensen 2003). Every draw moves towards what the fit expects the runs to
        show, with their noise, by the covariances over the draws.
        """
        curve = self.curve
        if chosen:
            predicted = self.candidates[:, chosen]
            trimmed, trimmed_curve = _trimmed(predicted), _trimmed(curve)
            covariance = np.atleast_2d(np.cov(trimmed.T)) + self.noise**2 * np.eye(len(chosen))
            deviations = trimmed - trimmed.mean(axis=0)
            across = (trimmed_curve - trimmed_curve.mean(axis=0)).T @ deviations / (len(predicted) - 1)
            noise = self.noise * np.random.default_rng(0).standard_normal(predicted.shape)
            shown = self.expected[chosen] + noise
            curve = curve + (shown - predicted) @ np.linalg.solve(covariance, across.T)
        # The share is read off only after the update: it is far from linear in the losses.
        ends = under_ceiling.last_under(self.grid, torch.from_numpy(np.exp(curve)), self.ceiling)
        return float(torch.quantile(ends.nan_to_num(nan=0.0, posinf=1.0), TAILS, interpolation="nearest").diff())


def suggest(
    general: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    ceiling: float,
    width: float,
    *,
    pool: str = "",
    proportions: Mapping[str, float] | str | None = None,
    noise: float | None = None,
    candidates: Sequence[Candidate] | None = None,
    most: int = MOST,
) -> NextRuns:
    """Suggest the cheapest runs that should narrow the critical share at ``budget`` to this width.

    ``noise``: standard deviation of the log loss of a run, by default the fit's. ``candidates``: runs to choose from;
    by default 19 shares, seven lengths up to the budget's, and the fitted sizes up to the budget's. ``most``: runs at
    most. For the other arguments see ``critical_ratio``.

    The draws of ``general`` tell what a run says about the loss at the critical share. Runs are added by the expected
    reduction of its variance a FLOP. This is done once for every shortest length allowed, and runs that are not needed
    are dropped again. The cheapest set that should be enough wins; if none is, the set that comes nearest.

    Raises:
        FitError: if no share reaches the ceiling, so that there is no critical share.
        SchemaError: if the width is not between 0 and 1.
    """
    if not 0 < width < 1:
        raise SchemaError(f"a width of {width:g}: give the wanted width of the share's 90 % interval, for example 0.1")
    path = share_path.share_path(general, pools, budget, pool=pool or general.pools[-1], proportions=proportions)
    options = list(candidates) if candidates is not None else _candidates(general, budget)
    ensemble = _ensemble(general, path, options, ceiling, general.noise if noise is None else noise)
    flops = np.array([6 * tokens * params for _, tokens, params in options])
    sets = []
    for shortest in sorted({tokens for _, tokens, _ in options}):
        allowed = np.array([tokens >= shortest for _, tokens, _ in options])
        chosen = _greedy(ensemble, flops, allowed, width, most)
        sets.append(_needed(ensemble, flops, chosen, width))
    best = min(sets, key=lambda chosen: _rank(ensemble, flops, chosen, width))
    rows = [(*options[j], float(flops[j]), ensemble.width(best[: i + 1])) for i, j in enumerate(best)]
    runs = pl.DataFrame(rows, schema=dict.fromkeys(COLUMNS, pl.Float64), orient="row")
    present = ensemble.width([])
    return NextRuns(runs, present, rows[-1][-1] if rows else present, width)


def _rank(ensemble: Ensemble, flops: np.ndarray, chosen: list[int], width: float) -> tuple[bool, float]:
    """Return what to minimise over sets of runs: cost where the width is reached, else the width."""
    after = ensemble.width(chosen)
    return (after > width, after if after > width else float(flops[chosen].sum()))


def _candidates(general: Predictor, budget: Budget) -> list[Candidate]:
    sizes = sorted({x for x in (*general.ranges["params"], budget.params) if 0 < x <= budget.params})
    return [(share, length * budget.tokens, size) for share in SHARES for length in LENGTHS for size in sizes]


def _ensemble(
    general: Predictor, path: SharePath, options: Sequence[Candidate], ceiling: float, noise: float
) -> Ensemble:
    """Predict every draw along the share and at the candidates.

    The fit counts as the truth. Where it has no critical share, the draw with the median critical share does.
    """
    grid = torch.linspace(0.0, 1.0, GRID, dtype=torch.float64)
    shares, tokens, params = (torch.tensor(column, dtype=torch.float64) for column in zip(*options, strict=True))
    along = path.recipes(grid)
    runs = Recipes(path.recipes(shares).weights, tokens, params, path.unique.expand(len(options), -1))
    curve, candidates = (general.draw_losses(recipes).detach().log() for recipes in (along, runs))
    share = float(under_ceiling.last_under(grid, general.loss(along).detach()[None], ceiling))
    expected = general.loss(runs).detach().log()
    if not np.isfinite(share):
        ends = under_ceiling.last_under(grid, curve.exp(), ceiling)
        inside = torch.nonzero(torch.isfinite(ends))[:, 0]
        if not len(inside):
            what = "no share reaches" if share == np.inf else "share 0 already passes"
            raise FitError(
                f"{what} the ceiling {ceiling:.4g}: there is no critical share to find; change the tolerance"
            )
        median = int(inside[ends[inside].argsort(stable=True)[len(inside) // 2]])
        share, expected = float(ends[median]), candidates[median]
    target = general.draw_losses(path.recipe(share))[:, 0].detach().log()
    return Ensemble(grid, curve.numpy(), candidates.numpy(), expected.numpy(), target.numpy(), ceiling, noise)


def _trimmed(draws: np.ndarray) -> np.ndarray:
    """Return (b, m) draws with the deviations of every column cut at ROBUST of its scale.

    Otherwise a few wild refits would rule the covariances.
    """
    median = np.median(draws, axis=0)
    # 1.4826 times the median absolute deviation is the standard deviation of normal draws.
    scale = 1.4826 * np.median(np.abs(draws - median), axis=0) * ROBUST
    return np.asarray(np.clip(draws, median - scale, median + scale))


def _greedy(ensemble: Ensemble, flops: np.ndarray, allowed: np.ndarray, width: float, most: int) -> list[int]:
    """Add the run that reduces the variance of the loss at the critical share most a FLOP, until it is enough."""
    # Row and column 0 are the loss at the critical share, the others the candidate runs.
    covariance = np.cov(_trimmed(np.column_stack([ensemble.target, ensemble.candidates])).T)
    error, chosen = ensemble.noise**2, list[int]()
    while len(chosen) < most and ensemble.width(chosen) > width:
        gains = covariance[0, 1:] ** 2 / (covariance.diagonal()[1:].clip(min=0.0) + error) / flops
        j = int(np.where(allowed, gains, -1.0).argmax())
        chosen.append(j)
        # Condition all losses on what this run will show.
        column, row = covariance[:, j + 1], covariance[j + 1]
        covariance = covariance - np.outer(column, row) / (covariance[j + 1, j + 1] + error)
    return chosen


def _needed(ensemble: Ensemble, flops: np.ndarray, chosen: Sequence[int], width: float) -> list[int]:
    """Drop runs, the most expensive first, without which the width is still reached."""
    kept = list(chosen)
    for j in sorted(chosen, key=lambda j: -flops[j]):
        fewer = list(kept)
        fewer.remove(j)
        if ensemble.width(fewer) <= width:
            kept = fewer
    return kept
