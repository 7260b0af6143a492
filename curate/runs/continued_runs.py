"""Run tables of continual pretraining: the start, which no law is fitted to, apart from the runs."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from curate.errors import FitError, SchemaError
from curate.pool.pool import Pool
from curate.runs import run_table
from curate.runs.run_table import Runs

FEWEST = 3  # ratios
GENERAL = "general"  # name of the mean of several general evals
SAME = 1e-3  # proportions of replay pools within this of each other are one


@dataclass(frozen=True)
class Continued:
    """``runs``: the rows with tokens > 0. ``starts``: params -> (general, domain) loss before training, in nats.

    ``general``, ``domain``: evals of ``runs``; ``pool``: the domain's; ``evals``: what ``general`` is the mean of.
    """

    runs: Runs
    starts: Mapping[float, tuple[float, float]]
    general: str
    domain: str
    pool: str
    evals: tuple[str, ...]

    @property
    def shares(self) -> np.ndarray:
        """The different shares of the domain's pool, rising."""
        return np.unique(np.round(self.runs.recipes().weights.numpy()[:, self.index], 6))

    @property
    def index(self) -> int:
        """Number of the domain's pool."""
        return self.runs.pools.index(self.pool)

    def start(self, params: float) -> tuple[float, float]:
        """Return general and domain loss of the model of ``params`` parameters before training."""
        for size, losses in self.starts.items():
            if abs(size - params) <= 1e-6 * params:
                return losses
        known = ", ".join(f"{size:.3g}" for size in self.starts)
        raise SchemaError(
            f"no start row for {params:.3g} parameters; there is one for {known}. Measure the model you start from and "
            f"give --start-loss {self.general}@{params:g}=LOSS --start-loss {self.domain}@{params:g}=LOSS"
        )

    def proportions(self) -> dict[str, float] | None:
        """Return the proportions of the other pools where all runs have the same; else None."""
        weights = self.runs.recipes().weights.numpy()
        rest = np.delete(weights, self.index, axis=1)
        rest = rest[rest.sum(axis=1) > 0]
        if not len(rest):
            return None
        rest = rest / rest.sum(axis=1, keepdims=True)
        if np.ptp(rest, axis=0).max() > SAME:
            return None
        names = [name for name in self.runs.pools if name != self.pool]
        return dict(zip(names, rest.mean(axis=0).tolist(), strict=True))

    def pools(self) -> tuple[Pool, ...]:
        """Return the pools with the most unique tokens that any run had; pools that never limited are left out."""
        most = self.runs.recipes().unique.numpy().max(axis=0)
        return tuple(Pool(n, float(u), 1) for n, u in zip(self.runs.pools, most, strict=True) if np.isfinite(u))

    def rectangle(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return (g,) shares over 0, (t,) tokens that all of them reached, (g, t) general and domain loss: one size."""
        sizes = self.runs.frame["params"].cast(float).unique().to_list()
        if len(sizes) > 1:
            raise FitError(
                f"runs of {len(sizes)} sizes, {sorted(sizes)}: this is done for one size; choose it with --where"
            )
        cells: dict[tuple[float, float], list[int]] = {}
        given = self.runs.recipes()
        shares, tokens = np.round(given.weights.numpy()[:, self.index], 6), given.tokens.numpy()
        for i, cell in enumerate(zip(shares.tolist(), tokens.tolist(), strict=True)):
            cells.setdefault(cell, []).append(i)
        rising = [x for x in self.shares.tolist() if x > 0]
        common = [t for t in sorted(set(tokens.tolist())) if all((share, t) in cells for share in rising)]
        losses = [
            np.array([[self.runs.loss(name)[cells[share, t]].mean() for t in common] for share in rising])
            for name in (self.general, self.domain)
        ]
        return np.array(rising), np.array(common), losses[0], losses[1]


def split(
    data: Runs, *, general: str, domain: str, pool: str, start_loss: Mapping[str, float] | None = None
) -> Continued:
    """Split a run table into start rows (tokens = 0) and runs, and take the mean of the general evals.

    ``general``: evals or patterns such as ``Pile*``, comma-separated; the domain's eval is never among them.
    ``start_loss``: EVAL or EVAL@PARAMS to a loss, in the place of a start row. Errors: an unknown pool or eval, shares
    outside [0, 1], no start, fewer than three ratios.
    """
    if f"weight.{pool}" not in data.frame.columns:
        raise SchemaError(f"no column weight.{pool}: the run table has the pools {', '.join(data.pools)}")
    if domain not in data.evals:
        raise SchemaError(f"no eval {domain!r}: the run table has {', '.join(data.evals)}")
    frame = _shares_checked(data, pool)
    evals = _matching(data.evals, general, domain)
    name = evals[0] if len(evals) == 1 else GENERAL + "_mean" * (GENERAL in data.evals)
    for one in (*evals, domain):
        data.loss(one)
    frame = frame.with_columns(pl.mean_horizontal(f"loss.{one}" for one in evals).alias(f"loss.{name}"))
    begun = pl.col("tokens") == 0
    starts = _starts(
        frame.filter(begun), name, domain, start_loss or {}, frame["params"].cast(float).unique().to_list()
    )
    rest = frame.filter(~begun)
    if rest.is_empty():
        raise FitError("all rows are starts (tokens = 0): train some runs at three or more ratios first")
    found = Continued(run_table.check(rest, "the run table"), starts, name, domain, pool, evals)
    if len(found.shares) < FEWEST:
        raise FitError(
            f"the runs have {len(found.shares)} different shares of {pool}, {found.shares.tolist()}: a law in the "
            f"ratio needs {FEWEST} or more; run others, for example 0.25, 0.5 and 0.75"
        )
    return found


def _shares_checked(data: Runs, pool: str) -> pl.DataFrame:
    shares = data.frame[f"weight.{pool}"].cast(pl.Float64)
    wrong = (~shares.is_between(0, 1)).fill_null(True)
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        raise SchemaError(
            f"weight.{pool} of run {data.frame['run'][row]!r} is {shares[row]}: a share of training tokens lies in "
            f"[0, 1]; divide percents by 100. {int(wrong.sum())} such rows"
        )
    return data.frame


def _matching(evals: Sequence[str], patterns: str, domain: str) -> tuple[str, ...]:
    found: list[str] = []
    for pattern in patterns.split(","):
        hits = [one for one in evals if fnmatchcase(one, pattern) and one != domain]
        if not hits:
            raise SchemaError(f"no general eval {pattern!r}: the run table has {', '.join(evals)} (domain: {domain})")
        found += [one for one in hits if one not in found]
    return tuple(found)


def _size(key: str, size: str) -> float:
    try:
        return float(size)
    except ValueError:
        raise SchemaError(f"--start-loss {key}: {size!r} is no number of parameters; give EVAL@7e7=LOSS") from None


def _starts(
    rows: pl.DataFrame, general: str, domain: str, given: Mapping[str, float], sizes: Sequence[float]
) -> dict[float, tuple[float, float]]:
    """Return the losses of the start by size: of the rows, or as given for all sizes or for one."""
    columns = [f"loss.{general}", f"loss.{domain}"]
    means = rows.group_by(pl.col("params").cast(float)).agg(pl.col(columns).mean()).sort("params")
    found: dict[float, dict[str, float]] = {
        row["params"]: {general: row[columns[0]], domain: row[columns[1]]} for row in means.to_dicts()
    }
    for key, loss in given.items():
        name, _, size = key.partition("@")
        if name not in (general, domain) or not (np.isfinite(loss) and loss > 0):
            raise SchemaError(f"--start-loss {key}={loss}: give {general} or {domain} and a loss in nats per token")
        for params in [_size(key, size)] if size else sizes:
            found.setdefault(params, {})[name] = loss
    whole = {size: (one[general], one[domain]) for size, one in sorted(found.items()) if len(one) == 2}
    if not whole:
        raise SchemaError(
            "no start row: a row with tokens = 0 says what the model loses before training. Add it, or give "
            f"--start-loss {general}=LOSS --start-loss {domain}=LOSS"
        )
    return whole
