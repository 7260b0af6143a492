"""What tells unfinished runs best: ``benchmarks/fitting/annealing_term.py [--starts N]``.

Trainings of one pool are planted with the schedules of two published curves, `annealing` and `multi_power`: 2 sizes and
3 lengths, with 10 rows each. The law ``chinchilla`` is fitted, and the last rows of runs of 2 and 4 times the size and
up to 2 times the length are predicted. One table on standard output: the mean absolute error in percent over 3 seeds.

- last rows: only the last row of each training is fitted.
- progress: all rows are fitted, with the term for unfinished runs in 1 - tokens / planned tokens.
- S2: the same term in 1 - S2 / S2 at the end of the training: the part of its annealing that a run has still to have.
- fit uses: the rows that `curate fit` takes of such a table.

One thread; about a CPU-minute.
"""

import argparse
import os
import time
from dataclasses import replace

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

from curate.fitting.choice import checkpoints, holdout
from curate.fitting.curves.schedules import annealing, multi_power, schedule_laws
from curate.fitting.fit import FitOptions, fit_evals
from curate.runs import run_table
from curate.runs.recipes import Recipes
from curate.runs.runs import Runs

PUBLISHED = {"annealing": annealing.PUBLISHED, "multi_power": multi_power.PUBLISHED}
PEAK, WARMUP, BATCH, ROWS = 3e-4, 500, 5e5, 10
# Of a training, and of a row: relative.
TRAINING_NOISE, ROW_NOISE = 0.001, 0.0005
SMALL, LARGE = (1e8, 2e8), (4e8, 8e8)  # params
LENGTHS, LONGER = (5_000, 10_000, 20_000), (20_000, 40_000)  # steps
SHAPES = ("cosine", "wsd", "both")
SEEDS = 3


def rates(shape: str, steps: int) -> np.ndarray:
    """The learning rates (steps,): after warming up a cosine to a tenth, or constant and linear in the last fifth."""
    t = np.clip((np.arange(steps) - WARMUP) / (steps - WARMUP), 0, 1)
    values = PEAK * (0.55 + 0.45 * np.cos(np.pi * t) if shape == "cosine" else np.clip((1 - t) / 0.2, 0.1, 1))
    values[:WARMUP] = PEAK * np.arange(1, WARMUP + 1) / WARMUP
    return values


def training(truth: str, shape: str, params: float, steps: int, rng: np.random.Generator) -> pl.DataFrame:
    """The rows of one training. Its loss is that of the curve, shifted by what the size makes of it."""
    schedule, form = rates(shape, steps), schedule_laws.LAWS[truth]
    steps_of_rows = np.linspace(0, steps - 1, ROWS + 1).round().astype(int)[1:]
    curve = form.curve(PUBLISHED[truth], *form.features(schedule, WARMUP, steps_of_rows)).numpy()
    loss = curve - 0.9 + 0.9 * (params / SMALL[0]) ** -0.3
    noise = TRAINING_NOISE * rng.standard_normal() + ROW_NOISE * rng.standard_normal(ROWS)
    name = f"{shape}-{params:g}-{steps}"
    return pl.DataFrame(
        {
            "run": [f"{name}@{step}" for step in steps_of_rows],
            "params": params,
            "tokens": (steps_of_rows + 1) * BATCH,
            "planned_tokens": steps * BATCH,
            "step": steps_of_rows + 1,
            "lr": schedule[steps_of_rows],
            "loss.web": loss * np.exp(noise),
        }
    )


def table(truth: str, shape: str, seed: int) -> Runs:
    """A run table of small and large trainings."""
    rng, sizes = np.random.default_rng(seed), [(SMALL, LENGTHS), (LARGE, LONGER)]
    shapes = ("cosine", "wsd") if shape == "both" else (shape,)
    trainings = [
        training(truth, kind, params, steps, rng)
        for params_of, lengths in sizes
        for params in params_of
        for steps in lengths
        for kind in shapes
    ]
    return run_table.check(pl.concat(trainings), "planted")


def by_annealing(recipes: Recipes, clusters: np.ndarray) -> Recipes:
    """The recipes with the part of its annealing that a run has had in place of its progress."""
    assert recipes.areas is not None
    s2 = recipes.areas[:, 1].numpy()
    ends = np.zeros(clusters.max() + 1)
    np.maximum.at(ends, clusters, s2)
    return replace(recipes, progress=torch.from_numpy(np.clip(s2 / ends[clusters], 1e-6, 1.0)))


def errors(runs: Runs, options: FitOptions) -> dict[str, float]:
    """The mean absolute relative error on the last rows of the large runs, by way."""
    recipes, clusters, loss = runs.recipes(), runs.clusters, runs.loss("web")
    small = runs.numbers("params") <= SMALL[1]
    last = holdout.finished(recipes, clusters)
    ways = {
        "last rows": (replace(recipes, progress=None), small & last, False),
        "progress": (recipes, small, True),
        "S2": (by_annealing(recipes, clusters), small, True),
    }
    results = {}
    for way, (rows, chosen, term) in ways.items():
        fits = fit_evals(
            "chinchilla",
            rows.take(chosen),
            {"web": loss[chosen]},
            pools=runs.pools,
            clusters=clusters[chosen],
            options=replace(options, unfinished=term),
        )
        predicted = np.asarray(fits["web"].loss(replace(recipes, progress=None).take(~small & last)))
        results[way] = float(np.abs(predicted / loss[~small & last] - 1).mean())
    return results


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--starts", type=int, default=4)
    options = FitOptions(starts=parser.parse_args().starts, draws=2)
    clock = time.process_time()
    rows = []
    for truth in PUBLISHED:
        for shape in SHAPES:
            of_seeds = [errors(table(truth, shape, seed), options) for seed in range(SEEDS)]
            means = {way: f"{100 * np.mean([result[way] for result in of_seeds]):.2f}" for way in of_seeds[0]}
            chosen = checkpoints.rows_to_fit(table(truth, shape, 0), ("chinchilla",), ("web",))
            fitted = {"fit uses": "all rows" if chosen.unfinished else "last rows"}
            rows.append({"curve": truth, "schedules": shape} | means | fitted)
    print(pl.DataFrame(rows))
    print(f"{time.process_time() - clock:.0f} CPU-s")


if __name__ == "__main__":
    main()
