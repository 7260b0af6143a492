"""Batches as one Parquet file, whole or not at all; or parts of one, joined later to the same bytes."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.storage import files
from curate.storage.files import replacing
from curate.tables import vectors

SHARD_ROWS = 100_000  # rows a file that a job writes
GROUP_BYTES = 16 << 20  # of a row group, in memory
GROUP_ROWS = 1 << 16


def write(
    path: Path,
    frames: Iterable[pl.DataFrame],
    *,
    schema: Mapping[str, pl.DataType] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write batches as one Parquet file, a row group each, atomically; return the number of rows.

    No frame at all is an error, unless ``schema`` says what columns the empty file has.
    """
    empty = [] if schema is None else [_table(pl.DataFrame(schema=schema))]
    return _write(path, chain(empty, map(_table, frames)), metadata, known=schema is not None)


def write_whole(path: Path, frames: Iterable[pl.DataFrame], schema: Mapping[str, pl.DataType]) -> int:
    """Write batches like ``write``, several to a row group."""
    empty = _table(pl.DataFrame(schema=schema))
    tables = (_table(frame).cast(empty.schema) for frame in frames)
    return _write(path, chain([empty], _grouped(tables)), None, known=True)


def write_part(path: Path, frames: Iterable[pl.DataFrame], schema: Mapping[str, pl.DataType]) -> int:
    """Write batches as one Arrow file, atomically, for ``join``; return the number of rows."""
    empty = _table(pl.DataFrame(schema=schema))
    rows = 0
    with replacing(path) as temporary, pa.ipc.new_file(temporary, empty.schema) as sink:
        for frame in frames:
            for batch in _table(frame).cast(empty.schema).to_batches():
                sink.write_batch(batch)
                rows += batch.num_rows
    _give_back()
    return rows


def part_rows(path: Path) -> int:
    """Return the rows of a part."""
    with files.mapped(path) as source, pa.ipc.open_file(source) as reader:
        return sum(reader.get_batch(i).num_rows for i in range(reader.num_record_batches))


def join(path: Path, parts: Sequence[Path], schema: Mapping[str, pl.DataType]) -> int:
    """Write parts in order as the file that ``write_whole`` would have made of their batches; return the rows."""
    return _write(path, chain([_table(pl.DataFrame(schema=schema))], _grouped(_batches(parts))), None, known=True)


def save(path: Path, frame: pl.DataFrame) -> None:
    """Write a small frame atomically: CSV where the name ends so, else Parquet."""
    if path.suffix == ".csv":
        with replacing(path) as temporary:
            frame.write_csv(temporary)
    else:
        write(path, [frame])


def _batches(parts: Sequence[Path]) -> Iterator[pa.Table]:
    for part in parts:
        with files.mapped(part) as source, pa.ipc.open_file(source) as reader:
            for i in range(reader.num_record_batches):
                yield pa.Table.from_batches([reader.get_batch(i)])


def _write(path: Path, tables: Iterator[pa.Table], metadata: Mapping[str, str] | None, *, known: bool) -> int:
    """Write each table as a row group; ``known``: the first is empty and only says what columns there are."""
    rows = 0
    with replacing(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for table in tables:
                if writer is None:
                    head = table.schema.with_metadata(dict(metadata) if metadata else None)
                    writer = pq.ParquetWriter(temporary, head, compression="zstd")
                    if known:
                        continue
                writer.write_table(table.cast(writer.schema))
                rows += table.num_rows
                if table.nbytes > GROUP_BYTES // 16:
                    del table
                    _give_back()
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise SchemaError(f"nothing to write to {path}: the input has no rows")
    return rows


def _give_back() -> None:
    """Give unused memory back to the system: what the allocator keeps would grow with the data for a while.

    Once a part or a row group: at every batch it would double the cost of reading.
    """
    pa.default_memory_pool().release_unused()


def _grouped(tables: Iterable[pa.Table]) -> Iterator[pa.Table]:
    """Yield whole tables together until they make a row group; where it ends depends on their rows alone."""
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
            arrow = series.to_arrow()
            arrays.append(arrow.cast(pa.string()) if pa.types.is_large_string(arrow.type) else arrow)
        names.append(series.name)
    return pa.table(dict(zip(names, arrays, strict=True)))
