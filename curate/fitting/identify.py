"""What the runs can and cannot tell: condition of the fit, profile likelihood of every parameter, runs to add."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate import open_sets
from curate.fitting import least_squares
from curate.fitting.coordinates import Coordinates
from curate.fitting.fit import Fit
from curate.fitting.multistart import CHUNK_CELLS, TUNED
from curate.laws import Law
from curate.runs.recipes import Recipes

WIDEST = 6.0  # half-width of the profile, in log units (a factor of 400) or natural units
OFFSETS = (*(-np.geomspace(WIDEST, 2e-3, 15)), 0.0, *np.geomspace(2e-3, WIDEST, 15))  # fine near the solution
POINTS = len(OFFSETS)
CHI2 = 2.706  # 90 % quantile of chi-square with one degree of freedom (Wilks)
UNKNOWN = 3.0  # log units: a 90 % interval wider than this (a factor of 20) is "cannot tell"


@dataclass(frozen=True)
class Identified:
    """``rows``: one row a parameter: value, low, high (90 % profile likelihood, no prior), open (an end is at the edge
    of the profile), verdict. ``condition``: of the Jacobian with unit columns; over 1e4 some combination is free."""

    rows: pl.DataFrame
    condition: float

    def table(self) -> pl.DataFrame:
        """Return the parameters."""
        return self.rows

    @property
    def unknown(self) -> tuple[str, ...]:
        """Names of the parameters that the runs cannot tell."""
        return tuple(self.rows.filter(pl.col("verdict") != "known")["param"])


def identify(fit: Fit, recipes: Recipes, loss: np.ndarray) -> Identified:
    """Profile every parameter of a fit on its own runs: hold it at 31 values, refit the others from the solution.

    The interval holds the values whose Huber objective, in units of the squared residual scale, rises by less than
    1.35 (half the 90 % chi-square quantile). No prior is used: this is what the runs alone say.
    """
    law = cast(Law, open_sets.build("laws", fit.spec))
    coordinates = Coordinates(law.params(), len(fit.pools))
    k, n = coordinates.size, len(recipes)
    best = coordinates.point(fit.theta)
    target = torch.from_numpy(np.log(loss))

    def predict(u: Tensor, row: least_squares.Rows) -> Tensor:
        return law.loss(coordinates.theta(u), Recipes.single(row)).log()[0]

    slopes, predicted = least_squares.jacobian(predict, best[None], recipes.rows)
    left = predicted[0] - target
    noise = float((1.4826 * left.abs().median()).clamp_min(1e-6))
    unit = slopes[0] / slopes[0].norm(dim=0).clamp_min(1e-300)
    singular = torch.linalg.svdvals(unit)
    steps = torch.tensor(OFFSETS, dtype=torch.float64)
    starts = best.repeat(k * POINTS, 1)
    held = torch.arange(k).repeat_interleave(POINTS)
    starts[torch.arange(k * POINTS), held] += steps.repeat(k)
    stiff = torch.zeros(k * POINTS, k, dtype=torch.float64)
    stiff[torch.arange(k * POINTS), held] = 1e6  # holds the profiled coordinate where it is put
    found = least_squares.least_squares(
        predict,
        recipes.rows,
        least_squares.Problems(
            start=starts, target=target.expand(k * POINTS, n), weights=torch.ones(k * POINTS, n, dtype=torch.float64),
            delta=torch.full((k * POINTS,), TUNED * noise, dtype=torch.float64), centre=starts.clone(), precision=stiff,
        ),
        steps=60, tol=1e-6, chunk=max(1, CHUNK_CELLS // (n * max(k, 8 * len(fit.pools)))),
    )  # fmt: skip
    rise = (found.objective - found.objective.min()).reshape(k, POINTS) / noise**2
    names = coordinates.labels(fit.pools)
    rows = [_row(name, coordinates, best, i, steps, rise[i]) for i, name in enumerate(names)]
    return Identified(pl.DataFrame(rows), float(singular[0] / singular[-1].clamp_min(1e-300)))


def _row(name: str, coordinates: Coordinates, best: Tensor, i: int, steps: Tensor, rise: Tensor) -> dict[str, object]:
    middle = POINTS // 2
    low, high = -_end(-steps[: middle + 1].flip(0), rise[: middle + 1].flip(0)), _end(steps[middle:], rise[middle:])

    def value(step: float) -> float:
        moved = best.clone()
        moved[i] += step
        flat = torch.cat([x.reshape(-1) for x in coordinates.theta(moved).values()])
        return float(flat[i])

    edges = [end for end, at in (("below", low <= -WIDEST), ("above", high >= WIDEST)) if at]
    verdict = "known" if high - low < UNKNOWN else "cannot tell"
    return {
        "param": name,
        "value": value(0.0),
        "low": value(low),
        "high": value(high),
        "open": " and ".join(edges),
        "verdict": verdict,
    }


def _end(offsets: Tensor, rise: Tensor) -> float:
    """Return the offset, from 0 outwards, at which the rise first passes the limit; the last where it never does."""
    out = torch.nonzero(rise >= CHI2 / 2)
    if len(out) == 0:
        return float(offsets[-1])
    i = int(out[0])
    if i == 0:
        return 0.0
    t = (CHI2 / 2 - rise[i - 1]) / (rise[i] - rise[i - 1])
    return float(offsets[i - 1] + t.clamp(0, 1) * (offsets[i] - offsets[i - 1]))


def most_telling(fit: Fit, candidates: Recipes, *, count: int = 3) -> list[int]:
    """Return positions of the ``count`` candidate runs whose loss the bootstrap draws disagree about most.

    Greedy: after each pick the draws' disagreement that it would settle is projected out (batch D-optimality of the
    ensemble), so that the picks tell different things.
    """
    draws = fit.draw_losses(candidates).log()
    centred = draws - draws.mean(dim=0)
    chosen: list[int] = []
    for _ in range(min(count, centred.shape[1])):
        variance = (centred**2).mean(dim=0)
        variance[chosen] = -1.0
        best = int(variance.argmax())
        chosen.append(best)
        column = centred[:, best]
        denominator = (column**2).sum() + len(column) * fit.noise**2
        centred = centred - torch.outer(column, (column @ centred) / denominator)
    return chosen


def explain(fit: Fit, identified: Identified, compared: pl.DataFrame, advice: Sequence[str]) -> str:
    """Return in words which law, why, what the runs cannot tell, and which runs would tell most."""
    best = compared.row(0, named=True)
    lines = [
        f"{fit.spec} predicts held-out runs best: {best['heldout']:.2%} mean error (90 % interval {best['low']:.2%} to "
        f"{best['high']:.2%}, bias {best['bias']:+.2%}) over {best['rows']} runs."
    ]
    rivals = compared.filter(pl.col("heldout").is_not_null() & (pl.col("law") != best["law"]))
    close = rivals.filter(pl.col("low") <= best["high"])["law"].to_list()
    if close:
        lines.append(f"These runs cannot tell it from {', '.join(close)}: their intervals overlap. Consider --stack.")
    elif rivals.height:
        lines.append(f"The next law, {rivals['law'][0]}, errs by {rivals['heldout'][0]:.2%}.")
    if identified.unknown:
        lines.append(
            f"The runs alone cannot tell {', '.join(identified.unknown)} within a factor of 20; there the law's weak "
            "priors decide, and the intervals say so."
        )
    if identified.condition > 1e4:
        lines.append(f"Some combination of parameters is free (condition number {identified.condition:.1e}).")
    lines += [f"A run that would tell much: {text}." for text in advice]
    return "\n".join(lines)
