"""Expected and real errors of tables of three to nine runs: ``benchmarks/fitting/few_runs.py``.

Draws random runs of two to four sizes from the smaller half of the tables of ``../shared/data/runs`` that have many
sizes (``--data`` to override), fits them as ``curate fit`` does without ``--law``, and predicts all runs of up to 2.5
times the largest fitted size. One table on standard output, a line for each number of runs: the median of the real
error, of the expected one, of real over expected, and of that without the spread of the law's parameters; the upper
quartile of real over expected; and the coverage of the 90 % intervals. The expected error is of the size that the fit
names, which may be nearer or further than the predicted one. One thread,
about two minutes.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import polars as pl
from calibration import OPTIONS, data_folder, tables

from curate.fitting.choice import averaging, default_laws, holdout
from curate.fitting.choice.held_out_errors import MEAN_SIZE
from curate.runs.predictors.blend import Blend
from curate.runs.runs import Runs

COUNTS = ((3, 2), (3, 3), (4, 2), (5, 3), (6, 2), (6, 3), (9, 3), (9, 4))  # runs and sizes of a table
REPEATS = {"chinchilla": 4}  # tables of each count; the others have fewer sizes to choose from
FURTHEST = 2.5  # times the largest fitted size
SMALLER = 0.5  # quantile of the sizes up to which runs are drawn


def drawn(runs: Runs, count: int, sizes: int, rng: np.random.Generator) -> np.ndarray | None:
    """Return the rows of ``count`` runs of so many different sizes; None if the table has too few."""
    params = np.asarray(runs.recipes().params)
    codes = holdout.codes_of_sizes(params)
    # At least one size is left to predict.
    small = np.flatnonzero((params <= np.quantile(params, SMALLER)) & (codes < codes.max()))
    chosen = rng.permutation(np.unique(codes[small]))[:sizes]
    one_each = [int(rng.choice(small[codes[small] == code])) for code in chosen]
    others = np.setdiff1d(small[np.isin(codes[small], chosen)], one_each)
    if len(chosen) < sizes or len(others) < count - sizes:
        return None
    return np.array([*one_each, *rng.permutation(others)[: count - sizes]])


def line(name: str, runs: Runs, rows: np.ndarray) -> dict[str, object] | None:
    """Fit the rows, and return the errors on the runs of the next sizes; None if there are none."""
    params = np.asarray(runs.recipes().params)
    largest = params[rows].max()
    nearest = params[params >= largest * 1.2].min()
    test = (params >= nearest) & (params <= max(FURTHEST * largest, nearest))
    fitted, rest = runs.take(np.isin(np.arange(len(runs)), rows)), runs.take(test)
    evals = runs.evals[:2]
    how, _ = holdout.default(fitted.recipes(), fitted.clusters)
    kept, _ = averaging.average(fitted, default_laws.default(fitted), evals, how=how, options=OPTIONS)
    parts = kept.parts() if isinstance(kept, Blend) else {kept.eval: kept}
    errors, inside = [], []
    for evaluation, part in parts.items():
        recipes, truth = rest.recipes(part.pools), rest.loss(evaluation)
        low, high = (end.numpy() for end in part.interval(recipes, 0.9))
        errors.append(np.abs(np.asarray(part.loss(recipes).detach()) / truth - 1).mean())
        inside.append(((low <= truth) & (truth <= high)).mean())
    record = next(fit.heldout for fit in (kept.fits if isinstance(kept, Blend) else (kept,)))
    real, expected = 100 * float(np.mean(errors)), 100 * float(record["heldout"])
    parameters = 100 * MEAN_SIZE * float(record["parameters"] or 0)
    return {
        "table": name.partition(":")[0],
        "runs": len(rows),
        "real %": real,
        "expected %": expected,
        "ratio": real / expected,
        "without": real / (expected**2 - parameters**2) ** 0.5,
        "held": float(np.mean(inside)),
    }


def main() -> None:
    """Print the table."""
    if (folder := data_folder(__doc__)) is None:
        return
    rng, lines = np.random.default_rng(0), []
    for name, runs in tables(folder):
        if len(runs.pools) > 1:
            continue
        for count, sizes in COUNTS:
            for _ in range(REPEATS.get(name, 1)):
                rows = drawn(runs, count, sizes, rng)
                if rows is not None:
                    lines.append(line(name, runs, rows))
    frame = pl.DataFrame(lines)
    medians = (pl.col(column).median().round(2) for column in ("real %", "expected %", "ratio", "without"))
    columns = [
        pl.len().alias("tables"),
        *medians,
        pl.col("ratio").quantile(0.75).round(2).alias("upper quartile"),
        pl.col("held").mean().round(2),
    ]
    for group in (pl.col("runs"), pl.col("table"), pl.lit("all").alias("runs")):
        with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
            print(frame.group_by(group).agg(*columns).sort(pl.first()))


if __name__ == "__main__":
    main()
