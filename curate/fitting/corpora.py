"""Compare corpora: one fit each, where their curves cross in compute, and which to take at which compute."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.fitting.fit import Fit, Options, fit
from curate.runs.recipes import Recipes
from curate.runs.run_table import Runs, check

GRID = 200  # compute points between which crossings are located


@dataclass(frozen=True)
class Crossing:
    """``better`` overtakes ``worse`` at ``flops``; ``low``, ``high`` over the draws in which they cross, ``share`` of
    draws in which they do."""

    worse: str
    better: str
    flops: float
    low: float
    high: float
    share: float


def fit_each(
    data: Runs,
    by: str,
    spec: str,
    evaluation: str,
    *,
    options: Options = Options(),  # noqa: B008
) -> dict[str, Fit]:
    """Fit ``spec`` to the runs of every value of column ``by``."""
    if by not in data.frame.columns:
        raise SchemaError(f"no column {by!r} to compare by: the run table has {', '.join(data.frame.columns)}")
    fits = {}
    for (name,), part in sorted(data.frame.partition_by(by, as_dict=True).items(), key=lambda item: str(item[0])):
        runs = check(part, f"the runs of {by} {name}")
        fits[str(name)] = fit(
            spec, runs.recipes(), runs.loss(evaluation), pools=runs.pools, evaluation=evaluation,
            clusters=runs.clusters, options=options,
        )  # fmt: skip
    if len(fits) < 2:
        raise SchemaError(f"column {by!r} has one value, {next(iter(fits))!r}: nothing to compare")
    return fits


def curve(fit: Fit, flops: np.ndarray, tokens_per_param: float) -> Recipes:
    """Return recipes along a compute grid (FLOPs = 6 N D) at a fixed number of tokens per parameter."""
    params = torch.from_numpy(np.sqrt(flops / (6 * tokens_per_param)))
    p = len(fit.pools)
    weights = torch.full((len(flops), p), 1 / p, dtype=torch.float64)
    return Recipes(
        weights, tokens_per_param * params, params, torch.full((len(flops), p), torch.inf, dtype=torch.float64)
    )


def curves(fits: Mapping[str, Fit], flops: np.ndarray, *, tokens_per_param: float = 20.0) -> pl.DataFrame:
    """Return flops, corpus, loss, low, high and the ``best`` corpus of each compute."""
    rows, values = [], []
    for name, one in fits.items():
        recipes = curve(one, flops, tokens_per_param)
        low, high = one.interval(recipes)
        loss = one.loss(recipes)
        values.append(loss)
        rows.append(
            pl.DataFrame(
                {
                    "flops": flops,
                    "corpus": [name] * len(flops),
                    "loss": loss.numpy(),
                    "low": low.numpy(),
                    "high": high.numpy(),
                }
            )
        )
    names = list(fits)
    best = [names[i] for i in torch.stack(values).argmin(dim=0).tolist()]
    return pl.concat(rows).join(pl.DataFrame({"flops": flops, "best": best}), on="flops", maintain_order="left")


def crossings(fits: Mapping[str, Fit], low: float, high: float, *, tokens_per_param: float = 20.0) -> list[Crossing]:
    """Return where any two corpora cross between ``low`` and ``high`` FLOPs, with intervals over the draws."""
    flops = np.geomspace(low, high, GRID)
    point = {n: f.loss(curve(f, flops, tokens_per_param)) for n, f in fits.items()}
    draws = {n: f.draw_losses(curve(f, flops, tokens_per_param)) for n, f in fits.items()}
    names, found = list(fits), []
    for i, a in enumerate(names):
        for b in names[i + 1 :]:
            at = _cross(point[a] - point[b], flops)
            if at is None:
                continue
            each = [_cross(row, flops) for row in draws[a] - draws[b]]
            hits = [x for x in each if x is not None]
            lower, upper = np.quantile(hits, [0.05, 0.95]) if hits else (np.nan, np.nan)
            worse, better = (a, b) if float(point[a][0]) < float(point[b][0]) else (b, a)
            found.append(Crossing(worse, better, at, float(lower), float(upper), len(hits) / len(each)))
    return found


def _cross(difference: Tensor, flops: np.ndarray) -> float | None:
    """Return the first sign change along the grid, interpolated in log compute."""
    sign = np.sign(difference.numpy())
    change = np.flatnonzero(sign[1:] * sign[:-1] < 0)
    if len(change) == 0:
        return None
    i = int(change[0])
    d = difference.numpy()
    t = d[i] / (d[i] - d[i + 1])
    return float(np.exp(np.log(flops[i]) + t * np.log(flops[i + 1] / flops[i])))


def advice(
    fits: Mapping[str, Fit], found: Sequence[Crossing], low: float, high: float, *, tokens_per_param: float = 20.0
) -> str:
    """Return in words which corpus to take at which compute."""
    flops = np.geomspace(low, high, GRID)
    best = curves(fits, flops, tokens_per_param=tokens_per_param).unique("flops", maintain_order=True)["best"].to_list()
    parts, start = [], 0
    for i in range(1, len(best) + 1):
        if i == len(best) or best[i] != best[start]:
            parts.append(f"{best[start]} from {flops[start]:.2g} to {flops[i - 1]:.2g} FLOPs")
            start = i
    lines = ["take " + "; ".join(parts)]
    lines += [
        f"{c.better} overtakes {c.worse} at {c.flops:.2g} FLOPs ({c.low:.2g} to {c.high:.2g} in the {c.share:.0%} of "
        "draws that cross)"
        for c in found
    ]
    return "\n".join(lines)
