"""Read run tables: one row for every finished run or checkpoint, with its recipe and its losses.

A table is a file or a table in memory. docs/files.md lists its columns. Every command reads run tables through `read`,
so that all accept and refuse the same ones. `curate.runs.sources` makes run tables of other tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from types import MappingProxyType

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.runs import conditions, number_columns
from curate.runs.recipes import SUM_TOLERANCE
from curate.runs.runs import ALL, Runs
from curate.runs.sources import column_map, read_tables
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.joined_tables import START
from curate.runs.sources.read_tables import Tables
from curate.runs.trainings.training_keys import Checkpoints

# What ends the advice on a column that is missing, if one value for all runs is usual.
MISSING = {"params": ", or write --map params=70M", "tokens": ", or write --map tokens=1B"}
ROUNDED = 1e-6  # a smaller difference of a sum of shares from 1 is a rounding error of floats, and gives no note


def read(
    tables: Tables,
    *,
    where: str | None = None,
    losses: bool = True,
    target: str | None = None,
    map: WrittenMap = None,
    source: str | None = None,
    counts: bool = True,
    checkpoints: Checkpoints = "auto",
    absent: Mapping[str, object] = MappingProxyType({}),
) -> Runs:
    """Return one or several tables, from files or from memory, as one run table after its checks.

    Args:
        tables: a table or a list of tables. They are joined, and their columns may differ.
        where: a SQL condition over the columns, such as ``tokens > 1e9``. Only rows for which it holds are kept.
        losses: whether a table without loss columns is refused. Runs that are still to be trained have none.
        target: the column distance.<target> to use. Without it the only such column is used, if every row has a
            distance.
        map: expressions that compute columns, by name, or as ``--map`` of the command line takes them.
        source: the program that wrote the tables: ``wandb``, ``regmix`` or ``swarm``. None: they are run tables.
        counts: whether to refuse parameters and tokens that look like counts in millions or billions.
        checkpoints: which rows may be of one training; see ``runs.trainings``.
        absent: a value for each column that the table may lack.

    Raises:
        SchemaError: no such file, not a table, a column that is missing or has impossible values, or no rows.
    """
    # The counts of runs that were read before have been checked, and a pilot knows its own.
    counts = counts and not isinstance(tables, Runs)
    table = read_tables.read(tables, column_map.parse(map), source, counts=counts, checkpoints=checkpoints)
    frame = table.frame.with_columns(
        pl.lit(x).alias(name) for name, x in absent.items() if name not in table.frame.columns
    )
    if where:
        frame = conditions.rows_where(frame, where, table.origin)
    runs = check(frame, table.origin, losses=losses, target=target, checkpoints=checkpoints)
    return replace(runs, notes=(*table.notes, *runs.notes))


def check(
    frame: pl.DataFrame,
    origin: str,
    *,
    losses: bool = True,
    target: str | None = None,
    checkpoints: Checkpoints = "auto",
) -> Runs:
    """Return a frame as a run table, after its checks. ``origin`` names it in error messages.

    Raises:
        SchemaError: a column that is missing or has impossible values, or no rows.
    """
    if missing := [c for c in ("run", "params", "tokens") if c not in frame.columns]:
        raise SchemaError(
            f"{origin} has no column {missing[0]!r}; a run table has run, params, tokens, loss.<eval>. Compute it from "
            f"another column with --map '{missing[0]}=COLUMN'{MISSING.get(missing[0], '')}. Its columns: "
            f"{first_few(frame.columns)}"
        )
    if unnamed := next((c for c in frame.columns if c in ("weight.", "unique.", "loss.", "metric.")), None):
        raise SchemaError(f"{origin}: the column {unnamed!r} has no name after its dot. Write one, as in {unnamed}web")
    evals = tuple(c.removeprefix("loss.") for c in frame.columns if c.startswith("loss."))
    if losses and not evals:
        raise SchemaError(f"{origin} has no loss.<eval> column; it has {first_few(frame.columns)}")
    if frame.is_empty():
        raise SchemaError(f"{origin} has no rows: is --where too strict?")
    frame = number_columns.converted(frame.with_columns(pl.col("run").cast(pl.String)))
    nameless = frame["run"].is_null()
    if nameless.any():
        raise SchemaError(
            f"{origin}: the run of row {int(nameless.arg_max() or 0) + 1} has no name; {int(nameless.sum())} such "
            "rows. Fill in the column run"
        )
    for name in frame.columns:
        if number_columns.REQUIRED.fullmatch(name):
            number_columns.refuse_words(frame, name, origin)
    # A start row is the model before training, so its tokens are 0, whatever the table says.
    frame = frame.with_columns(
        tokens=pl.when((pl.col("run") == START) & pl.col("tokens").is_null()).then(0.0).otherwise("tokens")
    )
    pools = tuple(c.removeprefix("weight.") for c in frame.columns if c.startswith("weight."))
    notes = _note_on_sums(frame, [f"weight.{name}" for name in pools]) if pools else ()
    if not pools:
        # Runs on one pool need no shares, but may say how many unique tokens there were.
        pools = tuple(c.removeprefix("unique.") for c in frame.columns if c.startswith("unique.")) or (ALL,)
    return Runs(frame, pools, evals, _target(frame, origin, target), origin, notes, checkpoints)


def _note_on_sums(frame: pl.DataFrame, weights: Sequence[str]) -> tuple[str, ...]:
    """Return a note if shares were rounded, so that recipes will rescale their sums to 1."""
    away = np.abs(frame.select(pl.sum_horizontal(weights)).to_series().to_numpy() - 1)
    rounded = (away > ROUNDED) & (away <= SUM_TOLERANCE)
    if not rounded.any():
        return ()
    most = int(np.where(rounded, away, 0).argmax())
    return (
        f"the shares of {int(rounded.sum())} of {len(frame)} rows do not sum to 1 exactly, and are rescaled. The "
        f"largest difference from 1 is {away[most]:.2g}, in run {frame['run'][most]!r}",
    )


def _target(frame: pl.DataFrame, origin: str, chosen: str | None) -> str | None:
    """Return the target whose distances are used; a chosen one must have a distance in every row."""
    names = [c.removeprefix("distance.") for c in frame.columns if c.startswith("distance.")]
    # With several targets and no choice, recipes have no distance; laws that need one say so.
    if chosen is None and len(names) != 1:
        return None
    name = chosen or names[0]
    if name not in names:
        raise SchemaError(
            f"{origin} has no column distance.{name}; its targets are {first_few(names, near=name) or 'none'}"
        )
    if chosen is not None:
        number_columns.refuse_words(frame, f"distance.{name}", origin)
    values = frame[f"distance.{name}"].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any() and chosen is not None:
        raise SchemaError(
            f"{origin}: distance.{name} of run {frame['run'][int(bad.argmax())]!r} is {values[bad.argmax()]}: "
            f"it must be finite and at least 0; {int(bad.sum())} such rows. Drop them with --where"
        )
    return None if bad.any() else name
