"""Compare corpora: fit each, find the compute at which their loss curves cross, and say which to use where."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import FitError, SchemaError, amount, first_few
from curate.fitting import run_checks
from curate.fitting.fit import Fit, fit, law_of
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs

GRID = 200  # compute points between which crossings are located
TOKENS_PER_PARAM = 20.0  # along the curves, about compute-optimal (Hoffmann et al. 2022)

CROSSING_SCHEMA = {
    "worse": pl.String,
    "better": pl.String,
    "flops": pl.Float64,
    "low": pl.Float64,
    "high": pl.Float64,
    "share": pl.Float64,
}


@dataclass(frozen=True)
class CorpusCrossing:
    """The compute in FLOPs from which the corpus ``better`` has a lower loss than ``worse``.

    The two cross in a ``share`` of all bootstrap draws. ``low`` and ``high`` are the 5 % and 95 % quantiles of the
    compute in these draws, and None where the two cross in no draw.
    """

    worse: str
    better: str
    flops: float
    low: float | None
    high: float | None
    share: float

    def __str__(self) -> str:
        """Return the crossing in words."""
        draws = "in none of the draws"
        if self.low is not None and self.high is not None:
            draws = f"{self.low:.2g} to {self.high:.2g} in the {self.share:.0%} of draws that cross"
        return f"{self.better} overtakes {self.worse} at {self.flops:.2g} FLOPs ({draws})"


@dataclass(frozen=True)
class CorpusFits:
    """The fit of each corpus, and notes on corpora and runs that are left out. ``runs`` are those of the fits."""

    fits: Mapping[str, Fit]
    runs: Runs
    notes: tuple[str, ...]


def fit_each(runs: Runs, by: str, spec: str, evaluation: str, *, options: FitOptions = DEFAULTS) -> CorpusFits:
    """Fit the law ``spec`` to the runs of every value of the column ``by``.

    A value with fewer trainings than the law has parameters is left out, with a note: the priors would decide how its
    corpus compares with the others. So is one whose runs are all alike. Rows without a value are left out too.

    Raises:
        SchemaError: if there is no such column, or it has only one value.
        FitError: if fewer than two corpora have enough trainings.
    """
    refuse_absent(runs, by)
    nameless = np.array([name is None for name in _names(runs, by)])
    parts = runs_of_each(runs, by)
    if len(parts) < 2:
        raise SchemaError(
            f"column {by!r} has {f'only the value {next(iter(parts))!r}' if parts else 'no values'}: comparing corpora "
            "needs two or more values"
        )
    notes = [f"{nameless.sum()} of {len(runs)} rows have no {by}, and are left out"] if nameless.any() else []
    fits: dict[str, Fit] = {}
    for name, part in parts.items():
        needed, count = Coordinates(law_of(spec).params(), len(part.pools)).size, part.trainings.count
        if count < needed:
            notes.append(
                f"{by} {name} is left out: it has {amount(count, 'training')}, and {spec} has {needed} parameters. Add "
                f"{needed - count}, or choose a law with fewer parameters"
            )
        elif not run_checks.varied(part):
            notes.append(
                f"{by} {name} is left out: params, tokens and mixture are the same in all its {len(part)} runs, so "
                "there is nothing to fit. Add runs that differ in at least one of them"
            )
        else:
            fits[name] = _fit_corpus(part, spec, evaluation, options)
    if len(fits) < 2:
        raise FitError(
            f"{len(fits)} of {len(parts)} values of {by} have enough trainings to fit {spec}, and comparing needs two. "
            f"{notes[-1]}"
        )
    fitted = [name in fits for name in _names(runs, by)]
    return CorpusFits(fits, runs.take(np.array(fitted)), tuple(notes))


def refuse_absent(runs: Runs, by: str) -> None:
    """Check that the column of corpora exists.

    Raises:
        SchemaError: if it does not.
    """
    if by not in runs.frame.columns:
        raise SchemaError(
            f"no column {by!r} to compare by. {runs.origin} has the columns {first_few(runs.frame.columns)}"
        )


def notes_on_runs(fitted: CorpusFits, by: str) -> tuple[str, ...]:
    """Return what looks wrong in the losses of each corpus, and what its runs say nothing about."""
    parts = runs_of_each(fitted.runs, by)
    units = [(name, note) for name, part in parts.items() for note in run_checks.units_of_loss(fitted.fits[name], part)]
    # What all corpora share is said once.
    together = run_checks.unvaried(fitted.runs)
    apart = [] if together else [(name, note) for name, part in parts.items() for note in run_checks.unvaried(part)]
    return (*together, *(f"{by} {name}: {note}" for name, note in (*units, *apart)))


def _fit_corpus(runs: Runs, spec: str, evaluation: str, options: FitOptions) -> Fit:
    return fit(
        spec,
        runs.recipes(),
        runs.loss(evaluation),
        pools=runs.pools,
        evaluation=evaluation,
        clusters=runs.clusters,
        options=options,
    )


def runs_of_each(runs: Runs, by: str) -> dict[str, Runs]:
    """Return the runs of each value of the column ``by``, by its name and in the order of the names."""
    names = _names(runs, by)
    return {
        name: replace(runs.take(np.array([other == name for other in names])), origin=f"the runs of {by} {name}")
        for name in sorted({name for name in names if name is not None})
    }


def _names(runs: Runs, by: str) -> list[str | None]:
    """Return the value of the column ``by`` of each run as text, or None where it is empty or NaN."""
    column = runs.frame[by]
    column = column.fill_nan(None) if column.dtype.is_float() else column
    return [None if name is None else str(name) for name in column.to_list()]


def path(fit: Fit, flops: np.ndarray, tokens_per_param: float) -> Recipes:
    """Return recipes along a grid of compute (FLOPs = 6 N D) at a fixed number of tokens per parameter."""
    params = torch.from_numpy(np.sqrt(flops / (6 * tokens_per_param)))
    n, p = len(flops), len(fit.pools)
    # A corpus is usually one pool. One of several pools is compared at equal shares.
    weights = torch.full((n, p), 1 / p, dtype=torch.float64)
    unlimited = torch.full((n, p), torch.inf, dtype=torch.float64)
    return Recipes(weights, tokens_per_param * params, params, unlimited)


def curves(fits: Mapping[str, Fit], flops: np.ndarray, *, tokens_per_param: float = TOKENS_PER_PARAM) -> pl.DataFrame:
    """Return a table of the predicted loss of each corpus at each compute.

    Columns: flops, corpus, loss, low and high (nats per token), and best, the corpus of lowest loss at these flops.
    """
    frames, losses = [], []
    for name, corpus_fit in fits.items():
        recipes = path(corpus_fit, flops, tokens_per_param)
        loss, (low, high) = corpus_fit.loss(recipes), corpus_fit.interval(recipes)
        losses.append(loss)
        columns = {"flops": flops, "corpus": [name] * len(flops), "loss": loss.numpy()}
        frames.append(pl.DataFrame(columns | {"low": low.numpy(), "high": high.numpy()}))
    names = list(fits)
    best = [names[i] for i in torch.stack(losses).argmin(dim=0).tolist()]
    return pl.concat(frames).join(pl.DataFrame({"flops": flops, "best": best}), on="flops", maintain_order="left")


def crossings(
    fits: Mapping[str, Fit], low: float, high: float, *, tokens_per_param: float = TOKENS_PER_PARAM
) -> list[CorpusCrossing]:
    """Return the compute at which the losses of any two corpora cross, between ``low`` and ``high`` FLOPs.

    Intervals come from the bootstrap draws.
    """
    flops = np.geomspace(low, high, GRID)
    paths = {name: path(corpus_fit, flops, tokens_per_param) for name, corpus_fit in fits.items()}
    losses = {name: corpus_fit.loss(paths[name]) for name, corpus_fit in fits.items()}
    draws = {name: corpus_fit.draw_losses(paths[name]) for name, corpus_fit in fits.items()}
    names, result = list(fits), []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            crossing = _first_crossing(losses[a] - losses[b], flops)
            if crossing is None:
                continue
            of_draws = [_first_crossing(row, flops) for row in draws[a] - draws[b]]
            crossed = [x for x in of_draws if x is not None]
            # JSON has no NaN: what no draw tells is null.
            lower, upper = np.quantile(crossed, [0.05, 0.95]).tolist() if crossed else (None, None)
            worse, better = (a, b) if float(losses[a][0]) < float(losses[b][0]) else (b, a)
            share = len(crossed) / len(of_draws)
            result.append(CorpusCrossing(worse, better, crossing, lower, upper, share))
    return result


def _first_crossing(difference: Tensor, flops: np.ndarray) -> float | None:
    """Return the FLOPs at which (m,) differences of loss first change sign, interpolated in log compute."""
    values = difference.numpy()
    sign = np.sign(values)
    # A product of signs below 0 is a change; corpora that touch without crossing give 0.
    change = np.flatnonzero(sign[1:] * sign[:-1] < 0)
    if len(change) == 0:
        return None
    i = int(change[0])
    share = values[i] / (values[i] - values[i + 1])
    return float(np.exp(np.log(flops[i]) + share * np.log(flops[i + 1] / flops[i])))


def advice(
    fits: Mapping[str, Fit],
    crossed: Sequence[CorpusCrossing],
    low: float,
    high: float,
    *,
    tokens_per_param: float = TOKENS_PER_PARAM,
) -> str:
    """Return in words which corpus to take at which compute, between ``low`` and ``high`` FLOPs."""
    flops = np.geomspace(low, high, GRID)
    lines = curves(fits, flops, tokens_per_param=tokens_per_param)
    best = lines.unique("flops", maintain_order=True)["best"].to_list()
    stretches, start = [], 0
    for i in range(1, len(best) + 1):
        if i == len(best) or best[i] != best[start]:
            stretches.append(f"{best[start]} from {flops[start]:.2g} to {flops[i - 1]:.2g} FLOPs")
            start = i
    return "\n".join(["take " + "; ".join(stretches), *map(str, crossed)])
