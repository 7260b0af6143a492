"""Explain a fit in words: which law won, what the runs cannot tell, and which runs would tell most."""

from collections.abc import Sequence

import numpy as np
import polars as pl

from curate.fitting.fit import Fit
from curate.fitting.identify import Identified, identify, most_informative
from curate.pool.pool import Budget, Pool
from curate.runs import pilots
from curate.runs.recipes import recipes
from curate.runs.run_table import Runs

CANDIDATES = 200  # designs among which the most informative runs are looked for
LONGEST = 2.0  # advised runs are at most this many times as long as the longest run so far
UNLIMITED = 1e15  # tokens of a pool that never runs out: more than any training reads
SMALLEST_SHARE = 0.005  # smaller shares are left out of the words
REPEATED = 1.5  # passes from which a pool is called repeated
FREE_COMBINATION = 1e4  # condition number from which some combination of parameters is free


def explain(fit: Fit, runs: Runs, compared: pl.DataFrame, *, seed: int = 0) -> str:
    """Return the explanation of a fit on its own runs; ``compared`` is the table of a comparison of laws."""
    loss = runs.loss(fit.eval, missing=True)
    measured = np.isfinite(loss)
    identified = identify(fit, runs.recipes(fit.pools).take(measured), loss[measured])
    return describe(fit, identified, compared, advised_runs(fit, runs, seed=seed))


def describe(fit: Fit, identified: Identified, compared: pl.DataFrame, advice: Sequence[str]) -> str:
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
        lines.append(f"The next law, {rivals['law'][0]}, has an error of {rivals['heldout'][0]:.2%}.")
    if identified.unknown:
        lines.append(
            f"The runs alone cannot tell {', '.join(identified.unknown)} within a factor of 20. There the law's weak "
            "priors decide, and the intervals are wide."
        )
    if identified.condition > FREE_COMBINATION:
        lines.append(f"Some combination of parameters is free (condition number {identified.condition:.1e}).")
    lines += [f"A run that would tell much: {run}." for run in advice]
    return "\n".join(lines)


def advised_runs(fit: Fit, runs: Runs, *, seed: int = 0) -> list[str]:
    """Return up to three runs that would narrow the fit most, in words."""
    past = runs.recipes(fit.pools)
    unique = past.unique.amax(dim=0).tolist()
    pools = [
        Pool(name, tokens if np.isfinite(tokens) else UNLIMITED, 1)
        for name, tokens in zip(fit.pools, unique, strict=True)
    ]
    largest = Budget(LONGEST * float(past.tokens.max()), float(past.params.max()))
    planned = pilots.design(pools, CANDIDATES, largest, seed=seed)
    tokens = [run.budget.tokens for run in planned]
    if float(past.tokens.min()) == largest.tokens / LONGEST and float(past.params.min()) == largest.params:
        # If all runs have one budget, the user compares mixtures at it, so further mixtures at that budget help most.
        tokens = [float(past.tokens[0])] * len(planned)
    candidates = recipes(
        [[run.weights[name] for name in fit.pools] for run in planned],
        tokens,
        [run.budget.params for run in planned],
        [[run.unique[name] for name in fit.pools] for run in planned],
    )
    words = []
    for i in most_informative(fit, candidates):
        weights = planned[i].weights
        shares = ", ".join(f"{name} {share:.0%}" for name, share in weights.items() if share >= SMALLEST_SHARE)
        epochs = zip(fit.pools, candidates.epochs[i].tolist(), strict=True)
        repeated = [name for name, passes in epochs if passes >= REPEATED]
        passes = f", {', '.join(repeated)} repeated" if repeated else ""
        size = planned[i].budget.params
        words.append(f"{tokens[i]:.2g} tokens at {size:.2g} parameters of {shares}{passes}")
    return words
