"""Read run tables of continual pretraining: the losses before training, and the runs to which laws are fitted."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from fnmatch import fnmatchcase

import numpy as np
import polars as pl

from curate import written_names
from curate.errors import FitError, SchemaError, first_few
from curate.pool.pool import Pool
from curate.runs import run_table
from curate.runs.runs import Runs

FEWEST = 3  # shares of the domain that a law needs: it has at least three parameters
GENERAL = "general"  # the name of the mean of several general evals
SAME = 1e-3  # proportions that differ by less are equal; published tables round to three digits


@dataclass(frozen=True)
class Continued:
    """Runs of continual pretraining, and the losses of the models from which they start.

    ``runs`` holds the rows with tokens > 0. ``starts`` maps the parameters of a model to its (general, domain) losses
    before training, in nats per token. ``general`` and ``domain`` are evals of ``runs``; the general loss is the mean
    over ``evals``. ``pool`` is the pool of the domain.
    """

    runs: Runs
    starts: Mapping[float, tuple[float, float]]
    general: str
    domain: str
    pool: str
    evals: tuple[str, ...]

    @property
    def shares(self) -> np.ndarray:
        """The distinct shares of the domain's pool, in ascending order."""
        # Rounded, since shares that should be equal may differ in the last digits.
        return np.unique(np.round(self.runs.recipes().weights.numpy()[:, self.index], 6))

    @property
    def index(self) -> int:
        """Position of the domain's pool among the pools."""
        return self.runs.pools.index(self.pool)

    def start(self, params: float) -> tuple[float, float]:
        """Return the general and domain losses of a model of ``params`` parameters before training.

        Raises:
            SchemaError: if they were not measured for this size.
        """
        for size, losses in self.starts.items():
            # The sizes come from files, where they may be rounded.
            if abs(size - params) <= 1e-6 * params:
                return losses
        sizes = ", ".join(f"{size:.3g}" for size in self.starts)
        raise SchemaError(
            f"no start row for {params:.3g} parameters; there is one for {sizes}. Measure the model you start from and "
            f"give --start-loss {self.general}@{params:g}=LOSS --start-loss {self.domain}@{params:g}=LOSS"
        )

    def proportions(self) -> dict[str, float] | None:
        """Return the proportions of the other pools if they are the same in all runs, else None."""
        weights = self.runs.recipes().weights.numpy()
        rest = np.delete(weights, self.index, axis=1)
        rest = rest[rest.sum(axis=1) > 0]
        if not len(rest):
            return None
        rest = rest / rest.sum(axis=1, keepdims=True)
        if np.ptp(rest, axis=0).max() > SAME:
            return None
        # Means over the runs, which agree up to rounding.
        names = [name for name in self.runs.pools if name != self.pool]
        return dict(zip(names, rest.mean(axis=0).tolist(), strict=True))

    def pools(self) -> tuple[Pool, ...]:
        """Return the pools with a finite number of unique tokens, each with the largest number in any run."""
        most = self.runs.recipes().unique.numpy().max(axis=0)
        return tuple(Pool(n, float(u), 1) for n, u in zip(self.runs.pools, most, strict=True) if np.isfinite(u))

    def rectangle(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return the losses on a grid of shares and token counts.

        The four arrays are the g shares above 0; the t token counts that runs of all these shares reached; and the
        (g, t) general and (g, t) domain losses. Each loss is the mean over the runs of its cell.

        Raises:
            FitError: if the runs are of several model sizes.
        """
        sizes = self.runs.frame["params"].cast(float).unique().to_list()
        if len(sizes) > 1:
            raise FitError(
                f"runs of {len(sizes)} sizes, {sorted(sizes)}: the published procedure needs one size; choose it with "
                "--where"
            )
        # Several runs in a cell (seeds, replay mixtures) are averaged.
        cells: dict[tuple[float, float], list[int]] = {}
        recipes = self.runs.recipes()
        shares, tokens = np.round(recipes.weights.numpy()[:, self.index], 6), recipes.tokens.numpy()
        for i, cell in enumerate(zip(shares.tolist(), tokens.tolist(), strict=True)):
            cells.setdefault(cell, []).append(i)
        ascending = [x for x in self.shares.tolist() if x > 0]
        common = [t for t in sorted(set(tokens.tolist())) if all((share, t) in cells for share in ascending)]
        losses = [
            np.array([[self.runs.loss(name)[cells[share, t]].mean() for t in common] for share in ascending])
            for name in (self.general, self.domain)
        ]
        return np.array(ascending), np.array(common), losses[0], losses[1]


def split(
    data: Runs, *, general: str, domain: str, pool: str, start_loss: Mapping[str, float] | None = None
) -> Continued:
    """Split a run table into start rows (tokens = 0) and runs, with the mean general loss.

    ``general`` lists evals or patterns such as ``Pile*``, separated by commas; the eval of the domain is never one of
    them. ``start_loss`` maps EVAL or EVAL@PARAMS to a loss before training, and replaces a start row.

    Raises:
        SchemaError: if a pool or eval is unknown, a share is outside [0, 1], or the loss before training is missing.
        FitError: if there are no runs, or the runs have fewer than three shares of the domain.
    """
    if f"weight.{pool}" not in data.frame.columns:
        raise SchemaError(f"no column weight.{pool}: {data.origin} has the pools {first_few(data.pools, near=pool)}")
    if domain not in data.evals:
        raise SchemaError(f"no eval {domain!r}: {data.origin} has {first_few(data.evals)}")
    evals = _matching(data.evals, general, domain)
    name = evals[0] if len(evals) == 1 else GENERAL + "_mean" * (GENERAL in data.evals)
    for eval_name in (*evals, domain):
        if np.isnan(data.loss(eval_name, missing=True)).all():
            raise SchemaError(f"{data.origin}: loss.{eval_name} is empty in all {len(data)} rows. Fill it in")
    # The general loss is a mean over all general evals. A mean over only some of them would be on another scale.
    columns = [f"loss.{eval_name}" for eval_name in evals]
    complete = ~pl.any_horizontal(pl.col(columns).is_null())
    frame = data.frame.with_columns(pl.when(complete).then(pl.mean_horizontal(columns)).alias(f"loss.{name}"))
    untrained = pl.col("tokens") == 0
    sizes = frame["params"].unique().drop_nulls().to_list()
    starts = _starts(frame.filter(untrained), name, domain, start_loss or {}, sizes)
    rest = frame.filter(~untrained | pl.col("tokens").is_null())
    if rest.is_empty():
        raise FitError(
            f"{data.origin}: all rows are starts (tokens = 0): train runs at three or more shares of the domain first"
        )
    runs = _measured(run_table.check(rest, data.origin), name, domain)
    _check_share(runs, pool)
    continued = Continued(runs, starts, name, domain, pool, evals)
    if len(continued.shares) < FEWEST:
        raise FitError(
            f"the runs have {len(continued.shares)} different shares of {pool}, {continued.shares.tolist()}: a law in "
            f"the ratio needs {FEWEST} or more; run others, for example 0.25, 0.5 and 0.75"
        )
    return continued


def _measured(runs: Runs, general: str, domain: str) -> Runs:
    """Return the runs that have both a general and a domain loss, with a note on how many do not."""
    measured = runs.frame[f"loss.{general}"].is_not_null() & runs.frame[f"loss.{domain}"].is_not_null()
    if measured.all():
        return runs
    if not measured.any():
        raise SchemaError(
            f"{runs.origin}: no run has all of the general losses and loss.{domain}. Fill in empty cells, or choose "
            "other evals with --general and --domain"
        )
    note = (
        f"{int((~measured).sum())} of {len(runs)} runs lack loss.{domain} or a general loss, the first is "
        f"{runs.frame['run'].filter(~measured)[0]!r}. They are left out"
    )
    return replace(runs, frame=runs.frame.filter(measured), notes=(*runs.notes, note))


def _check_share(runs: Runs, pool: str) -> None:
    """Check that every share of the domain lies in [0, 1]. Sums of shares are checked where recipes are built."""
    shares = runs.numbers(f"weight.{pool}")
    wrong = (shares < 0) | (shares > 1)
    if wrong.any():
        row = int(wrong.argmax())
        raise SchemaError(
            f"{runs.origin}: weight.{pool} of run {runs.frame['run'][row]!r} is {shares[row]:g}: a share of training "
            f"tokens lies in [0, 1]; divide percents by 100. {int(wrong.sum())} such rows"
        )


def _matching(evals: Sequence[str], patterns: str, domain: str) -> tuple[str, ...]:
    names: list[str] = []
    for pattern in written_names.names(patterns):
        hits = [name for name in evals if (name == pattern or fnmatchcase(name, pattern)) and name != domain]
        if not hits:
            raise SchemaError(
                f"no general eval {pattern!r}: the run table has {first_few(evals, near=pattern)} (domain: {domain})"
            )
        names += [name for name in hits if name not in names]
    return tuple(names)


def _size(key: str, size: str) -> float:
    try:
        return float(size)
    except ValueError:
        raise SchemaError(f"--start-loss {key}: {size!r} is no number of parameters; give EVAL@7e7=LOSS") from None


def _starts(
    rows: pl.DataFrame, general: str, domain: str, start_loss: Mapping[str, float], sizes: Sequence[float]
) -> dict[float, tuple[float, float]]:
    """Return the (general, domain) losses before training for each model size, in nats per token."""
    columns = [f"loss.{general}", f"loss.{domain}"]
    means = rows.group_by(pl.col("params").cast(float)).agg(pl.col(columns).mean()).sort("params")
    losses: dict[float, dict[str, float]] = {
        row["params"]: {
            name: row[column]
            for name, column in zip((general, domain), columns, strict=True)
            if row[column] is not None
        }
        for row in means.to_dicts()
    }
    for key, loss in start_loss.items():
        name, _, size = key.partition("@")
        if name not in (general, domain) or not (np.isfinite(loss) and loss > 0):
            raise SchemaError(
                f"--start-loss {key}={loss} must name the eval {general} or {domain} and give a positive loss in nats "
                f"per token, such as {general}=2.5"
            )
        for params in [_size(key, size)] if size else sizes:
            losses.setdefault(params, {})[name] = loss
    # A size of which only one of the two losses is known is no start.
    complete = {size: (both[general], both[domain]) for size, both in sorted(losses.items()) if len(both) == 2}
    if not complete:
        raise SchemaError(
            "no start row: a row with tokens = 0 says what the model loses before training. Add it, or give "
            f"--start-loss {general}=LOSS --start-loss {domain}=LOSS"
        )
    return complete
