"""What the D-CPT law is used for, with any fitted law (Que et al. 2024, arXiv 2406.01375): the best share under a
tolerance, the best share of a domain corpus that is limited, and model size against tokens at fixed compute.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import numpy as np
import polars as pl
import torch
from scipy.optimize import minimize_scalar
from torch import Tensor

from curate.continual import share_path
from curate.errors import FitError, Infeasible, SchemaError
from curate.planning import extrapolation
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

SHARES = 401
SIZES = 401
SHOWN = 10  # every so many shares are rows of a curve
WIDEST = 1e4  # model sizes that are looked at: so many times beyond those fitted on either side
TAILS = torch.tensor([0.05, 0.95], dtype=torch.float64)


@dataclass(frozen=True)
class Limited:
    """The best share of a domain corpus that is seen once: total tokens = its tokens / share.

    ``loss`` with ``loss_low``, ``loss_high``: domain loss of a new run (90 %). ``low``, ``high``: 90 % interval of the
    share over the bootstrap draws. ``curve``: share, tokens, domain, domain_low, domain_high.
    """

    budget: Budget
    share: float
    low: float
    high: float
    loss: float
    loss_low: float
    loss_high: float
    limits: tuple[str, ...]
    curve: pl.DataFrame

    def table(self) -> pl.DataFrame:
        """Return the curve."""
        return self.curve


@dataclass(frozen=True)
class Allocation:
    """Parameters and tokens with the lowest loss for ``budget.flops`` = 6 N D, at one mixture.

    ``params_low``, ``params_high``: 90 % interval of the best size over the bootstrap draws; ``low``, ``high`` of the
    loss of a new run.
    """

    budget: Budget
    params_low: float
    params_high: float
    loss: float
    low: float
    high: float
    limits: tuple[str, ...]


def best_measured(shares: np.ndarray, general: np.ndarray, domain: np.ndarray, ceiling: float) -> tuple[float, float]:
    """Return the measured share with the lowest domain loss among those with general loss <= ceiling, and that loss.

    (n,) runs of one budget. Use ``curate.continual.critical_ratio.critical_ratio(...).best`` for shares that were not
    run.
    """
    under = np.asarray(general) <= ceiling
    if not under.any():
        raise Infeasible(
            f"the lowest general loss, {np.min(general):.4f}, is above the ceiling {ceiling:.4f}: raise the tolerance, "
            "run smaller shares, or train longer"
        )
    i = int(np.where(under, domain, np.inf).argmin())
    return float(shares[i]), float(domain[i])


def limited(
    domain: Predictor,
    available: float,
    params: float,
    *,
    pool: str = "",
    pools: Sequence[Pool] = (),
    proportions: Mapping[str, float] | None = None,
) -> Limited:
    """Return the share of ``pool`` (default: the last) that makes most of ``available`` unique domain tokens.

    Replay stretches the training: D = available / share. ``pools``: unique tokens of the others. Shares are those
    fitted.
    """
    pool = pool or domain.pools[-1]
    if not (isfinite(available) and available > 0):
        raise SchemaError(f"{available:g} domain tokens: give the unique tokens of {pool}, for example 5e9")
    low, high = domain.ranges[f"share of {pool}"]
    shares = torch.linspace(max(low, 1e-3), high, SHARES, dtype=torch.float64)
    others = [one for one in pools if one.name != pool]
    path = share_path.path(
        domain, [*others, Pool(pool, available, 1)], Budget(available, params), pool=pool, proportions=proportions
    )
    made = path.recipes(shares)
    made = Recipes(made.weights, available / shares, made.params, made.unique)
    losses, (lows, highs) = domain.loss(made).detach(), domain.interval(made)
    i = int(losses.argmin())
    ends = torch.quantile(shares[domain.draw_losses(made).argmin(dim=1)], TAILS).tolist()
    notes = list(extrapolation.warnings([domain], made.take(np.array([i]))))
    if i in (0, SHARES - 1) and low < high:
        notes.append(f"the best share is at the edge of the fitted ones, {low:.3g} to {high:.3g}: run shares beyond it")
    columns = {"share": shares, "tokens": made.tokens, "domain": losses, "domain_low": lows, "domain_high": highs}
    return Limited(
        budget=Budget(float(made.tokens[i]), params),
        share=float(shares[i]),
        low=ends[0],
        high=ends[1],
        loss=float(losses[i]),
        loss_low=float(lows[i]),
        loss_high=float(highs[i]),
        limits=tuple(notes),
        curve=pl.DataFrame({name: column[::SHOWN].detach().numpy() for name, column in columns.items()}),
    )


def allocate(
    predictor: Predictor, flops: float, weights: Mapping[str, float], *, pools: Sequence[Pool] = ()
) -> Allocation:
    """Return N and D = flops / (6 N) with the lowest predicted loss at a fixed mixture ``weights``.

    ``pools``: unique tokens on hand; others are not limiting. Errors: runs of one size say nothing about size.
    """
    smallest, largest = predictor.ranges["params"]
    if smallest == largest:
        raise FitError(
            f"all runs have {smallest:.3g} parameters: they say nothing about size; add runs of another size, or fix N"
        )
    if not (isfinite(flops) and flops > 0):
        raise SchemaError(f"compute of {flops:g} FLOPs: it must be positive, for example 1e20 = 6 N D")
    names = predictor.pools
    if odd := sorted(set(weights) - set(names)):
        raise SchemaError(f"no pool {odd[0]!r} in the fit: it knows {', '.join(names)}")
    mixture = torch.tensor([[weights.get(name, 0.0) for name in names]], dtype=torch.float64)
    unique = share_path.on_hand(names, pools)

    def recipes(log_n: Tensor) -> Recipes:
        n = log_n.exp()
        return Recipes(mixture.expand(len(n), -1), flops / (6 * n), n, unique.expand(len(n), -1))

    grid = torch.linspace(np.log(smallest / WIDEST), np.log(largest * WIDEST), SIZES, dtype=torch.float64)
    made = recipes(grid)
    i = int(predictor.loss(made).argmin())
    notes = [] if 0 < i < SIZES - 1 else ["loss has no lowest point in size: the law trades size for tokens one way"]
    cell = (float(grid[max(i - 1, 0)]), float(grid[min(i + 1, SIZES - 1)]))
    found = minimize_scalar(
        lambda x: float(predictor.loss(recipes(torch.tensor([x], dtype=torch.float64)))[0]),
        bounds=cell, method="bounded", options={"xatol": 1e-6},
    )  # fmt: skip
    here = recipes(torch.tensor([float(found.x)], dtype=torch.float64))
    low, high = (float(x[0]) for x in predictor.interval(here))
    ends = torch.quantile(grid[predictor.draw_losses(made).argmin(dim=1)], TAILS).exp().tolist()
    return Allocation(
        budget=Budget(float(here.tokens[0]), float(here.params[0])),
        params_low=ends[0],
        params_high=ends[1],
        loss=float(predictor.loss(here)[0]),
        low=low,
        high=high,
        limits=(*notes, *extrapolation.warnings([predictor], here)),
    )
