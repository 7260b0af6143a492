"""Whether predictions of larger runs are right within what they say: ``benchmarks/fitting/calibration.py [--only TABLE]
[--quick]``.

Reads the tables of ``../shared/data/runs`` (``--data`` to override) that have more than one size. For each table, the
smallest size is fitted and the next is predicted, then both are fitted and the third is predicted, and so on. The fit
is that of ``curate fit`` without ``--law``. Each line is a size that was held out; the last lines pool the tables. One
thread; about five minutes, ``--quick`` (four evals a table) about two.

Intervals are of 90 %. Each cell has their coverage, their median width in % and their mean score in % (Gneiting and
Raftery 2007: the width, and 20 times what a miss misses by; lower is better). Next to the tool's intervals are those of
the method before, for the one law with the smallest error on the top fifth of compute (bootstrap draws, and noise of at
least that error), and a constant of 3 % on both sides of the tool's prediction; for differences, of 2 %.
"""

import argparse
import itertools
import os
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

from curate.fitting.choice import averaging, default_laws, holdout, law_discrepancies
from curate.fitting.fit import FitOptions
from curate.fitting.fitted_laws import FittedLaw
from curate.runs import fitted_size
from curate.runs.predictors.blend import Blend
from curate.runs.predictors.intervals import mixture_ends, spread
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes
from curate.runs.run_table import check, read
from curate.runs.runs import Runs

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"
PILE5 = ("pile5_70m", "pile5_160m", "pile5_305m")  # one table of three sizes, in three files
OPTIONS = FitOptions(starts=4, draws=24)
LEVEL, NORMAL_90 = 0.9, 1.6449
CONSTANT, CONSTANT_DIFFERENCE = 0.03, 0.02
ONE_SIZE = " (one size fitted)"
# Natural logarithms of the size over the largest fitted one, between which lines are pooled: 1.65, 2.25 and more times.
DISTANCES = (0.0, 0.5, 0.8, float("inf"))
EARLY = 0.05  # rows of less progress are not judged: nobody plans such runs
MOST_PAIRS = 2000  # of runs of one size, for differences


@dataclass
class Scores:
    """Intervals of one kind on the held-out runs of several lines: one entry a line, with the table it belongs to."""

    tables: list[str] = field(default_factory=list)
    rows: list[tuple[float, float, float]] = field(default_factory=list)
    distances: list[float] = field(default_factory=list)

    def add(self, table: str, distance: float, low: np.ndarray, high: np.ndarray, truth: np.ndarray) -> str:
        """Add (m,) intervals of log losses, and return their cell."""
        measured = np.isfinite(truth)
        low, high, truth = low[measured], high[measured], truth[measured]
        missed = np.maximum(low - truth, 0) + np.maximum(truth - high, 0)
        score = float((high - low + 2 / (1 - LEVEL) * missed).mean())
        row = (float((missed == 0).mean()), 100 * float(np.median(high - low)), 100 * score)
        self.tables.append(table)
        self.distances.append(distance)
        self.rows.append(row)
        return cell(row)

    def pooled(self, several: bool, nearest: float = 0.0, furthest: float = float("inf")) -> str:
        """Return the cell of the mean over tables of the mean over their lines.

        ``several``: of the lines with two or more fitted sizes, else of those with one. The distances of the lines lie
        between ``nearest`` and ``furthest``.
        """
        groups: dict[str, list[tuple[float, float, float]]] = {}
        for table, distance, row in zip(self.tables, self.distances, self.rows, strict=True):
            if table.endswith(ONE_SIZE) != several and nearest <= distance < furthest:
                groups.setdefault(table, []).append(row)
        if not groups:
            return "none"
        return cell(np.mean([np.mean(rows, axis=0) for rows in groups.values()], axis=0))


def cell(row: tuple[float, float, float] | np.ndarray) -> str:
    """Return coverage, width and score as text."""
    return f"{row[0]:.2f} {row[1]:4.1f} {row[2]:5.1f}"


KINDS = (
    *("final", "final, before", "final, +-3 %"),
    *("all rows", "all rows, before", "all rows, +-3 %"),
    *("differences", "diff., before", "diff., +-2 %"),
)


def tables(data: Path) -> Iterator[tuple[str, Runs]]:
    """Return the tables with more than one size, by name."""
    yield "slimpajama", read(data / "slimpajama.csv")
    yield "pile5", check(pl.concat([read(data / f"{name}.csv").frame for name in PILE5], how="diagonal"), "pile5")
    yield "repetition", read(data / "repetition.csv")
    for (corpus,), part in read(data / "overtraining.csv").frame.partition_by("corpus", as_dict=True).items():
        # The corpora are of one family, so they count as one table when lines are pooled.
        yield f"overtraining:{corpus}", check(part, f"overtraining, {corpus}")
    yield "chinchilla", read(data / "chinchilla.csv")


def as_fitted(runs: Runs, evals: tuple[str, ...], checkpoints: Runs) -> FittedLaw:
    """Return what ``curate fit`` keeps without ``--law``."""
    how, _ = holdout.default(runs.recipes(), runs.clusters)
    specs = default_laws.default(runs)
    kept, _ = averaging.average(runs, specs, evals, how=how, options=OPTIONS)
    return law_discrepancies.with_unfinished(kept, checkpoints)


def before(runs: Runs, evals: tuple[str, ...]) -> dict[str, tuple[Predictor, float]]:
    """Return a predictor of each eval as the tool chose it before, and the noise of its intervals."""
    how = "mixture" if default_laws.shape(runs).one_budget else "largest"
    kept, comparison = averaging.choose(runs, default_laws.default(runs), evals, how=how, options=OPTIONS)
    error = float(comparison.rows["rms"][0])
    parts = kept.parts() if isinstance(kept, Blend) else {kept.eval: kept}
    return {name: (part, max(part.noise, error)) for name, part in parts.items()}


def pairs(recipes: Recipes) -> tuple[np.ndarray, np.ndarray]:
    """Return positions (m,) and (m,) of pairs of runs of one size."""
    sizes = holdout.codes_of_sizes(np.asarray(recipes.params))
    first, second = np.triu_indices(len(sizes), 1)
    same = np.flatnonzero(sizes[first] == sizes[second])
    chosen = np.random.default_rng(0).permutation(same)[:MOST_PAIRS]
    return first[chosen], second[chosen]


def logs(values: torch.Tensor) -> np.ndarray:
    """Return logarithms as an array."""
    return np.asarray(values.detach().log())


@dataclass
class Calibration:
    """The scores of all lines, by kind of interval; and real over reported errors, and regrets."""

    scores: dict[str, Scores] = field(default_factory=lambda: {kind: Scores() for kind in KINDS})
    ratios: list[float] = field(default_factory=list)
    errors: dict[str, list[float]] = field(default_factory=dict)
    regrets: list[float] = field(default_factory=list)
    distance: float = 0.0  # of the present line

    def line(self, name: str, runs: Runs, evals: tuple[str, ...], train: np.ndarray, test: np.ndarray) -> None:
        """Fit the runs of ``train``, predict those of ``test``, and print a line."""
        clock = time.process_time()
        fitted, rest = runs.take(train), runs.take(test)
        finished = fitted.finished(evals)
        levels = holdout.count_of_sizes(finished.recipes())
        kept = as_fitted(finished, evals, fitted)
        parts = kept.parts() if isinstance(kept, Blend) else {kept.eval: kept}
        old = before(finished, evals)
        table = name.partition(":")[0] + (ONE_SIZE if levels == 1 else "")
        ends, cells = rest.finished(evals), dict.fromkeys(KINDS, "")
        sizes = np.log(np.asarray(ends.recipes().params))
        self.distance = float(sizes.mean() - np.log(float(finished.recipes().params.max())))
        cells |= self.levels(table, parts, old, ends, "final")
        if rest.trainings.has_checkpoints:
            recipes = rest.recipes()
            done = torch.ones(len(rest)) if recipes.progress is None else recipes.progress
            cells |= self.levels(table, parts, old, rest.take((done >= EARLY).numpy()), "all rows")
        cells |= self.differences(table, parts, old, ends)
        errors = [np.nanmean(np.abs(self.error(part, ends, eval_name))) for eval_name, part in parts.items()]
        record = next(fit.heldout for fit in (kept.fits if isinstance(kept, Blend) else (kept,)) if fit.heldout)
        ratio = float(np.mean(errors)) / float(record["heldout"])
        if levels > 1:
            self.ratios.append(ratio)
        self.errors.setdefault(table, []).append(100 * float(np.mean(errors)))
        regret = self.regret(parts, ends)
        print(
            f"{name:24.24} {levels:5} {self.distance:5.2f} {len(finished):6} {len(ends):4} "
            f"{100 * np.mean(errors):6.2f} {ratio:6.2f} {regret:7.4f} {time.process_time() - clock:6.1f}  "
            + "  ".join(f"{cells[kind]:16}" for kind in KINDS),
            flush=True,
        )

    def error(self, part: Predictor, runs: Runs, name: str) -> np.ndarray:
        """Return (m,) relative errors."""
        return np.asarray(part.loss(runs.recipes(part.pools)).detach()) / runs.loss(name, missing=True) - 1

    def levels(
        self,
        table: str,
        parts: dict[str, Predictor],
        old: dict[str, tuple[Predictor, float]],
        runs: Runs,
        kind: str,
    ) -> dict[str, str]:
        """Score the intervals of levels, over all evals together."""
        columns: dict[str, list[np.ndarray]] = {}
        truths = []
        for name, part in parts.items():
            recipes = runs.recipes(part.pools)
            truths.append(np.log(runs.loss(name, missing=True)))
            centre = logs(part.loss(recipes))
            single, noise = old[name]
            intervals = {
                kind: [logs(end) for end in part.interval(recipes, LEVEL)],
                f"{kind}, before": [logs(end) for end in spread(single.draw_losses(recipes), noise, LEVEL)],
                f"{kind}, +-3 %": [centre - CONSTANT, centre + CONSTANT],
            }
            for label, (low, high) in intervals.items():
                columns.setdefault(f"{label} low", []).append(low)
                columns.setdefault(f"{label} high", []).append(high)
        truth = np.concatenate(truths)
        return {
            label: self.scores[label].add(
                table,
                self.distance,
                np.concatenate(columns[f"{label} low"]),
                np.concatenate(columns[f"{label} high"]),
                truth,
            )
            for label in (kind, f"{kind}, before", f"{kind}, +-3 %")
        }

    def differences(
        self, table: str, parts: dict[str, Predictor], old: dict[str, tuple[Predictor, float]], runs: Runs
    ) -> dict[str, str]:
        """Score the intervals of differences of log loss between runs of one size: as of a gain in plan.json."""
        lows: dict[str, list[np.ndarray]] = {}
        highs: dict[str, list[np.ndarray]] = {}
        truths = []
        for name, part in parts.items():
            recipes, truth = runs.recipes(part.pools), np.log(runs.loss(name, missing=True))
            first, second = pairs(recipes)
            if not len(first):
                return {}
            truths.append(truth[first] - truth[second])
            single, noise = old[name]
            for label, predictor, deviation in (
                ("differences", part, float(fitted_size.relative_run_deviation(part, recipes)[0])),
                ("diff., before", single, noise),
            ):
                draws = predictor.draw_losses(recipes).detach().log()
                of_two = torch.full((len(draws), len(first)), 2**0.5 * deviation, dtype=torch.float64)
                low, high = mixture_ends(draws[:, first] - draws[:, second], of_two, LEVEL)
                lows.setdefault(label, []).append(low.numpy())
                highs.setdefault(label, []).append(high.numpy())
            centre = logs(part.loss(recipes))
            difference = centre[first] - centre[second]
            lows.setdefault("diff., +-2 %", []).append(difference - CONSTANT_DIFFERENCE)
            highs.setdefault("diff., +-2 %", []).append(difference + CONSTANT_DIFFERENCE)
        truth = np.concatenate(truths)
        return {
            label: self.scores[label].add(
                table, self.distance, np.concatenate(lows[label]), np.concatenate(highs[label]), truth
            )
            for label in lows
        }

    def regret(self, parts: dict[str, Predictor], runs: Runs) -> float:
        """Return by how much the mean loss of the mixture of the lowest prediction is above the lowest, in nats."""
        if len(np.unique(np.round(np.asarray(runs.recipes().weights), 6), axis=0)) < 2:
            return float("nan")
        predicted = np.mean(
            [np.asarray(part.loss(runs.recipes(part.pools)).detach()) for part in parts.values()], axis=0
        )
        truth = np.mean([runs.loss(name, missing=True) for name in parts], axis=0)
        rows = np.flatnonzero(np.isfinite(truth))
        regret = float(truth[rows[predicted[rows].argmin()]] - truth[rows].min())
        self.regrets.append(regret)
        return regret


def report(data: Path, *, only: list[str] | None = None, quick: bool = False) -> None:
    """Predict every held-out size of the tables in ``data``, and print the table."""
    calibration = Calibration()
    print(
        f"{'table':24} {'sizes':>5} {'dist.':>5} {'fitted':>6} {'test':>4} {'err %':>6} {'ratio':>6} {'regret':>7} "
        f"{'CPU-s':>6}  " + "  ".join(f"{kind:16}" for kind in KINDS)
    )
    for name, runs in tables(data):
        if only and not any(name.startswith(start) for start in only):
            continue
        evals = runs.evals[:4] if quick else runs.evals
        for train, test in holdout.splits(runs.recipes(), runs.clusters, holdout.ROLLING):
            calibration.line(name, runs, evals, train, test)
    for label, several in (("two or more sizes fitted", True), ("one size fitted", False)):
        print(f"\npooled, {label}: coverage, median width %, interval score %")
        for kind, scores in calibration.scores.items():
            print(f"  {kind:18} {scores.pooled(several)}")
    print("\nfinal rows by the distance of the held-out size, two or more sizes fitted:")
    for nearest, furthest in itertools.pairwise(DISTANCES):
        cells = (calibration.scores[kind].pooled(True, nearest, furthest) for kind in KINDS[:3])
        print(f"  {nearest:.1f} to {furthest:<4.1f}  " + "  ".join(f"{text:16}" for text in cells))
    errors = {table: float(np.mean(values)) for table, values in calibration.errors.items()}
    print("mean error of final rows, %: " + ", ".join(f"{table} {error:.2f}" for table, error in errors.items()))
    if calibration.ratios:
        ratio = np.median(calibration.ratios)
        print(f"real over reported error where two or more sizes were fitted, median: {ratio:.2f}")
    if calibration.regrets:
        print(f"regret of the chosen mixture, nats: mean {np.mean(calibration.regrets):.4f}")


def data_folder(description: str | None) -> Path | None:
    """Read the flags of a benchmark of run tables and return its folder of tables; print a line if there is none.

    Torch gets one thread.
    """
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the run tables")
    folder: Path = parser.parse_args().data
    if not folder.is_dir():
        print(f"no run tables in {folder}: nothing to measure; give their folder with --data")
        return None
    torch.set_num_threads(1)
    return folder


def main() -> None:
    """Read flags and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the run tables")
    parser.add_argument("--only", action="append", help="start of the name of a table; may be repeated")
    parser.add_argument("--quick", action="store_true", help="four evals a table")
    flags = parser.parse_args()
    if not flags.data.is_dir():
        print(f"no run tables in {flags.data}: nothing to measure; give their folder with --data")
        return
    torch.set_num_threads(1)
    report(flags.data, only=flags.only, quick=flags.quick)


if __name__ == "__main__":
    main()
