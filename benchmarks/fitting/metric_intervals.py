"""Measure how far laws fitted to a metric miss larger runs: the shift common to a size, and what the intervals hold.

For each corpus and error rate of the over-training runs, a line for each size that is predicted from all smaller ones.
`shift` is the mean error of the logarithm of the odds and `scatter` its standard deviation within the size. `at e` is
the shift divided by the root of the distance, which is that in natural logarithms of the size. `holds` is the share of
runs inside the 90 % intervals.

    python benchmarks/fitting/metric_intervals.py
"""

import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
from calibration import data_folder

from curate.fitting.choice import averaging, default_laws, holdout
from curate.fitting.fit import FitOptions
from curate.fitting.jobs import metric_as_loss
from curate.runs.discrepancy import NEXT_SIZE
from curate.runs.run_table import check, read

OPTIONS = FitOptions(starts=4, draws=24)


def report(data: Path) -> None:
    """Print the table and the root mean square of its shifts."""
    print(
        f"{'corpus and metric':32} {'sizes':>5} {'dist.':>5} {'test':>4} {'shift':>7} {'at e':>6} {'scatter':>7} holds"
    )
    shifts: dict[bool, list[float]] = {}
    held: dict[bool, list[float]] = {}
    for (corpus,), part in read(data / "overtraining.csv").frame.partition_by("corpus", as_dict=True).items():
        for metric in ("err17", "err46"):
            runs = metric_as_loss.as_loss(check(part, f"overtraining, {corpus}"), metric, "error").runs
            evaluation = f"metric.{metric}"
            runs = runs.measured([evaluation])
            for train, test in holdout.splits(runs.recipes(), runs.clusters, holdout.ROLLING):
                fitted, rest = runs.take(train), runs.take(test)
                how, _ = holdout.default(fitted.recipes(), fitted.clusters)
                laws = default_laws.default(fitted)
                kept, _ = averaging.average(fitted, laws, (evaluation,), how=how, options=OPTIONS)
                recipes, truth = rest.recipes(), np.log(rest.loss(evaluation))
                error = kept.loss(recipes).detach().log().numpy() - truth
                distance = float(recipes.params.log().mean() - fitted.recipes().params.log().max())
                low, high = (end.log().numpy() for end in kept.interval(recipes))
                several = holdout.count_of_sizes(fitted.recipes()) > 1
                shift_at_e = float(error.mean()) / max(distance, NEXT_SIZE) ** 0.5
                holds = float(((low <= truth) & (truth <= high)).mean())
                shifts.setdefault(several, []).append(shift_at_e)
                held.setdefault(several, []).append(holds)
                print(
                    f"{corpus + ' ' + metric:32} {holdout.count_of_sizes(fitted.recipes()):5} {distance:5.2f} "
                    f"{len(rest):4} {error.mean():+7.3f} {shift_at_e:+6.3f} {error.std():7.3f} {holds:5.2f}",
                    flush=True,
                )
    for several, label in ((True, "two or more sizes fitted"), (False, "one size fitted")):
        root = float(np.sqrt(np.mean(np.square(shifts[several]))))
        print(f"{label}: shift at e {root:.3f} (root mean square), intervals hold {np.mean(held[several]):.2f} of runs")


def main() -> None:
    """Read flags and print the table."""
    if (folder := data_folder(__doc__)) is None:
        return
    report(folder)


if __name__ == "__main__":
    main()
