"""Ways to use checkpoints in a fit: ``benchmarks/fitting/checkpoints.py [--law NAME] [--starts N] [--data DIR]``.

Smaller runs are fitted, and larger runs are predicted. One table on standard output: the mean absolute error in
percent, averaged over the evals, on the last row of each larger training ("final") and on all its rows ("all").

- all rows: every row is fitted as a finished run.
- last rows: the last row of each training is fitted.
- term: all rows are fitted, with the term for unfinished runs, as if each training was planned to end where it does.
- term, equal trainings: the same, but the rows of a training have the weight of one row together.
- term above the floor: the term of ``mixture_ces:linear=true`` multiplies only the loss above the parameter E.

Reads the tables of ``../shared/data/runs`` (``--data`` to override). One thread; about four CPU-minutes.
"""

import argparse
import os
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from torch import Tensor

from curate.fitting.fit import Fit, FitOptions, fit_evals
from curate.laws import Param
from curate.laws._unfinished import TERM
from curate.laws.mixture_ces import MixtureCes
from curate.runs import run_table
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs
from curate.runs.trainings.progress import FINISHED

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"


@dataclass(frozen=True)
class AboveFloor:
    """The law ``mixture_ces:linear=true`` with the term on the part of the loss above the floor E."""

    name = "above_floor"

    def params(self) -> tuple[Param, ...]:
        """Return the parameters of the law and of the term, as `laws._unfinished` has them."""
        term = (replace(param, name=f"{param.name}_above_floor") for param in TERM)
        return (*MixtureCes(linear=True).params(), *term)

    def loss(self, theta: Mapping[str, Tensor], recipes: Recipes) -> Tensor:
        """Return (n,) losses in nats per token."""
        finished = MixtureCes(linear=True).loss(theta, recipes)
        slope, curvature = (theta[f"{param.name}_above_floor"] for param in TERM)
        factor = (slope * recipes.remaining + curvature * recipes.remaining**2).exp()
        return theta["E"] + (finished - theta["E"]) * factor


@dataclass(frozen=True)
class Split:
    """A table, the rows to fit and the rows to predict, as masks (n,)."""

    name: str
    runs: Runs
    small: np.ndarray

    def mean_error(self, fitted: Mapping[str, Fit], rows: np.ndarray) -> float:
        """Return the mean absolute relative error on some rows, averaged over the evals."""
        recipes = self.runs.recipes().take(rows)
        errors = [
            np.nanmean(np.abs(np.asarray(fit.loss(recipes)) / self.runs.loss(name, missing=True)[rows] - 1))
            for name, fit in fitted.items()
        ]
        return float(np.mean(errors))


def splits(data: Path) -> Iterator[Split]:
    """Read the tables: seven pools at 122M and 310M parameters, five pools at 70M, 160M and 305M."""
    seven = run_table.read(data / "slimpajama.csv")
    yield Split("seven pools, 122M -> 310M", seven, seven.numbers("params") < 2e8)
    sizes = [run_table.read(data / f"pile5_{size}.csv").frame for size in ("70m", "160m", "305m")]
    five = run_table.check(pl.concat(sizes, how="diagonal_relaxed"), "pile5")
    yield Split("five pools, 70M and 160M -> 305M", five, five.numbers("params") < 2e8)


Way = Callable[[Split, str, FitOptions], dict[str, Fit]]


def fitted(split: Split, law: str, options: FitOptions, rows: np.ndarray, weights: np.ndarray | None) -> dict[str, Fit]:
    """Fit the law to some of the smaller runs."""
    rows = rows & split.small
    losses = {name: split.runs.loss(name, missing=True)[rows] for name in split.runs.evals}
    recipes = split.runs.recipes().take(rows)
    clusters = split.runs.clusters[rows]
    part = None if weights is None else weights[rows]
    return fit_evals(law, recipes, losses, pools=split.runs.pools, clusters=clusters, weights=part, options=options)


def all_rows(split: Split, law: str, options: FitOptions) -> dict[str, Fit]:
    """Fit every row as a finished run."""
    return fitted(split, law, options, np.ones(len(split.runs), dtype=bool), None)


def last_rows(split: Split, law: str, options: FitOptions) -> dict[str, Fit]:
    """Fit the last row of each training."""
    return fitted(split, law, options, split.runs.progress >= FINISHED, None)


def term(split: Split, law: str, options: FitOptions) -> dict[str, Fit]:
    """Fit all rows, with a term for unfinished runs."""
    return fitted(split, law, replace(options, unfinished=True), np.ones(len(split.runs), dtype=bool), None)


def weights_of_trainings(split: Split) -> np.ndarray:
    """Return weights (n,) with which the smaller rows of each training count for one row together."""
    codes = split.runs.clusters
    return 1 / np.maximum(np.bincount(codes, weights=split.small)[codes], 1)


def term_equal_trainings(split: Split, law: str, options: FitOptions) -> dict[str, Fit]:
    """Fit all rows with the term, and give every training the same weight."""
    every = np.ones(len(split.runs), dtype=bool)
    return fitted(split, law, replace(options, unfinished=True), every, weights_of_trainings(split))


def term_above_floor(split: Split, law: str, options: FitOptions) -> dict[str, Fit]:
    """Fit all rows with the term above the floor, whatever the law is."""
    return fitted(split, f"{__file__}:AboveFloor", options, np.ones(len(split.runs), dtype=bool), None)


WAYS: Mapping[str, Way] = {
    "all rows": all_rows,
    "last rows": last_rows,
    "term": term,
    "term, equal trainings": term_equal_trainings,
    "term above the floor": term_above_floor,
}


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--law", default="mixture_ces:linear=true")
    parser.add_argument("--starts", type=int, default=4)
    flags = parser.parse_args()
    print(f"{'split':34}{'way':24}{'final %':>9}{'all %':>9}{'CPU s':>8}")
    for split in splits(flags.data):
        large, final = ~split.small, split.runs.progress >= FINISHED
        for name, way in WAYS.items():
            start = time.process_time()
            fitted_laws = way(split, flags.law, FitOptions(starts=flags.starts, draws=1))
            seconds = time.process_time() - start
            errors = [100 * split.mean_error(fitted_laws, rows) for rows in (large & final, large)]
            print(f"{split.name:34}{name:24}{errors[0]:9.2f}{errors[1]:9.2f}{seconds:8.0f}", flush=True)


if __name__ == "__main__":
    main()
