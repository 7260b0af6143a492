"""Predicting and choosing mixtures from samples: `benchmarks/selection/transport.py CACHE [--fashion FOLDER] [--only
NAME,...]`.

Trainings are kept in the folder CACHE (see `trials.py`; a fresh run trains for about 12 minutes on one core, then the
table takes a few). ``--fashion`` is a folder with the idx files of Debian's dataset-fashion-mnist; without it that part
is skipped. Means over splits into pilots and held-out mixtures, +- 95 % of the mean. Errors in points of accuracy.

stage 1    12 single-run pilots at 200 examples -> all other mixtures at 200
to 800     16 mixtures x {100, 200} examples, one run each -> all other mixtures at 800
regret     the same pilots -> the best of all mixtures at 800, minus the chosen one; those within 1.5 points of the
           best are trained again with 24 other seeds, so that the best is not a lucky one
Forms are chosen by leaving mixtures out within the pilots; nothing is chosen by held-out mixtures.
"""

import argparse
import os
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import torch
import trials
from trials import Setting, Trials

from curate.selection import pooled_form, published_forms
from curate.selection.mixture_distance import MixtureDistance

SPLITS, DRAWS = 30, 60
CHEAP = ("sliced", "energy")
CONTENDERS, AGAIN = 0.015, 24  # accuracy from the best; runs that settle which of them is best
REACH = {"A": (5.9, 4.4, 0.1), "B": (2.4, 2.5, 0.2), "D": (4.1, 4.6, 0.1)}  # digits, logistic: asked for


@dataclass(frozen=True, eq=False)
class Case:
    """A setting's mixtures with their distances (m,) by name, accuracies (m, sizes, repeats), and ``settled`` (m,) at
    the largest size."""

    trials: Trials
    distances: Mapping[str, np.ndarray]
    settled: np.ndarray

    @property
    def w(self) -> np.ndarray:
        return self.trials.setting.mixtures

    def run(self, rows: np.ndarray, size: int, split: int) -> np.ndarray:
        """Accuracy of one run of each mixture in ``rows``."""
        return self.trials.accuracy[rows, size, split % self.trials.accuracy.shape[2]]

    def truth(self, size: int) -> np.ndarray:
        return self.trials.accuracy[:, size].mean(axis=1)


def with_distances(done: Trials, seed: int, cache: Path) -> Case:
    shown = done.setting.seen(seed)
    measures = [MixtureDistance(shown), MixtureDistance(shown, 100.0), MixtureDistance(shown, 25.0)]
    w = torch.from_numpy(done.setting.mixtures)
    plain = MixtureDistance(done.setting.seen(seed, labels=False))(w).numpy()
    cheap = {name: MixtureDistance(shown, kind=name)(w).numpy() for name in CHEAP}
    return Case(done, {m.name: m(w).numpy() for m in measures} | {"no labels": plain} | cheap, settled(done, cache))


def settled(done: Trials, cache: Path) -> np.ndarray:
    """Accuracies (m,) at the largest size; those within CONTENDERS of the best are trained again, with other seeds.

    The best of many noisy means is too high, and every regret with it: contenders get the mean of runs that did not
    make them contenders.
    """
    accuracy = done.accuracy[:, -1].mean(axis=1)
    rows = np.flatnonzero(accuracy > accuracy.max() - CONTENDERS)
    accuracy[rows] = trials.accuracy(
        done.setting.mixtures[rows], done.setting, done.model, done.setting.sizes[-1], AGAIN, cache
    )
    return accuracy


def ours(case: Case, rows: np.ndarray, sizes: list[int], split: int) -> tuple[pooled_form.PooledForm, str, float]:
    """Choose distance and shares within the pilots, then the pooled bounded form."""
    offered = {name: d for name, d in case.distances.items() if name not in ("no labels", *CHEAP)}
    return _pooled(case, rows, sizes, split, offered=offered)


def _pooled(
    case: Case,
    rows: np.ndarray,
    sizes: list[int],
    split: int,
    *,
    offered: Mapping[str, np.ndarray],
    top: float = 1.0,
    pick: bool = True,
) -> tuple[pooled_form.PooledForm, str, float]:
    every, tokens, error = pilots(case, rows, sizes, split)
    name, shares, error_out = next(iter(offered)), False, np.inf
    if pick:
        read = {n: d[every] for n, d in offered.items()}
        choice = pooled_form.choose_distance(read, case.w[every], tokens, error, top=top)
        name, shares = choice.distance, choice.shares
        error_out = min(choice.errors.values()) / float(error.mean())
    pooled = pooled_form.fit_pooled(offered[name][every], case.w[every], tokens, error, shares=shares, top=top)
    return pooled, name, error_out


def pilots(case: Case, rows: np.ndarray, sizes: list[int], split: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    counts = case.trials.setting.sizes
    error = np.concatenate([1 - case.run(rows, j, split) for j in sizes])
    tokens = np.concatenate([np.full(len(rows), float(counts[j])) for j in sizes])
    return np.tile(rows, len(sizes)), tokens, np.maximum(error, 1e-3)


def predict(pooled: pooled_form.PooledForm, case: Case, name: str, size: float) -> np.ndarray:
    return 1 - pooled.error(case.distances[name], case.w, np.full(len(case.w), size))


def stage_one(case: Case, rows: np.ndarray, split: int) -> dict[str, np.ndarray]:
    """Predicted accuracies (m,) at 200 examples by method."""
    y, d = case.run(rows, 1, split), case.distances["OT"]
    predictions = {"mean of the pilots": np.full(len(case.w), y.mean())}
    for form, title in (
        ("quad", "quad-p ridge"),
        ("ot", "OT-linear"),
        ("ot+p", "OT + linear p"),
        ("cs", "CS"),
        ("pq", "PQ"),
        ("ot+gp", "OT + GP over p"),
    ):
        predictions[title] = published_forms.fit_at_size(form, d[rows], case.w[rows], y).predict(d, case.w)
    plain = case.distances["no labels"]
    predictions["OT-linear, no labels"] = published_forms.fit_at_size("ot", plain[rows], case.w[rows], y).predict(
        plain, case.w
    )
    for name in CHEAP:
        d = case.distances[name]
        predictions[f"line in {name}"] = published_forms.fit_at_size("ot", d[rows], case.w[rows], y).predict(d, case.w)
    fit, name, _ = ours(case, rows, [1], split)
    predictions["ours"] = predict(fit, case, name, case.trials.setting.sizes[1])
    return predictions


def to_largest(case: Case, rows: np.ndarray, split: int) -> dict[str, np.ndarray]:
    """Predicted accuracies (m,) at the largest size from the two smallest."""
    sizes = case.trials.setting.sizes
    pair, goal = (float(sizes[0]), float(sizes[1])), float(sizes[-1])
    d = case.distances["OT"]
    predictions = {}
    for form, title in (("cs", "CS"), ("pq", "PQ"), ("ot", "OT-linear"), ("quad", "quad-p ridge")):
        both = [
            published_forms.fit_at_size(form, d[rows], case.w[rows], case.run(rows, j, split)).predict(d, case.w)
            for j in (0, 1)
        ]
        predictions[f"{title} + stage 2 (published)"] = published_forms.project(both[0], both[1], pair, goal)
        if form in ("cs", "ot"):
            logs = published_forms.project(1 - both[0], 1 - both[1], pair, goal, logs=True)
            predictions[f"{title} + stage 2 on log error"] = 1 - logs
    for title, top in (("pooled log error on OT", 0.0), ("pooled logit error on OT", 1.0)):
        fit, *_ = _pooled(case, rows, [0, 1], split, offered={"OT": d}, top=top, pick=False)
        predictions[title] = np.clip(predict(fit, case, "OT", goal), 0, 1)
    fit, name, _ = ours(case, rows, [0, 1], split)
    predictions["ours"] = predict(fit, case, name, goal)
    return predictions


def choices(case: Case, rows: np.ndarray, split: int) -> dict[str, np.ndarray]:
    """Mixtures (k,) chosen by each way; the mean regret of k is shown."""
    m, d = len(case.w), case.distances["OT"]
    uniform = int(np.abs(case.w - 1 / case.w.shape[1]).sum(axis=1).argmin())
    best = int(rows[case.run(rows, 1, split).argmax()])
    chosen = {
        "uniform": uniform,
        "best pilot": best,
        "argmin OT, no trainings": int(d.argmin()),
        "argmin OT, no labels": int(case.distances["no labels"].argmin()),
    }
    chosen |= {f"argmin {name}, no trainings": int(case.distances[name].argmin()) for name in CHEAP}
    chosen["argmin reach 100, no trainings"] = int(case.distances["reach 100"].argmin())
    largest = to_largest(case, rows, split)
    for title in ("CS + stage 2 (published)", "quad-p ridge + stage 2 (published)", "pooled logit error on OT"):
        chosen[title] = int(largest[title].argmax())
    chosen["ours"] = recommend(case, rows, split, challengers=(best, uniform))
    nearest = int(case.distances[ours(case, rows, [0, 1], split)[1]].argmin())
    chosen["uniform, unless pilots convince"] = recommend(case, rows, split, challengers=(nearest, best), first=uniform)
    return {"random": np.arange(m)} | {title: np.array([i]) for title, i in chosen.items()}


def recommend(
    case: Case, rows: np.ndarray, split: int, *, challengers: tuple[int, ...], first: int | None = None
) -> int:
    """The rule of `curate.selection.recommend` in the table: argmin of the distance that pilots choose (or ``first``),
    unless they promise more from another mixture than their error."""
    goal = float(case.trials.setting.sizes[-1])
    fit, name, error_out = ours(case, rows, [0, 1], split)
    value = 1 - predict(fit, case, name, goal)
    every, tokens, error = pilots(case, rows, [0, 1], split)
    rng, draws = np.random.default_rng(split), []
    for _ in range(DRAWS):
        taken = rng.choice(rows, len(rows))
        positions = np.concatenate([np.flatnonzero(every == i) for i in taken])
        rows_drawn = every[positions]
        pooled = pooled_form.fit_pooled(
            case.distances[name][rows_drawn],
            case.w[rows_drawn],
            tokens[positions],
            error[positions],
            shares=fit.shares,
        )
        draws.append(1 - predict(pooled, case, name, goal))
    drawn, chosen = np.stack(draws), int(case.distances[name].argmin()) if first is None else first
    for other in (int(value.argmin()), *challengers):
        if np.quantile(drawn[:, chosen] - drawn[:, other], 0.05) > error_out * value[chosen]:
            chosen = other
    return chosen


def summarise(case: Case) -> dict[str, dict[str, tuple[float, float]]]:
    """Return mean and half-width of 95 % by table and method: MAE of both predictions, RMSE of stage 1, regret."""
    m, summary = len(case.w), {"stage 1": {}, "stage 1 rms": {}, "to 800": {}, "regret": {}}
    truth, last = case.truth(1), case.truth(-1)
    lists: dict[str, dict[str, list[float]]] = {name: {} for name in summary}

    def add(table: str, title: str, value: float) -> None:
        lists[table].setdefault(title, []).append(100 * value)

    for split in range(SPLITS):
        order = np.random.default_rng(split).permutation(m)
        for title, y in stage_one(case, order[:12], split).items():
            add("stage 1", title, np.abs(y - truth)[order[12:]].mean())
            add("stage 1 rms", title, ((y - truth)[order[12:]] ** 2).mean() ** 0.5)
        for title, y in to_largest(case, order[:16], split).items():
            add("to 800", title, np.abs(y - last)[order[16:]].mean())
        for title, rows in choices(case, order[:16], split).items():
            add("regret", title, case.settled.max() - case.settled[rows].mean())
    spread = case.trials.accuracy[:, -1].std(axis=1, ddof=1)
    add("regret", "(standard error of a difference)", float((2 * (spread**2).mean() / AGAIN) ** 0.5))
    for table, by in lists.items():
        for title, values in by.items():
            summary[table][title] = (float(np.mean(values)), 1.96 * float(np.std(values)) / len(values) ** 0.5)
    return summary


def report(group: str, columns: list[tuple[str, dict[str, dict[str, tuple[float, float]]]]]) -> None:
    for table in ("stage 1", "stage 1 rms", "to 800", "regret"):
        print(f"\n{group}: {table}".ljust(46) + "".join(name.rjust(15) for name, _ in columns))
        for title in columns[0][1][table]:
            cells = [f"{by[table][title][0]:.2f} +-{by[table][title][1]:.2f}" for _, by in columns]
            print(f"  {title:<43}" + "".join(cell.rjust(15) for cell in cells))
        column = ("stage 1", "to 800", "regret").index(table) if table != "stage 1 rms" else None
        if column is not None and group == "digits, 3 sources":
            goals = [REACH[n.split()[0]][column] if "logistic" in n else None for n, _ in columns]
            print("  asked for".ljust(45) + "".join(("" if g is None else f"{g:.1f}").rjust(15) for g in goals))


def settings(arguments: argparse.Namespace) -> dict[str, tuple[list[Setting], tuple[str, ...]]]:
    digits = trials.digits()
    both = ("logistic", "network")
    groups = {"digits, 3 sources": (trials.three(digits), both), "digits, 8 sources": (trials.eight(digits), both)}
    images = None if arguments.fashion is None else trials.fashion(arguments.fashion)
    if images is None:
        print("Fashion-MNIST skipped: give --fashion FOLDER with the idx files of Debian's dataset-fashion-mnist")
        return groups
    return groups | {
        "fashion, 3 sources": (trials.three(images), ("logistic",)),
        "fashion, 8 sources": (trials.eight(images), ("logistic",)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("cache", type=Path, help="folder of trainings, made where it is absent")
    parser.add_argument("--fashion", type=Path, help="folder of Fashion-MNIST's idx files")
    parser.add_argument("--only", default="", help="groups whose name holds this")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    start = time.process_time()
    for group, (members, models) in settings(arguments).items():
        if arguments.only in group:
            columns = []
            for model in models:
                for setting in members:
                    case = with_distances(trials.train(setting, model, arguments.cache), 0, arguments.cache)
                    columns.append((f"{setting.name} {model}", summarise(case)))
            report(group, columns)
            print(f"  {time.process_time() - start:.0f} CPU-s so far", flush=True)


if __name__ == "__main__":
    main()
