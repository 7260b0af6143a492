"""CPU time of `curate fit` through the command line: `benchmarks/fitting/speed.py`.

One table on standard output: CPU-seconds of a child process (user and system), with the default starts and draws, and
the CPU-seconds of scipy's `least_squares` for the same law from the same 32 starts, without any bootstrap. scipy gets
slopes from forward differences, Huber's loss at the last noise of the fit, and the same weak prior, so that both
minimise the same function. `worse` is the share by which scipy's best objective lies above that of the fit. Reads the
tables of `../shared/data/runs` (`--data` to override). `--full` adds all evals of slimpajama with `--law auto`.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
import torch
from scipy.optimize import least_squares
from torch import Tensor

from curate import open_sets
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.minima import Minima
from curate.fitting.solver.multistart import FitOptions, FitPasses
from curate.runs.run_table import read

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"
CURATE = Path(sys.executable).with_name("curate")
ROWS = (
    ("slimpajama", "arxiv", "mixture_ces:linear=true"),
    ("slimpajama", "arxiv", "ces"),
    ("slimpajama", "arxiv", "chinchilla"),
    ("chinchilla", "loss", "chinchilla"),
    ("repetition", "loss", "penalised"),
)


def command_line(table: Path, evaluation: str, law: str) -> tuple[float, float]:
    """CPU-seconds of a child process, and its wall-clock seconds."""
    with tempfile.TemporaryDirectory() as folder:
        command = [str(CURATE), "fit", str(table), "--eval", evaluation, "--law", law, "--out", f"{folder}/fit.json"]
        before, start = resource.getrusage(resource.RUSAGE_CHILDREN), time.monotonic()
        subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime, time.monotonic() - start


def passes(table: Path, evaluation: str, law: str) -> FitPasses:
    """The problem of one law and one eval, to measure its minimum."""
    runs = read(table)
    built = open_sets.build("laws", law)
    target = torch.from_numpy(np.log(runs.loss(evaluation)))[None]
    weights = torch.ones(len(runs), dtype=torch.float64)
    coordinates = Coordinates(built.params(), len(runs.pools))
    return FitPasses(built, coordinates, runs.recipes(), target, weights, weights, FitOptions())


def scipy_minimum(fit: FitPasses, minima: Minima) -> tuple[float, float]:
    """CPU-seconds of scipy from every start with Huber's loss at the noise of the fit, and its best objective."""
    delta, noise = float(fit.delta(minima.noise)), float(minima.noise)
    precision = (noise / minima.width[0].numpy()) * np.sqrt(float(fit.options.prior))
    centre, target = minima.centre[0].numpy(), fit.target[0].numpy()

    def residual(u: np.ndarray) -> np.ndarray:
        errors = fit.function.values(torch.from_numpy(u)[None])[0].numpy() - target
        size = np.abs(errors)
        # The square of this is twice Huber's loss.
        huber = np.sqrt(np.where(size <= delta, errors**2, 2 * delta * size - delta**2))
        return np.nan_to_num(np.concatenate([huber, precision * (u - centre)]), nan=1e3, posinf=1e3)

    start, best = time.process_time(), np.inf
    for first in fit.coordinates.starts(fit.options.starts, 0).numpy():
        best = min(best, float(least_squares(residual, first, ftol=1e-9, xtol=1e-9, max_nfev=200).cost))
    return time.process_time() - start, best


def objective(fit: FitPasses, minima: Minima) -> float:
    """The objective of the fit's minimum."""
    evals: Tensor = torch.zeros(1, dtype=torch.long)
    return float(fit.problems(minima.point, evals, minima).objective(minima.point, fit.residuals(minima.point)))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, default=DATA)
    parser.add_argument("--full", action="store_true", help="also fit all evals of slimpajama with --law auto")
    parser.add_argument("--alone", action="store_true", help="leave out scipy")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    table = []
    for name, evaluation, law in ROWS:
        path = arguments.data / f"{name}.csv"
        evaluation = evaluation if evaluation != "loss" else read(path).evals[0]
        cpu, wall = command_line(path, evaluation, law)
        row = {"table": name, "law": law, "rows": len(read(path)), "CPU-s": f"{cpu:.1f}", "wall": f"{wall:.1f}"}
        if not arguments.alone:
            fit = passes(path, evaluation, law)
            minima = fit.from_many_starts(law)
            seconds, best = scipy_minimum(fit, minima)
            ours = objective(fit, minima)
            row |= {"scipy CPU-s": f"{seconds:.1f}", "worse": f"{best / ours - 1:+.0e}"}
        table.append(row)
    if arguments.full:
        cpu, wall = command_line(arguments.data / "slimpajama.csv", "all", "auto")
        table.append(
            {"table": "slimpajama, 8 evals", "law": "auto", "rows": 1182, "CPU-s": f"{cpu:.0f}", "wall": f"{wall:.0f}"}
        )
    with pl.Config(tbl_rows=-1, tbl_hide_dataframe_shape=True, tbl_hide_column_data_types=True, fmt_str_lengths=60):
        print(pl.DataFrame(table))


if __name__ == "__main__":
    main()
