"""The critical mixture ratio: how much domain data a continued training takes before general loss passes a ceiling.

The term and the first procedure are of Gu et al. 2024 (arXiv 2407.17467). Here any fitted law gives the ratio.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from math import inf, isfinite, isnan

import polars as pl
import torch
from torch import Tensor

from curate.continual import share_path, under_ceiling
from curate.continual.share_path import SharePath
from curate.errors import SchemaError, first_few
from curate.planning import extrapolation
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

GRID = 401  # shares at which general loss is predicted; between two of them the crossing is bisected
SHOWN = 10  # every tenth of these shares is a row of the trade-off
LEVEL = 0.9


@dataclass(frozen=True)
class CriticalRatio:
    """The largest share of one pool whose predicted general loss is at or under a ceiling, for one budget.

    - ``tolerance``: by how much the ceiling is above the loss of the start, if it was made that way.
    - ``share``: the critical share. None if the ceiling is not reached up to ``examined``, the largest share examined,
      or if share 0 is above it already; ``note`` says which.
    - ``low``, ``high``: the 90 % interval of the critical share: where the upper and the lower bound of a new run's
      general loss meet the ceiling. The bounds cover parameters, run noise and held-out error. 0: above the ceiling
      everywhere; None: not reached up to ``examined``.
    - ``safe``: up to this share even the upper bound is under the ceiling; None if no share is safe.
    - ``best``: the share with the lowest domain loss among those under the ceiling (None: there are none);
      ``best_anywhere``: among all shares examined.
    - ``reference_share``: the critical share; else the largest share under the ceiling; else 0. At this share hold
      ``weights``, ``epochs``, and ``gain``: domain loss of the start minus that of a new run, with its 90 % interval.
    - ``feasible``: all intervals of shares under the ceiling.
    - ``warnings``: what the prediction extrapolates, and repeats that harm.
    - ``curve``: the trade-off; see ``table``.
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
    reference_share: float
    weights: Mapping[str, float]
    epochs: Mapping[str, float]
    gain: tuple[float, float, float] | None
    feasible: tuple[tuple[float, float], ...]
    examined: float
    note: str
    warnings: tuple[str, ...]
    curve: pl.DataFrame
    tolerance: float | None = None

    @property
    def never_under(self) -> bool:
        """Whether general loss is above the ceiling at every share examined."""
        return not self.feasible

    @property
    def replay_epochs(self) -> float:
        """The most passes over any pool but the domain's."""
        return max(passes for name, passes in self.epochs.items() if name != self.pool)

    def table(self) -> pl.DataFrame:
        """Return the trade-off, one row a share of the domain's pool.

        Columns: share; general, general_low, general_high and domain, domain_low, domain_high (nats per token, with the
        interval of a new run); domain_epochs; replay_epochs (the most of any other pool).
        """
        return self.curve


@dataclass(frozen=True)
class Scan:
    """Predicted general loss along the share of the domain's pool.

    ``shares`` (g,) from 0 to the largest examined; ``losses`` (g,); ``bounds`` (2, g): low and high of a new run.
    """

    path: SharePath
    shares: Tensor
    losses: Tensor
    bounds: Tensor
    ceiling: float


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
    """Return the largest share of the domain's pool that keeps predicted general loss under the ceiling.

    ``general``, ``domain``: fitted losses over the same pools. ``pools``: unique tokens; a pool that is not listed
    never runs out. ``ceiling``: nats per token. ``pool``: the domain's, by default the last of the fit. ``start``:
    domain loss before training, for the gain. ``proportions`` of the other pools: see ``share_path``. ``largest``: the
    largest share to examine, by default the largest fitted.

    General loss need not rise with the share. The critical share is the end of the last interval under the ceiling.

    Raises:
        SchemaError: if the fits know other pools, or the ceiling or ``largest`` is no such number.
    """
    pool = pool or general.pools[-1]
    examined = _largest_examined(general, domain, pool, largest)
    if not (isfinite(ceiling) and ceiling > 0):
        raise SchemaError(
            f"the ceiling of general loss is {ceiling}: give nats per token, for example that of the start + 0.05"
        )
    path = share_path.share_path(general, pools, budget, pool=pool, proportions=proportions)
    scan = _scan(general, path, examined, ceiling, level)
    share = _critical_share(general, scan)
    high, safe = under_ceiling.last_under(scan.shares, scan.bounds, ceiling).tolist()
    low, high = (0.0 if isnan(end) else end for end in (safe, high))
    reference_share = 0.0 if isnan(share) else min(share, examined)
    best, best_anywhere = _best_shares(domain, scan, reference_share)
    reference = path.recipe(reference_share)
    feasible = under_ceiling.pieces(scan.shares, scan.losses, ceiling)
    return CriticalRatio(
        budget=budget,
        pool=pool,
        ceiling=ceiling,
        share=share if isfinite(share) else None,
        low=low if isfinite(low) else None,
        high=high if isfinite(high) else None,
        safe=None if isnan(safe) else min(safe, examined),
        best=best,
        best_anywhere=best_anywhere,
        reference_share=reference_share,
        weights=dict(zip(general.pools, reference.weights[0].tolist(), strict=True)),
        epochs=dict(zip(general.pools, reference.epochs[0].tolist(), strict=True)),
        gain=None if start is None else _gain(domain, reference, start, level),
        feasible=feasible,
        examined=examined,
        note=_note(share, examined, feasible, scan),
        warnings=extrapolation.warnings((general, domain), reference),
        curve=_trade_off(general, domain, path.recipes(scan.shares[::SHOWN]), path.pool, level),
    )


def ceiling_of(start: float, tolerance: float, *, relative: bool = False) -> float:
    """Return the ceiling of general loss: ``start`` + tolerance in nats, or start * (1 + tolerance) if ``relative``.

    Raises:
        SchemaError: if the tolerance is negative or no number.
    """
    if not (isfinite(tolerance) and tolerance >= 0):
        raise SchemaError(f"the tolerance is {tolerance}: it must be 0 or more, for example 0.05 nats (or 0.03: 3 %)")
    return start * (1 + tolerance) if relative else start + tolerance


def _largest_examined(general: Predictor, domain: Predictor, pool: str, largest: float | None) -> float:
    """Return the largest share to examine, after a check that both fits know the same pools."""
    if general.pools != domain.pools or pool not in general.pools:
        raise SchemaError(
            f"pool {pool!r}: the fits of general and domain loss know {first_few(general.pools, near=pool)} and "
            f"{first_few(domain.pools, near=pool)}; fit both on the same runs, and name one of their pools"
        )
    fitted = min(fit.ranges[f"share of {pool}"][1] for fit in (general, domain))
    examined = fitted if largest is None else largest
    if not 0 < examined <= 1:
        raise SchemaError(f"shares of {pool} up to {examined:g}: the largest must be over 0 and at most 1")
    return examined


def _scan(general: Predictor, path: SharePath, examined: float, ceiling: float, level: float) -> Scan:
    shares = torch.linspace(0.0, examined, GRID, dtype=torch.float64)
    recipes = path.recipes(shares)
    losses = general.loss(recipes).detach()
    low, high = torch.stack(general.interval(recipes, level)).detach()
    # The prediction is among the losses that a run may show. Far from the fitted runs the bounds of the bootstrap
    # draws can leave it out.
    bounds = torch.stack([torch.minimum(low, losses), torch.maximum(high, losses)])
    return Scan(path, shares, losses, bounds, ceiling)


def _critical_share(general: Predictor, scan: Scan) -> float:
    """Return the critical share; inf if the ceiling is not reached, nan if all shares are above it."""
    share = float(under_ceiling.last_under(scan.shares, scan.losses[None], scan.ceiling))
    if not isfinite(share):
        return share
    # The loss is no line between two points of the grid: bisect in the cell where it passes the ceiling.
    cell = min(int(torch.searchsorted(scan.shares, share, right=True)), len(scan.shares) - 1)
    under, over = float(scan.shares[cell - 1]), float(scan.shares[cell])
    return under_ceiling.bisect(lambda x: float(general.loss(scan.path.recipe(x))), under, over, scan.ceiling)


def _best_shares(domain: Predictor, scan: Scan, end: float) -> tuple[float | None, float]:
    """Return the shares of lowest domain loss: among those under the ceiling up to its exact ``end``, and of all."""
    under = scan.losses <= scan.ceiling
    shares = torch.cat([scan.shares, torch.tensor([end], dtype=torch.float64)])
    losses = domain.loss(scan.path.recipes(shares)).detach()
    allowed = torch.cat([under, under.any()[None]])
    best = float(shares[torch.where(allowed, losses, torch.inf).argmin()]) if bool(under.any()) else None
    return best, float(shares[losses.argmin()])


def _gain(domain: Predictor, recipe: Recipes, start: float, level: float) -> tuple[float, float, float]:
    low, high = (float(bound[0]) for bound in domain.interval(recipe, level))
    return start - float(domain.loss(recipe)[0]), start - high, start - low


def _note(share: float, examined: float, feasible: tuple[tuple[float, float], ...], scan: Scan) -> str:
    """Return in words whether and where the ceiling is reached."""
    if isnan(share):
        return (
            f"already over at 0: general loss {float(scan.losses[0]):.4f} without domain data is above the ceiling "
            f"{scan.ceiling:.4f}"
        )
    note = f"not reached: above {examined:.3g}" if share == inf else f"reached at {share:.3g}"
    if len(feasible) == 1 and feasible[0][0] == 0.0:
        return note
    intervals = " and ".join(f"{low:.3g} to {high:.3g}" for low, high in feasible)
    return f"{note}; only {intervals} are under the ceiling: general loss does not simply rise with the share"


def _trade_off(general: Predictor, domain: Predictor, recipes: Recipes, pool: int, level: float) -> pl.DataFrame:
    columns: dict[str, Tensor] = {"share": recipes.weights[:, pool]}
    for name, fit in (("general", general), ("domain", domain)):
        low, high = fit.interval(recipes, level)
        columns |= {name: fit.loss(recipes), f"{name}_low": low, f"{name}_high": high}
    others = [i for i in range(recipes.epochs.shape[1]) if i != pool]
    columns |= {"domain_epochs": recipes.epochs[:, pool], "replay_epochs": recipes.epochs[:, others].amax(dim=1)}
    return pl.DataFrame({name: column.detach().numpy() for name, column in columns.items()})
