"""Find a column of text whose values divide the runs into groups that the fit misses by different amounts.

In: a fit and its runs. Out: a note that names the column, such as ``corpus``. Runs of several corpora in one table look
like one corpus with much noise, because no law reads such a column.
"""

import numpy as np
import polars as pl

from curate.errors import first_few
from curate.fitting.fitted_laws import FittedLaw
from curate.fitting.jobs.points import parts_of
from curate.runs.runs import Runs

NAMES = ("run", "training")  # columns that name rows, and not what was trained
MOST_GROUPS = 20  # a column with more values names runs rather than groups of them
FEWEST_RUNS = 4  # of a group on average: the mean of fewer follows their noise
# Share of the variance of the residuals that lies between groups, from which a note is given. Groups that mean nothing
# hold a share of about (groups - 1) / (runs - 1), which FEWEST_RUNS keeps under a quarter.
BETWEEN = 0.5


def notes(predictor: FittedLaw, runs: Runs) -> tuple[str, ...]:
    """Return a note on the column of text that explains most of the residuals, if it explains more than half."""
    columns = [name for name in runs.frame.columns if runs.frame.schema[name] == pl.String and name not in NAMES]
    shares = {name: _between(predictor, runs, name) for name in columns if _has_groups(runs.frame[name])}
    name = max(shares, key=shares.__getitem__, default="")
    if not name or shares[name] <= BETWEEN:
        return ()
    groups = sorted(runs.frame[name].drop_nulls().unique())
    return (
        f"{shares[name]:.0%} of the variance of the errors lies between the values of the column {name} "
        f"({first_few(groups)}), which no law reads. Compare them with --by {name}, or choose one with --where",
    )


def _has_groups(column: pl.Series) -> bool:
    groups = column.n_unique()
    return 1 < groups <= MOST_GROUPS and len(column) >= FEWEST_RUNS * groups


def _between(predictor: FittedLaw, runs: Runs, name: str) -> float:
    """Return the share of the variance of log residuals that lies between the values of a column; mean over evals."""
    shares = []
    for evaluation, part in parts_of(predictor).items():
        predicted = part.loss(runs.recipes(part.pools)).detach().log().numpy()
        table = pl.DataFrame({"group": runs.frame[name], "residual": np.log(runs.loss(evaluation, missing=True))})
        table = table.with_columns(pl.col("residual") - pl.Series(predicted)).filter(pl.col("residual").is_not_nan())
        centred = table.with_columns(pl.col("residual") - pl.col("residual").mean())
        means = centred.select(pl.col("residual").mean().over("group")).to_series()
        between, total = float((means**2).sum()), float((centred["residual"] ** 2).sum())
        shares.append(between / total if total > 0 else 0.0)
    return float(np.mean(shares))
