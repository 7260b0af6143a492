"""One score of all ranked rows, its totals, and where the rows are.

In: score files and the names of columns. Out: batches of score files, and the rows in a work file.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.progress import counted
from curate.pruning.columns.row_table import RowTable
from curate.tables import scored
from curate.tables.row_ranges import RowRange

NO_GROUP = "(none)"  # the group of a row without a label or cluster
R = TypeVar("R")


@dataclass(frozen=True)
class ScoreFileRange:
    """A range of rows of a score file, or all its rows.

    ``number`` is the place of the range among all ranges. ``start`` is the position of its first ranked row among all
    ranked rows.
    """

    rows: RowRange
    number: int
    start: int = 0

    def __str__(self) -> str:
        """Return the path of the file, and which rows of it."""
        return str(self.rows)


@dataclass(frozen=True)
class ScoreValues:
    """The score ``by`` of all rows ("": no score) and their group (a value of ``grouping``; "": one group for all).

    ``groups`` are the numbers of the groups. ``low``, ``high``, ``mean`` and ``deviation`` are of the score.
    """

    by: str
    grouping: str
    groups: Mapping[str, int]
    low: float
    high: float
    mean: float
    deviation: float

    def frames(
        self, part: ScoreFileRange, identity: Sequence[str], others: Sequence[str] = ()
    ) -> Iterator[pl.DataFrame]:
        """Yield the score, the column of groups, and the named identity and other columns of a range."""
        return light(part.rows, self.by, others, self.grouping, identity)

    def scores(self, frame: pl.DataFrame) -> np.ndarray:
        """Return the scores (n,) of a frame."""
        return scores(frame, self.by)


@dataclass(frozen=True)
class ScoreColumn:
    """One score of all ranked rows, its totals, and the engine that reads it.

    ``files`` are whole files, and ``ranges`` the same rows in ranges that workers read. ``table`` holds the rows, and
    ``folder`` further work files. ``sizes`` (groups,) are the rows of each group. ``complexity`` (groups,) is there
    only where the balance needs it.
    """

    values: ScoreValues
    files: tuple[ScoreFileRange, ...]
    ranges: tuple[ScoreFileRange, ...]
    engine: Engine
    table: RowTable
    folder: Path
    sizes: np.ndarray
    complexity: np.ndarray | None

    @property
    def groups(self) -> Mapping[str, int]:
        """Return the number of each group."""
        return self.values.groups

    @property
    def rows(self) -> int:
        """Return the number of all ranked rows."""
        return self.table.rows

    def map(self, function: Callable[[ScoreFileRange], R]) -> Iterator[R]:
        """Yield what an importable function returns of every range, in the order in which ranges are done."""
        return counted(self.engine.run(function, self.ranges), "parts of score files read", len(self.ranges))


def light(
    rows: RowRange, by: str, others: Sequence[str], grouping: str, identity: Sequence[str]
) -> Iterator[pl.DataFrame]:
    """Yield the score ``by``, other columns and the column of groups, which may itself be an identity column."""
    names = dict.fromkeys(name for name in (by, *others, grouping) if name)
    for frame in scored.light_batches(rows, tuple(names), identity):
        if by:
            # Types may differ between files.
            scored.check_numbers(frame, by, rows.shard)
        yield frame


def scores(frame: pl.DataFrame, by: str) -> np.ndarray:
    """Return the scores (n,) of a frame; all are 0 if no score is named."""
    return frame[by].cast(pl.Float64).to_numpy() if by else np.zeros(frame.height)


def group_names(frame: pl.DataFrame, grouping: str) -> pl.Series:
    """Return the name of the group of each row (n,); without ``grouping`` all are empty."""
    if not grouping:
        return pl.repeat("", frame.height, dtype=pl.String, eager=True)
    return frame[grouping].cast(pl.String).fill_null(NO_GROUP)


def group_numbers(names: pl.Series, groups: dict[str, int]) -> np.ndarray:
    """Return the number of the group of each row (n,). A new name is added to ``groups`` with the next number."""
    distinct = names.unique(maintain_order=True)
    for name in distinct:
        groups.setdefault(name, len(groups))
    numbers = pl.Series([groups[name] for name in distinct], dtype=pl.Int32)
    return names.replace_strict(distinct, numbers, return_dtype=pl.Int32).to_numpy()
