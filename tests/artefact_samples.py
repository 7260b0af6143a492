"""Small valid artefacts of every kind, and the functions that read each, for tests that damage them."""

import json
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl
import torch
from problems import continued, planted

from curate.continual.job import cmr
from curate.errors import CurateError
from curate.fitting import fit_files
from curate.fitting.job import fit
from curate.fitting.plan_job import plan
from curate.fitting.predict import predict
from curate.pool import mixture, mixture_rules, plan_files
from curate.pool.pool import Budget, Pool, load_pools, to_json
from curate.reporting.check import check_section
from curate.reporting.critical_ratios import critical_ratio_section
from curate.reporting.fits import fit_sections
from curate.reporting.plan import plan_sections
from curate.reporting.pools import pool_section
from curate.reporting.schedule import schedule_section
from curate.runs.discrepancy import Discrepancy
from curate.runs.predictors.blend import Blend
from curate.schedules.job import schedule
from curate.storage import artifacts

RATIO = {
    **{"pool": "code", "tolerance": 0.1, "ceiling": 2.5, "share": 0.3, "low": 0.2, "high": 0.4, "safe": 0.2},
    **{"best": 0.3, "note": "reached"},
}
QUICK = {"starts": 2, "draws": 3}
POOLS = (
    Pool("a", 1e9, 100, ("a.jsonl",), {"source": "x"}, {"score.length": (None, 2.5)}),
    Pool("b b", 2.5e9, 50, cost_per_token=0.5),
)


@dataclass(frozen=True)
class Sample:
    """A valid file, its name in a folder, and functions of the folder that read it."""

    name: str
    content: bytes
    readers: tuple[Callable[[Path], object], ...]


def runs(n: int = 16, second: str = "b b") -> pl.DataFrame:
    """Runs of the pools a and ``second``, two evals, a metric and two corpora."""
    rng = np.random.default_rng(3)
    share = rng.uniform(0.05, 0.95, n)
    loss = 1.5 + np.exp(-share)
    return pl.DataFrame(
        {
            "run": [f"r{i}" for i in range(n)],
            "params": 1e6,
            "tokens": 1e8 * 2.0 ** rng.integers(0, 3, n),
            "corpus": ["x", "y"] * (n // 2),
            "weight.a": share,
            f"weight.{second}": 1 - share,
            "loss.web": loss * np.exp(0.002 * rng.standard_normal(n)),
            "loss.code": loss + 0.3,
            "metric.error": 0.85 - 1.5 * np.exp(-0.8 * loss),
        }
    )


def steps() -> pl.DataFrame:
    """Two trainings with the loss at every 10th step, which continue at a low rate from step 100."""
    parts = []
    for i, run in enumerate(("r0", "r1")):
        at_step = np.arange(200)
        rate = np.where(at_step < 100, 1e-2 * (1 - at_step / 120), 2e-3)
        loss = 2 + 3 * np.cumsum(rate / 1e-2) ** -0.4 + 0.05 * i * (at_step >= 100)
        columns = {"step": at_step, "lr": rate, "continued": (at_step >= 100).astype(int)}
        frame = pl.DataFrame({"run": run, "params": 1e8, "tokens": 1e6 * (at_step + 1.0)} | columns)
        parts.append(frame.with_columns(pl.Series("loss.web", np.where(at_step % 10 == 5, loss, np.nan))))
    return pl.concat(parts)


def kept() -> pl.DataFrame:
    """Runs on two shares kept of data of six sizes."""
    sizes = [(keep * size, keep) for size in 10.0 ** np.arange(3, 9) for keep in (0.5, 1.0)]
    rows = [(f"r{i}", 1e8, n, k, 2 * n**-0.3 * k**0.1) for i, (n, k) in enumerate(sizes)]
    return pl.DataFrame(rows, schema=["run", "params", "tokens", "keep", "metric.top1"], orient="row")


def sections(section: Callable[[Path], object]) -> Callable[[Path], object]:
    """Show every section of a report, with its charts as JSON."""
    return lambda folder: [chart.to_dict() for part in section(folder) for chart in part.charts]


def _laws(folder: Path) -> object:
    return fit_files.load(folder / "fit.json")


def _metrics(folder: Path) -> object:
    return fit_files.load_metrics(folder / "fit.json")


def _predict(folder: Path) -> object:
    return predict(folder / "fit.json", folder / "runs.parquet")


READERS_OF_A_FIT = (_laws, _metrics, _predict, sections(fit_sections))


def _fit_samples(folder: Path) -> list[Sample]:
    questions = {
        "law": (runs(), {"law": "mixing", "eval": "web", "metric": "auto"}),
        "trees": (runs(32), {"law": "boosted:base=power", "eval": "web", "metric": "none"}),
        "process": (runs(32), {"law": "gaussian:base=power", "eval": "web", "metric": "none"}),
        "corpora": (runs(), {"law": "power", "eval": "web", "by": "corpus", "metric": "none"}),
        "downstream": (runs(), {"law": "downstream", "eval": "error", "on": "web", "metric": "none"}),
        "direct metric": (runs(), {"law": "mixing", "eval": "metric.error", "metric": "none"}),
        "annealing": (steps(), {"law": "annealing", "eval": "web", "metric": "none"}),
        "multi_power": (steps(), {"law": "multi_power", "eval": "web", "metric": "none"}),
        "pruning": (kept(), {"law": "pruning_curves", "eval": "top1", "metric": "none"}),
    }
    samples = []
    for table, question in questions.values():
        fit(table, **question, **QUICK).save(folder / "fit.json")
        samples.append(Sample("fit.json", (folder / "fit.json").read_bytes(), READERS_OF_A_FIT))
    # As format 1 had it.
    record = json.loads(samples[0].content)
    old = {**record["laws"][0], "compared": record["compared"]}
    samples.append(Sample("fit.json", json.dumps(old).encode(), READERS_OF_A_FIT))
    return samples


def blend(path: Path) -> Path:
    """Write a fit.json of two laws of two evals that were not fitted but planted."""
    theta = {"c": torch.tensor(1.5, dtype=torch.float64), "t": torch.tensor([-1.0, 0.5], dtype=torch.float64)}
    discrepancy = Discrepancy(
        0.004,
        0.003,
        sizes=2,
        smallest=1e6,
        largest=1e9,
        longest=1e11,
        unfinished=0.02,
        shortest=1e9,
        size_shift=0.02,
        length_shift=0.01,
        shift_at_e=0.05,
    )
    fit = replace(planted("mixing", ("a", "b b"), theta), discrepancy=discrepancy)
    members = tuple(replace(fit, eval=name) for name in ("web", "code"))
    artifacts.save(path, "fit", fit_files.to_json(Blend(members, (0.5, 0.5), "web+code")))
    return path


def make(folder: Path, *, every_fit: bool) -> list[Sample]:
    """Write one of each kind into a folder, and return them all; with ``every_fit`` also fits of each kind."""
    runs().write_parquet(folder / "runs.parquet")
    samples = _fit_samples(folder) if every_fit else []
    samples.append(Sample("fit.json", blend(folder / "fit.json").read_bytes(), READERS_OF_A_FIT))
    artifacts.save(folder / "pools.json", "pools", {"pools": to_json(POOLS), "made_by": {}})
    budgets = [Budget(1e8, 1e6), Budget(4e8, 1e6)]
    fitted = blend(folder / "fit.json")
    # What takes long is made only for the whole set.
    more = {"pareto": ("web", "code")} if every_fit else {"within": 0}
    plan(fitted, folder / "pools.json", budgets, draws=2, **more).save(folder / "plan.json")
    schedule(POOLS, "cooldown", tokens=1e9).save(folder / "schedule.json")
    if every_fit:
        options = {"laws": ["cmr"], "budgets": [Budget(8e9, 1e8)], "tolerance": 0.1, **QUICK}
        ratios = cmr(continued(noise=0.002), general="web", domain="code", pool="code", **options).to_json()
    else:
        ratios = {"ratios": [RATIO | {"budget": {"tokens": 8e9, "params": 1e8}}], "warnings": ["x"]}
    artifacts.save(folder / "cmr.json", "cmr", ratios)
    row = {"predicted": 2.0, "low": 1.9, "high": 2.1, "inside": True}
    rows = [row | {"mixture": "plan", "measured": 2.05}, row | {"mixture": "uniform", "measured": 2.2}]
    artifacts.save(folder / "check.json", "check", {"tokens": 1e7, "rows": rows})
    readers: dict[str, tuple[Callable[[Path], object], ...]] = {
        "pools.json": (
            lambda f: load_pools(f / "pools.json"),
            sections(pool_section),
            lambda f: schedule(f / "pools.json", "unimax", tokens=1e9).record(),
        ),
        "plan.json": (
            lambda f: mixture.load(f / "plan.json", 0).tokens,
            lambda f: plan_files.pool_names(f / "plan.json"),
            lambda f: mixture_rules.planned_mixtures(f / "plan.json", POOLS),
            sections(plan_sections),
        ),
        "schedule.json": (
            lambda f: mixture.load(f / "schedule.json").tokens,
            lambda f: plan_files.pool_names(f / "schedule.json"),
            sections(schedule_section),
        ),
        "cmr.json": (sections(critical_ratio_section),),
        "check.json": (sections(check_section),),
    }
    return samples + [Sample(name, (folder / name).read_bytes(), each) for name, each in readers.items()]


def outcome(read: Callable[[Path], object], folder: Path) -> str | None:
    """Return the message of the error that a reader raises; None if it raises none."""
    try:
        read(folder)
    except CurateError as error:
        return str(error)
    return None
