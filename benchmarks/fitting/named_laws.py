"""Whether named laws are better kept alone or averaged: ``benchmarks/fitting/named_laws.py``.

Fits lists of laws, as of ``curate fit --law A,B,C``, to the smaller sizes of the tables of ``../shared/data/runs``
(``--data`` to override) and predicts the last rows of the next size. A line for each list and table, with the mean over
the sizes of the mean relative error in %: of the law with the smallest expected error; of the average, by one over
squared scatter, of the laws whose interval of that error overlaps with that of the best; of the average by the rule of
``--law auto``; and of the best law in hindsight. Three evals a table, two or more fitted sizes where the table has
three. One thread, about a minute and a half.
"""

import os
import sys
from dataclasses import replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import polars as pl
from calibration import data_folder, tables

from curate.fitting.choice import averaging, holdout
from curate.fitting.compare import compare, fit_all
from curate.fitting.fit import FitOptions
from curate.runs.runs import Runs

OPTIONS = FitOptions(starts=3, draws=1)
EVALS = 3
OF_POOLS = ("ces,mixture_additive,mixture_ces:linear=true,mixture_joint",)
OF_ONE_POOL = ("chinchilla,overtraining,farseer", "skaling:form=equal,chinchilla,overtraining")
OF_REPEATS = ("penalised,repetition,chinchilla", "chinchilla,overtraining,farseer")


def errors(names: tuple[str, ...], fitted: Runs, rest: Runs) -> dict[str, float]:
    """Return the errors in % of the ways to use these laws, fitted to some runs, on the rest."""
    evals = fitted.evals[:EVALS]
    how, _ = holdout.default(fitted.recipes(), fitted.clusters)
    comparison = compare(names, fitted, evals, how=how, options=OPTIONS)
    truth = np.stack([rest.loss(name, missing=True) for name in evals])
    predicted = {
        law: np.stack([fit.loss(rest.recipes(fit.pools)).numpy() for fit in fit_all(fitted, law, evals, OPTIONS)])
        for law in comparison.predicted
    }
    rows = comparison.rows
    overlapping = [
        law for law, low in rows.select("law", "low").iter_rows() if low is not None and low <= rows["high"][0]
    ]

    def error(weights: dict[str, float]) -> float:
        mean = sum(weight * predicted[law] for law, weight in weights.items())
        return 100 * float(np.nanmean(np.abs(mean / truth - 1)))

    close = replace(comparison, predicted={law: comparison.predicted[law] for law in overlapping})
    return {
        "kept": error({str(rows["law"][0]): 1.0}),
        "overlapping": error(averaging.weights_of_laws(close)),
        "auto's rule": error(averaging.weights_of_laws(comparison)),
        "hindsight": min(error({law: 1.0}) for law in predicted),
    }


def main() -> None:
    """Print the table."""
    if (folder := data_folder(__doc__)) is None:
        return
    rows = []
    for name, runs in tables(folder):
        lists = OF_POOLS if len(runs.pools) > 1 else OF_REPEATS if name == "repetition" else OF_ONE_POOL
        splits = holdout.splits(runs.recipes(), runs.clusters, holdout.ROLLING)
        for train, test in splits[1:] or splits:
            ends = [runs.take(part).finished(runs.evals[:EVALS]) for part in (train, test)]
            rows += [
                {"table": name.partition(":")[0], "laws": laws} | errors(tuple(laws.split(",")), *ends)
                for laws in lists
            ]
    means = pl.DataFrame(rows).group_by("table", "laws", maintain_order=True).mean()
    total = means.select(pl.lit("mean").alias("table"), pl.lit("").alias("laws"), pl.selectors.float().mean())
    with pl.Config(
        tbl_rows=-1,
        tbl_hide_dataframe_shape=True,
        tbl_hide_column_data_types=True,
        tbl_width_chars=140,
        fmt_str_lengths=60,
    ):
        print(pl.concat([means, total]).with_columns(pl.selectors.float().round(2)))


if __name__ == "__main__":
    main()
