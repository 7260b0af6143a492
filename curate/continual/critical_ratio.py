"""The critical mixture ratio: how much domain data continual pretraining takes before general loss passes a ceiling."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import isfinite

import polars as pl
import torch
from torch import Tensor

from curate.continual import share_path, under_ceiling
from curate.errors import SchemaError
from curate.planning import extrapolation
from curate.pool.pool import Budget, Pool
from curate.runs.predictor import Predictor
from curate.runs.recipes import Recipes

GRID = 401  # shares that are scanned
SHOWN = 10  # every so many of them are rows of the trade-off
LEVEL = 0.9


@dataclass(frozen=True)
class CriticalRatio:
    """The largest share of ``pool`` with predicted general loss <= ``ceiling``, for one budget.

    ``share``: None where it is not reached up to ``examined``, the largest share looked at, or where share 0 is over
    already; ``note`` says which. ``low``, ``high``: its 90 % interval, where the upper and the lower bound of a new
    run's general loss (parameters, run noise and held-out error together) meet the ceiling (0: over it everywhere,
    None: above ``examined``). ``safe``: the share up to which the upper bound is under the ceiling: ``low``, or
    ``examined`` where that is None, or None where no share is safe. ``best``: share with the lowest domain loss among
    those under the ceiling (None: there are none), ``best_anywhere`` among all examined. ``at``: ``share``, or else
    the largest share under the ceiling, or else 0; ``weights``, ``epochs``: the mixture there; ``gain``: domain loss
    of the start minus that of a new run there, with its 90 % interval. ``feasible``: all intervals of shares under the
    ceiling. ``limits``: what warns. ``curve``: the trade-off.
    """

    budget: Budget
    pool: str
    ceiling: float
    share: float | None
    low: float | None
    high: float | None
    safe: float | None
    best: float | None
    best_anywhere: float
    at: float
    weights: Mapping[str, float]
    epochs: Mapping[str, float]
    gain: tuple[float, float, float] | None
    feasible: tuple[tuple[float, float], ...]
    examined: float
    note: str
    limits: tuple[str, ...]
    curve: pl.DataFrame

    def table(self) -> pl.DataFrame:
        """Return the trade-off, one row a share: share; general and domain loss in nats per token, each with low and
        high of a new run; domain_epochs, replay_epochs (the most of any other pool)."""
        return self.curve


def critical_ratio(
    general: Predictor,
    domain: Predictor,
    pools: Sequence[Pool],
    budget: Budget,
    ceiling: float,
    *,
    pool: str = "",
    start: float | None = None,
    proportions: Mapping[str, float] | str | None = None,
    largest: float | None = None,
    level: float = LEVEL,
) -> CriticalRatio:
    """Scan the share of the domain's ``pool`` (default: the last of the fit) at ``budget`` for the ceiling.

    ``general``, ``domain``: fitted losses over the same pools. ``pools``: unique tokens on hand; a pool that is not
    listed is not limiting. ``start``: domain loss before training, for the gain. ``proportions`` of the other pools:
    by name, None: by size, or "best": what predicts the lowest general loss. ``largest``: share up to which to look,
    by default the largest fitted. General loss need not rise with the share: the critical share is the end of the last
    interval under the ceiling.
    """
    pool = pool or general.pools[-1]
    examined = _examined(general, domain, pool, largest)
    if not (isfinite(ceiling) and ceiling > 0):
        raise SchemaError(
            f"the ceiling of general loss is {ceiling}: give nats per token, for example that of the start + 0.05"
        )
    path = share_path.path(general, pools, budget, pool=pool, proportions=proportions)
    grid = torch.linspace(0.0, examined, GRID, dtype=torch.float64)
    made = path.recipes(grid)
    losses = general.loss(made).detach()
    share = float(under_ceiling.last_under(grid, losses[None], ceiling))
    if isfinite(share):
        share = _exact(general, path, share, grid, ceiling)
    at = 0.0 if share != share else min(share, examined)
    bounds = torch.stack(general.interval(made, level)).detach()
    # The point is among the losses a run may show: far from the runs the draws' bounds can leave it out.
    bounds = torch.stack([torch.minimum(bounds[0], losses), torch.maximum(bounds[1], losses)])
    high, safe = under_ceiling.last_under(grid, bounds, ceiling).tolist()
    low, high = (0.0 if x != x else x for x in (safe, high))
    best, anywhere = _best(domain, path, grid, losses <= ceiling, at)
    here = path.recipes(torch.tensor([at], dtype=torch.float64))
    feasible = under_ceiling.pieces(grid, losses, ceiling)
    return CriticalRatio(
        budget=budget,
        pool=pool,
        ceiling=ceiling,
        share=share if isfinite(share) else None,
        low=low if isfinite(low) else None,
        high=high if isfinite(high) else None,
        safe=None if safe != safe else min(safe, examined),
        best=best,
        best_anywhere=anywhere,
        at=at,
        weights=dict(zip(general.pools, here.weights[0].tolist(), strict=True)),
        epochs=dict(zip(general.pools, here.epochs[0].tolist(), strict=True)),
        gain=None if start is None else _gain(domain, here, start, level),
        feasible=feasible,
        examined=examined,
        note=_note(share, examined, feasible, float(losses[0]), ceiling),
        limits=extrapolation.warnings((general, domain), here),
        curve=_curve(general, domain, path.recipes(grid[::SHOWN]), path.pool, level),
    )


def ceiling_of(start: float, tolerance: float, *, relative: bool = False) -> float:
    """Return the ceiling of general loss: ``start`` + tolerance in nats, or start * (1 + tolerance) if ``relative``."""
    if not (isfinite(tolerance) and tolerance >= 0):
        raise SchemaError(f"the tolerance is {tolerance}: it must be 0 or more, for example 0.05 nats (or 0.03: 3 %)")
    return start * (1 + tolerance) if relative else start + tolerance


def _examined(general: Predictor, domain: Predictor, pool: str, largest: float | None) -> float:
    """Return the largest share to look at; check that the fits know the same pools."""
    if general.pools != domain.pools or pool not in general.pools:
        raise SchemaError(
            f"pool {pool!r}: the fits of general and domain loss know {', '.join(general.pools)} and "
            f"{', '.join(domain.pools)}; fit both on the same runs, and name one of their pools"
        )
    fitted = min(one.ranges[f"share of {pool}"][1] for one in (general, domain))
    examined = fitted if largest is None else largest
    if not 0 < examined <= 1:
        raise SchemaError(f"shares of {pool} up to {examined:g}: the largest must be over 0 and at most 1")
    return examined


def _exact(general: Predictor, path: share_path.Path, share: float, grid: Tensor, ceiling: float) -> float:
    """Bisect inside the cell of the grid in which the curve ends under the ceiling."""
    cell = min(int(torch.searchsorted(grid, share, right=True)), len(grid) - 1)

    def curve(x: float) -> float:
        return float(general.loss(path.recipes(torch.tensor([x], dtype=torch.float64))))

    return under_ceiling.bisect(curve, float(grid[cell - 1]), float(grid[cell]), ceiling)


def _best(
    domain: Predictor, path: share_path.Path, grid: Tensor, under: Tensor, at: float
) -> tuple[float | None, float]:
    """Return the shares with the lowest domain loss: under the ceiling (its exact end ``at`` included), and of all."""
    shares = torch.cat([grid, torch.tensor([at], dtype=torch.float64)])
    losses = domain.loss(path.recipes(shares)).detach()
    allowed = torch.cat([under, under.any()[None]])
    inside = float(shares[torch.where(allowed, losses, torch.inf).argmin()]) if bool(under.any()) else None
    return inside, float(shares[losses.argmin()])


def _gain(domain: Predictor, here: Recipes, start: float, level: float) -> tuple[float, float, float]:
    low, high = (float(bound[0]) for bound in domain.interval(here, level))
    return start - float(domain.loss(here)[0]), start - high, start - low


def _note(
    share: float, examined: float, feasible: tuple[tuple[float, float], ...], first: float, ceiling: float
) -> str:
    """Return in words whether and where the ceiling is reached."""
    if share != share:
        return f"already over at 0: general loss {first:.4f} without domain data is above the ceiling {ceiling:.4f}"
    said = f"not reached: above {examined:.3g}" if share > examined else f"reached at {share:.3g}"
    if len(feasible) == 1 and feasible[0][0] == 0.0:
        return said
    parts = " and ".join(f"{low:.3g} to {high:.3g}" for low, high in feasible)
    return f"{said}; only {parts} are under the ceiling: general loss does not simply rise with the share"


def _curve(general: Predictor, domain: Predictor, made: Recipes, pool: int, level: float) -> pl.DataFrame:
    columns: dict[str, Tensor] = {"share": made.weights[:, pool]}
    for name, one in (("general", general), ("domain", domain)):
        low, high = one.interval(made, level)
        columns |= {name: one.loss(made), f"{name}_low": low, f"{name}_high": high}
    others = [i for i in range(made.epochs.shape[1]) if i != pool]
    columns |= {"domain_epochs": made.epochs[:, pool], "replay_epochs": made.epochs[:, others].amax(dim=1)}
    return pl.DataFrame({name: column.detach().numpy() for name, column in columns.items()})


def table(ratios: Sequence[CriticalRatio]) -> pl.DataFrame:
    """Return one row a budget: tokens, params, ceiling, share, low, high, safe, best, best_anywhere, gain with low and
    high, epochs of the domain and the most of any other pool, note."""
    return pl.DataFrame([_row(one) for one in ratios], infer_schema_length=None)


def _row(one: CriticalRatio) -> dict[str, object]:
    gain = one.gain or (None, None, None)
    return {
        "tokens": one.budget.tokens, "params": one.budget.params, "ceiling": one.ceiling, "share": one.share,
        "low": one.low, "high": one.high, "safe": one.safe, "best": one.best, "best_anywhere": one.best_anywhere,
        "gain": gain[0], "gain_low": gain[1], "gain_high": gain[2], "domain_epochs": one.epochs[one.pool],
        "replay_epochs": max(x for name, x in one.epochs.items() if name != one.pool), "note": one.note,
    }  # fmt: skip


def to_json(ratios: Sequence[CriticalRatio]) -> list[dict[str, object]]:
    """Return critical ratios as the ``ratios`` list of cmr.json."""
    return [
        {
            **{k: v for k, v in _row(one).items() if k not in ("tokens", "params")},
            "budget": {"tokens": one.budget.tokens, "params": one.budget.params},
            "pool": one.pool,
            "weights": dict(one.weights),
            "epochs": dict(one.epochs),
            "feasible": [list(piece) for piece in one.feasible],
            "examined": one.examined,
            "limits": list(one.limits),
            "curve": one.curve.to_dicts(),
        }
        for one in ratios
    ]
