"""Write batches of rows as one Parquet file, whole or not at all.

A file can also be written in parts, which are joined later to the same bytes. Every file carries its format number.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.storage import files
from curate.storage.files import replacing
from curate.tables import file_format
from curate.tables.columns import vectors
from curate.tables.scored_inputs.row_hash import RowHasher

SHARD_ROWS = 100_000  # rows of each file that a job writes, where the user may choose
# A row group is full at either bound. Groups of this size are read quickly, and still fit many times into memory.
GROUP_BYTES = 16 << 20
GROUP_ROWS = 1 << 16
HASHED = "curate.hashed"  # the key, in the metadata of a part's last batch, of the digests of its input rows


def write(
    path: Path,
    frames: Iterable[pl.DataFrame],
    *,
    schema: Mapping[str, pl.DataType] | None = None,
    metadata: Mapping[str, str] | None = None,
    fields: Mapping[str, object] | None = None,
) -> int:
    """Write batches as one Parquet file, a row group each; return the number of rows.

    Args:
        path: of the file, which is written whole or not at all.
        frames: the batches.
        schema: the columns of a file without batches.
        metadata: further keys of the file's metadata.
        fields: JSON fields to store beside the format number.

    Raises:
        SchemaError: if there is neither a batch nor a schema.
    """
    empty = [] if schema is None else [_empty(tuple(schema.items()))]
    keys = {**(metadata or {}), **file_format.metadata(fields)}
    return _write(path, chain(empty, map(_table, frames)), keys, starts_empty=schema is not None)


def write_whole(
    path: Path,
    frames: Iterable[pl.DataFrame],
    schema: Mapping[str, pl.DataType],
    fields: Mapping[str, object] | None = None,
) -> int:
    """Write batches as one Parquet file, several to a row group; return the number of rows.

    ``fields`` are JSON fields to store in addition to the format number.
    """
    empty = _empty(tuple(schema.items()))
    tables = (_typed(_table(frame), empty.schema) for frame in frames)
    return _write(path, chain([empty], _grouped(tables)), file_format.metadata(fields), starts_empty=True)


@dataclass(frozen=True)
class ScoredPart:
    """A part of a score file: its rows, and the digests of the blocks of input rows.

    The digests are None if the part was written without a hasher. ``stamp`` is that of the input, where it is recorded.
    """

    path: Path
    rows: int
    blocks: tuple[str, ...] | None
    columns: tuple[str, ...]
    stamp: str = ""


def write_part(
    path: Path,
    frames: Iterable[pl.DataFrame],
    schema: Mapping[str, pl.DataType],
    hasher: RowHasher | None = None,
    stamp: str = "",
) -> ScoredPart:
    """Write batches as one Arrow file, which `join` reads; return what is known of it.

    ``hasher`` hashes the input rows of ``frames`` while these are made. What it hashed is stored with the part, and so
    is ``stamp``, that of the input.
    """
    empty = _empty(tuple(schema.items()))
    rows, blocks = 0, None
    with replacing(path) as temporary, pa.ipc.new_file(temporary, empty.schema) as sink:
        for frame in frames:
            for batch in record_batches(frame, empty.schema):
                sink.write_batch(batch)
                rows += batch.num_rows
        if hasher is not None:
            # Only now all rows are hashed. A batch without rows carries the digests, so that the part is one file.
            blocks = tuple(hasher.blocks())
            record = {"blocks": blocks, "columns": list(hasher.columns), "stamp": stamp}
            sink.write_batch(pa.RecordBatch.from_pylist([], empty.schema), custom_metadata={HASHED: json.dumps(record)})
    _release_memory()
    return ScoredPart(path, rows, blocks, () if hasher is None else tuple(hasher.columns), stamp)


def arrow_schema(schema: Mapping[str, pl.DataType]) -> pa.Schema:
    """Return the types that columns have in files."""
    return _empty(tuple(schema.items())).schema


def record_batches(frame: pl.DataFrame, schema: pa.Schema) -> list[pa.RecordBatch]:
    """Return a batch in the types of `arrow_schema`; nothing if it has no rows."""
    batches: list[pa.RecordBatch] = _typed(_table(frame), schema).to_batches()
    return batches


def part(path: Path) -> ScoredPart:
    """Return what is known of a part."""
    with files.mapped(path) as source, pa.ipc.open_file(source) as reader:
        rows, record = 0, None
        for number in range(reader.num_record_batches):
            batch, metadata = reader.get_batch_with_custom_metadata(number)
            rows += batch.num_rows
            record = (metadata or {}).get(HASHED.encode(), record)
    if record is None:
        return ScoredPart(path, rows, None, ())
    hashed = json.loads(record)
    return ScoredPart(path, rows, tuple(hashed["blocks"]), tuple(hashed["columns"]), hashed.get("stamp", ""))


def whole_part(path: Path) -> ScoredPart | None:
    """Return what is known of a part, or None if there is no such file, or it was cut short or damaged."""
    try:
        return part(path) if files.exists(path) else None
    except ValueError:  # what Arrow raises for a file without its end
        return None


def join(
    path: Path,
    parts: Sequence[Path],
    schema: Mapping[str, pl.DataType],
    fields: Mapping[str, object] | None = None,
) -> int:
    """Join parts, in order, to the file that `write_whole` would have written; return the number of rows."""
    empty = _empty(tuple(schema.items()))
    return _write(path, chain([empty], _grouped(_batches(parts))), file_format.metadata(fields), starts_empty=True)


def save(path: Path, frame: pl.DataFrame) -> None:
    """Write a small frame as CSV or Parquet, by the ending of the name, whole or not at all."""
    if path.suffix == ".csv":
        with replacing(path) as temporary:
            frame.write_csv(temporary)
    else:
        write(path, [frame])


def _batches(parts: Sequence[Path]) -> Iterator[pa.Table]:
    for part in parts:
        with files.mapped(part) as source, pa.ipc.open_file(source) as reader:
            for number in range(reader.num_record_batches):
                # The last batch of a part has no rows.
                if (batch := reader.get_batch(number)).num_rows:
                    yield pa.Table.from_batches([batch])


def _write(path: Path, tables: Iterator[pa.Table], metadata: Mapping[str, str], *, starts_empty: bool) -> int:
    """Write each table as a row group; return the number of rows.

    With ``starts_empty``, the first table has no rows, and only tells the columns.
    """
    rows = 0
    with replacing(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for table in tables:
                if writer is None:
                    head = table.schema.with_metadata(dict(metadata))
                    writer = pq.ParquetWriter(temporary, head, compression="zstd")
                    if starts_empty:
                        continue
                writer.write_table(_typed(table, writer.schema))
                rows += table.num_rows
                # Small batches are let pass: releasing memory after each would double the cost of reading.
                if table.nbytes > GROUP_BYTES // 16:
                    del table
                    _release_memory()
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise SchemaError(f"nothing to write to {path}: the input has no rows. Give an input with rows")
    return rows


def _release_memory() -> None:
    """Give unused memory back to the system. What the allocator keeps would grow with the data for a while."""
    pa.default_memory_pool().release_unused()


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield tables joined to row groups. Where a group ends depends on the rows of the tables alone."""
    held: list[pa.Table] = []
    for table in tables:
        held.append(table)
        if sum(t.nbytes for t in held) >= GROUP_BYTES or sum(t.num_rows for t in held) >= GROUP_ROWS:
            yield pa.concat_tables(held).combine_chunks()
            held = []
    if held:
        yield pa.concat_tables(held).combine_chunks()


def _table(frame: pl.DataFrame) -> pa.Table:
    """Return a batch as a table of one chunk, in the types that files have."""
    vector_columns = {
        series.name: vectors.to_arrow(series)
        for series in frame.iter_columns()
        if isinstance(series.dtype, pl.Array) and series.name.startswith(vectors.PREFIX)
    }
    # All other columns are converted at once: a call for each would cost more than a small file does.
    plain_frame = frame[:, [name for name in frame.columns if name not in vector_columns]]
    # Small batches are nearly always of one chunk. To join chunks wakes the threads of polars, even if there is one.
    if any(count > 1 for count in plain_frame.n_chunks("all")):
        plain_frame = plain_frame.rechunk()
    plain = plain_frame.to_arrow()
    columns = [vector_columns[name] if name in vector_columns else plain.column(name) for name in frame.columns]
    # Polars makes large strings. Plain ones are read by more tools, and a batch never needs the large kind.
    kinds = [pa.string() if pa.types.is_large_string(column.type) else column.type for column in columns]
    fields = [vectors.field(name, kind) for name, kind in zip(frame.columns, kinds, strict=True)]
    cast = [column if column.type == kind else column.cast(kind) for column, kind in zip(columns, kinds, strict=True)]
    return pa.Table.from_arrays(cast, schema=pa.schema(fields))


@lru_cache(maxsize=256)
def _empty(schema: tuple[tuple[str, pl.DataType], ...]) -> pa.Table:
    """Return a table without rows that has these columns. The files of a job all have the same ones."""
    return _table(pl.DataFrame(schema=dict(schema)))


def _typed(table: pa.Table, schema: pa.Schema) -> pa.Table:
    """Return a table with the types and metadata of a schema."""
    return table if table.schema.equals(schema, check_metadata=True) else table.cast(schema)
