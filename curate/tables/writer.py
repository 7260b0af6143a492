"""Write batches of rows as one Parquet file, whole or not at all.

A file can also be written in parts, which are joined later to the same bytes. Every file carries its format number.
"""

import json
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
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
    empty = [] if schema is None else [_table(pl.DataFrame(schema=schema))]
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
    empty = _table(pl.DataFrame(schema=schema))
    tables = (_table(frame).cast(empty.schema) for frame in frames)
    return _write(path, chain([empty], _grouped(tables)), file_format.metadata(fields), starts_empty=True)


def write_part(
    path: Path,
    frames: Iterable[pl.DataFrame],
    schema: Mapping[str, pl.DataType],
    hasher: RowHasher | None = None,
    stamp: str = "",
) -> int:
    """Write batches as one Arrow file, which `join` reads; return the number of rows.

    ``hasher`` hashes the input rows of ``frames`` while these are made. What it hashed is stored with the part, and so
    is ``stamp``, that of the input.
    """
    empty = _table(pl.DataFrame(schema=schema))
    rows = 0
    with replacing(path) as temporary, pa.ipc.new_file(temporary, empty.schema) as sink:
        for frame in frames:
            for batch in _table(frame).cast(empty.schema).to_batches():
                sink.write_batch(batch)
                rows += batch.num_rows
        if hasher is not None:
            # Only now all rows are hashed. A batch without rows carries the digests, so that the part is one file.
            record = {"blocks": hasher.blocks(), "columns": list(hasher.columns), "stamp": stamp}
            sink.write_batch(pa.RecordBatch.from_pylist([], empty.schema), custom_metadata={HASHED: json.dumps(record)})
    _release_memory()
    return rows


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


def part_rows(path: Path) -> int:
    """Return the number of rows of a part."""
    return part(path).rows


def join(
    path: Path,
    parts: Sequence[Path],
    schema: Mapping[str, pl.DataType],
    fields: Mapping[str, object] | None = None,
) -> int:
    """Join parts, in order, to the file that `write_whole` would have written; return the number of rows."""
    empty = _table(pl.DataFrame(schema=schema))
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
                writer.write_table(table.cast(writer.schema))
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
    names, arrays = [], []
    for series in frame.iter_columns():
        if isinstance(series.dtype, pl.Array) and series.name.startswith(vectors.PREFIX):
            arrays.append(vectors.to_arrow(series))
        else:
            # Polars makes large strings. Plain ones are read by more tools, and a batch never needs the large kind.
            arrow = series.to_arrow()
            arrays.append(arrow.cast(pa.string()) if pa.types.is_large_string(arrow.type) else arrow)
        names.append(series.name)
    fields = [vectors.field(name, array.type) for name, array in zip(names, arrays, strict=True)]
    return pa.Table.from_arrays(arrays, schema=pa.schema(fields))
