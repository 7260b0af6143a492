"""Explain a fit in words: which laws carry the prediction, what is not known, and which new runs would help most."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from curate.errors import first_few
from curate.fitting.boosted import Boosted
from curate.fitting.fit import Fit
from curate.fitting.fitted_laws import FittedLaw, members_of
from curate.fitting.identify import Identified, identify, most_informative
from curate.pool.pool import Budget, Pool
from curate.runs import pilots
from curate.runs.discrepancy import NEXT_SIZE
from curate.runs.fitted_size import is_one_value
from curate.runs.predictors.blend import Blend
from curate.runs.recipes import Recipes, recipes
from curate.runs.runs import Runs

CANDIDATES = 240  # designs among which the most informative runs are looked for
LARGEST = 2.0  # advised runs are at most so many times as long, or as large, as the longest and largest so far
UNLIMITED = 1e15  # tokens of a pool that never runs out: more than any training reads
SMALLEST_SHARE = 0.005  # smaller shares are left out of the words
REPEATED = 1.5  # passes from which a pool is called repeated
FREE_COMBINATION = 1e4  # condition number from which some combination of parameters is free
RICH = 0.5  # a pool that no run has so large a share of is named, because little is known of mixtures rich in it
NORMAL_90 = 1.645  # standard deviations on each side that hold 90 % of a normal distribution


def explain(predictor: FittedLaw, runs: Runs, compared: pl.DataFrame, *, seed: int = 0) -> str:
    """Return the explanation of a fit on its own runs; ``compared`` is the table of a comparison of laws."""
    lines = [*_laws(predictor, compared), *_unvaried(predictor), *_parameters(predictor, runs), *_errors(predictor)]
    advice = advised_runs(predictor, runs, seed=seed)
    if advice:
        lines.append(f"{'New runs' if len(advice) > 1 else 'A new run'} that would help most, the best first:")
        lines += [f"{i}. {words}." for i, words in enumerate(advice, start=1)]
    return "\n".join(lines)


def _laws(predictor: FittedLaw, compared: pl.DataFrame) -> list[str]:
    """Return which laws carry the prediction, and how well they predict held-out runs."""
    weights = weights_of_laws(predictor)
    if len(weights) == 1:
        lines = [f"The prediction rests on one law, {next(iter(weights))}."]
    else:
        shares = (f"{name} ({weight:.0%})" for name, weight in sorted(weights.items(), key=lambda pair: -pair[1]))
        lines = [f"The prediction is a weighted mean of {len(weights)} laws: {', '.join(shares)}."]
    best = compared.row(0, named=True)
    # Errors of one held-out run have no interval.
    interval = ""
    if best["low"] is not None and best["low"] < best["high"]:
        interval = f" (90 % interval {best['low']:.2%} to {best['high']:.2%})"
    losses = f"{best['rows']} held-out loss{'es' * (best['rows'] > 1)}"
    if best["distance"] is None:
        lines.append(
            f"{best['law']} predicts held-out runs best: {best['heldout']:.2%} mean error{interval}, with a bias of "
            f"{best['bias']:+.2%}, over {losses}."
        )
    elif best["heldout"] is None:
        lines.append(
            f"{best['law']} missed the held-out runs by least, {best['measured']:.2%} on average with a bias of "
            f"{best['bias']:+.2%}, over {losses}. Of each size or length these are too few to show scatter."
        )
    else:
        what = "length" if is_one_value(predictor, "params") else "size"
        lines.append(
            f"{best['law']} has the smallest expected error at the next {what}: {best['heldout']:.2%}{interval}. Over "
            f"{losses} its mean error was {best['measured']:.2%}, and its bias {best['bias']:+.2%}."
        )
    rivals = compared.filter(pl.col("heldout").is_not_null() & (pl.col("law") != best["law"]))
    if best["heldout"] is None:
        return lines
    close = [law for law in rivals.filter(pl.col("low") <= best["high"])["law"] if law not in weights]
    if close:
        lines.append(
            f"These runs do not show whether it is better than {', '.join(close)}: the intervals of the errors overlap."
        )
    elif rivals.height and len(weights) == 1:
        lines.append(f"The next law, {rivals['law'][0]}, has an expected error of {rivals['heldout'][0]:.2%}.")
    return lines


def weights_of_laws(predictor: FittedLaw) -> dict[str, float]:
    """Return the weight of each law in the prediction, by its name. The weights sum to 1."""
    weights = predictor.weights if isinstance(predictor, Blend) else (1.0,)
    total: dict[str, float] = {}
    for member, weight in zip(members_of(predictor), weights, strict=True):
        name = type(member).__name__.lower() if isinstance(member, Boosted) else member.spec
        total[name] = total.get(name, 0.0) + weight
    return total


def _unvaried(predictor: FittedLaw) -> list[str]:
    """Return what no run varied, so that only the priors of the laws say something about it."""
    ranges, lines = predictor.ranges, []
    for name, words in (("params", "parameters"), ("tokens", "tokens")):
        if is_one_value(predictor, name):
            lines.append(
                f"Not known: how the loss changes with {words}. All runs have about {ranges[name][1]:.3g} {words}, so "
                "only the priors of the laws say it."
            )
    if ranges["epochs"][1] <= 1:
        lines.append("Not known: what repeats cost. No run saw a pool more than once.")
    shares = {name: ranges[f"share of {name}"][1] for name in predictor.pools}
    if poor := [f"{name} ({largest:.0%})" for name, largest in shares.items() if largest < RICH]:
        lines.append(
            f"Little known: mixtures with more of a pool than any run had. The largest shares: {first_few(poor)}."
        )
    return lines


def _parameters(predictor: FittedLaw, runs: Runs) -> list[str]:
    """Return which parameters of the law of the largest weight the runs alone leave open."""
    weights = predictor.weights if isinstance(predictor, Blend) else (1.0,)
    laws = [(w, member) for w, member in zip(weights, members_of(predictor), strict=True) if isinstance(member, Fit)]
    if not laws:
        return []
    # Profiles are slow, so only one law is profiled: of equal weights the first, which is of the first eval.
    fit = max(laws, key=lambda pair: pair[0])[1]
    loss = runs.loss(fit.eval, missing=True)
    measured = np.isfinite(loss)
    recipes_of_fit, clusters = runs.recipes(fit.pools).take(measured), runs.clusters[measured]
    identified = identify(fit, recipes_of_fit, loss[measured], clusters)
    return parameters_in_words(fit, identified)


def parameters_in_words(fit: Fit, identified: Identified) -> list[str]:
    """Return which parameters of a law the runs alone leave open, and whether a combination of them is free."""
    lines = []
    if identified.unknown:
        lines.append(
            f"The runs alone do not determine these parameters of {fit.spec} for {fit.eval} within a factor of 20: "
            f"{first_few(identified.unknown)}. Weak priors of the law decide them, and their intervals are wide."
        )
    if identified.condition > FREE_COMBINATION:
        lines.append(
            f"Some parameters of {fit.spec} can change together without changing the predictions (condition number "
            f"{identified.condition:.1e})."
        )
    return lines


def _errors(predictor: FittedLaw) -> list[str]:
    """Return how well a level and a difference are known, if that was measured on held-out runs."""
    discrepancy = predictor.discrepancy
    if discrepancy is None or discrepancy.sizes < 2:
        return []
    # The same size as that of the expected error; without one, the nearest new size.
    records = [getattr(member, "heldout", None) for member in members_of(predictor)]
    distances = [record["distance"] for record in records if record and record["distance"] is not None]
    distance = float(distances[0]) if distances else NEXT_SIZE
    level = NORMAL_90 * float(np.hypot(discrepancy.scatter, discrepancy.shift_of_size * distance**0.5))
    contrast = NORMAL_90 * discrepancy.contrast
    return [
        f"At {np.exp(distance):.2g} times the largest fitted size, the loss of a mixture is known within about "
        f"{level:.1%}, and the difference between two mixtures within about {contrast:.1%} of the loss (90 % "
        "intervals, on either side). What the parameters leave open far outside the fitted runs comes on top."
    ]


def advised_runs(predictor: FittedLaw, runs: Runs, *, seed: int = 0) -> list[str]:
    """Return up to three different runs that would narrow the predictions most, in words."""
    candidates = _candidates(predictor, runs.recipes(predictor.pools), seed)
    return [
        f"{_run_in_words(predictor.pools, candidates, run.position)} ({'with the runs above, ' if i else ''}takes away "
        f"{run.settled:.0%} of the variance of the predicted losses)"
        for i, run in enumerate(most_informative(predictor, candidates))
    ]


def _candidates(predictor: FittedLaw, past: Recipes, seed: int) -> Recipes:
    """Return runs that could be trained next: varied mixtures, sizes, tokens and unique tokens."""
    unique = past.unique.amax(dim=0).tolist()
    pools = [
        Pool(name, tokens if np.isfinite(tokens) else UNLIMITED, 1)
        for name, tokens in zip(predictor.pools, unique, strict=True)
    ]
    longest, largest = float(past.tokens.max()), float(past.params.max())
    planned = pilots.design(pools, CANDIDATES, Budget(LARGEST * longest, largest), seed=seed)
    tokens = [run.budget.tokens for run in planned]
    one_size, one_length = (is_one_value(predictor, name) for name in ("params", "tokens"))
    if one_size and one_length:
        # If all runs have one budget, the user compares mixtures at it, so further mixtures at that budget help most.
        sizes, tokens = [largest], [longest] * len(planned)
    elif one_size:
        sizes = [largest, LARGEST * largest]
    else:
        smallest = float(past.params.min())
        sizes = [smallest, float(np.sqrt(smallest * largest)), largest]
    return recipes(
        [[run.weights[name] for name in predictor.pools] for run in planned],
        tokens,
        [sizes[i % len(sizes)] for i in range(len(planned))],
        [[run.unique[name] for name in predictor.pools] for run in planned],
    )


def _run_in_words(pools: Sequence[str], candidates: Recipes, i: int) -> str:
    weights = zip(pools, candidates.weights[i].tolist(), strict=True)
    shares = ", ".join(f"{name} {share:.0%}" for name, share in weights if share >= SMALLEST_SHARE)
    epochs = zip(pools, candidates.epochs[i].tolist(), strict=True)
    repeated = [name for name, passes in epochs if passes >= REPEATED]
    passes = f", {', '.join(repeated)} repeated" if repeated else ""
    return (
        f"{float(candidates.tokens[i]):.2g} tokens at {float(candidates.params[i]):.2g} parameters of {shares}{passes}"
    )
