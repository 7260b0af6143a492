"""Laws of one budget on mixtures that they have not seen, at that budget and at a larger one.

The command is ``benchmarks/fitting/unseen_mixtures.py``. It prints one table: the mean Spearman correlation over evals,
that of the mean of the evals, and the error of differences, which is the standard deviation of what is left of the log
error without its mean over the mixtures. The laws see the small runs only; of the tables with two sizes they see half
of the mixtures, drawn at random, and predict the large runs of the other half. A mean is of the losses that several
laws predict. This table decided which laws `curate fit` averages where all runs have one budget. Reads the tables of
``../shared/data/runs`` (``--data`` to override). One thread, about ten minutes.
"""

import argparse
import os
import time
from collections.abc import Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from large_runs import scores, tables

from curate.fitting.fitted_laws import fit_named
from curate.fitting.solver.multistart import FitOptions
from curate.runs.run_table import read
from curate.runs.runs import Runs

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"
LAWS = ("mixing", "mixture_additive", "ces", "boosted:base=ces", "gaussian", "gaussian:base=ces")
MEANS = (
    ("ces", "gaussian"),
    ("gaussian", "gaussian:base=ces"),
    ("ces", "mixture_additive", "gaussian", "gaussian:base=ces"),
)
SPLITS = 2
OPTIONS = FitOptions(starts=2, draws=1)  # accuracy needs no bootstrap

Case = tuple[Runs, Runs, Sequence[str]]  # runs to fit, runs to predict, evals


def cases(data: Path, splits: int) -> dict[str, list[Case]]:
    """The cases by the name of the table."""
    train, test = read(data / "regmix_1m.csv"), read(data / "regmix_1m_test.csv")
    result: dict[str, list[Case]] = {"RegMix 1M, 512 -> 256 others": [(train, test, train.evals)]}
    for name, (small, large, evals) in tables(data).items():
        pools = [f"weight.{pool}" for pool in small.pools]
        # The same mixtures in the same order.
        pairs = [runs.frame.sort(pl.col(pools).round(6)) for runs in (small, large)]
        for seed in range(splits):
            order = np.random.default_rng(seed).permutation(min(len(frame) for frame in pairs))
            half = len(order) // 2 + len(order) // 8
            fitted, unseen = pairs[0][order[:half].tolist()], pairs[1][order[half:].tolist()]
            result.setdefault(name, []).append((read(fitted), read(unseen), evals))
    return result


def predicted(law: str, case: Case) -> dict[str, np.ndarray]:
    """The losses that a law predicts for the other runs, by eval."""
    train, test, evals = case
    losses = {name: train.loss(name, missing=True) for name in evals}
    fits = fit_named(law, train.recipes(), losses, pools=train.pools, clusters=None, options=OPTIONS)
    return {name: fit.loss(test.recipes(train.pools)).detach().numpy() for name, fit in fits.items()}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--law", action="append", help="a law; may be repeated")
    parser.add_argument("--splits", type=int, default=SPLITS)
    parser.add_argument("--table", help="only tables whose name contains these letters")
    arguments = parser.parse_args()
    laws = arguments.law or LAWS
    means = [law for law in MEANS if set(law) <= set(laws)]
    rows = []
    for table, splits in cases(arguments.data, arguments.splits).items():
        if arguments.table and arguments.table not in table:
            continue
        measured = [{name: test.loss(name) for name in evals} for _, test, evals in splits]
        by_law, seconds = {}, {}
        for law in laws:
            start = time.process_time()
            by_law[law] = [predicted(law, case) for case in splits]
            seconds[law] = f"{time.process_time() - start:.0f}"
        for names in [*((law,) for law in laws), *means]:
            sums = [
                {name: np.mean([by_law[law][i][name] for law in names], axis=0) for name in truth}
                for i, truth in enumerate(measured)
            ]
            rank, of_mean, _, apart = np.mean([scores(*pair) for pair in zip(sums, measured, strict=True)], axis=0)
            rows.append(
                {
                    "table": table,
                    "law, or mean of laws": " + ".join(names),
                    "Spearman": f"{rank:.4f}",
                    "of the mean": f"{of_mean:.4f}",
                    "differences": f"{apart:.2f} %",
                    "CPU-s": seconds.get(" + ".join(names), ""),
                }
            )
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, fmt_str_lengths=70):
        print(pl.DataFrame(rows))


if __name__ == "__main__":
    main()
