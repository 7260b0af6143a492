"""Fit a law to runs: many starts, robust, with a bootstrap over trainings; compare laws on runs they did not see."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import torch
from torch import Tensor
from torch.func import vmap

from curate import artifacts, plugins, solve
from curate.errors import FitError, SchemaError
from curate.laws import Law, Param
from curate.recipes import Recipes
from curate.runs import Runs

DELTA = 1e-3  # smallest Huber delta on log loss (Hoffmann et al. 2022, section D.2, use it for all fits)
FIRST_NOISE = 0.01  # of log loss, before the residuals of a first pass say better; also that pass's delta
NOISE_FLOOR = 1e-5  # of log loss: a prior keeps some weight when a law fits exactly
NORMAL = (-1.5932, -0.9674, -0.5895, -0.2822, 0.0, 0.2822, 0.5895, 0.9674, 1.5932)  # 9 equal-mass normal quantiles
DRAW_TOL = 1e-5  # relative change of the objective at which a bootstrap refit stops: far below its own spread
CHUNK_CELLS = 200_000  # starts x rows x parameters x pools at once, which bounds memory to a few hundred MB


@dataclass(frozen=True)
class Fit:
    """A law with its parameters and ``draws`` bootstrap copies of them (leading axis b).

    ``rmse`` is of log loss on the fitted rows; ``noise`` the log-loss standard deviation of a new run, the larger of
    the residual scale and the held-out error. ``ranges``: smallest and largest tokens, params and epochs fitted.
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

    @property
    def law(self) -> Law:
        """The law itself."""
        return cast(Law, plugins.build("laws", self.spec))

    def loss(self, recipes: Recipes) -> Tensor:
        """Return (n,) predicted loss; differentiable in the recipes."""
        return self.law.loss(self.theta, recipes)

    def draw_losses(self, recipes: Recipes) -> Tensor:
        """Return (b, n) predicted losses, one row a bootstrap draw."""
        law = self.law
        return cast(Tensor, vmap(lambda theta: law.loss(theta, recipes))(dict(self.draws)))

    def interval(self, recipes: Recipes, level: float = 0.9) -> tuple[Tensor, Tensor]:
        """Return (n,) low and high: the loss a new run would show, parameter uncertainty and run noise together."""
        draws = self.draw_losses(recipes)
        shifts = torch.tensor(NORMAL, dtype=torch.float64) * self.noise
        spread = (draws[:, None, :] * torch.exp(shifts)[None, :, None]).flatten(0, 1)
        tails = torch.tensor([(1 - level) / 2, (1 + level) / 2], dtype=torch.float64)
        low, high = torch.quantile(spread, tails, dim=0)
        return low, high

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


@dataclass(frozen=True)
class Coordinates:
    """Unbounded coordinates u (k,) of a law's parameters: log scale where positive, bounds by a tanh that is nearly
    the identity well inside them."""

    params: tuple[Param, ...]
    pools: int

    @property
    def size(self) -> int:
        """Return k."""
        return sum(self.pools if p.per_pool else 1 for p in self.params)

    def theta(self, u: Tensor) -> dict[str, Tensor]:
        """(k,) to parameters by name: scalars, or (p,)."""
        result, at = {}, 0
        for p in self.params:
            low, high = _scale(p, p.low), _scale(p, p.high)
            half = (high - low) / 2
            x = (low + high) / 2 + half * torch.tanh(u[at : at + (self.pools if p.per_pool else 1)] / half)
            at += len(x)
            x = x.exp() if p.positive else x
            result[p.name] = x if p.per_pool else x[0]
        return result

    def starts(self, count: int, seed: int) -> Tensor:
        """(count, k) Sobol points of the start ranges."""
        points = torch.quasirandom.SobolEngine(self.size, scramble=True, seed=seed).draw(count).double()
        columns, at = [], 0
        for p in self.params:
            width = self.pools if p.per_pool else 1
            low, high = (_scale(p, x) for x in p.likely)
            columns.append(self._inverse(p, low + (high - low) * points[:, at : at + width]))
            at += width
        return torch.cat(columns, dim=1)

    def prior(self) -> tuple[Tensor, Tensor]:
        """(k,) centre and (k,) standard deviation of the weak prior: the middle and half-width of ``likely``."""
        centres, widths = [], []
        for p in self.params:
            low, high = (_scale(p, x) for x in p.likely)
            count = self.pools if p.per_pool else 1
            centres.append(self._inverse(p, torch.full((count,), (low + high) / 2, dtype=torch.float64)))
            widths.append(torch.full((count,), (high - low) / 2, dtype=torch.float64))
        return torch.cat(centres), torch.cat(widths)

    def point(self, theta: Mapping[str, Tensor]) -> Tensor:
        """Parameters by name to (k,)."""
        parts = []
        for p in self.params:
            x = theta[p.name].reshape(-1)
            parts.append(self._inverse(p, x.log() if p.positive else x))
        return torch.cat(parts)

    @staticmethod
    def _inverse(p: Param, x: Tensor) -> Tensor:
        low, high = _scale(p, p.low), _scale(p, p.high)
        half = (high - low) / 2
        return half * torch.atanh(((x - (low + high) / 2) / half).clamp(-0.999999, 0.999999))


def _scale(p: Param, x: float) -> float:
    return float(np.log(x)) if p.positive else x


def fit(
    spec: str,
    recipes: Recipes,
    loss: np.ndarray,
    *,
    pools: Sequence[str],
    evaluation: str = "loss",
    clusters: np.ndarray | None = None,
    starts: int = 32,
    draws: int = 200,
    delta: float | None = None,
    prior: bool = True,
    seed: int = 0,
) -> Fit:
    """Fit the law ``spec`` (``name:key=value``) to (n,) losses by Huber on log loss, with the law's weak priors.

    ``starts`` Sobol starts, then ``draws`` refits from the best two solutions, each on resampled ``clusters`` (n,) of
    rows (trainings) and with a prior centre drawn from the prior: what the runs do not determine varies as widely as
    the prior. ``delta`` is Huber's; None: 1.345 residual scales of a first pass, at least 1e-3. Errors: fewer rows than
    parameters, or no start that gives a finite loss.
    """
    law = cast(Law, plugins.build("laws", spec))
    coordinates = Coordinates(law.params(), len(pools))
    n, k = len(recipes), coordinates.size
    if n < k:
        raise FitError(
            f"{n} runs cannot determine the {k} parameters of {spec} with {len(pools)} pools: "
            f"add at least {k - n} runs, merge pools, or choose a law with fewer parameters"
        )
    observed = torch.from_numpy(np.log(loss))

    def residual(u: Tensor) -> Tensor:
        return law.loss(coordinates.theta(u), recipes).log() - observed

    chunk = max(1, CHUNK_CELLS // (n * k * len(pools)))
    centre, width = coordinates.prior()
    ones = torch.ones(starts, n, dtype=torch.float64)
    rough = FIRST_NOISE if delta is None else delta
    penalty = solve.Prior(centre.expand(starts, k), (rough / width) ** 2 * prior)
    found = solve.least_squares(
        residual, coordinates.starts(starts, seed), ones, delta=rough, prior=penalty, chunk=chunk
    )
    if not torch.isfinite(found.objective.min()):
        raise FitError(f"{spec} gives no finite loss for any of {starts} starts: are tokens and params in single units?")
    left = residual(found.point[found.objective.argmin()])
    noise = max(NOISE_FLOOR, float(1.4826 * left.abs().median()) * float(np.sqrt(n / max(1, n - k))))
    if delta is None:
        delta = max(DELTA, 1.345 * noise)
        penalty = replace(penalty, precision=(noise / width) ** 2 * prior)
        found = solve.least_squares(residual, found.point, ones, delta=delta, prior=penalty, chunk=chunk)
    two = _distinct(found)
    weights = resample(clusters if clusters is not None else np.arange(n), draws, seed)
    shaken = centre + width * torch.from_numpy(np.random.default_rng(seed).standard_normal((draws, k)))
    again = solve.least_squares(
        residual, two.repeat_interleave(draws, dim=0), weights.repeat(len(two), 1),
        delta=delta, prior=solve.Prior(shaken.repeat(len(two), 1), penalty.precision), steps=60, tol=DRAW_TOL, chunk=chunk,
    )  # fmt: skip
    pick = again.objective.reshape(-1, draws).argmin(dim=0) * draws + torch.arange(draws)
    rmse = float((residual(two[0]) ** 2).mean().sqrt())
    return Fit(
        spec=spec,
        pools=tuple(pools),
        eval=evaluation,
        theta=coordinates.theta(two[0]),
        draws=cast(dict[str, Tensor], vmap(coordinates.theta)(again.point[pick])),
        rmse=rmse,
        noise=rmse * float(np.sqrt(n / max(1, n - k))),
        rows=n,
        ranges=_ranges(recipes),
    )


def _distinct(found: solve.Solution) -> Tensor:
    """(1 or 2, k): the best solution, and the best that is another minimum with a similar objective, if there is one."""
    order = torch.argsort(found.objective, stable=True)
    best, value = found.point[order[0]], found.objective[order[0]]
    other = (found.point[order] - best).abs().amax(dim=1) > 0.1
    near = order[other & (found.objective[order] < 1.1 * value)]
    return torch.cat([best[None], found.point[near[:1]]])


def resample(clusters: np.ndarray, draws: int, seed: int) -> Tensor:
    """(draws, n) counts: how often each row's cluster is drawn, with replacement."""
    names, codes = np.unique(clusters, return_inverse=True)
    rng = np.random.default_rng(seed)
    counts = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    return torch.from_numpy(counts[:, codes].astype(np.float64))


def _ranges(recipes: Recipes) -> dict[str, tuple[float, float]]:
    epochs = recipes.epochs.amax(dim=1)
    columns = {"tokens": recipes.tokens, "params": recipes.params, "epochs": epochs}
    return {name: (float(x.min()), float(x.max())) for name, x in columns.items()}


def heldout(recipes: Recipes, clusters: np.ndarray, how: str, *, seed: int = 0) -> np.ndarray:
    """Return (n,) bool, true where held out: ``largest`` compute (a fifth of the rows) or ``random:SHARE`` of clusters."""
    kind, _, share = how.partition(":")
    part = float(share or 0.2)
    if kind == "largest":
        flops = np.round(np.log(np.asarray(recipes.tokens * recipes.params)), 6)
        return np.asarray(flops >= np.quantile(flops, 1 - part))
    if kind == "random":
        names = np.unique(clusters)
        chosen = np.random.default_rng(seed).permutation(names)[: max(1, round(part * len(names)))]
        return np.isin(clusters, chosen)
    raise SchemaError(f"--holdout {how!r} is not known: largest, largest:0.2 or random:0.2")


def compare(
    specs: Sequence[str],
    recipes: Recipes,
    loss: np.ndarray,
    *,
    pools: Sequence[str],
    clusters: np.ndarray,
    how: str = "largest",
    starts: int = 32,
    seed: int = 0,
) -> pl.DataFrame:
    """Fit each law without the held-out rows and measure it on them: one row a law, best first.

    Columns: law, parameters, train (rmse of log loss), heldout (mean absolute relative error), low, high (90 %
    interval over held-out rows, resampled), rms (root mean square log error), rows, why (empty, or why not fitted).
    """
    out = heldout(recipes, clusters, how, seed=seed)
    if out.all() or not out.any():
        raise FitError(f"--holdout {how} leaves {int((~out).sum())} of {len(out)} runs to fit on: vary tokens or params")
    train, test = recipes.take(~out), recipes.take(out)
    records = []
    for spec in specs:
        law = cast(Law, plugins.build("laws", spec))
        row: dict[str, object] = {"law": spec, "parameters": Coordinates(law.params(), len(pools)).size}
        try:
            result = fit(spec, train, loss[~out], pools=pools, starts=starts, draws=1, seed=seed)
        except FitError as error:
            records.append(row | {"why": str(error)})
            continue
        error = np.asarray(result.loss(test)) / loss[out] - 1
        boot = np.abs(error)[np.random.default_rng(seed).integers(len(error), size=(1000, len(error)))].mean(axis=1)
        low, high = np.quantile(boot, [0.05, 0.95])
        log_error = np.log1p(error)
        records.append(
            row
            | {"train": result.rmse, "heldout": float(np.abs(error).mean()), "low": float(low), "high": float(high)}
            | {"rms": float(np.sqrt((log_error**2).mean())), "rows": int(out.sum()), "why": ""}
        )
    schema = {"law": pl.String, "parameters": pl.Int64, "train": pl.Float64, "heldout": pl.Float64, "low": pl.Float64,
              "high": pl.Float64, "rms": pl.Float64, "rows": pl.Int64, "why": pl.String}  # fmt: skip
    return pl.DataFrame(records, schema=schema).sort("heldout", "law", nulls_last=True)


def choose(
    data: Runs,
    specs: Sequence[str],
    evaluation: str,
    *,
    how: str = "largest",
    starts: int = 32,
    draws: int = 200,
    seed: int = 0,
) -> tuple[Fit, pl.DataFrame]:
    """Compare laws on held-out runs, refit the best on all rows, and return it with the comparison.

    Its ``noise`` is at least the held-out error, since that is what extrapolating to a larger run has cost here.
    """
    recipes, loss, clusters = data.recipes(), data.loss(evaluation), data.clusters
    compared = compare(
        specs, recipes, loss, pools=data.pools, clusters=clusters, how=how, starts=starts, seed=seed
    )
    best = compared.row(0, named=True)
    if best["heldout"] is None:
        raise FitError(f"no law can be fitted: {best['why']}")
    result = fit(
        best["law"], recipes, loss, pools=data.pools, evaluation=evaluation, clusters=clusters,
        starts=starts, draws=draws, seed=seed,
    )  # fmt: skip
    measured = {key: float(best[key]) for key in ("heldout", "low", "high", "rms", "rows")}
    return replace(result, noise=max(result.noise, measured["rms"]), heldout=measured), compared


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


def load(path: Path) -> Fit:
    """Read fit.json."""
    record = cast(dict[str, dict[str, list[float]]], artifacts.load(path, "theta"))
    draws = cast(list[dict[str, float | list[float]]], record["draws"])
    try:
        return Fit(
            spec=str(record["law"]),
            pools=tuple(record["pools"]),
            eval=str(record["eval"]),
            theta={k: torch.tensor(v, dtype=torch.float64) for k, v in record["theta"].items()},
            draws={k: torch.tensor([d[k] for d in draws], dtype=torch.float64) for k in draws[0]},
            rmse=float(cast(float, record["rmse"])),
            noise=float(cast(float, record["noise"])),
            rows=int(cast(int, record["rows"])),
            ranges={k: (v[0], v[1]) for k, v in record["ranges"].items()},
            heldout=cast("dict[str, float] | None", record.get("heldout")),
        )
    except (KeyError, IndexError, TypeError, ValueError) as error:
        raise SchemaError(f"{path} is not a fit.json ({type(error).__name__}: {error}): run `curate fit` again") from None
