"""Differences between mixtures under a law that is wrong: ``benchmarks/fitting/wrong_laws.py``.

Makes runs of 16 mixtures of four pools at two or three sizes, from a formula that none of the laws can say: pools help
or harm each other, and the exponent of tokens depends on the mixture. Each law is fitted alone, and predicts 25 other
mixtures at 2.5 times the largest size. One table on standard output, means over four random formulas: the noise of the
fit, the scatter that its intervals have, and the real one, in %; and coverage, median width and mean score in % of the
90 % intervals of differences (Gneiting and Raftery 2007; lower is better), with the scatter and with the noise alone.
One thread, about half a minute.
"""

import argparse
import os
import sys
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).resolve().parent))

import numpy as np
import polars as pl
import torch
from calibration import LEVEL, cell, logs

from curate.fitting.choice import averaging
from curate.fitting.fit import FitOptions
from curate.runs import run_table
from curate.runs.predictors.intervals import mixture_ends
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes, recipes
from curate.runs.runs import Runs

LAWS = ("ces", "mixture_additive", "mixture_joint")
SIZES = (6e7, 1.5e8, 4e8)
NEXT = 2.5  # times the largest size
POOLS, MIXTURES, NEW_MIXTURES = 4, 16, 25
NOISE = 0.003  # standard deviation of log loss of a run, as of public runs of several seeds
FORMULAS = 4
OPTIONS = FitOptions(starts=2, draws=16)


def losses(weights: np.ndarray, params: np.ndarray, formula: int, seed: int) -> np.ndarray:
    """Return (n,) losses of mixtures (n, POOLS) at 20 tokens a parameter."""
    rng = np.random.default_rng(900 + formula)
    alone = rng.normal(0, 0.35, POOLS)
    together = np.triu(rng.normal(0, 0.6, (POOLS, POOLS)), 1)
    exponent = 0.33 + weights @ rng.normal(0, 0.05, POOLS)
    quality = weights @ alone + np.einsum("ni,ij,nj->n", weights, together, weights)
    exact = 1.7 + 400 / params**0.34 * np.exp(0.3 * quality) + 800 / (20 * params) ** exponent * np.exp(quality)
    return np.asarray(exact * np.exp(NOISE * np.random.default_rng(seed).standard_normal(len(params))))


def fitted_runs(sizes: tuple[float, ...], formula: int) -> Runs:
    """Return the runs of every mixture at every size."""
    mixtures = np.random.default_rng(formula).dirichlet(np.ones(POOLS), MIXTURES)
    weights, params = np.tile(mixtures, (len(sizes), 1)), np.repeat(sizes, MIXTURES)
    columns = {f"weight.p{i}": weights[:, i] for i in range(POOLS)}
    frame = {"run": [f"r{i}" for i in range(len(params))], "params": params, "tokens": 20 * params}
    return run_table.check(
        pl.DataFrame(frame | columns | {"loss.x": losses(weights, params, formula, formula)}), "made"
    )


def score(part: Predictor, planned: Recipes, truth: np.ndarray, deviation: float) -> np.ndarray:
    """Return coverage, median width and mean score, the last two in %, of the differences of all pairs."""
    first, second = np.triu_indices(len(truth), 1)
    draws = part.draw_losses(planned).detach().log()
    of_two = torch.full((len(draws), len(first)), 2**0.5 * deviation, dtype=torch.float64)
    low, high = (end.numpy() for end in mixture_ends(draws[:, first] - draws[:, second], of_two, LEVEL))
    difference = truth[first] - truth[second]
    missed = np.maximum(low - difference, 0) + np.maximum(difference - high, 0)
    width = 100 * (high - low)
    return np.array([(missed == 0).mean(), np.median(width), (width + 200 / (1 - LEVEL) * missed).mean()])


def main() -> None:
    """Print the table."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    torch.set_num_threads(1)
    print(f"{'law':18} sizes  noise scatter  real  {'with the scatter':18} with the noise alone")
    for law in LAWS:
        for sizes in (SIZES[:2], SIZES):
            rows = []
            for formula in range(FORMULAS):
                kept, _ = averaging.choose(fitted_runs(sizes, formula), [law], ["x"], options=OPTIONS)
                weights = np.random.default_rng(5000 + formula).dirichlet(np.ones(POOLS), NEW_MIXTURES)
                params = np.full(NEW_MIXTURES, NEXT * sizes[-1])
                planned = recipes(weights, 20 * params, params)
                truth = np.log(losses(weights, params, formula, 5000 + formula))
                assert kept.discrepancy is not None
                scatter = max(kept.noise, kept.discrepancy.scatter)
                real = np.std(logs(kept.loss(planned)) - truth, ddof=1)
                scores = [score(kept, planned, truth, deviation) for deviation in (scatter, kept.noise)]
                rows.append(np.concatenate([100 * np.array([kept.noise, scatter, real]), *scores]))
            noise, scatter, real, *scored = np.mean(rows, axis=0)
            cells = f"{cell(np.array(scored[:3])):18} {cell(np.array(scored[3:]))}"
            print(f"{law:18} {len(sizes):5} {noise:6.2f} {scatter:7.2f} {real:5.2f}  {cells}", flush=True)


if __name__ == "__main__":
    main()
