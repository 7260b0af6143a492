"""Downstream errors of larger runs, predicted through the command line: ``benchmarks/fitting/metrics.py``.

One table on standard output. The runs of Gadre et al. 2024 below a size are fitted, and the mean error of 17 tasks is
predicted for the larger runs. The chain predicts it from size and tokens alone (`curate fit --law`, `curate predict
--metric`); the curve alone reads the measured loss of the larger runs (`curate fit --law downstream`). ``error`` is the
mean absolute error over the held-out runs, ``coverage`` the share of them inside the 90 % intervals, ``width`` the mean
width of an interval. Reads ``../shared/data/runs/overtraining.csv`` (``--data`` to override). About two CPU-minutes.
"""

import argparse
import contextlib
import io
import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl

from pipelines.shared.cli import main

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs" / "overtraining.csv"
METRICS = ("err17", "err46")
LIMITS = (1e8, 3e8)  # parameters: runs below are fitted, the others held out
LAW = "overtraining"


def curate(*arguments: object) -> None:
    """Run one command of the console script in this process, and stop with its message if it fails."""
    sys.argv = ["curate", *map(str, arguments)]
    output, code = io.StringIO(), 0
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(output):
        try:
            main()
        except SystemExit as stop:
            code = int(stop.code or 0)
    if code:
        raise SystemExit(output.getvalue())


def rows(runs: pl.DataFrame, folder: Path, metrics: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield one row of the table for each corpus, limit, metric and method."""
    corpora = [*sorted(runs["corpus"].unique()), "all three"]
    for corpus in corpora:
        part = runs if corpus == "all three" else runs.filter(pl.col("corpus") == corpus)
        for limit in LIMITS:
            fitted, held_out = part.filter(pl.col("params") < limit), part.filter(pl.col("params") >= limit)
            fitted.write_csv(folder / "fitted.csv")
            held_out.write_csv(folder / "held_out.csv")
            tables = {(f"chain, {LAW}", metric): table for metric, table in _chain(folder, metrics).items()}
            tables |= {("curve alone", metric): _alone(folder, metric) for metric in metrics}
            for (method, metric), predicted in tables.items():
                measured = held_out[f"metric.{metric}"].to_numpy()
                value, low, high = (predicted[name].to_numpy() for name in ("predicted", "low", "high"))
                yield {
                    "corpus": corpus,
                    "fitted": f"N < {limit:.0e}",
                    "runs": f"{fitted.height} -> {held_out.height}",
                    "metric": metric,
                    "method": method,
                    "error": float(np.abs(value - measured).mean()),
                    "coverage": float(((low <= measured) & (measured <= high)).mean()),
                    "width": float((high - low).mean()),
                }


def _chain(folder: Path, metrics: Sequence[str]) -> dict[str, pl.DataFrame]:
    fit = folder / "fit.json"
    names = ",".join(metrics)
    curate("fit", folder / "fitted.csv", "--law", LAW, "--eval", "c4", "--metric", names, "--out", fit)
    return {metric: _predict(folder, fit, "--metric", metric) for metric in metrics}


def _alone(folder: Path, metric: str) -> pl.DataFrame:
    fit = folder / "curve.json"
    curate("fit", folder / "fitted.csv", "--law", "downstream", "--eval", metric, "--on", "c4", "--out", fit)
    return _predict(folder, fit)


def _predict(folder: Path, fit: Path, *options: str) -> pl.DataFrame:
    curate("predict", fit, folder / "held_out.csv", *options, "--out", folder / "predicted.parquet")
    return pl.read_parquet(folder / "predicted.parquet")


def benchmark() -> None:
    """Read flags, fit and predict, print the table and its means by method."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="the run table")
    parser.add_argument("--only", choices=METRICS, action="append", help="one metric; may be given several times")
    flags = parser.parse_args()
    if not flags.data.is_file():
        print(f"no run table {flags.data}: nothing to measure; give it with --data")
        return
    runs = pl.read_csv(flags.data, infer_schema_length=None)
    with tempfile.TemporaryDirectory() as folder:
        lines = []
        for row in rows(runs, Path(folder), flags.only or METRICS):
            lines.append(row)
            print(*row.values(), file=sys.stderr, flush=True)
    table = pl.DataFrame(lines)
    means = table.group_by("metric", "method", maintain_order=True).agg(pl.col("error", "coverage", "width").mean())
    with pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True):
        print(table, means, sep="\n\n")


if __name__ == "__main__":
    benchmark()
