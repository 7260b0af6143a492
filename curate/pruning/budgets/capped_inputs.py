"""Read capped columns that the inputs have, and the score files do not.

In: caps, score files, and their inputs. Out: for each score file its rows beside those of its input.
A column that was carried into the score files is read from there, which is faster. The decisions are the same.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl
import pyarrow as pa

from curate.errors import CurateError, SchemaError, first_few
from curate.pruning.budgets.caps import Cap
from curate.pruning.requirements.columns import RequiredRows, required_rows
from curate.storage import files
from curate.tables import batches, readers
from curate.tables.columns.arrow_types import is_binary, plain
from curate.tables.shards import Shard


@dataclass(frozen=True)
class CappedInput:
    """The rows of a score file beside its input. ``columns`` are read from the input, which lacks the ``missing``."""

    rows: RequiredRows
    columns: tuple[str, ...]
    missing: tuple[str, ...] = ()

    def frames(self, scored_columns: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the named columns of the score file and the capped columns, batch by batch.

        Raises:
            SchemaError: if the input has other rows than were scored.
        """
        nulls = [pl.lit(None, pl.String).alias(name) for name in self.missing]
        if self.columns:
            frames = self.rows.beside_inputs(scored_columns, self.columns)
        else:
            frames = self.rows.frames(scored_columns, ())
        for frame in frames:
            yield frame.with_columns(nulls) if nulls else frame


def read(
    caps: Sequence[Cap], scores: Path, shards: Sequence[Shard], *, partial: bool = False
) -> tuple[CappedInput, ...]:
    """Return the rows of all score files beside their inputs; nothing if the score files have all capped columns.

    Raises:
        SchemaError: if no input has a column, its values cannot be compared, or the inputs changed or were moved.
    """
    wanted = [cap for cap in caps if cap.column not in batches.IDENTITY]
    if not wanted:
        return ()
    present = files.each(lambda shard: set(batches.columns(shard)), shards, scores)
    absent = [cap for cap in wanted if any(cap.column not in columns for columns in present)]
    if not absent:
        return ()
    cap, of_scores = absent[0], batches.columns(shards[0])
    problem = f"--cap {cap.text}: {cap.column!r} is no column of {shards[0].path}, which has "
    problem += first_few(of_scores, near=cap.column)
    try:
        rows = required_rows(scores, shards, with_inputs=True, partial=partial)
    except CurateError as error:
        raise SchemaError(f"{problem}. Columns of the inputs cannot be used: {error}") from None
    names = tuple(item.column for item in absent)
    result = tuple(files.each(lambda part: _of_file(part, names), rows, scores))
    for item in absent:
        if all(item.column in part.missing for part in result):
            every = dict.fromkeys((*of_scores, *_columns(rows[0], names)))
            raise SchemaError(
                f"--cap {item.text}: {item.column!r} is a column neither of the scores nor of the inputs. There are "
                f"{first_few(every, near=item.column)}"
            )
        _check_types(item, rows, names)
    return result


def _of_file(part: RequiredRows, names: Sequence[str]) -> CappedInput:
    columns = _columns(part, names)
    return CappedInput(
        part,
        tuple(name for name in names if name in columns),
        tuple(name for name in names if name not in columns),
    )


def _columns(part: RequiredRows, names: Sequence[str]) -> dict[str, pa.DataType]:
    """Return the columns of an input; of ``names`` also those that appear late in its lines."""
    assert part.data is not None
    return dict(readers.head(part.data, names, part.reading.whole_mapping).columns)


def _check_types(cap: Cap, rows: Sequence[RequiredRows], names: Sequence[str]) -> None:
    for part in rows:
        kind = plain(_columns(part, names).get(cap.column, pa.null()))
        if pa.types.is_nested(kind) or is_binary(kind):
            assert part.data is not None
            raise SchemaError(
                f"--cap {cap.text}: {part.data.path} has {cap.column} as {kind}, which has no single value a row. Name "
                "a column of text or numbers"
            )
