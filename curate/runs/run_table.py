"""Run tables: one row for every finished run or checkpoint, with its recipe and its losses.

A table is a file or a table in memory. docs/files.md lists its columns. Every command reads run tables through `read`,
so that all accept and refuse the same ones. `curate.runs.sources` makes run tables of other tables.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.runs import conditions, number_columns, trainings
from curate.runs.recipes import SUM_TOLERANCE, Labels, Recipes, recipes
from curate.runs.sources import column_map, read_tables
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.joined_tables import START
from curate.runs.sources.read_tables import MEMORY, Tables
from curate.runs.trainings import FINISHED, Checkpoints, Schedules, Trainings
from curate.tables import writer

if TYPE_CHECKING:
    from curate.charts import Chart

ALL = "all"  # the name of the only pool of a table that has no weight columns
# What ends the advice on a column that is missing, if one value for all runs is usual.
MISSING = {"params": ", or write --map params=70M", "tokens": ", or write --map tokens=1B"}
ROUNDED = 1e-6  # a smaller difference of a sum of shares from 1 is a rounding error of floats, and gives no note


@dataclass(frozen=True, repr=False)
class Runs:
    """A run table after its checks: training runs and their checkpoints, with mixtures, budgets and losses.

    ``pools`` and ``evals`` are the names in the columns ``weight.<pool>`` and ``loss.<eval>``. ``target`` is the name
    in the column ``distance.<target>`` that gives the distance of a recipe, or None. Every function that reads a run
    table also accepts a ``Runs``. ``origin`` names the table in errors. ``notes`` say what was changed or left out when
    the table was read. ``checkpoints`` says which rows may be checkpoints of one training: ``auto``, ``yes`` or ``no``
    (see ``runs.trainings``). ``whole`` holds the trainings of these rows if they were found in a table with more rows.
    """

    frame: pl.DataFrame
    pools: tuple[str, ...]
    evals: tuple[str, ...]
    target: str | None = None
    origin: str = MEMORY
    notes: tuple[str, ...] = ()
    checkpoints: Checkpoints = "auto"
    whole: Trainings | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.frame.height

    def __repr__(self) -> str:
        """Return one line of counts and names."""
        return f"Runs({len(self)} runs of pools {first_few(self.pools)}; evals {first_few(self.evals) or 'none'})"

    def _repr_html_(self) -> str:
        """Return the rows as HTML, for notebooks."""
        return self.table()._repr_html_()

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return the rows as an Arrow stream, so that runs are read wherever a table is."""
        return self.frame.__arrow_c_stream__(requested_schema)

    def table(self) -> pl.DataFrame:
        """Return the rows of the run table."""
        return self.frame

    def chart(self) -> "Chart":
        """Return a chart of every loss over the training tokens."""
        from curate import charts

        return charts.runs(self.losses())

    def losses(self) -> pl.DataFrame:
        """Return one row for every run and eval that was measured: run, params, tokens, eval, loss."""
        columns = [f"loss.{name}" for name in self.evals]
        for name in columns:
            number_columns.refuse_words(self.frame, name, self.origin)
        tidy = self.frame.unpivot(columns, index=["run", "params", "tokens"], variable_name="eval", value_name="loss")
        return tidy.with_columns(pl.col("eval").str.strip_prefix("loss.")).drop_nulls("loss")

    def save(self, path: str | Path) -> None:
        """Write the run table to ``path``: CSV if the name ends in .csv, else Parquet."""
        writer.save(Path(path), self.frame)

    def trained(self) -> "Runs":
        """Return the runs without start rows (tokens = 0), which were measured before any training.

        Raises:
            SchemaError: if all rows are start rows.
        """
        start = self.frame["tokens"] == 0
        if not start.any():
            return self
        if start.all():
            raise SchemaError(f"{self.origin} has only start rows (tokens = 0). Add rows of runs that were trained")
        note = (
            f"{_rows(int(start.sum()), len(self))} have tokens = 0, the first is "
            f"{self.frame['run'].filter(start)[0]!r}. They show the model before training, and are left out"
        )
        return self.keep(~start.to_numpy(), note)

    def keep(self, rows: np.ndarray, *notes: str) -> "Runs":
        """Return the runs where the mask ``rows`` (n,) is true, with further notes. They stay in the same trainings."""
        frame, kept = self.frame.filter(pl.Series(rows)), self.trainings.take(rows)
        return replace(self, frame=frame, whole=kept, notes=(*self.notes, *notes))

    @cached_property
    def trainings(self) -> Trainings:
        """The training of each row, and how far it had come.

        Raises:
            SchemaError: if the rows of one training disagree; see ``runs.trainings.trainings``.
        """
        return self.whole or trainings.trainings(self.frame, self.origin, self.checkpoints)

    @property
    def clusters(self) -> np.ndarray:
        """The training of each run as (n,) integer codes; checkpoints of one training share a code."""
        return self.trainings.codes

    @property
    def progress(self) -> np.ndarray:
        """The part of its planned training that each run has done (n,), in (0, 1]. 1 is a finished run."""
        return self.trainings.progress

    @property
    def schedules(self) -> Schedules:
        """From where ``progress`` comes: ``planned_tokens``, ``lr``, or ``assumed``: each last row is the end."""
        return self.trainings.schedules

    def finished(self, evals: Sequence[str] | None = None) -> "Runs":
        """Return the last row of each training, with a note on how many rows are left out.

        What is last is decided for each of the ``evals`` (by default all): if the last row of a training lacks an eval,
        its last row with that eval is kept too, with the other losses empty. Where no schedule is known, the rows count
        as finished.

        Raises:
            SchemaError: if there is no such eval.
        """
        every = self.trainings
        if every.count == len(self):
            return self
        names = [name for name in self.evals if evals is None or name in evals]
        tokens, all_rows = self.numbers("tokens"), np.ones(len(self), dtype=bool)
        last = {
            f"loss.{name}": trainings.last_rows(every.codes, tokens, np.isfinite(self.loss(name, missing=True)))
            for name in names
        }
        kept = np.logical_or.reduce([*last.values()] or [trainings.last_rows(every.codes, tokens, all_rows)])
        columns = [
            pl.when(pl.Series(rows)).then(pl.col(name)).otherwise(None).alias(name) for name, rows in last.items()
        ]
        only = every.take(kept)
        if every.schedules == "assumed":
            only = replace(only, progress=np.ones(len(only.codes)))
        note = (
            f"{every.count} trainings have {len(self)} rows; the last row of each is used, and "
            f"{len(self) - int(kept.sum())} rows are left out"
        )
        frame = self.frame.with_columns(columns).filter(pl.Series(kept))
        return replace(self, frame=frame, whole=only, notes=(*self.notes, note))

    def measured(self, evals: Sequence[str]) -> "Runs":
        """Return the runs in which at least one of ``evals`` was measured, with a note on what is missing.

        Raises:
            SchemaError: an eval that is unknown or was measured in no run, or a loss that is impossible.
        """
        for name in evals:
            self.loss(name, missing=True)
        return self.with_values([f"loss.{name}" for name in evals])

    def with_values(self, columns: Sequence[str]) -> "Runs":
        """Return the runs with a value in one of these columns of numbers, with a note on empty cells.

        Raises:
            SchemaError: a column that does not exist, is empty in all rows, or holds values that are not numbers.
        """
        empty = {name: np.isnan(self.numbers(name)) for name in columns}
        if nowhere := [name for name, cells in empty.items() if cells.all()]:
            raise SchemaError(
                f"{self.origin}: {nowhere[0]} is empty in all {len(self)} rows. Fill it in, or choose another eval "
                "with --eval"
            )
        names = self.frame["run"]
        notes = [
            f"{name} is empty in {_rows(int(cells.sum()), len(self))}, the first is {names[int(cells.argmax())]!r}. "
            "The fit of this column leaves them out"
            for name, cells in empty.items()
            if cells.any()
        ]
        return self.keep(~np.logical_and.reduce(list(empty.values())), *notes)

    def numbers(self, name: str) -> np.ndarray:
        """Return a column as (n,) numbers, NaN where it is empty.

        Raises:
            SchemaError: if there is no such column, or it holds values that are not numbers.
        """
        if name not in self.frame.columns:
            raise SchemaError(
                f"{self.origin} has no column {name!r}; it has {first_few(self.frame.columns, near=name)}"
            )
        number_columns.refuse_words(self.frame, name, self.origin)
        return self.frame[name].cast(pl.Float64).fill_null(np.nan).to_numpy()

    def recipes(self, pools: Sequence[str] | None = None) -> Recipes:
        """Return the runs as recipes over ``pools``, or over the pools of the table in their order.

        Raises:
            SchemaError: a run uses a pool that is not in ``pools``, or a weight or a count is impossible.
        """
        names = tuple(pools or self.pools)
        if missing := [p for p in self.pools if p not in names and self._used(p)]:
            raise SchemaError(
                f"{self.origin}: the runs use pool {missing[0]!r} that the fit never saw; it knows "
                f"{first_few(names, near=missing[0])}. "
                "Fit again on runs that include it, or drop those rows with --where"
            )
        if not any(name.startswith("weight.") for name in self.frame.columns):
            if len(names) > 1:
                raise SchemaError(
                    f"{self.origin} has no columns weight.<pool>, and the fit needs the shares of {first_few(names)}. "
                    "Add these columns"
                )
            weights = np.ones((self.frame.height, 1))
        else:
            # A pool that the runs do not have gets no share, so that a fit over more pools can read them.
            weights = np.column_stack([self._column(f"weight.{p}", 0.0) for p in names])
            self._refuse_absent_shares(names, weights.sum(axis=1))
        unique = np.column_stack([self._column(f"unique.{p}", np.inf) for p in names])
        return recipes(
            weights,
            self._column("tokens", np.nan),
            self._column("params", np.nan),
            unique,
            distance=None if self.target is None else self._column(f"distance.{self.target}", np.nan),
            progress=self.progress if (self.progress < FINISHED).any() else None,
            areas=self.trainings.areas,
            labels=Labels(self.origin, tuple(self.frame["run"].to_list()), names),
        )

    def _refuse_absent_shares(self, names: Sequence[str], sums: np.ndarray) -> None:
        """Refuse shares that sum to less than 1 if columns of other pools are absent: these hold the rest."""
        absent = [name for name in names if f"weight.{name}" not in self.frame.columns]
        low = sums < 1 - SUM_TOLERANCE
        if absent and low.any():
            raise SchemaError(
                f"{self.origin} has no column weight.{absent[0]}, and the shares of run "
                f"{self.frame['run'][int(low.argmax())]!r} sum to {sums[low.argmax()]:.4g} without it; "
                f"{int(low.sum())} such rows. Add the column"
            )

    def loss(self, evaluation: str, *, missing: bool = False) -> np.ndarray:
        """Return (n,) losses of one eval in nats per token.

        With ``missing``, NaN stands for a run whose loss was not measured.

        Raises:
            SchemaError: an unknown eval, or a loss that is not a number, or not finite and positive.
        """
        if evaluation not in self.evals:
            raise SchemaError(f"no eval {evaluation!r}: {self.origin} has {first_few(self.evals, near=evaluation)}")
        values = self.numbers(f"loss.{evaluation}")
        bad = ~(np.isfinite(values) & (values > 0)) & ~(np.isnan(values) & missing)
        if bad.any():
            first = self.frame["run"][int(bad.argmax())]
            raise SchemaError(
                f"{self.origin}: loss.{evaluation} of run {first!r} is {values[bad.argmax()]}: it must be finite and "
                f"positive; {int(bad.sum())} such rows. Leave the cell empty if the loss was not measured, or drop the "
                "row with --where"
            )
        return values

    def _column(self, name: str, absent: float) -> np.ndarray:
        if name not in self.frame.columns:
            return np.full(self.frame.height, absent)
        return self.frame[name].cast(pl.Float64).fill_null(absent).to_numpy()

    def _used(self, pool: str) -> bool:
        column = f"weight.{pool}"
        return column in self.frame.columns and bool((self.frame[column].fill_null(0) > 0).any())


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
        f"the shares of {_rows(int(rounded.sum()), len(frame))} do not sum to 1 exactly, and are rescaled. The largest "
        f"difference from 1 is {away[most]:.2g}, in run {frame['run'][most]!r}",
    )


def _rows(count: int, total: int) -> str:
    return f"{count} of {total} rows"


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
