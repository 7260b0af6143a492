"""Run tables: one row for every finished run or checkpoint, with its recipe and its losses.

A table is a Parquet or CSV file, or a table in memory. docs/files.md lists its columns.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.runs.recipes import Recipes, recipes
from curate.tables import file_format, frames, writer
from curate.tables.frames import Table

if TYPE_CHECKING:
    from curate.charts import Chart

ALL = "all"  # the name of the only pool of a table that has no weight columns


@dataclass(frozen=True, repr=False)
class Runs:
    """A run table after its checks: finished training runs with their mixtures, budgets and losses.

    ``pools`` and ``evals`` are the names of the columns ``weight.<pool>`` and ``loss.<eval>``. ``target`` names the
    column ``distance.<target>`` from which recipes take their distance; None if they have none. Runs are a table
    themselves: every function that reads a run table accepts them.
    """

    frame: pl.DataFrame
    pools: tuple[str, ...]
    evals: tuple[str, ...]
    target: str | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.frame.height

    def __repr__(self) -> str:
        """Return one line of counts and names."""
        return f"Runs({len(self)} runs of pools {', '.join(self.pools)}; evals {', '.join(self.evals) or 'none'})"

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
        tidy = self.frame.unpivot(columns, index=["run", "params", "tokens"], variable_name="eval", value_name="loss")
        return tidy.with_columns(pl.col("eval").str.strip_prefix("loss.")).drop_nulls("loss")

    def save(self, path: str | Path) -> None:
        """Write the run table to ``path``: CSV if the name ends in .csv, else Parquet."""
        writer.save(Path(path), self.frame)

    def recipes(self, pools: Sequence[str] | None = None) -> Recipes:
        """Return the runs as recipes over ``pools``, or over the pools of the table in their order.

        Raises:
            SchemaError: a run uses a pool that is not in ``pools``, or a weight or a count is impossible.
        """
        names = tuple(pools or self.pools)
        if missing := [p for p in self.pools if p not in names and self._used(p)]:
            raise SchemaError(
                f"the runs use pool {missing[0]!r} that the fit never saw; it knows {', '.join(names)}. "
                "Fit again on runs that include it, or drop those rows with --where"
            )
        n = self.frame.height
        if self.pools == (ALL,) and f"weight.{ALL}" not in self.frame.columns:
            weights = np.ones((n, 1))
        else:
            # A pool that the runs do not have gets no share, so that a fit over more pools can read them.
            weights = np.column_stack([self._column(f"weight.{p}", 0.0) for p in names])
        unique = np.column_stack([self._column(f"unique.{p}", np.inf) for p in names])
        return recipes(
            weights,
            self._column("tokens", np.nan),
            self._column("params", np.nan),
            unique,
            distance=None if self.target is None else self._column(f"distance.{self.target}", np.nan),
            names=self.frame["run"].to_list(),
        )

    def loss(self, evaluation: str, *, missing: bool = False) -> np.ndarray:
        """Return (n,) losses of one eval in nats per token.

        With ``missing``, NaN stands for a run whose loss was not measured.

        Raises:
            SchemaError: an unknown eval, or a loss that is not finite and positive.
        """
        if evaluation not in self.evals:
            raise SchemaError(f"no eval {evaluation!r}: the run table has {', '.join(self.evals)}")
        values = self.frame[f"loss.{evaluation}"].cast(pl.Float64).fill_null(np.nan).to_numpy()
        bad = ~(np.isfinite(values) & (values > 0)) & ~(np.isnan(values) & missing)
        if bad.any():
            first = self.frame["run"][int(bad.argmax())]
            raise SchemaError(
                f"loss.{evaluation} of run {first!r} is {values[bad.argmax()]}: it must be finite and positive; "
                f"{int(bad.sum())} such rows. Drop them with --where"
            )
        return values

    @property
    def clusters(self) -> np.ndarray:
        """The training of each run as (n,) integer codes; checkpoints of one training share a code.

        Rows with equal weights, params, unique tokens and seed are one training. Without weight columns it is the part
        of the run's name before ``@``. The bootstrap draws whole trainings.
        """
        config = [c for c in self.frame.columns if c.startswith(("weight.", "unique.")) or c in ("params", "seed")]
        if not any(c.startswith("weight.") for c in config):
            # Tables without mixtures name their checkpoints RUN@STEP.
            names = self.frame["run"].str.split("@").list.first()
            return np.unique(names.to_numpy(), return_inverse=True)[1]
        keys = self.frame.select(
            pl.concat_str([pl.col(c).cast(pl.String).fill_null("") for c in config], separator="|")
        )
        return np.unique(keys.to_series().to_numpy(), return_inverse=True)[1]

    def _column(self, name: str, absent: float) -> np.ndarray:
        if name not in self.frame.columns:
            return np.full(self.frame.height, absent)
        return self.frame[name].cast(pl.Float64).fill_null(absent).to_numpy()

    def _used(self, pool: str) -> bool:
        column = f"weight.{pool}"
        return column in self.frame.columns and bool((self.frame[column].fill_null(0) > 0).any())


def read(table: Table, *, where: str | None = None, losses: bool = True, target: str | None = None) -> Runs:
    """Return a run table from a file (Parquet or CSV) or from memory, after its checks.

    ``where`` is a SQL condition over the columns, such as ``tokens > 1e9``; only these rows are read. With
    ``losses=False`` the table needs no loss column, as one of runs that are still to be trained. ``target`` chooses the
    column distance.<target>. Without it the only such column is used, if every row has a distance.

    Raises:
        SchemaError: no such file, not a table, a column that is missing or has impossible values, or no rows.
    """
    origin = "the run table" if frames.in_memory(table) else str(table)
    frame = frames.frame(table) if frames.in_memory(table) else _read_file(Path(origin))
    if where:
        quoted = _quote(where, frame.columns)
        try:
            frame = frame.filter(pl.sql_expr(quoted))
        except pl.exceptions.PolarsError as error:
            raise SchemaError(f"--where {where!r} does not work on {origin}: {error}") from None
    return check(frame, origin, losses=losses, target=target)


def _read_file(path: Path) -> pl.DataFrame:
    if not path.is_file():
        raise SchemaError(f"no such run table: {path}; make one with `curate pilot`")
    try:
        # The whole file decides a column's type, since a loss may be empty in all early rows.
        if path.suffix == ".csv":
            return pl.read_csv(path, infer_schema_length=None)
        frame = pl.read_parquet(path)
        file_format.check_file(path)
        return frame
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SchemaError(f"{path} cannot be read as a run table: {error}") from None


def _quote(where: str, columns: Sequence[str]) -> str:
    """Return the condition with quotes around dotted column names, which SQL would otherwise split at the dot."""
    # Longest first: weight.a-b must not be read as weight.a minus b.
    dotted = sorted((c for c in columns if "." in c), key=len, reverse=True)
    if not dotted:
        return where
    names = "|".join(map(re.escape, dotted))
    # Quoted text matches first, and stays as it is.
    pattern = rf"""'[^']*'|"[^"]*"|(?<![\w.])({names})(?![\w.])"""
    return re.sub(pattern, lambda match: f'"{match[1]}"' if match[1] else match[0], where)


def check(frame: pl.DataFrame, origin: str, *, losses: bool = True, target: str | None = None) -> Runs:
    """Return a frame as a run table, after its checks. ``origin`` names it in error messages.

    Raises:
        SchemaError: a column that is missing or has impossible values, or no rows.
    """
    if missing := [c for c in ("run", "params", "tokens") if c not in frame.columns]:
        raise SchemaError(f"{origin} has no column {missing[0]!r}; a run table has run, params, tokens, loss.<eval>")
    evals = tuple(c.removeprefix("loss.") for c in frame.columns if c.startswith("loss."))
    if losses and not evals:
        raise SchemaError(f"{origin} has no loss.<eval> column; it has {', '.join(frame.columns)}")
    if frame.is_empty():
        raise SchemaError(f"{origin} has no rows: is --where too strict?")
    frame = frame.with_columns(pl.col("run").cast(pl.String))
    pools = tuple(c.removeprefix("weight.") for c in frame.columns if c.startswith("weight."))
    if not pools:
        # Runs on one pool need no shares, but may say how many unique tokens there were.
        pools = tuple(c.removeprefix("unique.") for c in frame.columns if c.startswith("unique.")) or (ALL,)
    return Runs(frame, pools, evals, _target(frame, origin, target))


def _target(frame: pl.DataFrame, origin: str, chosen: str | None) -> str | None:
    """Return the target whose distances are used; a chosen one must have a distance in every row."""
    names = [c.removeprefix("distance.") for c in frame.columns if c.startswith("distance.")]
    # With several targets and no choice, recipes have no distance; laws that need one say so.
    if chosen is None and len(names) != 1:
        return None
    name = chosen or names[0]
    if name not in names:
        raise SchemaError(f"{origin} has no column distance.{name}; its targets are {', '.join(names) or 'none'}")
    values = frame[f"distance.{name}"].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any() and chosen is not None:
        raise SchemaError(
            f"{origin}: distance.{name} of run {frame['run'][int(bad.argmax())]!r} is {values[bad.argmax()]}: "
            f"it must be finite and at least 0; {int(bad.sum())} such rows. Drop them with --where"
        )
    return None if bad.any() else name
