"""Training runs and their checkpoints, with mixtures, budgets and losses: a run table after its checks."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.runs import number_columns
from curate.runs.recipes import SUM_TOLERANCE, Labels, Recipes, recipes
from curate.runs.sources.read_tables import MEMORY
from curate.runs.trainings.progress import FINISHED, Schedules
from curate.runs.trainings.training_keys import Checkpoints
from curate.runs.trainings.training_rows import last_rows
from curate.runs.trainings.trainings import Trainings, trainings
from curate.tables import writer

if TYPE_CHECKING:
    from curate.charts.chart import Chart

ALL = "all"  # the name of the only pool of a table that has no weight columns


@dataclass(frozen=True, repr=False)
class Runs:
    """A run table after its checks: training runs and their checkpoints, with mixtures, budgets and losses.

    ``pools`` and ``evals`` are the names in the columns ``weight.<pool>`` and ``loss.<eval>``. ``target`` is the name
    in the column ``distance.<target>`` that gives the distance of a recipe, or None. Every function that reads a run
    table also accepts a ``Runs``. ``origin`` names the table in errors. ``notes`` say what was changed or left out when
    the table was read. ``checkpoints`` says which rows may be checkpoints of one training: ``auto``, ``yes`` or ``no``
    (see ``runs.trainings``). ``table_trainings`` holds the trainings of these rows if they are only some of the rows of
    a table, since the other rows may show which rows are of one training; else None.
    """

    frame: pl.DataFrame
    pools: tuple[str, ...]
    evals: tuple[str, ...]
    target: str | None = None
    origin: str = MEMORY
    notes: tuple[str, ...] = ()
    checkpoints: Checkpoints = "auto"
    table_trainings: Trainings | None = None

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
        from curate.charts import run_charts

        return run_charts.runs(self.losses())

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
        return self.take(~start.to_numpy(), note)

    def take(self, rows: np.ndarray, *notes: str) -> "Runs":
        """Return the runs at these positions, or where a mask is true, with further notes.

        Each row stays in its training, and keeps its progress.
        """
        positions = np.flatnonzero(rows) if rows.dtype == bool else rows
        part = self.trainings.take(positions)
        return replace(self, frame=self.frame[positions], table_trainings=part, notes=(*self.notes, *notes))

    @cached_property
    def trainings(self) -> Trainings:
        """The training of each row, and how far it had come.

        Raises:
            SchemaError: if the rows of one training disagree; see ``runs.trainings.trainings.trainings``.
        """
        return self.table_trainings or trainings(self.frame, self.origin, self.checkpoints)

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

        Each of the ``evals`` (by default all) has its own last rows: if the last row of a training lacks an eval, its
        last row with that eval is kept too, with the other losses empty. Where no schedule is known, the rows count as
        finished.

        Raises:
            SchemaError: if there is no such eval.
        """
        all_trainings = self.trainings
        if all_trainings.count == len(self):
            return self
        names = [name for name in self.evals if evals is None or name in evals]
        tokens, all_rows = self.numbers("tokens"), np.ones(len(self), dtype=bool)
        last = {
            f"loss.{name}": last_rows(all_trainings.codes, tokens, np.isfinite(self.loss(name, missing=True)))
            for name in names
        }
        kept = np.logical_or.reduce([*last.values()] or [last_rows(all_trainings.codes, tokens, all_rows)])
        columns = [
            pl.when(pl.Series(rows)).then(pl.col(name)).otherwise(None).alias(name) for name, rows in last.items()
        ]
        last_trainings = all_trainings.take(kept)
        if all_trainings.schedules == "assumed":
            last_trainings = replace(last_trainings, progress=np.ones(len(last_trainings.codes)))
        note = (
            f"{all_trainings.count} trainings have {len(self)} rows; the last row of each is used, and "
            f"{len(self) - int(kept.sum())} rows are left out"
        )
        frame = self.frame.with_columns(columns).filter(pl.Series(kept))
        return replace(self, frame=frame, table_trainings=last_trainings, notes=(*self.notes, note))

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
        notes = self._empty_cells({name: cells for name, cells in empty.items() if cells.any()})
        return self.take(~np.logical_and.reduce(list(empty.values())), *notes)

    def _empty_cells(self, empty: Mapping[str, np.ndarray]) -> list[str]:
        """Return a note on the columns that are empty where the (n,) masks are true, if there are any."""
        if not empty:
            return []
        counts = [int(cells.sum()) for cells in empty.values()]
        first = self.frame["run"][int(np.logical_or.reduce(list(empty.values())).argmax())]
        if len(empty) == 1:
            where = f"{next(iter(empty))} is empty in {_rows(counts[0], len(self))}, the first is {first!r}"
            return [f"{where}. The fit of this column leaves them out"]
        few, most = min(counts), max(counts)
        rows = _rows(most, len(self)) if few == most else f"{few} to {_rows(most, len(self))}"
        return [
            f"{first_few(empty)} are each empty in {rows}, the first is {first!r}. The fit of each column leaves its "
            "empty rows out"
        ]

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


def _rows(count: int, total: int) -> str:
    return f"{count} of {total} rows"
