"""Choose between laws by runs they did not see: the largest, the next in compute, other mixtures, random ones."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import cast

import numpy as np
import polars as pl
from scipy.optimize import nnls

from curate import open_sets
from curate.errors import FitError, SchemaError
from curate.fitting.boosted import Boosted
from curate.fitting.coordinates import Coordinates
from curate.fitting.fit import Fit, Options
from curate.fitting.fit_files import BOOSTED, fit_named
from curate.laws import Law
from curate.runs.predictor import Blend
from curate.runs.recipes import Recipes
from curate.runs.run_table import Runs

SHARE = 0.2  # of rows or clusters held out, where the flag does not say
ROLLS = 3  # compute cuts of the rolling origin
SCHEMA = {
    "law": pl.String, "parameters": pl.Int64, "train": pl.Float64, "heldout": pl.Float64, "low": pl.Float64,
    "high": pl.Float64, "bias": pl.Float64, "rms": pl.Float64, "rows": pl.Int64, "why": pl.String,
}  # fmt: skip


def splits(recipes: Recipes, clusters: np.ndarray, how: str, *, seed: int = 0) -> list[tuple[np.ndarray, np.ndarray]]:
    """Return (train, test) pairs of (n,) bool.

    ``largest[:SHARE]``: the runs with the most compute. ``rolling``: train below a compute, test on the next fifth,
    for three cuts. ``random[:SHARE]`` of trainings. ``mixture[:SHARE]``: all runs of a share of the mixtures.
    """
    kind, _, text = how.partition(":")
    try:
        share = float(text) if text else SHARE
    except ValueError:
        raise SchemaError(f"--holdout {how!r}: {text!r} is not a share between 0 and 1") from None
    if not 0 < share < 1:
        raise SchemaError(f"--holdout {how!r}: the share {share:g} must lie between 0 and 1, both excluded")
    if kind == "rolling" and share * ROLLS >= 1:
        raise SchemaError(f"--holdout {how!r}: {ROLLS} cuts of {share:g} leave nothing to train on; give under 0.33")
    flops = np.round(np.log(np.asarray(recipes.tokens * recipes.params)), 6)
    if kind == "largest":
        test = flops >= np.quantile(flops, 1 - share)
        return [(~test, test)]
    if kind == "rolling":
        cuts = [np.quantile(flops, 1 - share * (ROLLS - i)) for i in range(ROLLS)] + [np.inf]
        return [(flops < a, (flops >= a) & (flops < b)) for a, b in zip(cuts[:-1], cuts[1:], strict=True)]
    if kind in ("random", "mixture"):
        codes = clusters
        if kind == "mixture":
            codes = np.unique(np.round(np.asarray(recipes.weights), 6), axis=0, return_inverse=True)[1].reshape(-1)
        names = np.unique(codes)
        chosen = np.random.default_rng(seed).permutation(names)[: max(1, round(share * len(names)))]
        test = np.isin(codes, chosen)
        return [(~test, test)]
    raise SchemaError(
        f"--holdout {how!r} is not known: largest, rolling, random or mixture, with a share as random:0.2"
    )


@dataclass(frozen=True)
class Comparison:
    """``rows``: one row a law, best first (``table``). ``predicted``: law -> (m,) log losses of the held-out rows, and
    ``truth`` (m,) the measured ones: what a stack of laws is made from."""

    rows: pl.DataFrame
    predicted: dict[str, np.ndarray]
    truth: np.ndarray

    def table(self) -> pl.DataFrame:
        """Columns: law, parameters, train (rmse of log loss), heldout (mean absolute relative error), low, high (90 %
        interval, trainings resampled), bias (mean signed), rms (of log error), rows, why (not fitted)."""
        return self.rows


def compare(
    specs: Sequence[str],
    data: Runs,
    evals: Sequence[str],
    *,
    how: str = "largest",
    options: Options = Options(),  # noqa: B008
) -> Comparison:
    """Fit every law to ``evals`` without the held-out rows and measure it on them, all evals together."""
    recipes, clusters = data.recipes(), data.clusters
    losses = {name: data.loss(name, missing=len(evals) > 1) for name in evals}
    pairs = [(a, b) for a, b in splits(recipes, clusters, how, seed=options.seed) if a.any() and b.any()]
    if not pairs:
        raise FitError(
            f"--holdout {how} leaves nothing to fit or to test among {len(data)} runs: vary tokens or params"
        )
    truth = np.log(np.concatenate([loss[test] for _, test in pairs for loss in losses.values()]))
    groups = np.concatenate([clusters[test] for _, test in pairs for _ in losses])
    known = np.isfinite(truth)
    predicted: dict[str, np.ndarray] = {}
    records: list[dict[str, object]] = []
    for spec in specs:
        row: dict[str, object] = {"law": spec, "parameters": _parameters(spec, len(data.pools))}
        parts, train = [], []
        try:
            for inside, test in pairs:
                fits = fit_named(
                    spec, recipes.take(inside), {n: y[inside] for n, y in losses.items()}, pools=data.pools,
                    clusters=clusters[inside], options=replace(options, draws=1),
                )  # fmt: skip
                parts += [np.log(np.asarray(one.loss(recipes.take(test)))) for one in fits.values()]
                train += [one.rmse if isinstance(one, Fit) else one.noise for one in fits.values()]
        except FitError as error:
            records.append(row | {"why": str(error)})
            continue
        predicted[spec] = np.concatenate(parts)[known]
        measured = _measure(predicted[spec] - truth[known], groups[known], options.seed)
        records.append(row | {"train": float(np.mean(train))} | measured | {"why": ""})
    table = pl.DataFrame(records, schema=SCHEMA).sort("heldout", "law", nulls_last=True)
    return Comparison(table, predicted, truth[known])


def _parameters(spec: str, pools: int) -> int | None:
    """Return k; trees have no count."""
    if open_sets.parse(spec)[0] == BOOSTED:
        return None
    return Coordinates(cast(Law, open_sets.build("laws", spec)).params(), pools).size


def _measure(log_error: np.ndarray, groups: np.ndarray, seed: int) -> dict[str, object]:
    error = np.expm1(log_error)
    names, codes = np.unique(groups, return_inverse=True)
    sums, counts = np.bincount(codes, np.abs(error)), np.bincount(codes)
    draws = np.random.default_rng(seed).integers(len(names), size=(1000, len(names)))
    low, high = np.quantile(sums[draws].sum(axis=1) / counts[draws].sum(axis=1), [0.05, 0.95])
    return {
        "heldout": float(np.abs(error).mean()), "low": float(low), "high": float(high), "bias": float(error.mean()),
        "rms": float(np.sqrt((log_error**2).mean())), "rows": len(error),
    }  # fmt: skip


def choose(
    data: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = "largest",
    options: Options = Options(),  # noqa: B008
) -> tuple[Fit | Blend | Boosted, Comparison]:
    """Compare laws on held-out runs, refit the best on all rows, return it with the comparison.

    Several ``evals`` give their mean. The ``noise`` is at least the held-out error: that is what predicting unseen runs
    has cost here.
    """
    compared = compare(specs, data, evals, how=how, options=options)
    best = compared.rows.row(0, named=True)
    if best["heldout"] is None:
        raise FitError(f"no law can be fitted: {best['why']}")
    fits = tuple(_with_heldout(one, best) for one in _fit_all(data, best["law"], evals, options))
    return (fits[0] if len(fits) == 1 else mean(fits)), compared


def stack(
    data: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = "largest",
    options: Options = Options(),  # noqa: B008
) -> tuple[Blend, Comparison]:
    """Weight laws by non-negative least squares of held-out log loss (Wolpert 1992; Breiman 1996), refit on all rows.

    Weights are rescaled to sum to 1, laws under 1 % dropped. Use it when no law wins: the table's intervals overlap.
    """
    compared = compare(specs, data, evals, how=how, options=options)
    if not compared.predicted:
        raise FitError(f"no law can be fitted: {compared.rows['why'][0]}")
    names = list(compared.predicted)
    weights = stack_weights(np.column_stack([compared.predicted[name] for name in names]), compared.truth)
    kept = [(name, w) for name, w in zip(names, weights.tolist(), strict=True) if w > 0]
    error = np.log(sum(w * np.exp(compared.predicted[name]) for name, w in kept)) - compared.truth
    row = compared.rows.filter(pl.col("law") == kept[0][0]).row(0, named=True)
    measured = row | {"heldout": float(np.abs(np.expm1(error)).mean()), "rms": float(np.sqrt((error**2).mean()))}
    fits, shares = [], []
    for name, weight in kept:
        members = _fit_all(data, name, evals, options)
        fits += [_with_heldout(one, measured) for one in members]
        shares += [weight / len(members)] * len(members)
    return Blend(tuple(fits), tuple(shares), "+".join(evals)), compared


def stack_weights(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """(m, l) held-out log losses of l laws and (m,) true ones to (l,) weights >= 0 that sum to 1."""
    count = predicted.shape[1]
    ridge = 1e-3 * np.sqrt(len(predicted))  # ties between near-equal laws are split evenly, not at random
    weights, _ = nnls(
        np.vstack([predicted, ridge * np.eye(count), np.full((1, count), 1e3)]),
        np.concatenate([truth, np.full(count, ridge / count), [1e3]]),
    )
    weights = np.where(weights / weights.sum() < 0.01, 0.0, weights)
    return np.asarray(weights / weights.sum())


def mean(fits: Sequence[Fit | Boosted]) -> Blend:
    """Return the mean of fits of several evals."""
    return Blend(tuple(fits), (1 / len(fits),) * len(fits), "+".join(one.eval for one in fits))


def _fit_all(data: Runs, spec: str, evals: Sequence[str], options: Options) -> tuple[Fit | Boosted, ...]:
    losses = {name: data.loss(name, missing=len(evals) > 1) for name in evals}
    fits = fit_named(spec, data.recipes(), losses, pools=data.pools, clusters=data.clusters, options=options)
    return tuple(fits.values())


def _with_heldout(result: Fit | Boosted, row: dict[str, float]) -> Fit | Boosted:
    noise = max(result.noise, float(row["rms"]))
    if isinstance(result, Boosted):
        return replace(result, noise=noise)
    return replace(result, noise=noise, heldout={k: float(row[k]) for k in ("heldout", "low", "high", "rms", "rows")})
