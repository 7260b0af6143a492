"""Laws on public runs, beside published figures, scipy and LightGBM: ``benchmarks/fitting/laws.py [--only TASK]
[--quick]``.

One table on standard output. Reads the tables of ``../shared/data/runs`` (``--data`` to override). Extra package, not
needed: lightgbm. One thread; about ten minutes, ``--quick`` about two. "Seen": the form of the law was chosen by
people who had seen the held-out rows of that table, so the figure flatters it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import calibration
import numpy as np
import polars as pl
import torch
from scipy.optimize import least_squares, minimize
from scipy.stats import spearmanr

from curate import open_sets
from curate.fitting.boosted import BASE, TreeOptions, fit_boosted
from curate.fitting.choice.holdout import splits
from curate.fitting.curves import downstream, fit_metric
from curate.fitting.curves.metric_points import MetricPoints
from curate.fitting.curves.rows import r2
from curate.fitting.curves.schedules import annealing, multi_power, schedule_laws, schedule_solver
from curate.fitting.curves.schedules.rate_schedule import Curve, RateSchedule
from curate.fitting.fit import FitOptions, fit, fit_evals
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.least_squares import huber
from curate.fitting.solver.multistart import DELTA
from curate.laws import Law, chinchilla, repetition
from curate.runs.recipes import Recipes
from curate.runs.run_table import check, read
from curate.runs.runs import Runs

DATA = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs"


@dataclass(frozen=True)
class Row:
    """One line of the table; ``met`` None: no target for this method."""

    method: str
    figure: str
    cpu: float | None = None
    target: str = ""
    met: bool | None = None


@dataclass(frozen=True)
class Bench:
    """Where the tables are and how hard to try."""

    data: Path
    quick: bool

    def runs(self, name: str, keep: pl.Expr | None = None) -> Runs:
        """Read one table."""
        frame = read(self.data / f"{name}.csv").frame
        return check(frame if keep is None else frame.filter(keep), name)

    def options(self, starts: int) -> FitOptions:
        """Accuracy needs no bootstrap."""
        return FitOptions(starts=max(1, starts // 4) if self.quick else starts, draws=1)


Rows = Iterator[Row]
Predicts = Callable[[Recipes], torch.Tensor]


class Clock:
    """CPU seconds of this process since it was made."""

    def __init__(self) -> None:
        self.start = time.process_time()

    def __call__(self) -> float:
        return time.process_time() - self.start


def relative(loss: torch.Tensor, truth: np.ndarray) -> np.ndarray:
    """(n,) absolute relative errors."""
    return np.asarray(np.abs(np.asarray(loss) / truth - 1))


def percent(values: Mapping[str, float] | list[float], digits: int = 2) -> str:
    """Several errors as percents."""
    if isinstance(values, Mapping):
        return ", ".join(f"{k} {100 * v:.{digits}f}" for k, v in values.items())
    return " / ".join(f"{100 * v:.{digits}f}" for v in values)


def scipy_fit(
    spec: str, recipes: Recipes, loss: np.ndarray, starts: torch.Tensor, *, weights: np.ndarray | None = None
) -> tuple[dict[str, torch.Tensor], torch.Tensor, float]:
    """The usual way: L-BFGS-B from every start in turn, Huber 1e-3 on log loss, exact gradient, no prior."""
    law = cast(Law, open_sets.build("laws", spec))
    coordinates = Coordinates(law.params(), recipes.weights.shape[1])
    target = torch.from_numpy(np.log(loss))
    each = torch.ones_like(target) if weights is None else torch.from_numpy(weights)

    def objective(x: np.ndarray) -> tuple[float, np.ndarray]:
        u = torch.from_numpy(x).requires_grad_()
        value = (each * huber(law.loss(coordinates.theta(u), recipes).log() - target, DELTA)).sum()
        (gradient,) = torch.autograd.grad(value, u)
        # Scaled so that scipy's absolute tolerances do not stop it early.
        finite = bool(torch.isfinite(value))
        return (1e4 * float(value.detach()), 1e4 * gradient.numpy()) if finite else (1e10, np.zeros_like(x))

    solutions = [minimize(objective, s.numpy(), jac=True, method="L-BFGS-B", options={"maxiter": 500}) for s in starts]
    best = min(solutions, key=lambda solution: solution.fun)
    point = torch.from_numpy(best.x)
    return coordinates.theta(point), point, best.fun / 1e4


def sobol(spec: str, pools: int, count: int) -> torch.Tensor:
    """(count, k) starts: those of our own fits."""
    return Coordinates(cast(Law, open_sets.build("laws", spec)).params(), pools).starts(count, 0)


def scipy_error(spec: str, train: Recipes, y: np.ndarray, test: Recipes, truth: np.ndarray, starts: int = 8) -> float:
    """Mean relative error of ``scipy_fit`` on other runs."""
    theta, _, _ = scipy_fit(spec, train, y, sobol(spec, train.weights.shape[1], starts))
    return float(relative(cast(Law, open_sets.build("laws", spec)).loss(theta, test), truth).mean())


def chinchilla_240(bench: Bench) -> Rows:
    """Hoffmann et al. 2022 as replicated by Besiroglu et al. 2024: 240 points, Huber 1e-3, sum."""
    runs = check(bench.runs("chinchilla").frame.sort("loss.val").head(240), "chinchilla")
    recipes, y = runs.recipes(), runs.loss("val")
    target = torch.from_numpy(np.log(y))
    law = chinchilla.Chinchilla()

    def objective(theta: Mapping[str, torch.Tensor]) -> float:
        return float(huber(law.loss(theta, recipes).log() - target, DELTA).sum())

    def shown(theta: Mapping[str, object]) -> str:
        return " ".join(f"{k} {float(cast(float, theta[k])):.4f}" for k in ("E", "alpha", "beta"))

    published = {k: torch.tensor(v, dtype=torch.float64) for k, v in chinchilla.PUBLISHED.items()}
    yield Row(
        "published (constants as printed)",
        f"objective {objective(published):.9f} {shown(published)} (s.e. .0257 .0154 .0206)",
    )
    clock = Clock()
    ours = fit("chinchilla", recipes, y, pools=runs.pools, options=FitOptions(draws=1, delta=DELTA, prior=False))
    value = objective(ours.theta)
    yield Row(
        "ours, 32 starts", f"objective {value:.9f} {shown(ours.theta)}", clock(), "<= .0010183", value <= 0.0010183
    )
    clock, draws = Clock(), 100 if bench.quick else 1000
    ours = fit("chinchilla", recipes, y, pools=runs.pools, options=FitOptions(draws=draws, delta=DELTA, prior=False))
    errors = " ".join(f"{k} {float(ours.draws[k].std()):.4f}" for k in ("E", "alpha", "beta"))
    cpu = clock()
    yield Row(
        f"ours, fit and {draws} bootstrap refits", f"s.e. {errors}", cpu, "<= 60 CPU-s a 1,000", cpu <= 0.06 * draws
    )
    coordinates = Coordinates(law.params(), 1)
    logs = [[-1.0, 0.0, 1.0], [0.0, 10.0, 20.0], [0.0, 10.0, 20.0], [0.5, 1.0, 1.5], [0.5, 1.0]]
    grid = np.stack(np.meshgrid(*logs), axis=-1).reshape(-1, 5)[:: 9 if bench.quick else 1]
    starts = torch.stack(
        [
            coordinates.point(dict(zip(("E", "A", "B", "alpha", "beta"), torch.tensor(row), strict=True)))
            for row in np.column_stack([np.exp(grid[:, :3]), grid[:, 3:]]).clip(1e-2)
        ]
    )
    clock = Clock()
    theta, point, value = scipy_fit("chinchilla", recipes, y, starts)
    single = clock()
    yield Row(
        f"scipy L-BFGS-B, {len(starts)} of the 4,500 published starts",
        f"objective {value:.9f} {shown(theta)}",
        single,
        "<= .0010183",
        value <= 0.0010183,
    )
    clock, rng = Clock(), np.random.default_rng(0)
    for _ in range(20):
        counts = np.bincount(rng.integers(240, size=240), minlength=240).astype(float)
        scipy_fit("chinchilla", recipes, y, point[None], weights=counts)
    each = clock() / 20
    yield Row(
        "scipy, 1,000 refits of one start each (from 20)",
        f"{each:.3f} s a refit",
        1000 * each,
        "<= 60 CPU-s",
        1000 * each <= 60,
    )


def regmix(bench: Bench) -> Rows:
    """RegMix (Liu et al. 2024, arXiv 2407.01492): 512 mixtures of 17 pools at 1M, 256 others; params, tokens fixed."""
    train, test = bench.runs("regmix_1m"), bench.runs("regmix_1m_test")
    fitted, unseen = train.recipes(), test.recipes(train.pools)
    losses = {e: train.loss(e) for e in train.evals}

    def scored(predicted: Mapping[str, np.ndarray], least: float, most: float | None) -> tuple[str, str, bool]:
        rho = float(np.mean([spearmanr(p, test.loss(e)).statistic for e, p in predicted.items()]))
        mse = float(np.mean([((p - test.loss(e)) ** 2).mean() for e, p in predicted.items()]))
        goal = f"rho >= {least:.4f}" + (f", MSE <= {most:.4f}" if most else "")
        return f"rho {rho:.4f} MSE {mse:.5f}", goal, rho >= least and (most is None or mse <= most)

    yield Row("published: LightGBM / log-linear / linear", "rho .9896 / .9756 / .831")
    for spec in ("mixing", "ces"):
        clock = Clock()
        fits = fit_evals(spec, fitted, losses, pools=train.pools, options=bench.options(4))
        figure, target, met = scored({e: np.asarray(f.loss(unseen)) for e, f in fits.items()}, 0.985, None)
        label = "mixing (log-linear with a floor)" if spec == "mixing" else spec
        yield Row(label, figure, clock(), "" if spec == "mixing" else target, None if spec == "mixing" else met)
    if bench.quick:
        clock = Clock()
        fits = fit_evals(BASE, fitted, losses, pools=train.pools, options=bench.options(1))
        figure, target, met = scored({e: np.asarray(f.loss(unseen)) for e, f in fits.items()}, 0.985, None)
        yield Row(f"{BASE} (form: seen)", figure, clock(), target, met)
    for base, label in ((None, "boosted, no law"), (BASE, f"boosted on {BASE}")):
        if bench.quick and base == BASE:
            continue
        clock = Clock()
        boosted = fit_boosted(
            fitted, losses, pools=train.pools, base=base, options=TreeOptions(draws=1), law=bench.options(1)
        )
        predicted = {e: np.asarray(b.loss(unseen)) for e, b in boosted.items()}
        cpu = clock()
        laws = {e: np.asarray(b.base.loss(unseen)) for e, b in boosted.items() if b.base is not None}
        if laws:
            figure, target, met = scored(laws, 0.985, None)
            yield Row(f"{base} (form: seen)", figure, None, target, met)
        figure, target, met = scored(predicted, 0.9895, 0.0105)
        yield Row(f"{label}, fit and 4 folds" if laws else label, figure, cpu, target, met)
    if not find_spec("lightgbm"):
        yield Row("LightGBM raw", "skipped: lightgbm is not installed (pip install lightgbm)")
        return
    import lightgbm

    options = {
        "objective": "l2",
        "learning_rate": 0.01,
        "num_threads": 1,
        "verbose": -1,
        "seed": 0,
        "deterministic": True,
    }
    clock = Clock()
    x, z = np.asarray(fitted.weights), np.asarray(unseen.weights)
    predicted = {
        e: np.asarray(lightgbm.train(options, lightgbm.Dataset(x, y), 1000).predict(z)) for e, y in losses.items()
    }
    figure, target, met = scored(predicted, 0.9895, 0.0105)
    yield Row("LightGBM raw (rate .01, 1,000 rounds)", figure, clock(), target, met)


def mixtures(recipes: Recipes) -> np.ndarray:
    """(n,) codes of the mixtures."""
    return np.unique(np.round(np.asarray(recipes.weights), 6), axis=0, return_inverse=True)[1].reshape(-1)


def pile5(bench: Bench) -> Rows:
    """Data mixing laws (Ye et al. 2024, arXiv 2403.16952): 5 pools, 20 mixtures to 6, mean of 22 evals at the end."""
    for size in ("70m",) if bench.quick else ("70m", "160m", "305m"):
        yield from _pile5_of(bench, size)
    yield Row("published: mixing laws, 20 -> 6", "MAE .019-.022, mean predictor .056-.063")


def _pile5_of(bench: Bench, size: str) -> Rows:
    laws = ("mixture_ces", "mixture_ces:linear=true")
    runs = bench.runs(f"pile5_{size}", pl.col("tokens") >= 1e10)
    recipes, code = runs.recipes(), mixtures(runs.recipes())
    losses = {e: runs.loss(e, missing=True) for e in runs.evals}
    mean = np.mean(list(losses.values()), axis=0)
    tokens = np.where(np.isfinite(mean), np.asarray(recipes.tokens), 0)
    last = tokens == np.array([tokens[code == c].max() for c in code])
    # Some trainings stop at 3e10 tokens, others at 1e11: a law without tokens is comparable at 3e10 only.
    ends = {"last": last, "3e10": tokens == 3e10}
    count = 1 if bench.quick else 5 if size == "70m" else 3
    held = [np.isin(code, np.random.default_rng(s).permutation(code.max() + 1)[:6]) for s in range(count)]

    def row(label: str, clock: Clock, errors: list[float], target: bool = True) -> Row:
        error = float(np.mean(errors))
        return Row(
            f"{size} {label}",
            f"MAE {error:.4f} [{min(errors):.4f}, {max(errors):.4f}]",
            clock(),
            "< .019 (aim .0095)" if target else "",
            error < 0.019 if target else None,
        )

    def mae(fits: Mapping[str, Predicts], rows: np.ndarray) -> float:
        part = recipes.take(rows)
        predicted = np.mean([np.asarray(predict(part)) for predict in fits.values()], axis=0)
        return float(np.abs(predicted - mean[rows]).mean())

    def ours(spec: str, train: np.ndarray, starts: int) -> dict[str, Predicts]:
        fits = fit_evals(
            spec,
            recipes.take(train),
            {e: y[train] for e, y in losses.items()},
            pools=runs.pools,
            weights=np.where(last[train], 3.0, 0.3),
            options=bench.options(starts),
        )
        return {e: law_fit.loss for e, law_fit in fits.items()}

    def scipys(train: np.ndarray) -> dict[str, Predicts]:
        law, starts = cast(Law, open_sets.build("laws", "mixing")), sobol("mixing", 5, 4)
        thetas = {e: scipy_fit("mixing", recipes.take(train), y[train], starts)[0] for e, y in losses.items()}
        return {e: partial(law.loss, theta) for e, theta in thetas.items()}

    for end, rows in ends.items():
        naive = [float(np.abs(mean[~out & rows].mean() - mean[out & rows]).mean()) for out in held]
        yield row(f"mean predictor, {end}", Clock(), naive, target=False)
        clock = Clock()
        yield row(f"mixing, {end}", clock, [mae(ours("mixing", ~out & rows, 8), out & rows) for out in held])
    for spec in laws if size == "70m" and not bench.quick else laws[:1]:
        seen = " (form: seen)" * (size == "70m")
        clock = Clock()
        fits = [ours(spec, ~out, 1) for out in held]
        for end, rows in ends.items():
            errors = [mae(predicts, out & rows) for predicts, out in zip(fits, held, strict=True)]
            yield row(f"{spec}{seen}, {end}", clock, errors)
    if size == "70m":
        clock, rows = Clock(), ends["3e10"]
        errors = [mae(scipys(~out & rows), out & rows) for out in held]
        yield row("scipy L-BFGS-B, mixing, 4 starts, 3e10", clock, errors)


def slimpajama(bench: Bench) -> Rows:
    """Shukor et al. 2025 (arXiv 2507.09404), 7 pools, 8 evals, checkpoints after 15 %: larger size, unseen mixtures."""
    runs = bench.runs("slimpajama", pl.col("tokens") >= 0.15 * 2e10)
    recipes, code = runs.recipes(), mixtures(runs.recipes())
    losses = {e: runs.loss(e) for e in runs.evals}
    small = np.asarray(recipes.params) < 2e8

    def errors(spec: str, train: np.ndarray, test: np.ndarray) -> dict[str, float]:
        fits = fit_evals(
            spec,
            recipes.take(train),
            {e: y[train] for e, y in losses.items()},
            pools=runs.pools,
            options=bench.options(1 if spec == "mixture_joint" else 2),  # 47 parameters: slow
        )
        return {e: float(relative(f.loss(recipes.take(test)), losses[e][test]).mean()) for e, f in fits.items()}

    held = [np.isin(code, np.random.default_rng(s).permutation(code.max() + 1)[:20]) for s in range(3)]
    yield Row("published protocol, refitted (laws.md 11): joint", "unseen .45 %; larger (310M -> 680M+) 1.51 %")
    laws = ("ces", "mixture_additive", "mixture_joint", "mixture_ces", "mixture_ces:linear=true")
    for spec in laws[-1:] if bench.quick else laws:
        seen = " (form: seen)" * spec.startswith("mixture_ces")
        clock = Clock()
        by_eval = errors(spec, small, ~small)
        mean = float(np.mean(list(by_eval.values())))
        yield Row(f"{spec}{seen}, 122M -> 310M", f"{mean:.3%}: {percent(by_eval)}", clock(), "< 1.0 %", mean < 0.01)
        clock = Clock()
        unseen = [float(np.mean(list(errors(spec, ~test, test).values()))) for test in held]
        yield Row(
            f"{spec}{seen}, 40 -> 20 mixtures",
            f"{np.mean(unseen):.3%} ({percent(unseen, 3)})",
            clock(),
            "< .40 %",
            float(np.mean(unseen)) < 0.004,
        )
    clock = Clock()
    by_eval = {
        e: scipy_error("ces", recipes.take(small), y[small], recipes.take(~small), y[~small], 2)
        for e, y in losses.items()
    }
    yield Row(
        "scipy L-BFGS-B, ces, 2 starts, 122M -> 310M",
        f"{np.mean(list(by_eval.values())):.3%}: {percent(by_eval)}",
        clock(),
        "< 1.0 %",
        float(np.mean(list(by_eval.values()))) < 0.01,
    )


def repeated(bench: Bench) -> Rows:
    """Muennighoff et al. 2023 (arXiv 2305.16264): data-constrained runs, small models to large."""
    runs = bench.runs("repetition")
    recipes, y = runs.recipes(), runs.loss("c4")
    params, seen = np.asarray(recipes.params), np.asarray(recipes.tokens)
    cuts = (2.5e8, 4e8, 6e8, 1.2e9)

    def row(label: str, error: Callable[[np.ndarray, np.ndarray], float]) -> Row:
        clock = Clock()
        by_cut = {f"{cut / 1e9:g}e9": error(params < cut, params >= cut) for cut in cuts}
        return Row(label, percent(by_cut), clock(), "< 3 % at 1.2e9", by_cut["1.2e9"] < 0.03)

    law, published = repetition.Repetition(), {k: torch.tensor(v).double() for k, v in repetition.PUBLISHED.items()}
    yield row(
        "published constants, no fit",
        lambda _, test: float(relative(law.loss(published, recipes.take(test)), y[test]).mean()),
    )
    for spec in ("repetition", "overfit", "penalised", "chinchilla"):
        for least in (0.0, 1e9):

            def error(train: np.ndarray, test: np.ndarray, spec: str = spec, least: float = least) -> float:
                rows = train & (seen >= least)
                ours = fit(spec, recipes.take(rows), y[rows], pools=runs.pools, options=bench.options(16))
                return float(relative(ours.loss(recipes.take(test)), y[test]).mean())

            seen_form = " (form: seen)" * (spec == "penalised")
            yield row(spec + seen_form + ", fitted on D >= 1e9" * (least > 0), error)
    yield row(
        "scipy L-BFGS-B, repetition, 8 starts",
        lambda a, b: scipy_error("repetition", recipes.take(a), y[a], recipes.take(b), y[b]),
    )


def overtraining(bench: Bench) -> Rows:
    """Gadre et al. 2024 (arXiv 2403.08540): three corpora, C4 loss; each corpus by itself."""
    runs = bench.runs("overtraining")
    corpora = {str(c): check(part, str(c)) for (c,), part in runs.frame.partition_by("corpus", as_dict=True).items()}
    yield Row("order of corpora; published form, other runs", f"{' / '.join(corpora)}; 2.08 / 1.58 / 1.78")

    def protocols(recipes: Recipes) -> dict[str, tuple[np.ndarray, np.ndarray]]:
        n, m = np.asarray(recipes.params), np.asarray(recipes.tokens / recipes.params)
        five = (np.abs(m - 20) < 1) | ((np.abs(m - 320) < 10) & (n == n.min()))
        largest = splits(recipes, np.arange(len(recipes)), "largest")[0]
        return {
            "five runs -> others": (five, ~five),
            "five runs -> others M >= 20": (five, ~five & (m >= 19)),
            "N < 3e8, M >= 20 -> 4.1e8, M >= 20": ((n < 3e8) & (m >= 19), (n > 3e8) & (m >= 19)),
            "all < 1e9 params but the top fifth of compute -> it": largest,
        }

    for spec in ("overtraining", "skaling:form=equal", "skaling", "chinchilla", "scipy overtraining"):
        for label in protocols(runs.recipes()):
            if spec == "skaling" and label.startswith("five"):
                continue  # six parameters
            if spec.startswith("scipy") and label.startswith("five runs -> others M"):
                continue
            clock, errors = Clock(), []
            for corpus in corpora.values():
                recipes, y = corpus.recipes(), corpus.loss("c4")
                train, test = protocols(recipes)[label]
                if spec.startswith("scipy"):
                    part, rest = recipes.take(train), recipes.take(test)
                    errors.append(scipy_error(spec.split()[1], part, y[train], rest, y[test]))
                    continue
                ours = fit(spec, recipes.take(train), y[train], pools=corpus.pools, options=bench.options(16))
                errors.append(float(relative(ours.loss(recipes.take(test)), y[test]).mean()))
            mean = float(np.mean(errors))
            yield Row(f"{spec}: {label}", f"{mean:.2%} ({percent(errors)})", clock(), "< 1 %", mean < 0.01)
    # Every corpus was trained at the same sizes and ratios: as evals of the same runs they share their exponents.
    ratio = (pl.col("tokens") / pl.col("params")).round()
    wide = runs.frame.with_columns(ratio=ratio).pivot("corpus", index=["params", "ratio"], values="loss.c4")
    named = wide.rename({c: f"loss.{c}" for c in corpora})
    pooled = check(named.with_columns(run=pl.lit("run"), tokens=pl.col("params") * pl.col("ratio")), "all corpora")
    recipes, losses = pooled.recipes(), {c: pooled.loss(c, missing=True) for c in corpora}
    for spec in ("overtraining", "skaling:form=equal", "chinchilla"):
        for label, (train, test) in protocols(recipes).items():
            clock = Clock()
            fits = fit_evals(
                spec,
                recipes.take(train),
                {c: y[train] for c, y in losses.items()},
                pools=pooled.pools,
                options=bench.options(16),
            )
            errors = [float(np.nanmean(relative(f.loss(recipes.take(test)), losses[c][test]))) for c, f in fits.items()]
            mean = float(np.mean(errors))
            yield Row(
                f"{spec}, exponents shared: {label}", f"{mean:.2%} ({percent(errors)})", clock(), "< 1 %", mean < 0.01
            )


def schedules(bench: Bench) -> Rows:
    """Laws of learning-rate schedules: fit three trainings, predict four others. All curves are made from a law.

    The figures say that the solver finds the law, and what happens with data of another law. They say nothing about
    real curves. Tissue et al. 2024 (arXiv 2408.11029), Luo et al. 2025 (arXiv 2503.12811).
    """
    warmup, peak, noise = 500, 3e-4, 1e-3

    def schedule(kind: str, steps: int) -> RateSchedule:
        t = np.clip((np.arange(steps) - warmup) / (steps - warmup), 0, 1)
        shape = {
            "constant": np.ones(steps),
            "cosine": 0.55 + 0.45 * np.cos(np.pi * t),
            "wsd": np.where(t < 0.8, 1, 1 - 0.9 * (t - 0.8) / 0.2),  # constant, then a linear fall
            "linear": 1 - 0.95 * t,
            "two steps": np.where(t < 0.8, 1, np.where(t < 0.9, 0.3, 0.1)),
        }[kind]
        rates = peak * shape
        rates[:warmup] = peak * np.arange(1, warmup + 1) / warmup
        return RateSchedule(f"{kind} {steps // 1000}k", rates, warmup, np.arange(warmup + 100, steps, 50))

    fitted = [schedule(kind, 20_000) for kind in ("constant", "cosine", "wsd")]
    others = [schedule("linear", 20_000), schedule("two steps", 20_000), schedule("cosine", 40_000)]
    published = {"annealing": annealing.PUBLISHED, "multi_power": multi_power.PUBLISHED}
    yield Row("published, 3 measured curves -> others", "annealing R2 .993 to .996, multi_power .998 to .999")
    for truth, theta in published.items():

        def losses(plan: RateSchedule, seed: int, truth: str = truth, theta: Mapping[str, float] = theta) -> np.ndarray:
            form = schedule_laws.LAWS[truth]
            clean = form.curve(theta, *form.features(plan.rates, plan.warmup, plan.steps)).numpy()
            return np.asarray(clean * np.exp(noise * np.random.default_rng(seed).standard_normal(len(clean))))

        for law in published:
            clock = Clock()
            curves = [Curve(plan, losses(plan, seed)) for seed, plan in enumerate(fitted)]
            model = schedule_solver.fit(law, curves, draws=4 if bench.quick else 50)
            cpu = clock()
            shares, inside, errors = [], [], []
            for plan in others:
                y, predicted = losses(plan, 9), model.loss(plan)
                low, high = model.interval(plan)
                shares.append(r2(y, predicted))
                inside.append(float(((low < y) & (y < high)).mean()))
                errors.append(float(np.abs(predicted / y - 1).mean()))
            figure = (
                f"R2 {' / '.join(f'{x:.4f}' for x in shares)}; error {percent(errors)} %; "
                f"90 % intervals hold {np.mean(inside):.0%}, held-out error {model.heldout:.2%}"
            )
            same = law == truth
            yield Row(
                f"made by {truth}, fitted by {law}",
                figure,
                cpu,
                "R2 > .999" if same else "",
                min(shares) > 0.999 if same else None,
            )


def err17(bench: Bench) -> Rows:
    """Gadre et al. 2024: mean error of 17 tasks from measured C4 loss, eps - k exp(-gamma L); error of the error."""
    runs = bench.runs("overtraining")
    parts = {str(c): part for (c,), part in runs.frame.partition_by("corpus", as_dict=True).items()}
    yield Row("order of corpora; published, 1.4B and 6.9B RedPajama", f"{' / '.join(parts)}; 3.64, .05")
    names = {"c4_original": "c4", "rpj": "redpajama", "rw_original": "refinedweb"}

    def columns(part: pl.DataFrame) -> tuple[np.ndarray, ...]:
        return tuple(part[c].to_numpy() for c in ("loss.c4", "metric.err17", "params", "tokens"))

    def error(theta: Mapping[str, float], loss: np.ndarray, truth: np.ndarray) -> float:
        return float(relative(downstream.error(theta, torch.from_numpy(loss)), truth).mean())

    errors = [error(downstream.PUBLISHED[17][names[c]], *columns(part)[:2]) for c, part in parts.items()]
    yield Row("published constants, all runs", f"{np.mean(errors):.2%} ({percent(errors)})")
    for label in ("N < 3e8 -> 4.1e8", "five runs -> others"):
        clock, errors = Clock(), []
        for part in parts.values():
            loss, truth, n, tokens = columns(part)
            m = tokens / n
            five = (np.abs(m - 20) < 1) | ((np.abs(m - 320) < 10) & (n == n.min()))
            train = n < 3e8 if label.startswith("N") else five
            theta = _fit_error(loss[train], truth[train])
            errors.append(error(theta, loss[~train], truth[~train]))
        yield Row(f"ours: {label}", f"{np.mean(errors):.2%} ({percent(errors)})", clock())


def direct(bench: Bench) -> Rows:
    """Laws over recipes fitted to error rates themselves, by what the law models of them; and law and curve in turn.

    The error of the error on larger runs, mean over three corpora. "Odds" was chosen among these on these runs: seen.
    """
    runs = bench.runs("overtraining")
    parts = [check(part, "overtraining") for part in runs.frame.partition_by("corpus")]
    modelled: dict[str, tuple[Callable[[np.ndarray], np.ndarray], Callable[[np.ndarray], np.ndarray]]] = {
        "the error e": (lambda e: e, lambda y: y),
        "-ln(1 - e)": (lambda e: -np.log1p(-e), lambda y: -np.expm1(-y)),
        "odds e / (1 - e) (kept)": (lambda e: e / (1 - e), lambda y: y / (1 + y)),
        "squared odds": (lambda e: (e / (1 - e)) ** 2, lambda y: np.sqrt(y) / (1 + np.sqrt(y))),
    }
    for law in ("overtraining", "chinchilla"):
        for metric in ("err17", "err46"):
            for label in ("N < 3e8 -> 4.1e8", "less compute half -> half"):
                errors: dict[str, list[float]] = {}
                clock = Clock()
                for part in parts:
                    recipes, e, loss = part.recipes(), part.numbers(f"metric.{metric}"), part.loss("c4")
                    flops = np.asarray(recipes.tokens * recipes.params)
                    small = np.asarray(recipes.params) < 3e8 if label.startswith("N") else flops < np.median(flops)
                    train, test = recipes.take(small), recipes.take(~small)
                    for name, (to, back) in modelled.items():
                        fitted = fit(law, train, to(e[small]), pools=part.pools, options=bench.options(4))
                        errors.setdefault(name, []).append(
                            float(relative(torch.from_numpy(back(fitted.loss(test).numpy())), e[~small]).mean())
                        )
                    fitted = fit(law, train, loss[small], pools=part.pools, options=bench.options(4))
                    points = MetricPoints(
                        metric, "error", ("c4",), loss[small][:, None], e[small], np.arange(small.sum())
                    )
                    curve = fit_metric.fit(points, draws=2, seed=0)
                    values = curve.metric(fitted.loss(test)[:, None])
                    errors.setdefault("law of the loss, then curve", []).append(
                        float(relative(values, e[~small]).mean())
                    )
                for name, values_of_corpora in errors.items():
                    yield Row(
                        f"{law}, {metric}, {label}: {name}",
                        f"{np.mean(values_of_corpora):.2%} ({percent(values_of_corpora)})",
                        clock() / len(errors),
                    )


def _fit_error(loss: np.ndarray, truth: np.ndarray) -> dict[str, float]:
    def residual(x: np.ndarray) -> np.ndarray:
        eps, k, gamma = np.exp(x)
        return np.asarray(eps - k * np.exp(-gamma * loss) - truth)

    best = min(
        (least_squares(residual, np.log([0.85, k, gamma])) for k in (1.0, 2.0) for gamma in (0.5, 0.8, 1.2)),
        key=lambda solution: solution.cost,
    )
    return dict(zip(("eps", "k", "gamma"), np.exp(best.x).tolist(), strict=True))


TASKS: dict[str, Callable[[Bench], Rows]] = {
    "chinchilla": chinchilla_240,
    "regmix": regmix,
    "pile5": pile5,
    "slimpajama": slimpajama,
    "repetition": repeated,
    "overtraining": overtraining,
    "schedules": schedules,
    "downstream": err17,
    "direct": direct,
}


def table(rows: list[tuple[str, Row]]) -> str:
    """Return the rows as aligned text."""
    cells = [("task", "method", "error or figure", "CPU-s", "target", "met")]
    for task, row in rows:
        cpu = "" if row.cpu is None else f"{row.cpu:.1f}"
        met = {None: "", True: "yes", False: "NO"}[row.met]
        cells.append((task, row.method, row.figure, cpu, row.target, met))
    widths = [max(len(line[i]) for line in cells) for i in range(6)]
    lines = ["  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)).rstrip() for line in cells]
    return "\n".join([lines[0], "  ".join("-" * width for width in widths), *lines[1:]])


def main() -> None:
    """Read flags, run the tasks, print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the run tables")
    parser.add_argument("--only", choices=TASKS, action="append", help="one task; may be given several times")
    parser.add_argument("--quick", action="store_true", help="fewer starts, splits and laws")
    parser.add_argument("--calibration", action="store_true", help="print the table of calibration.py alone")
    flags = parser.parse_args()
    if not flags.data.is_dir():
        print(f"no run tables in {flags.data}: nothing to measure; give their folder with --data")
        return
    torch.set_num_threads(1)
    if flags.calibration:
        calibration.report(flags.data, quick=flags.quick)
        return
    bench, clock, rows = Bench(flags.data, flags.quick), Clock(), list[tuple[str, Row]]()
    for task in flags.only or TASKS:
        try:
            for row in TASKS[task](bench):
                rows.append((task, row))
                print(f"{clock():6.0f} s  {task}: {row.method}: {row.figure}", file=sys.stderr, flush=True)
        except Exception as error:  # one broken table must not cost the others' figures
            rows.append((task, Row("failed", f"{type(error).__name__}: {error}", met=False)))
    print(table(rows))
    print(f"{clock():.0f} CPU-seconds in all")


if __name__ == "__main__":
    main()
