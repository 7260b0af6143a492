"""Critical shares from runs of one budget, planted: ``benchmarks/continual/one_budget.py [--problems N]``.

General losses at 4, 5 or 7 shares of one budget are drawn from one of three forms (a power of the share, a line in the
logarithm of replay's share, an exponential), with independent normal noise. The true critical share lies between the
shares. The tool does not know the form. Printed: the error of its share, that of a straight line between the two shares
next to the ceiling, how many 90 % intervals hold the truth, and how wide they are. One thread, about five minutes.
"""

import argparse
import os
from collections.abc import Callable
from dataclasses import dataclass
from time import process_time

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

from curate.continual import choose_law, one_budget
from curate.continual.critical_ratio import critical_ratio
from curate.fitting.fit import FitOptions
from curate.pool.pool import Budget
from curate.runs import continued_runs, run_table

START, TOLERANCE = 2.5, 0.05
BUDGET = Budget(2e10, 1e9)
SHARES = {5: (0.125, 0.25, 0.5, 0.75, 1.0), 7: (0.1, 0.2, 0.35, 0.5, 0.65, 0.8, 1.0), 4: (0.25, 0.5, 0.75, 1.0)}
OPTIONS = FitOptions(starts=4, draws=60)

Curve = Callable[[np.ndarray], np.ndarray]


@dataclass(frozen=True)
class Outcome:
    """One problem: the true critical share, that of the tool with its interval, that of lines, and the form kept."""

    truth: float
    share: float
    low: float
    high: float
    lines: float
    kept: str


def power(rng: np.random.Generator) -> Curve:
    """A power of the share, as in Gu et al. 2024."""
    s, rise = rng.uniform(1.2, 4.0), rng.uniform(0.06, 0.2)
    return lambda x: rise * x**s


def logarithm(rng: np.random.Generator) -> Curve:
    """A line in the logarithm of replay's share, as in Ibrahim et al. 2024."""
    eps, rise = 10 ** rng.uniform(-3, -1), rng.uniform(0.15, 0.5)
    return lambda x: rise * (1 - np.log((1 - x + eps) / eps) / np.log((1 + eps) / eps))


def exponential(rng: np.random.Generator) -> Curve:
    """An exponential of the share, as in the notebook of Ye et al. 2024."""
    k, rise = rng.uniform(1.0, 6.0), rng.uniform(0.06, 0.3)
    return lambda x: rise * np.expm1(k * x) / np.expm1(k)


FORMS = {"power": power, "logarithm": logarithm, "exponential": exponential}


def outcome(form: str, count: int, noise: float, seed: int) -> Outcome:
    """Draw one problem and solve it."""
    rng = np.random.default_rng([seed, count, list(FORMS).index(form)])
    floor, curve = START + rng.uniform(-0.01, 0.015), FORMS[form](rng)
    x, ceiling = np.array(SHARES[count]), START + TOLERANCE
    grid = np.linspace(0, 1, 20_001)
    truth = float(grid[np.flatnonzero(floor + curve(grid) <= ceiling)[-1]])
    loss = floor + curve(x) + noise * rng.standard_normal(count)
    rows = [("start", BUDGET.params, 0.0, 1.0, 0.0, START, 2.0)]
    rows += [(f"r{s}", BUDGET.params, BUDGET.tokens, 1 - s, s, y, 2.0) for s, y in zip(x, loss, strict=True)]
    columns = ["run", "params", "tokens", "weight.web", "weight.code", "loss.web", "loss.code"]
    table = run_table.check(pl.DataFrame(rows, schema=columns, orient="row"), "planted")
    continued = continued_runs.split(table, general="web", domain="code", pool="code")
    specs = choose_law.complete_specs(one_budget.LAWS, continued, rest=True)
    chosen = choose_law.choose(specs, continued, "web", options=OPTIONS, rival=one_budget.RIVAL)
    ratio, *rivals = (
        critical_ratio(fit, fit, [], BUDGET, ceiling, pool="code") for fit in (chosen.fit, *chosen.rivals)
    )
    ratio = one_budget.widened(ratio, rivals)
    share, low, high = (1.0 if end is None else end for end in (ratio.share, ratio.low, ratio.high))
    under = np.flatnonzero(loss <= ceiling)
    last = int(under[-1]) if len(under) else 0
    lines = float(np.interp(ceiling, loss[last : last + 2], x[last : last + 2]))
    return Outcome(truth, 0.0 if ratio.never_under else share, low, high, lines, str(chosen.rows["law"][0]))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--problems", type=int, default=20, help="of each form, number of shares and noise")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    begun = process_time()
    print("| shares | noise, nats | error, rms | lines, rms | 90 % intervals that hold the truth | median width |")
    print("|" + "---|" * 6)
    for count in SHARES:
        for noise in (0.002, 0.005, 0.0):
            outcomes = [outcome(form, count, noise, seed) for form in FORMS for seed in range(flags.problems)]
            error, lines = (
                np.sqrt(np.mean([(getattr(o, name) - o.truth) ** 2 for o in outcomes])) for name in ("share", "lines")
            )
            inside = sum(o.low <= o.truth <= o.high for o in outcomes)
            width = np.median([o.high - o.low for o in outcomes])
            print(
                f"| {count} | {noise:g} | {error:.4f} | {lines:.4f} | {inside} of {len(outcomes)} | {width:.3f} |",
                flush=True,
            )
    print(f"\n{process_time() - begun:.0f} CPU-seconds")


if __name__ == "__main__":
    main()
