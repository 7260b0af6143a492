"""What it changes to estimate a fit's noise until it settles: ``benchmarks/fitting/noise.py [--only TABLE]``.

Every shared run table with the laws that suit it. "Once": the noise is estimated once, from residuals of a fit with a
noise of 1 %, as before 2026-11-29. "Settled": until it moves by less than 5 %. Errors are mean absolute relative errors
of the loss of runs that were held out, as named; noises are of the log loss, the mean over the evals. Gu et al.'s
numbers are in this file, the tables in ``../shared/data/runs`` (``--data`` to override). One thread, about three
minutes.
"""

import argparse
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parent))
from laws import DATA, Bench, Clock, mixtures, percent, relative

from curate import open_sets
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.multistart import FitOptions, FitPasses
from curate.laws import Law
from curate.runs.recipes import Recipes
from curate.runs.recipes import recipes as checked

ONCE, SETTLED = FitOptions(rounds=1), FitOptions()

# Gu et al. 2024 (arXiv 2407.17467), table 2: domain loss at these shares, and the paper's error at the last.
SHARES = (1.0, 0.75, 0.5, 1 / 3, 0.25)
GU = {
    "460M": ((1.4628, 1.4844, 1.5122, 1.5387, 1.5561), "0.03"),
    "940M": ((1.3723, 1.3910, 1.4155, 1.4385, 1.4538), "0.05"),
    "1.6B": ((1.3242, 1.3416, 1.3643, 1.3854, 1.3994), "0.03"),
    "3.1B": ((1.2585, 1.2750, 1.2965, 1.3170, 1.3305), "0.02"),
}


@dataclass(frozen=True)
class Split:
    """Runs to fit and runs to predict: recipes and losses by eval."""

    fitted: Recipes
    losses: Mapping[str, np.ndarray]
    unseen: Recipes
    truth: Mapping[str, np.ndarray]


@dataclass(frozen=True)
class Case:
    """One line of the table; its error is the mean over the splits and evals."""

    table: str
    held_out: str
    law: str
    splits: tuple[Split, ...]
    starts: int = 16


def split(recipes: Recipes, losses: Mapping[str, np.ndarray], train: np.ndarray, test: np.ndarray) -> Split:
    """Divide the runs of one table."""
    return Split(
        recipes.take(train),
        {e: y[train] for e, y in losses.items()},
        recipes.take(test),
        {e: y[test] for e, y in losses.items()},
    )


def gu(bench: Bench) -> Iterator[Case]:
    """Gu et al.: four shares of each model, the fifth predicted."""
    shares = np.array(SHARES)
    recipes = checked(np.column_stack([1 - shares, shares]), [2e10] * 5, [1e9] * 5)
    for model, (losses, published) in GU.items():
        part = split(recipes, {"fin": np.array(losses)}, np.arange(5) < 4, np.arange(5) == 4)
        yield Case(f"Gu et al., table 2, {model}", f"share .25; published {published} %", "cmr", (part,))


def continued(bench: Bench) -> Iterator[Case]:
    """Continual pretraining: each share in turn."""
    for table, domain, laws in (
        ("cmr_five", "fin", ("cmr",)),
        ("dcpt_chemistry", "chem", ("cmr",)),
        ("cpt_python", "python", ("replay:length=1e10,checkpoints=true", "dcpt")),
    ):
        runs = bench.runs(table, pl.col("tokens") > 0)
        recipes, share = runs.recipes(), runs.frame[f"weight.{domain}"].to_numpy()
        general = np.mean([runs.loss(e) for e in runs.evals if e != domain], axis=0)
        for law in laws:
            for name, loss, rest in ((domain, runs.loss(domain), ""), ("general", general, "rest=true")):
                spec = law if law == "cmr" or not rest else f"{law}{',' if ':' in law else ':'}{rest}"
                parts = (split(recipes, {name: loss}, share != x, share == x) for x in np.unique(share))
                yield Case(f"{table}, {name} loss", "each share in turn", spec, tuple(parts), 4)


def sizes(bench: Bench) -> Iterator[Case]:
    """Laws of size and tokens: larger runs."""
    chinchilla = bench.runs("chinchilla")
    recipes, losses = chinchilla.recipes(), {"val": chinchilla.loss("val")}
    flops = np.asarray(recipes.params * recipes.tokens)
    large = flops >= np.quantile(flops, 0.8)
    yield Case("chinchilla", "largest fifth of compute", "chinchilla", (split(recipes, losses, ~large, large),))
    repeats = bench.runs("repetition")
    recipes, losses = repeats.recipes(), {"c4": repeats.loss("c4")}
    large = np.asarray(recipes.params) >= 1.2e9
    for law in ("repetition", "penalised"):
        yield Case("repetition", "N >= 1.2e9", law, (split(recipes, losses, ~large, large),), 8)
    for corpus in ("c4_original", "rpj", "rw_original"):
        runs = bench.runs("overtraining", pl.col("corpus") == corpus)
        recipes, losses = runs.recipes(), {"c4": runs.loss("c4")}
        n, m = np.asarray(recipes.params), np.asarray(recipes.tokens / recipes.params)
        five = (np.abs(m - 20) < 1) | ((np.abs(m - 320) < 10) & (n == n.min()))
        part = split(recipes, losses, five, ~five & (m >= 19))
        yield Case(f"overtraining, {corpus}", "five runs fitted, M >= 20", "overtraining", (part,))
    runs = bench.runs("slimpajama", pl.col("tokens") >= 1e10)
    recipes, losses = runs.recipes(), {e: runs.loss(e) for e in runs.evals[:3]}
    large = np.asarray(recipes.params) > 2e8
    for law in ("ces", "mixture_additive"):
        yield Case("slimpajama, 3 evals", "310M, fitted on 122M", law, (split(recipes, losses, ~large, large),), 2)


def mixed(bench: Bench) -> Iterator[Case]:
    """Laws of the mixture: other mixtures."""
    train, test = bench.runs("regmix_1m"), bench.runs("regmix_1m_test")
    evals = train.evals[:4]
    for rows in (40, 512):
        fitted = np.arange(512) < rows
        part = Split(
            train.recipes().take(fitted),
            {e: train.loss(e)[fitted] for e in evals},
            test.recipes(train.pools),
            {e: test.loss(e) for e in evals},
        )
        for law in ("mixing", "ces"):
            yield Case(f"regmix_1m, {rows} runs, 4 evals", "regmix_1m_test", law, (part,), 2)
    for size in ("70m", "160m", "305m"):
        runs = bench.runs(f"pile5_{size}", pl.col("tokens") == 3e10)
        recipes, code = runs.recipes(), mixtures(runs.recipes())
        losses = {e: runs.loss(e, missing=True) for e in runs.evals[:6]}
        held = [np.isin(code, np.random.default_rng(s).permutation(code.max() + 1)[:6]) for s in range(2)]
        for law in ("mixing", "mixture_ces"):
            parts = tuple(split(recipes, losses, ~out, out) for out in held)
            yield Case(f"pile5_{size}, 6 evals", "6 mixtures at 3e10 tokens", law, parts, 2)


TABLES: dict[str, Callable[[Bench], Iterator[Case]]] = {
    "gu": gu,
    "continued": continued,
    "sizes": sizes,
    "mixed": mixed,
}


def measured(case: Case, options: FitOptions) -> tuple[float, float, float]:
    """Return the held-out error, the noise, and the CPU seconds of the fits of one case."""
    law = cast(Law, open_sets.build("laws", case.law))
    options = FitOptions(starts=case.starts, rounds=options.rounds)
    clock, errors, noises = Clock(), list[float](), list[float]()
    for part in case.splits:
        coordinates = Coordinates(law.params(), part.fitted.weights.shape[1])
        target = torch.from_numpy(np.log(np.stack(list(part.losses.values()))))
        weights = torch.ones(target.shape[1], dtype=torch.float64)
        passes = FitPasses(law, coordinates, part.fitted, target, weights, weights, options)
        minima = passes.from_many_starts(case.law)
        # As in `fit_evals`: several evals share their exponents.
        if len(target) > 1 and bool(coordinates.shared.any()):
            minima = passes.share(minima)
        noises += minima.noise.tolist()
        for point, truth in zip(minima.point, part.truth.values(), strict=True):
            errors.append(float(np.nanmean(relative(law.loss(coordinates.theta(point), part.unseen), truth))))
    return float(np.mean(errors)), float(np.mean(noises)), clock()


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the run tables")
    parser.add_argument("--only", choices=TABLES, action="append", help="one group of tables; may be repeated")
    flags = parser.parse_args()
    if not flags.data.is_dir():
        print(f"no run tables in {flags.data}: nothing to measure; give their folder with --data")
        return
    torch.set_num_threads(1)
    bench, clock, seconds = Bench(flags.data, quick=False), Clock(), [0.0, 0.0]
    heads = (
        "table",
        "held out",
        "law",
        "error %, once",
        "settled",
        "noise %, once",
        "settled",
        "CPU-s, once",
        "settled",
    )
    print("| " + " | ".join(heads) + " |\n" + "|---" * len(heads) + "|")
    for name in flags.only or TABLES:
        for case in TABLES[name](bench):
            once, settled = measured(case, ONCE), measured(case, SETTLED)
            seconds = [seconds[0] + once[2], seconds[1] + settled[2]]
            errors, noises = (percent([once[i], settled[i]], 3).split(" / ") for i in (0, 1))
            times = (f"{once[2]:.1f}", f"{settled[2]:.1f}")
            print("| " + " | ".join((case.table, case.held_out, case.law, *errors, *noises, *times)) + " |", flush=True)
    print(f"\nfits: {seconds[0]:.0f} CPU-seconds once, {seconds[1]:.0f} settled; {clock():.0f} in all")


if __name__ == "__main__":
    main()
