"""Accept tables that a user has in memory, from polars, pandas or pyarrow."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from io import BytesIO
from pathlib import Path
from typing import Protocol, TypeAlias, runtime_checkable

import polars as pl
import pyarrow as pa
import xxhash

from curate.errors import CurateError, SchemaError
from curate.shown import shortened


@runtime_checkable
class ArrowExportable(Protocol):
    """Any table that offers Arrow's C stream, as pandas (2.2 and later), DuckDB and others do."""

    def __arrow_c_stream__(self, requested_schema: object = None) -> object:
        """Return a capsule that holds the Arrow stream."""
        ...


# Types of polars that Arrow and Parquet do not have, and what to do about a column of each.
NOT_IN_ARROW: Mapping[pl.DataType | type[pl.DataType], str] = {
    pl.Int128: "Cast it to Int64, or to String",
    pl.UInt128: "Cast it to Int64, or to String",
    pl.Object: "Make it a column of strings or numbers, or leave it out",
}

DETAIL = 300  # characters of another library's error that are shown
NUMBERS_OF_PANDAS = ": pandas.to_numeric(column, errors='coerce') leaves what is not a number empty"

Table: TypeAlias = str | Path | pl.DataFrame | pl.LazyFrame | ArrowExportable


def in_memory(table: Table) -> bool:
    """Return whether a table is held in memory, and is not the path of a file."""
    return not isinstance(table, str | Path)


def frame(table: Table) -> pl.DataFrame:
    """Return a table in memory as a polars frame; a lazy frame is collected.

    Raises:
        SchemaError: for an object that is no table, two columns of one name, or a column of values of several types.
    """
    if isinstance(table, pl.LazyFrame):
        return _exportable(table.collect())
    if isinstance(table, pl.DataFrame):
        return _exportable(table)
    if isinstance(table, ArrowExportable):
        return _exportable(_converted(table))
    raise SchemaError(f"{type(table).__name__} is not a table: give a path, or a polars, pandas or pyarrow table")


def _converted(table: ArrowExportable) -> pl.DataFrame:
    try:
        return pl.DataFrame(table)
    # A column of Python objects fails in other ways in pandas, pyarrow and polars.
    except (pl.exceptions.PolarsError, pa.ArrowException, TypeError, ValueError) as error:
        detail = shortened(_problem(table, error), DETAIL)
        package = type(table).__module__.partition(".")[0]
        raise SchemaError(
            f"the table of {package} cannot be read ({detail}). Give each column a name of its own, and values of one "
            f"type{NUMBERS_OF_PANDAS if package == 'pandas' else ''}"
        ) from None


def _problem(table: ArrowExportable, error: Exception) -> str:
    """Return why polars cannot read a table, in the words of pyarrow, which also name the column."""
    try:
        pa.table(table)
    except (pa.ArrowException, TypeError, ValueError) as of_pyarrow:
        return ": ".join(map(str, of_pyarrow.args))
    return str(error)


@contextmanager
def shown_as(names: Mapping[str, str]) -> Iterator[None]:
    """Replace a path in the errors of a job by other words, such as ``the table``."""
    try:
        yield
    except CurateError as error:
        text = str(error)
        for words, name in names.items():
            text = text.replace(words, name)
        error.args = (text, *error.args[1:])
        raise


def _exportable(table: pl.DataFrame) -> pl.DataFrame:
    """Return a table after checking that Arrow has all its types."""
    for name, dtype in table.schema.items():
        if dtype in NOT_IN_ARROW:
            raise SchemaError(f"column {name} is {dtype}, which files cannot hold. {NOT_IN_ARROW[dtype]}")
    return table


def content_hash(table: pl.DataFrame) -> str:
    """Return a hash of a frame's column names, types and values. Equal frames have equal hashes."""
    # Rechunked, since equal frames may be cut into different chunks.
    buffer = BytesIO()
    table.rechunk().write_ipc(buffer, compression="uncompressed")
    return xxhash.xxh3_128(buffer.getbuffer()).hexdigest()
