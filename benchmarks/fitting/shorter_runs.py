"""Runs that are shorter than all fitted ones: ``benchmarks/fitting/shorter_runs.py``.

Fits the longer 60 and 40 % of the runs of each table of ``../shared/data/runs`` (``--data`` to override) as ``curate
fit`` does without ``--law``, and predicts the shorter ones inside the fitted sizes. One table on standard output: the
runs by how many times shorter they are than the shortest fitted one, with the root mean square error in %, and
coverage, median width and mean score in % of the 90 % intervals (Gneiting and Raftery 2007; lower is better). They are
given for standard deviations of the shift at 1/e of the shortest length of 0 (none), of the tool's, and of others.
One thread, about one minute.
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import polars as pl
from calibration import LEVEL, as_fitted, cell, data_folder, logs, tables

from curate.fitting.fitted_laws import FittedLaw
from curate.runs import discrepancy
from curate.runs.predictors.blend import Blend
from curate.runs.runs import Runs

SHIFTS = (0.0, 0.014, 0.025, discrepancy.SHORTER_SHIFT, 0.05)
SHORTER = (1.0, 1.35, 2.2, 5.0, float("inf"))  # times shorter than the shortest fitted run
CUTS = (0.4, 0.6)  # shares of the runs that are predicted


def rows(name: str, runs: Runs, cut: float) -> list[dict[str, object]]:
    """Return a row for each predicted loss and each shift."""
    recipes = runs.recipes()
    tokens, params = np.asarray(recipes.tokens), np.asarray(recipes.params)
    train = tokens >= np.quantile(tokens, cut)
    test = ~train & (params >= params[train].min()) & (params <= params[train].max())
    if not test.any():
        return []
    fitted, rest = runs.take(train), runs.take(test)
    kept: FittedLaw = as_fitted(fitted, runs.evals[:2], fitted)
    shorter = tokens[train].min() / tokens[test]
    lines = []
    for evaluation, part in (kept.parts() if isinstance(kept, Blend) else {kept.eval: kept}).items():
        planned, truth = rest.recipes(part.pools), np.log(rest.loss(evaluation, missing=True))
        error = logs(part.loss(planned)) - truth
        for shift in SHIFTS:
            discrepancy.SHORTER_SHIFT = shift
            low, high = (logs(end) for end in part.interval(planned, LEVEL))
            missed = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
            lines += [
                {
                    "table": name.partition(":")[0],
                    "shift": shift,
                    "shorter": times,
                    "square": e**2,
                    "held": float(m == 0),
                }
                | {"width": 100 * w, "score": 100 * (w + 2 / (1 - LEVEL) * m)}
                for times, e, m, w in zip(shorter, error, missed, high - low, strict=True)
            ]
    return lines


def main() -> None:
    """Print the table."""
    if (folder := data_folder(__doc__)) is None:
        return
    lines = []
    for name, runs in tables(folder):
        ends = runs.finished(runs.evals[:2])
        # Tables of one length have no shorter runs.
        if np.ptp(np.log(np.asarray(ends.recipes().tokens))) > np.log(2):
            lines += [line for cut in CUTS for line in rows(name, ends, cut)]
    frame = pl.DataFrame(lines)
    print(f"{'table':14} {'shorter':>10} {'losses':>6} {'rms %':>6}  " + "  ".join(f"{s:<15.3f}" for s in SHIFTS))
    for table in frame["table"].unique(maintain_order=True):
        for nearest, furthest in zip(SHORTER, SHORTER[1:], strict=False):
            of_bin = frame.filter(
                (pl.col("table") == table) & (pl.col("shorter") > nearest) & (pl.col("shorter") <= furthest)
            )
            if not len(of_bin):
                continue
            cells = []
            for shift in SHIFTS:
                part = of_bin.filter(pl.col("shift") == shift)
                cells.append(cell(np.array([part["held"].mean(), part["width"].median(), part["score"].mean()])))
            rms = 100 * float(np.sqrt(part["square"].mean()))
            print(
                f"{table:14} {nearest:4.2f} to {furthest:<4.3g} {len(part):4} {rms:6.2f}  "
                + "  ".join(f"{text:15}" for text in cells)
            )


if __name__ == "__main__":
    main()
