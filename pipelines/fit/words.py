"""What `curate fit` says in words: what the runs cannot tell, what to run next, which corpus to take."""

from dataclasses import asdict

import numpy as np
import polars as pl

from curate.fitting import corpora, fit, identify
from curate.pool.pool import Budget, Pool
from curate.runs import pilots
from curate.runs.recipes import recipes
from curate.runs.run_table import Runs

CANDIDATES = 200  # designs among which the most telling runs are looked for
BEYOND = 2.0  # times the largest tokens seen: as long as advised runs may be


def explained(one: fit.Fit, data: Runs, compared: pl.DataFrame, seed: int) -> str:
    """Return the explanation of a fit on its own runs."""
    loss = data.loss(one.eval, missing=True)
    rows = np.isfinite(loss)
    found = identify.identify(one, data.recipes(one.pools).take(rows), loss[rows])
    return identify.explain(one, found, compared, _advice(one, data, seed))


def _advice(one: fit.Fit, data: Runs, seed: int) -> list[str]:
    """Return up to three runs that would narrow the fit most, in words."""
    table = data.recipes(one.pools)
    unique = table.unique.amax(dim=0)
    pools = [Pool(name, float(u) if np.isfinite(u) else 1e15, 1) for name, u in zip(one.pools, unique, strict=True)]
    largest = Budget(BEYOND * float(table.tokens.max()), float(table.params.max()))
    planned = pilots.design(pools, CANDIDATES, largest, seed=seed)
    candidates = recipes(
        [[run.weights[name] for name in one.pools] for run in planned],
        [run.budget.tokens for run in planned],
        [run.budget.params for run in planned],
        [[run.unique[name] for name in one.pools] for run in planned],
    )
    words = []
    for i in identify.most_telling(one, candidates):
        shares = ", ".join(f"{name} {share:.0%}" for name, share in planned[i].weights.items() if share >= 0.005)
        reused = [n for n, e in zip(one.pools, candidates.epochs[i].tolist(), strict=True) if e >= 1.5]
        passes = f", {', '.join(reused)} repeated" if reused else ""
        words.append(
            f"{planned[i].budget.tokens:.2g} tokens at {planned[i].budget.params:.2g} parameters of {shares}{passes}"
        )
    return words


def by_corpus(
    data: Runs, by: str, spec: str, evaluation: str, options: fit.Options, tokens_per_param: float
) -> tuple[dict[str, object], str]:
    """Fit every corpus; return the artefact and the advice in words, over the fitted compute and a decade beyond."""
    fits = corpora.fit_each(data, by, spec, evaluation, options=options)
    flops = 6 * data.frame["tokens"].cast(float) * data.frame["params"].cast(float)
    low, high = float(flops.min()), 10 * float(flops.max())  # type: ignore[arg-type]
    found = corpora.crossings(fits, low, high, tokens_per_param=tokens_per_param)
    lines = corpora.curves(fits, np.geomspace(low, high, 13), tokens_per_param=tokens_per_param)
    record: dict[str, object] = {
        "by": by,
        "fits": {name: fit.to_json(one) for name, one in fits.items()},
        "crossings": [asdict(c) for c in found],
        "curves": lines.to_dicts(),
    }
    return record, corpora.advice(fits, found, low, high, tokens_per_param=tokens_per_param)
