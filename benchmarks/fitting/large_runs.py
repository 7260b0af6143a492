"""What a few large runs beside many small ones buy: ``benchmarks/fitting/large_runs.py``.

Every law is fitted to all small runs and to 0, 4, 8 or 16 large ones, drawn at random, and predicts the other large
runs. One table on standard output: the mean Spearman correlation over evals, that of their mean, and the mean error. In
brackets the error of differences: the standard deviation of what is left of the log error without its mean. In the
table `early`, the small runs are first checkpoints, so that a long way lies between the sizes. Four evals of each table
are fitted together. Reads the tables of
``../shared/data/runs`` (``--data`` to override). One thread, about six minutes.
"""

import argparse
import os
import time
from collections.abc import Mapping, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
from scipy.stats import spearmanr

from curate.fitting.fitted_laws import fit_named
from curate.fitting.solver.multistart import FitOptions
from curate.runs.run_table import read
from curate.runs.runs import Runs

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"
LAWS = ("mixture_ces:linear=true", "gaussian", "gaussian:base=ces")
LARGE_RUNS = (0, 4, 8, 16)
SPLITS = 2
OPTIONS = FitOptions(starts=2, draws=1)  # accuracy needs no bootstrap


def tables(data: Path) -> dict[str, tuple[Runs, Runs, tuple[str, ...]]]:
    """The small runs, the large runs of the same mixtures, and the evals, by the name of the table."""
    pools = data / "slimpajama.csv"
    last, first = "tokens = 19998000000", "tokens = 1998000000"
    pile, slim = ("ArXiv", "FreeLaw", "Github", "Pile-CC"), ("arxiv", "book", "github", "wikipedia")
    large = read(pools, where=f"{last} AND params > 2e8")
    return {
        "slimpajama 122M -> 310M": (read(pools, where=f"{last} AND params < 2e8"), large, slim),
        "early: 122M, 2e9 tokens -> 310M, 2e10": (
            read(pools, where=f"{first} AND params < 2e8"), large, slim,
        ),
        "pile5 70M -> 305M": (
            read(data / "pile5_70m.csv", where="tokens = 3e10"),
            read(data / "pile5_305m.csv", where="tokens = 3e10"),
            pile,
        ),
    }  # fmt: skip


def errors(law: str, train: Runs, test: Runs, evals: Sequence[str]) -> np.ndarray:
    """Mean Spearman over evals, that of their mean, mean error and error of differences in %."""
    losses = {name: train.loss(name, missing=True) for name in evals}
    fits = fit_named(law, train.recipes(), losses, pools=train.pools, clusters=None, options=OPTIONS)
    predicted = {name: fit.loss(test.recipes(train.pools)).detach().numpy() for name, fit in fits.items()}
    return scores(predicted, {name: test.loss(name) for name in evals})


def scores(predicted: Mapping[str, np.ndarray], measured: Mapping[str, np.ndarray]) -> np.ndarray:
    """The four numbers of ``errors`` from (n,) losses by eval."""
    log_error = np.log(np.stack(list(predicted.values()))) - np.log(np.stack(list(measured.values())))
    ranks = [spearmanr(predicted[name], measured[name]).statistic for name in measured]
    means = [np.mean(list(losses.values()), axis=0) for losses in (predicted, measured)]
    apart = (log_error - log_error.mean(axis=1, keepdims=True)).std()
    return np.array(
        [np.mean(ranks), spearmanr(*means).statistic, 100 * np.abs(np.expm1(log_error)).mean(), 100 * apart]
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--law", action="append", help="a law; may be repeated")
    parser.add_argument("--splits", type=int, default=SPLITS)
    arguments = parser.parse_args()
    rows = []
    for table, (small, large, evals) in tables(arguments.data).items():
        for law in arguments.law or LAWS:
            for count in LARGE_RUNS:
                start, results = time.process_time(), []
                for seed in range(arguments.splits):
                    order = np.random.default_rng(seed).permutation(len(large))
                    seen, unseen = large.frame[order[:count].tolist()], large.frame[order[count:].tolist()]
                    train = read(pl.concat([small.frame, seen], how="diagonal_relaxed"))
                    results.append(errors(law, train, read(unseen), evals))
                rank, rank_of_mean, error, apart = np.mean(results, axis=0)
                rows.append(
                    {
                        "table": table,
                        "law": law,
                        "large runs": count,
                        "Spearman": f"{rank:.4f}",
                        "of the mean": f"{rank_of_mean:.4f}",
                        "error": f"{error:.2f} % ({apart:.2f} %)",
                        "CPU-s": f"{time.process_time() - start:.0f}",
                    }
                )
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, fmt_str_lengths=60):
        print(pl.DataFrame(rows))


if __name__ == "__main__":
    main()
