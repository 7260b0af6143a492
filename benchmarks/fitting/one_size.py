"""Runs of one size, read at a larger size: ``benchmarks/fitting/one_size.py``.

Laws are fitted to the runs of the smallest size of a table and predict the runs of its larger sizes, in three ways: as
the law extrapolates; with the differences between mixtures of the fitted size, in nats; and with their ratios, as
`curate.runs.fitted_size` does. One table on standard output: the mean rank correlation of mixtures over the evals, that
of the mean of the evals, and the mean error of differences between mixtures, in percent of the loss. "Held" is the
share of differences in their 90 % intervals, as of a gain in plan.json, and "width" their median width in percent.
Reads ``../shared/data/runs`` (``--data`` to override). One thread, about one minute.
"""

import argparse
import os
from itertools import product
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch
from scipy.stats import spearmanr

from curate.fitting import fit as fits
from curate.runs.fitted_size import LevelFactor, at_fitted_size, relative_run_deviation
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.intervals import mixture_ends
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.runs.run_table import read
from curate.runs.runs import Runs

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"
LAWS = ("ces", "mixture_additive", "mixture_ces:linear=true")
OPTIONS = fits.FitOptions(starts=4, draws=40)
LEVEL = 0.9


def last_rows(runs: Runs) -> Runs:
    """The row with the most tokens of each training."""
    rows = runs.frame.with_columns(pl.Series("group", runs.clusters)).sort("tokens")
    return read(rows.group_by("group", maintain_order=True).last().drop("group"))


def tables(data: Path) -> dict[str, tuple[Runs, tuple[Runs, ...]]]:
    """The runs of the smallest size and those of each larger size, by table."""
    slimpajama = last_rows(read(data / "slimpajama.csv"))
    small, large = (read(slimpajama.frame.filter(pl.col("params") == n)) for n in (1.22e8, 3.1e8))
    pile5 = [last_rows(read(data / f"pile5_{size}.csv", where="tokens <= 3e10")) for size in ("70m", "160m", "305m")]
    return {"pile5 70M": (pile5[0], tuple(pile5[1:])), "slimpajama 122M": (small, (large,))}


def scores(predicted: np.ndarray, measured: np.ndarray) -> tuple[float, float, float]:
    """Rank correlations and the error of differences, from (e, n) predicted and measured losses."""
    of_each = np.mean([spearmanr(x, y).statistic for x, y in zip(predicted, measured, strict=True)])
    of_mean = spearmanr(predicted.mean(axis=0), measured.mean(axis=0)).statistic
    # Of all pairs of mixtures: a difference of log losses is one in percent of the loss.
    errors = np.log(predicted) - np.log(measured)
    pairs = np.abs(errors[:, :, None] - errors[:, None, :])
    return float(of_each), float(of_mean), 100 * float(pairs.mean())


def intervals(fit: Predictor, recipes: Recipes, measured: np.ndarray) -> tuple[float, float]:
    """The share of differences between all pairs of mixtures in their intervals, and the median width in percent."""
    first, second = np.triu_indices(len(recipes), 1)
    draws = fit.draw_losses(recipes).log()
    deviations = relative_run_deviation(fit, recipes)
    of_two = torch.hypot(deviations[first], deviations[second]).expand(len(draws), -1)
    low, high = (end.numpy() for end in mixture_ends(draws[:, first] - draws[:, second], of_two, LEVEL))
    difference = np.log(measured[first]) - np.log(measured[second])
    return float(((low <= difference) & (difference <= high)).mean()), 100 * float(np.median(high - low))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    rows = []
    for (name, (small, larger)), law in product(tables(parser.parse_args().data).items(), LAWS):
        losses = {evaluation: small.loss(evaluation) for evaluation in small.evals}
        fitted = fits.fit_evals(law, small.recipes(), losses, pools=small.pools, options=OPTIONS)
        mean = Blend(tuple(fitted.values()), (1 / len(fitted),) * len(fitted), "mean")
        factor = LevelFactor(mean)
        for runs in larger:
            recipes = runs.recipes(small.pools)
            measured = np.stack([runs.loss(evaluation) for evaluation in small.evals])
            law_itself = np.stack([fit.loss(recipes).numpy() for fit in fitted.values()])
            held = np.stack([fit.loss(factor.held(recipes)).numpy() for fit in fitted.values()])
            # Shift and factor of the mean over the evals and mixtures.
            shift = law_itself.mean(axis=1, keepdims=True) - held.mean(axis=1, keepdims=True)
            ways = {
                "the law's": law_itself,
                "differences kept": held + shift,
                "ratios kept": held * factor.predicted(recipes).numpy(),
            }
            size = f"{runs.frame['params'][0]:.3g}"
            for way, predicted in ways.items():
                of_each, of_mean, error = scores(predicted, measured)
                columns = {"evals' ranks": of_each, "rank of the mean": of_mean, "differences": error}
                rows.append({"fitted": name, "predicted": size, "law": law, "way": way} | columns)
                if way == "differences kept":
                    continue
                parts = at_fitted_size(mean).parts() if way == "ratios kept" else mean.parts()
                pairs = [intervals(part, recipes, loss) for part, loss in zip(parts.values(), measured, strict=True)]
                rows[-1] |= dict(zip(("held", "width"), np.mean(pairs, axis=0).tolist(), strict=True))
    with pl.Config(
        tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, tbl_cols=-1, tbl_width_chars=160
    ):
        print(pl.DataFrame(rows).with_columns(pl.selectors.float().round(3)))


if __name__ == "__main__":
    main()
