"""Read input files as a stream of Arrow record batches: Parquet, JSON lines and Arrow IPC, from any row on.

Memory holds one page of each column and one piece of ``reading.PIECE_BYTES``, not a row group and not a file. What a
small file may expand to is bounded too.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from types import ModuleType

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.storage import s3
from curate.tables import reading
from curate.tables.columns import arrow_types
from curate.tables.cutting import string_bytes
from curate.tables.formats import csv_rows, ipc_rows, json_rows, parquet_rows
from curate.tables.mapping import file_columns
from curate.tables.mapping.column_mapping import UNMAPPED, ColumnMapping
from curate.tables.mapping.file_columns import Computed, FileColumns, Joined
from curate.tables.reading import DOCUMENT_BYTES, ROW, Request
from curate.tables.scored_inputs.row_hash import BLOCK_ROWS
from curate.tables.shards import CSV_ENDINGS, Shard, ending, has_lines


@dataclass(frozen=True)
class Head:
    """What a file says about itself before it is read.

    ``groups`` holds the rows and unpacked bytes of each row group. It is None for JSON and CSV with rows, whose number
    is unknown.
    """

    columns: Mapping[str, pa.DataType]
    groups: tuple[tuple[int, int], ...] | None
    repeated: frozenset[str] = frozenset()  # names that more than one column has
    view: FileColumns | None = None  # where the file calls columns otherwise

    @property
    def rows(self) -> int | None:
        """The rows of the file, or None if it does not say."""
        return None if self.groups is None else sum(rows for rows, _ in self.groups)


def head(shard: Shard, needs: Sequence[str] = (), mapping: ColumnMapping = UNMAPPED) -> Head:
    """Read the head of a file. For JSON lines, the first lines tell the columns.

    Of ``needs``, each column that any line has is among them, even if it first appears late. With a ``mapping``,
    columns have the names that jobs use.

    Raises:
        SchemaError: if the file cannot be read, or has a format from a newer curate, or lacks a mapped column.
    """
    with _named(shard):
        if mapping.is_empty:
            return _head(shard, needs)
        replaced = {*mapping.written, *(("text",) if mapping.join else ())} - {*mapping.optional}
        unmapped = [name for name in needs if name not in replaced]
        wanted = (*unmapped, *file_columns.certain_columns(mapping))
        nested = file_columns.paths_read(mapping)
        whole = _head(shard, wanted, nested)
        if nested and has_lines(shard):
            # Where no column has the text of an expression as its name, the columns in it may first appear late.
            roots = [path[0] for path in file_columns.paths_read(mapping, tuple(whole.columns))]
            whole = whole if set(roots) <= set(whole.columns) else _head(shard, (*wanted, *roots), nested)
        # A file of lines without any line has no columns, and needs none.
        if not whole.columns and whole.rows is not None and has_lines(shard):
            return whole
        view = file_columns.bound(mapping, whole.columns, shard.path, lines=has_lines(shard))
        repeated = whole.repeated and frozenset(
            name for name in view.columns if not whole.repeated.isdisjoint(view.in_file([name]))
        )
        return replace(whole, columns=view.columns, repeated=repeated, view=view)


def _head(shard: Shard, needs: Sequence[str], nested: Sequence[tuple[str, ...]] = ()) -> Head:
    """Read the head of a file, with the names that its columns have there."""
    reader = _reader(shard)
    if reader is json_rows:
        schema, groups = json_rows.head(shard, needs, nested)
    else:
        schema, groups = reader.head(shard, needs) if has_lines(shard) else reader.head(shard)
    repeated = frozenset(name for name, count in Counter(schema.names).items() if count > 1)
    return Head(dict(zip(schema.names, schema.types, strict=True)), groups, repeated)


def with_decoded_sizes(shard: Shard, shard_head: Head, names: Sequence[str]) -> Head:
    """Return the head of a file with the bytes that its row groups take when the columns ``names`` are decoded.

    A Parquet file stores equal texts of a row group once, so that it may look far smaller than its rows are. The sizes
    are estimated from the first row group. A file of few rows is left as it is, since it is not cut.
    """
    if ending(shard.path.name) != ".parquet" or (shard_head.rows or 0) <= BLOCK_ROWS:
        return shard_head
    with _named(shard):
        present = [name for name in names if name in shard_head.columns]
        present = list(present if shard_head.view is None else shard_head.view.in_file(present))
        return replace(shard_head, groups=parquet_rows.decoded_groups(shard, present))


def read(
    shard: Shard, names: Sequence[str] | None, rows: int, *, start: int = 0, document_bytes: int = DOCUMENT_BYTES
) -> Iterator[pa.RecordBatch]:
    """Yield the columns ``names`` (None: all) from row ``start`` on, at most ``rows`` rows at a time.

    Raises:
        SchemaError: for text that is not UTF-8, a value larger than ``document_bytes``, or a damaged file.
    """
    yield from rows_of(Request(shard, names, rows, start, document_bytes))


def rows_of(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request; files of lines add the column ``ROW``. For the errors see `read`."""
    if request.view is None:
        yield from _rows_in_file(request)
        return
    if request.columns is None:
        # All columns are copied as they are. One whose name another column has taken may hold anything.
        yield from _rows_in_file(replace(request, roles=request.view.hidden))
        return
    view, position = request.view, request.start
    computed = [name for name in request.columns if isinstance(view.origins.get(name), Computed | Joined)]
    in_file = replace(
        request,
        columns=view.in_file(request.columns),
        judged=view.in_file(request.judged),
        roles=view.roles,
        nested=view.nested,
        rendered=view.rendered,
    )
    for batch in _rows_in_file(in_file):
        names = (*request.columns, *([ROW] if ROW in batch.schema.names else []))
        named = view.named(batch, names, position)
        if computed or view.rendered:
            _check_values(named, request, position)
        yield named
        position += batch.num_rows


def _rows_in_file(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request with the names that columns have in the file."""
    shard = request.shard
    with _named(shard):
        # Values are checked here, for all kinds of files alike.
        position = request.start
        for batch in _reader(shard).read(request):
            _check_values(batch, request, position)
            yield batch
            position += batch.num_rows
        # What the allocator keeps would grow with the data for a while: see `curate.tables.writer`.
        pa.default_memory_pool().release_unused()


def fields(shard: Shard) -> Mapping[str, object]:
    """Return the JSON fields that curate wrote into the metadata of a Parquet file; none for other files.

    Raises:
        SchemaError: if the file cannot be read, or has a format from a newer curate.
    """
    if ending(shard.path.name) != ".parquet":
        return {}
    with _named(shard):
        return parquet_rows.fields(shard)


def may_hold_null(shard: Shard, column: str, view: FileColumns | None = None) -> bool:
    """Return whether a column may hold a null, by what the file says about it. No row is read.

    ``view`` is that of the head, where the file calls columns otherwise.
    """
    if ending(shard.path.name) != ".parquet":
        return True
    if view is not None:
        origin = view.origins.get(column)
        if isinstance(origin, Computed | Joined) or (view.rendered and column == "text"):
            return True
        column = column if origin is None else origin.column
    with _named(shard):
        return parquet_rows.may_hold_null(shard, column)


def _reader(shard: Shard) -> ModuleType:
    """Return the module that reads a kind of file."""
    kind = ending(shard.path.name)
    if kind == ".parquet":
        return parquet_rows
    if kind in (".arrow", ".arrows", ".feather"):
        return ipc_rows
    return csv_rows if kind in CSV_ENDINGS else json_rows


def _check_values(batch: pa.RecordBatch, request: Request, position: int) -> None:
    """Check the values of a batch whose first row is row ``position`` of the file."""
    path, most = request.shard.path, request.document_bytes
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        try:
            # Polars trusts that strings are UTF-8 and that offsets lie within their buffers.
            column.validate(full=True)
        except pa.ArrowInvalid as error:
            rows = f"{position} to {position + batch.num_rows - 1}"
            raise pa.ArrowInvalid(f"{name} is damaged in rows {rows}: {error}") from None
        if (sizes := arrow_types.encoded_bytes(column)) is not None:
            # The rows of a dictionary may be far larger than what holds them.
            unpacked = int(sizes[sizes > reading.LONG_VALUE].sum())
            if reading.is_bomb(unpacked, column.nbytes, most, decoded=True):
                raise reading.bomb(path, f"{name} of rows from {position} on", column.nbytes, unpacked)
        elif arrow_types.is_text(column.type) and column.nbytes > most:
            sizes = string_bytes(column).fill_null(0).to_numpy(zero_copy_only=False)
        if sizes is not None and len(sizes) and (longest := int(sizes.max())) > most:
            raise SchemaError(
                f"{path}: {name} of row {position + int(sizes.argmax())} has {longest / 2**20:.0f} MB, more than the "
                f"{most / 2**20:.0f} MB of --max-document-mb. Raise it, or remove the row"
            )


@contextmanager
def _named(shard: Shard) -> Iterator[None]:
    """Turn an error of a reader into one line that names the file, or the store that failed."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        if (trouble := s3.trouble(error, shard.path)) is not None:
            raise trouble from None
        # Errors of Arrow may have many lines, with a trace of C++ code.
        what = " ".join(str(error).split()) or type(error).__name__
        raise SchemaError(
            f"{shard.path} cannot be read: {what[:300].rstrip('. ')}. Replace or remove the file"
        ) from None
