"""Continual pretraining on real runs: ours beside the published forms. ``benchmarks/continual/cmr.py [--quick]``.

70M, the Pile then Python, four shares with ten checkpoints each (``../shared/data/runs/cpt_python.csv``, ``--data``
to override); general = mean of 22 Pile evals. Every share in turn is predicted from the other three: its last
checkpoint, all ten, and whether the 90 % intervals hold them; and the last five checkpoints from the first five. Then
the critical share at three tolerances. "Seen": the form was chosen by people who had seen these held-out rows.
About two CPU-minutes on one thread.
"""

import argparse
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

sys.path.insert(0, str(Path(__file__).parents[1] / "fitting"))
from laws import DATA, Clock, scipy_fit, sobol
from scipy.optimize import least_squares

from curate import open_sets
from curate.continual import critical_ratio
from curate.fitting.fit import Fit, FitOptions, fit
from curate.pool.pool import Budget
from curate.runs.recipes import Recipes
from curate.runs.run_table import check
from curate.runs.runs import Runs

OURS = "replay:length=1e10,checkpoints=true"
TOLERANCES = (0.0, 0.02, 0.05)
LEVEL = 0.9
LEAST = 1e-3  # share that the line in ln(share) takes for 0
EDGE = 0.125  # how far beyond the shares that were run a critical share is looked for

Predict = Callable[[Recipes], np.ndarray]
Method = Callable[[Recipes, np.ndarray], Predict]  # fitted to runs and losses


@dataclass(frozen=True)
class Family:
    """The runs in order of share and tokens, and the losses before."""

    runs: Runs
    start: Mapping[str, float]

    @property
    def shares(self) -> np.ndarray:
        """(n,) share of Python."""
        return np.asarray(self.runs.recipes().weights[:, -1])


def load(path: Path) -> Family:
    """Read the table; the row ``start`` apart."""
    frame = pl.read_csv(path)
    evals = [c for c in frame.columns if c.startswith("loss.") and c != "loss.python"]
    frame = frame.with_columns(pl.mean_horizontal(evals).alias("loss.general"))
    begun = frame.filter(pl.col("tokens") == 0).row(0, named=True)
    rest = frame.filter(pl.col("tokens") > 0).sort("weight.python", "tokens")
    return Family(check(rest, str(path)), {name: begun[f"loss.{name}"] for name in ("general", "python")})


def law(spec: str, options: FitOptions, recipes: Recipes, loss: np.ndarray) -> Fit:
    """Fit a law of ours, bootstrap over trainings."""
    groups = np.unique(np.asarray(recipes.weights[:, -1]), return_inverse=True)[1]
    return fit(spec, recipes, loss, pools=("pile", "python"), clusters=groups, options=options)


def by_scipy(spec: str, recipes: Recipes, loss: np.ndarray) -> Predict:
    """The usual way: L-BFGS-B from 4 starts, Huber 1e-3 on log loss, no prior."""
    theta = scipy_fit(spec, recipes, loss, sobol(spec, 2, 4))[0]
    unfitted = open_sets.build("laws", spec)
    return lambda there: np.asarray(unfitted.loss(theta, there))  # type: ignore[attr-defined]


def at_each_budget(form: Callable[[np.ndarray, np.ndarray], np.ndarray], starts: list[list[float]]) -> Method:
    """A curve in the share with three parameters, fitted at every number of tokens on its own."""

    def residuals(x: np.ndarray, y: np.ndarray, z: np.ndarray) -> np.ndarray:
        return form(z, x) - y

    def method(recipes: Recipes, loss: np.ndarray) -> Predict:
        shares, tokens = np.asarray(recipes.weights[:, -1]), np.asarray(recipes.tokens)
        theta_at = {}
        for count in np.unique(tokens):
            x, y = shares[tokens == count], loss[tokens == count]
            residual = partial(residuals, x, y)
            fits = [least_squares(residual, [y.mean() + s[0], *s[1:]], max_nfev=200) for s in starts]
            theta_at[count] = min(fits, key=lambda fitted: fitted.cost).x

        def predict(there: Recipes) -> np.ndarray:
            pairs = zip(np.asarray(there.tokens), np.asarray(there.weights[:, -1]), strict=True)
            return np.array([form(theta_at[t], np.array([x]))[0] if t in theta_at else np.nan for t, x in pairs])

        return predict

    return method


def power(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """Gu et al. 2024: beta + alpha R^s."""
    return np.asarray(z[0] + z[1] * x ** np.exp(np.clip(z[2], -5, 5)))


def exponential(z: np.ndarray, x: np.ndarray) -> np.ndarray:
    """The notebook of Ye et al. 2024: c + exp(k share + b), of either sign."""
    return np.asarray(z[0] + z[1] * np.exp(np.clip(z[2] * x, -50, 50)))


def logarithm(rest: bool) -> Method:
    """A straight line in the logarithm of the corpus's own share, at every number of tokens: two parameters."""

    def form(z: np.ndarray, x: np.ndarray) -> np.ndarray:
        return np.asarray(z[0] + z[1] * log_share(1 - x if rest else x))

    return at_each_budget(form, [[0.0, -0.1]])


def log_share(x: np.ndarray) -> np.ndarray:
    """Logarithm of a corpus's share; a run without the corpus counts as LEAST, since the line has no value at 0."""
    return np.asarray(np.log(np.maximum(x, LEAST)))


def methods(rest: bool, options: FitOptions) -> dict[str, Method]:
    """Name -> method, for the general loss (``rest``) or the domain's."""

    def spec(name: str) -> str:
        return name + ("," if ":" in name else ":") + "rest=true" if rest else name

    def ours(name: str) -> Method:
        return lambda recipes, loss: partial(_loss, law(spec(name), options, recipes, loss))

    signs = [[0.0, sign * size, k] for sign in (1, -1) for size in (0.1, 1.0) for k in (-1.0, 0.5)]
    return {
        f"ours: {OURS} (form: seen)": ours(OURS),
        "ours: replay:length=1e10, schedule unknown (form: seen)": ours("replay:length=1e10"),
        "ours: dcpt": ours("dcpt"),
        "dcpt, scipy L-BFGS-B, 4 starts": lambda recipes, loss: by_scipy(spec("dcpt"), recipes, loss),
        "CMR paper: alpha R^s + beta at each budget": at_each_budget(power, signs),
        "notebook: c + exp(k share + b) at each budget": at_each_budget(exponential, signs),
        "a line in ln(share) at each budget": logarithm(rest),
    }


def _loss(fitted: Fit, there: Recipes) -> np.ndarray:
    return np.asarray(fitted.loss(there))


def left_out(family: Family, evaluation: str, method: Method) -> dict[str, object]:
    """Return signed errors at the last checkpoint by share, and the mean absolute ones."""
    clock = Clock()
    recipes, truth, shares = family.runs.recipes(), family.runs.loss(evaluation), family.shares
    ends, curves = [], []
    for share in np.unique(shares):
        out = shares == share
        error = method(recipes.take(~out), truth[~out])(recipes.take(out)) - truth[out]
        ends.append(float(error[-1]))
        curves.append(float(np.abs(error).mean()))
    tokens = np.asarray(recipes.tokens)
    late = tokens > tokens.max() / 2
    later = method(recipes.take(~late), truth[~late])(recipes.take(late)) - truth[late]
    return {
        "end": float(np.abs(ends).mean()),
        "by share": " ".join(f"{e:+.4f}" for e in ends),
        "curves": float(np.mean(curves)),
        "later": float(np.abs(later).mean()),
        "CPU-s": clock(),
    }


def coverage(family: Family, evaluation: str, spec: str, draws: int) -> str:
    """How many checkpoints of left-out shares lie in their intervals, and how wide these are at the end."""
    recipes, truth, shares = family.runs.recipes(), family.runs.loss(evaluation), family.shares
    inside, widths = [], []
    for share in np.unique(shares):
        out = shares == share
        fitted = law(spec, FitOptions(starts=8, draws=draws), recipes.take(~out), truth[~out])
        low, high = (np.asarray(x) for x in fitted.interval(recipes.take(out), LEVEL))
        inside.append(float(((low <= truth[out]) & (truth[out] <= high)).mean()))
        widths.append(float((high - low)[-1]))
    return f"{np.mean(inside):.0%} of checkpoints inside, widths at the end " + " ".join(f"{w:.3f}" for w in widths)


def critical(family: Family, draws: int) -> list[dict[str, object]]:
    """Critical ratios predicted from all shares and with each share left out, beside the measured ones.

    A measured ratio lies on a line between two neighbouring shares, in the share or in the logarithm of replay's share.
    """
    recipes, general, domain = family.runs.recipes(), family.runs.loss("general"), family.runs.loss("python")
    shares, tokens = family.shares, np.asarray(recipes.tokens)
    end = tokens == tokens.max()
    rows = []
    for left_share in (None, *np.unique(shares)):
        kept = np.ones(len(recipes), dtype=bool) if left_share is None else shares != left_share
        options = FitOptions(starts=8, draws=draws)
        fits = (
            law(f"{OURS},rest=true", options, recipes.take(kept), general[kept]),
            law(OURS, options, recipes.take(kept), domain[kept]),
        )
        for tolerance in TOLERANCES:
            ceiling = critical_ratio.ceiling_of(family.start["general"], tolerance)
            ratio = critical_ratio.critical_ratio(
                *fits,
                [],
                Budget(float(tokens.max()), 7e7),
                ceiling,
                pool="python",
                start=family.start["python"],
                largest=min(1.0, float(shares.max()) + EDGE / 2),
            )
            rows.append(
                {
                    "left out": "none" if left_share is None else f"{left_share:.3f}",
                    "tolerance": tolerance,
                    "by lines": between(ceiling, general[end], shares[end]),
                    "in ln(replay)": 1 - float(np.exp(between(ceiling, general[end], log_share(1 - shares[end])))),
                    "predicted": ratio.share,
                    "low": ratio.low,
                    "high": ratio.high,
                    "safe": ratio.safe,
                    "gain": None if ratio.gain is None else ratio.gain[0],
                }
            )
    return rows


def between(ceiling: float, general: np.ndarray, shares: np.ndarray) -> float:
    """Where the measured general loss, in order of share, passes the ceiling for good: a line between neighbours."""
    under = np.flatnonzero(general <= ceiling)
    if not len(under) or under[-1] + 1 == len(general):
        return float("nan")
    i = under[-1]
    return float(np.interp(ceiling, general[i : i + 2], shares[i : i + 2]))


def critical_coverage(family: Family, draws: int) -> str:
    """How many measured critical shares, of all checkpoints and tolerances, lie in their 90 % intervals."""
    recipes, general, shares = family.runs.recipes(), family.runs.loss("general"), family.shares
    tokens = np.asarray(recipes.tokens)
    counts = {"all shares fitted": [0, 0], "one left out": [0, 0]}
    for left_share in (None, *np.unique(shares)):
        kept = np.ones(len(recipes), dtype=bool) if left_share is None else shares != left_share
        general_fit = law(f"{OURS},rest=true", FitOptions(starts=8, draws=draws), recipes.take(kept), general[kept])
        tally = counts["all shares fitted" if left_share is None else "one left out"]
        for t in np.unique(tokens):
            for tolerance in TOLERANCES:
                ceiling = critical_ratio.ceiling_of(family.start["general"], tolerance)
                measured = between(ceiling, general[tokens == t], shares[tokens == t])
                if measured != measured:
                    continue
                ratio = critical_ratio.critical_ratio(
                    general_fit, general_fit, [], Budget(float(t), 7e7), ceiling, pool="python", largest=1.0
                )
                high = 1.0 if ratio.high is None else ratio.high
                tally[0] += (1.0 if ratio.low is None else ratio.low) <= measured <= high
                tally[1] += 1
    return "; ".join(f"{name}: {inside} of {n}" for name, (inside, n) in counts.items())


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", type=Path, default=DATA, help="folder with the run tables")
    parser.add_argument("--quick", action="store_true", help="fewer starts and draws")
    flags = parser.parse_args()
    path = flags.data / "cpt_python.csv"
    if not path.is_file():
        print(f"no run table {path}: nothing to measure; give its folder with --data")
        return
    torch.set_num_threads(1)
    family, clock, draws = load(path), Clock(), 40 if flags.quick else 200
    options = FitOptions(starts=2 if flags.quick else 16, draws=1)
    pl.Config(tbl_rows=-1, tbl_cols=-1, tbl_width_chars=220, fmt_str_lengths=80, float_precision=4)
    for evaluation in ("general", "python"):
        rows = [
            {"method": name, **left_out(family, evaluation, method)}
            for name, method in methods(evaluation == "general", options).items()
        ]
        shares = ", ".join(f"{x:.3f}" for x in np.unique(family.shares))
        print(f"{evaluation}: mean absolute errors, nats; by share {shares} of Python (predicted - measured)")
        print(pl.DataFrame(rows))
        spec = OURS + ",rest=true" * (evaluation == "general")
        print(f"90 % intervals of {spec}, shares left out: {coverage(family, evaluation, spec, draws)}\n")
    print("critical share of Python after 1e10 tokens; measured: between the shares that were run")
    print(pl.DataFrame(critical(family, draws), infer_schema_length=None))
    print(f"measured critical shares inside their intervals, all checkpoints: {critical_coverage(family, draws)}")
    print(f"{clock():.0f} CPU-seconds in all")


if __name__ == "__main__":
    main()
