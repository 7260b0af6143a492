"""Run tables: what training gave. One row a finished run or checkpoint, Parquet or CSV (columns in README)."""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.runs.recipes import Recipes, recipes

ALL = "all"  # the pool of a table without weight columns


@dataclass(frozen=True)
class Runs:
    """A checked run table. ``pools`` and ``evals`` are the names behind ``weight.`` and ``loss.``; ``target`` is the
    one behind ``distance.`` that recipes take their distance from, None: they have none."""

    frame: pl.DataFrame
    pools: tuple[str, ...]
    evals: tuple[str, ...]
    target: str | None = None

    def __len__(self) -> int:
        """Return the number of rows."""
        return self.frame.height

    def table(self) -> pl.DataFrame:
        """Return the rows."""
        return self.frame

    def recipes(self, pools: Sequence[str] | None = None) -> Recipes:
        """Return the runs as recipes over ``pools`` (default: the table's own, in file order)."""
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
        """Return (n,) losses of one eval in nats per token; ``missing``: NaN (or null) marks rows without it."""
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
        """(n,) int codes: checkpoints of one training share a code, for the bootstrap is over trainings.

        With weight columns a training is (weights, params, unique, seed); without, the run name up to its ``@step``.
        """
        config = [c for c in self.frame.columns if c.startswith(("weight.", "unique.")) or c in ("params", "seed")]
        if not any(c.startswith("weight.") for c in config):
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


def read(path: Path, *, where: str | None = None, losses: bool = True, target: str | None = None) -> Runs:
    """Read and check a run table; ``where`` is a SQL condition over its columns, such as ``tokens > 1e9``.

    ``losses=False``: a table of runs still to be trained needs no loss column. ``target``: which distance.<target>
    column to use; None: the only one, where there is one and it is full.
    """
    if not path.is_file():
        raise SchemaError(f"no such run table: {path}; make one with `curate pilot`")
    try:
        frame = pl.read_csv(path, infer_schema_length=None) if path.suffix == ".csv" else pl.read_parquet(path)
    except (pl.exceptions.PolarsError, OSError) as error:
        raise SchemaError(f"{path} cannot be read as a run table: {error}") from None
    if where:
        quoted = _quote(where, frame.columns)
        try:
            frame = frame.filter(pl.sql_expr(quoted))
        except pl.exceptions.PolarsError as error:
            raise SchemaError(f"--where {where!r} does not work on {path}: {error}") from None
    return check(frame, str(path), losses=losses, target=target)


def _quote(where: str, columns: Sequence[str]) -> str:
    """Put quotes around dotted column names so that SQL reads them as one name; quoted text stays as it is."""
    dotted = sorted((c for c in columns if "." in c), key=len, reverse=True)
    if not dotted:
        return where
    names = "|".join(map(re.escape, dotted))
    pattern = rf"""'[^']*'|"[^"]*"|(?<![\w.])({names})(?![\w.])"""
    return re.sub(pattern, lambda found: f'"{found[1]}"' if found[1] else found[0], where)


def check(frame: pl.DataFrame, origin: str, *, losses: bool = True, target: str | None = None) -> Runs:
    """Check a run table in memory; ``origin`` names it in messages."""
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
        pools = tuple(c.removeprefix("unique.") for c in frame.columns if c.startswith("unique.")) or (ALL,)
    return Runs(frame, pools, evals, _target(frame, origin, target))


def _target(frame: pl.DataFrame, origin: str, asked: str | None) -> str | None:
    """Return the target whose distances are used; one that is asked for must be there, in every row."""
    names = [c.removeprefix("distance.") for c in frame.columns if c.startswith("distance.")]
    if asked is None and len(names) != 1:
        return None
    name = asked or names[0]
    if name not in names:
        raise SchemaError(f"{origin} has no column distance.{name}; its targets are {', '.join(names) or 'none'}")
    values = frame[f"distance.{name}"].cast(pl.Float64, strict=False).fill_null(np.nan).to_numpy()
    bad = ~(np.isfinite(values) & (values >= 0))
    if bad.any() and asked is not None:
        raise SchemaError(
            f"{origin}: distance.{name} of run {frame['run'][int(bad.argmax())]!r} is {values[bad.argmax()]}: "
            f"it must be finite and at least 0; {int(bad.sum())} such rows. Drop them with --where"
        )
    return None if bad.any() else name
