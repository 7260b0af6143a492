"""Fit a law to runs: many starts, robust, with a bootstrap over trainings; one eval or several that share exponents."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import cast

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.func import vmap

from curate import open_sets
from curate.errors import FitError
from curate.fitting.coordinates import Coordinates
from curate.fitting.multistart import Options as Options  # part of this module's interface
from curate.fitting.multistart import Work, resample
from curate.laws import Law
from curate.runs.predictor import spread
from curate.runs.recipes import Recipes


@dataclass(frozen=True)
class Fit:
    """A law with its parameters and ``draws`` bootstrap copies of them (leading axis b).

    ``rmse`` is of log loss on the fitted rows; ``noise`` the log-loss standard deviation of a new run, the larger of
    the residual scale and the held-out error. ``ranges``: smallest and largest tokens, params, epochs
    and ``share of <pool>`` fitted.
    """

    spec: str
    pools: tuple[str, ...]
    eval: str
    theta: Mapping[str, Tensor]
    draws: Mapping[str, Tensor]
    rmse: float
    noise: float
    rows: int
    ranges: Mapping[str, tuple[float, float]]
    heldout: Mapping[str, float] | None = None

    differentiable = True

    @cached_property
    def law(self) -> Law:
        """The law itself."""
        return cast(Law, open_sets.build("laws", self.spec))

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted loss; differentiable in the recipes."""
        return self.law.loss(self.theta, recipes)

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses, one row a bootstrap draw."""
        law = self.law
        return vmap(lambda theta: law.loss(theta, recipes))(dict(self.draws))

    def drawn(self, recipes: Recipes, draws: Tensor) -> Tensor:
        """Return (n,) predicted loss, every recipe by its own bootstrap draw: (n,) indices, wrapped around."""
        law, theta = self.law, {name: values[draws % len(values)] for name, values in self.draws.items()}
        return vmap(lambda one, row: law.loss(one, Recipes.single(row))[0])(theta, recipes.rows)

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high: the loss a new run would show, parameter uncertainty and run noise together."""
        return spread(self.draw_losses(recipes), self.noise, level)

    def table(self) -> pl.DataFrame:
        """Return one row a parameter (and pool): value, 5 % and 95 % of the draws."""
        rows = []
        for name, value in self.theta.items():
            draws = self.draws[name].reshape(len(self.draws[name]), -1)
            low, high = torch.quantile(draws, torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
            for i, x in enumerate(value.reshape(-1).tolist()):
                pool = self.pools[i] if value.ndim else None
                rows.append({"param": name, "pool": pool, "value": x, "low": float(low[i]), "high": float(high[i])})
        return pl.DataFrame(rows, schema={"param": str, "pool": str, "value": float, "low": float, "high": float})


def fit(
    spec: str,
    recipes: Recipes,
    loss: np.ndarray,
    *,
    pools: Sequence[str],
    evaluation: str = "loss",
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    options: Options = Options(),  # noqa: B008
) -> Fit:
    """Fit the law ``spec`` (``name:key=value``) to (n,) losses of one eval; see ``fit_evals``."""
    found = fit_evals(
        spec, recipes, {evaluation: loss}, pools=pools, clusters=clusters, weights=weights, options=options
    )
    return found[evaluation]


def fit_evals(
    spec: str,
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    *,
    pools: Sequence[str],
    clusters: np.ndarray | None = None,
    weights: np.ndarray | None = None,
    options: Options = Options(),  # noqa: B008
) -> dict[str, Fit]:
    """Fit a law to several evals of the same runs in one batch; (n,) losses each, NaN where not measured.

    Huber on log loss with the law's weak priors, from many starts. Parameters that the law marks as shared (exponents)
    are then drawn towards their median over evals and refitted. Last, bootstrap refits from the best solutions, each on
    resampled ``clusters`` (n,) of rows (trainings), with a prior centre drawn from the prior: what the runs do not
    determine varies as widely as the prior. ``weights`` (n,) of rows. Errors: fewer rows than parameters, or no start
    that gives a finite loss.
    """
    law = cast(Law, open_sets.build("laws", spec))
    coordinates = Coordinates(law.params(), len(pools))
    n, k, m = len(recipes), coordinates.size, len(losses)
    if n < k:
        raise FitError(
            f"{n} runs cannot determine the {k} parameters of {spec} with {len(pools)} pools: "
            f"add at least {k - n} runs, merge pools, or choose a law with fewer parameters"
        )
    row_weights = torch.from_numpy(np.ones(n) if weights is None else np.asarray(weights, dtype=np.float64))
    target = torch.from_numpy(np.log(np.stack(list(losses.values()))))
    work = Work(law, coordinates, recipes, target, row_weights, options)
    best = work.first(spec)
    if m > 1 and bool(coordinates.shared.any()):
        best = work.share(best)
    draws = work.bootstrap(best, resample(np.arange(n) if clusters is None else clusters, options.draws, options.seed))
    found = {}
    for i, name in enumerate(losses):
        left = (law.loss(coordinates.theta(best.point[i]), recipes).log() - target[i])[torch.isfinite(target[i])]
        rmse = float((left**2).mean().sqrt())
        found[name] = Fit(
            spec=spec,
            pools=tuple(pools),
            eval=name,
            theta=coordinates.theta(best.point[i]),
            draws=vmap(coordinates.theta)(draws[i]),
            rmse=rmse,
            noise=rmse * float(np.sqrt(len(left) / max(1, len(left) - k))),
            rows=len(left),
            ranges=ranges(recipes, pools),
        )
    return found


def ranges(recipes: Recipes, pools: Sequence[str]) -> dict[str, tuple[float, float]]:
    """Return the smallest and largest tokens, params, epochs and shares of the fitted runs."""
    columns = {"tokens": recipes.tokens, "params": recipes.params, "epochs": recipes.epochs.amax(dim=1)}
    columns |= {f"share of {name}": recipes.weights[:, i] for i, name in enumerate(pools)}
    return {name: (float(x.min()), float(x.max())) for name, x in columns.items()}


def to_json(result: Fit) -> dict[str, object]:
    """Return a fit as the body of fit.json."""
    draws = len(next(iter(result.draws.values())))
    return {
        "law": result.spec,
        "eval": result.eval,
        "pools": list(result.pools),
        "theta": {k: v.tolist() for k, v in result.theta.items()},
        "draws": [{k: v[i].tolist() for k, v in result.draws.items()} for i in range(draws)],
        "rmse": result.rmse,
        "noise": result.noise,
        "rows": result.rows,
        "ranges": {k: list(v) for k, v in result.ranges.items()},
        "heldout": dict(result.heldout) if result.heldout else None,
    }


def from_json(record: Mapping[str, object]) -> Fit:
    """Return what ``to_json`` wrote; a missing or wrong field is a KeyError, TypeError or ValueError."""
    draws = cast(list[dict[str, float | list[float]]], record["draws"])
    theta = cast(dict[str, float | list[float]], record["theta"])
    pools = tuple(cast(list[str], record["pools"]))
    law = cast(Law, open_sets.build("laws", str(record["law"])))
    return Fit(
        spec=str(record["law"]),
        pools=pools,
        eval=str(record["eval"]),
        theta=_numbers(law, len(pools), {k: torch.tensor(v, dtype=torch.float64) for k, v in theta.items()}, ()),
        draws=_numbers(
            law,
            len(pools),
            {k: torch.tensor([d[k] for d in draws], dtype=torch.float64) for k in draws[0]},
            (len(draws),),
        ),
        rmse=float(cast(float, record["rmse"])),
        noise=float(cast(float, record["noise"])),
        rows=int(cast(int, record["rows"])),
        ranges={k: (v[0], v[1]) for k, v in cast(dict[str, list[float]], record["ranges"]).items()},
        heldout=cast("dict[str, float] | None", record.get("heldout")),
    )


def _numbers(law: Law, p: int, given: dict[str, Tensor], leading: tuple[int, ...]) -> dict[str, Tensor]:
    """Return parameters as they are; one that is missing, of another shape or not finite is an error."""
    for param in law.params():
        shape = (*leading, p) if param.per_pool else leading
        if given[param.name].shape != shape:
            raise ValueError(
                f"parameter {param.name} has shape {tuple(given[param.name].shape)}, where {p} pools make it {shape}"
            )
        if not bool(given[param.name].isfinite().all()):
            raise ValueError(f"parameter {param.name} is not finite in {'a draw' if leading else 'theta'}")
    return given
