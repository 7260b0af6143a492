"""Input files as a stream of Arrow record batches: Parquet, JSONL (.gz, .zst) and Arrow IPC, from any row on.

Memory is one page of each column and one piece of ``PIECE_BYTES``, not a row group and not a file: Parquet columns are
read page by page (``buffer_size``), compressed lines as they are unpacked. What a small file may expand to is bounded.
"""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain, groupby

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.ipc
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.storage import files, s3
from curate.tables import arrow_ipc
from curate.tables.shards import Shard

PIECE_BYTES = 1 << 25  # decoded at a time
DOCUMENT_BYTES = 64 << 20  # the largest value of a text column
EXPANSION = 200  # times that a Parquet column larger than a document may grow when unpacked; prose grows 3-5
LINES = 4096  # JSON lines parsed at a time


@dataclass(frozen=True)
class Head:
    """What a file says about itself without being read: columns, row groups as (rows, bytes unpacked); JSONL: none."""

    columns: dict[str, pa.DataType]
    groups: tuple[tuple[int, int], ...] | None

    @property
    def rows(self) -> int | None:
        """Rows of the file, where it says so."""
        return None if self.groups is None else sum(rows for rows, _ in self.groups)


def head(shard: Shard) -> Head:
    """Read the head of a file (of JSONL: the columns of its first lines)."""
    with _named(shard):
        if shard.path.name.endswith(".parquet"):
            with _parquet(shard) as file:
                found = [file.metadata.row_group(i) for i in range(file.metadata.num_row_groups)]
                schema, groups = file.schema_arrow, tuple((g.num_rows, g.total_byte_size) for g in found)
        elif shard.path.name.endswith((".arrow", ".feather")):
            with _arrow(shard) as (source, reader):
                batches = arrow_ipc.blocks(source, files.ahead(shard.path))[1]
                schema, groups = reader.schema, tuple((b.rows, b.unpacked) for b in batches)
        else:
            first = next(_jsonl(shard, None, 64, 0, DOCUMENT_BYTES), None)
            schema, groups = (pa.schema([]) if first is None else first.schema), None
        return Head(dict(zip(schema.names, schema.types, strict=True)), groups)


def read(
    shard: Shard, names: Sequence[str] | None, rows: int, *, start: int = 0, document_bytes: int = DOCUMENT_BYTES
) -> Iterator[pa.RecordBatch]:
    """Yield the columns ``names`` (None: all) from row ``start`` on, at most ``rows`` rows at a time.

    Text that is not UTF-8, and a value larger than ``document_bytes``, are errors.
    """
    name = shard.path.name
    with _named(shard):
        if name.endswith(".parquet"):
            found = _parquet_rows(shard, names, rows, start, document_bytes)
        elif name.endswith((".arrow", ".feather")):
            found = _arrow_rows(shard, names, rows, start, document_bytes)
        else:
            found = _jsonl(shard, names, rows, start, document_bytes)
        at = start
        for batch in found:
            _check_text(batch, shard, at, document_bytes)
            yield batch
            at += batch.num_rows
        pa.default_memory_pool().release_unused()  # see `curate.tables.writer`


def may_hold_null(shard: Shard, column: str) -> bool:
    """Say whether a column can hold a null, as far as the file says without being read."""
    if not shard.path.name.endswith(".parquet"):
        return True
    with _named(shard), _parquet(shard) as file:
        metadata = file.metadata
        if (at := _at(metadata, column)) is None:
            return True
        found = [metadata.row_group(i).column(at).statistics for i in range(metadata.num_row_groups)]
    return any(stats is None or not stats.has_null_count or stats.null_count for stats in found)


def cut(raw: Iterator[pa.RecordBatch], rows: int, size: int | None = None) -> Iterator[list[pa.RecordBatch]]:
    """Cut a stream into lists of batches of exactly ``rows`` rows in all (the last may be shorter), without a copy.

    With ``size`` a list also ends before its text exceeds so many bytes, except that it has a row at least. Where the
    cuts fall depends on the rows alone, not on how the stream was cut before.
    """
    held: list[pa.RecordBatch] = []
    count = held_bytes = 0
    for batch in raw:
        at, ends = 0, None
        if size is not None and held_bytes + _text_size(batch) > size:
            ends = np.cumsum(_lengths(batch))
        while at < batch.num_rows:
            take = min(rows - count, batch.num_rows - at)
            if ends is not None and size is not None:
                before = ends[at - 1] if at else 0
                fits = int(np.searchsorted(ends[at:], before + size - held_bytes, side="right"))
                take = min(take, max(fits, 0 if held else 1))
            if take:
                held.append(batch.slice(at, take))
                count, at = count + take, at + take
                held_bytes += _text_size(held[-1]) if size is not None else 0
            if count == rows or at < batch.num_rows:
                yield held
                held, count, held_bytes = [], 0, 0
    if held:
        yield held


def _strings(batch: pa.RecordBatch) -> list[tuple[str, pa.Array]]:
    kinds = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view)
    found = zip(batch.schema.names, batch.columns, strict=True)
    return [(name, column) for name, column in found if any(kind(column.type) for kind in kinds)]


def _bytes(column: pa.Array) -> pa.Array:
    """Return the UTF-8 bytes of (n,) strings."""
    plain = column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column
    return pc.binary_length(plain)


def _lengths(batch: pa.RecordBatch) -> np.ndarray:
    """Return the bytes of the strings of (n,) rows."""
    total = np.zeros(batch.num_rows, dtype=np.int64)
    for _, column in _strings(batch):
        total += _bytes(column).fill_null(0).to_numpy(zero_copy_only=False)
    return total


def _text_size(batch: pa.RecordBatch) -> int:
    return sum(pc.sum(_bytes(column)).as_py() or 0 for _, column in _strings(batch))


def _check_text(batch: pa.RecordBatch, shard: Shard, at: int, most: int) -> None:
    for name, column in _strings(batch):
        column.validate(full=True)  # polars trusts that strings are UTF-8
        if column.nbytes > most and (longest := pc.max(_bytes(column)).as_py() or 0) > most:
            row = at + pc.index(_bytes(column), longest).as_py()
            raise SchemaError(
                f"{shard.path}: {name} of row {row} has {longest / 2**20:.0f} MB, more than the {most / 2**20:.0f} MB "
                "of --max-document-mb: raise it, or remove the row"
            )


@contextmanager
def _named(shard: Shard) -> Iterator[None]:
    """Turn what readers raise into one line that names the file, or the store that failed."""
    try:
        yield
    except (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        if (trouble := s3.trouble(error, shard.path)) is not None:
            raise trouble from None
        what = " ".join(str(error).split()) or type(error).__name__
        raise SchemaError(f"{shard.path} cannot be read: {what[:300]}. Replace or remove the file") from None


def _parquet(shard: Shard) -> pq.ParquetFile:
    return pq.ParquetFile(files.opened(shard.path), pre_buffer=False, buffer_size=files.buffer(shard.path))


def _at(metadata: pq.FileMetaData, column: str) -> int | None:
    """Return the place of a flat column; None where it is nested."""
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    return paths.index(column) if column in paths else None


def _parquet_rows(
    shard: Shard, names: Sequence[str] | None, rows: int, start: int, most: int
) -> Iterator[pa.RecordBatch]:
    with _parquet(shard) as file:
        for run in _runs(file, names, rows):
            held = [file.metadata.row_group(group).num_rows for group in run]
            while run and start >= held[0] and held[0]:
                start -= held.pop(0)
                run = run[1:]
            if not run:
                continue
            piece = min(rows, *(_piece(file, names, group, shard, most) for group in run))
            # no threads: a queue of decoded batches costs memory and saves no CPU
            for batch in file.iter_batches(batch_size=piece, row_groups=run, columns=names, use_threads=False):
                if start < batch.num_rows:
                    yield batch.slice(start)
                start = max(0, start - batch.num_rows)


def _runs(file: pq.ParquetFile, names: Sequence[str] | None, rows: int) -> Iterator[list[int]]:
    """Yield row groups to be read in one go, so that batches are not cut where groups end; large ones alone."""

    def alone(group: int) -> int:
        found = list(_columns(file.metadata.row_group(group), names))
        size = sum(column.total_uncompressed_size for column in found)
        large = rows * size > PIECE_BYTES * file.metadata.row_group(group).num_rows or any(map(_coded, found))
        return group if large else -1

    for _, run in groupby(range(file.metadata.num_row_groups), alone):
        yield list(run)


def _columns(metadata: pq.RowGroupMetaData, names: Sequence[str] | None) -> Iterator[pq.ColumnChunkMetaData]:
    for column in map(metadata.column, range(metadata.num_columns)):
        if names is None or column.path_in_schema.split(".")[0] in names:
            yield column


def _coded(column: pq.ColumnChunkMetaData) -> bool:
    """Say whether one value of a column chunk's dictionary may stand for more bytes than the chunk has."""
    return bool(column.has_dictionary_page) and column.total_uncompressed_size > PIECE_BYTES // 16


def _piece(file: pq.ParquetFile, names: Sequence[str] | None, group: int, shard: Shard, most: int) -> int:
    """Return how many rows of a row group to decode at a time; refuse a column that grows beyond reason."""
    metadata = file.metadata.row_group(group)
    size = 1
    for column in _columns(metadata, names):
        unpacked, packed = column.total_uncompressed_size, max(1, column.total_compressed_size)
        if unpacked > max(most, EXPANSION * packed):
            raise SchemaError(
                f"{shard.path}: {column.path_in_schema} grows from {packed / 2**20:.3g} to {unpacked / 2**20:.0f} MB "
                f"in row group {group}, a compression bomb: remove the file, or raise --max-document-mb"
            )
        longest = _longest(shard, file, group, column) if _coded(column) else 0
        size += max(unpacked // max(1, metadata.num_rows), longest)
    return max(1, PIECE_BYTES // size)


def _longest(shard: Shard, file: pq.ParquetFile, group: int, column: pq.ColumnChunkMetaData) -> int:
    """Return the bytes of the longest value of a column's dictionary: one value may stand for every row."""
    name = column.path_in_schema
    if column.physical_type != "BYTE_ARRAY" or name not in file.schema_arrow.names:
        return 0
    kind = file.schema_arrow.field(name).type
    if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        return 0
    source = files.opened(shard.path)
    with pq.ParquetFile(
        source, metadata=file.metadata, read_dictionary=[name], pre_buffer=False, buffer_size=files.buffer(shard.path)
    ) as as_codes:
        first = next(as_codes.iter_batches(batch_size=1, row_groups=[group], columns=[name]), None)
    values = first.column(0) if first is not None else None
    if values is None or not pa.types.is_dictionary(values.type):
        return 0
    return pc.max(pc.binary_length(values.dictionary)).as_py() or 0


@contextmanager
def _arrow(
    shard: Shard, names: Sequence[str] | None = None
) -> "Iterator[tuple[pa.NativeFile, pa.ipc.RecordBatchFileReader]]":
    """Open an IPC file; only the columns ``names`` of its batches are unpacked."""
    with files.mapped(shard.path) as source:
        start = bytes(source.read_at(min(8, source.size()), 0))
        if start[:4] == b"\xff\xff\xff\xff" or start[:4] == b"FEA1":
            what = "Feather V1" if start[:4] == b"FEA1" else "the Arrow stream format"
            raise pa.ArrowInvalid(f"it is in {what}, not an Arrow IPC file: write it as that, or as Parquet")
        with pa.ipc.open_file(source) as reader:
            if not names:
                yield source, reader
                return
            schema = reader.schema
        kept = [i for i, name in enumerate(schema.names) if name in names]
        with pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=kept)) as reader:
            yield source, reader


def _arrow_rows(
    shard: Shard, names: Sequence[str] | None, rows: int, start: int, most: int
) -> Iterator[pa.RecordBatch]:
    with _arrow(shard, names) as (source, reader):
        for i, block in enumerate(chain(*arrow_ipc.blocks(source, files.ahead(shard.path)))):
            if block.unpacked > max(most, EXPANSION * block.packed):
                raise SchemaError(
                    f"{shard.path}: a record batch grows from {block.packed / 2**20:.3g} to "
                    f"{block.unpacked / 2**20:.0f} MB (block {i}), a compression bomb: remove the file, or raise "
                    "--max-document-mb"
                )
        for i in range(reader.num_record_batches):
            batch = reader.get_batch(i)
            batch = batch.select(names if names is not None else reader.schema.names)
            for at in range(min(start, batch.num_rows), batch.num_rows, rows):
                yield batch.slice(at, rows)
            start = max(0, start - batch.num_rows)


def _jsonl(shard: Shard, names: Sequence[str] | None, rows: int, start: int, most: int) -> Iterator[pa.RecordBatch]:
    pending: list[bytes] = []
    size = 0
    for number, line in enumerate(_lines(shard, most)):
        if number < start:
            continue
        pending.append(line)
        size += len(line)
        if len(pending) == min(rows, LINES) or size >= PIECE_BYTES:
            yield _parse(pending, names)
            pending, size = [], 0
    if pending:
        yield _parse(pending, names)


def _lines(shard: Shard, most: int) -> Iterator[bytes]:
    """Yield the lines that are not blank; one longer than a document can be is an error before it is in memory."""
    packed = {".gz": "gzip", ".zst": "zstd"}.get(shard.path.suffix)
    with files.opened(shard.path) as file, pa.input_stream(file, compression=packed) as stream:
        rest: list[bytes] = []
        size = number = 0
        while chunk := stream.read(files.buffer(shard.path)):
            first, *more = chunk.split(b"\n")
            rest.append(first)
            size += len(first)
            if size > 2 * most:  # \u00e9 for é, the other columns and their names
                raise SchemaError(
                    f"{shard.path}: line {number + 1} has over {2 * most / 2**20:.0f} MB, twice --max-document-mb: "
                    "raise it, or remove the line"
                )
            if more:
                for line in (b"".join(rest), *more[:-1]):
                    number += 1
                    if line.strip():
                        yield line
                rest, size = [more[-1]], len(more[-1])
        if (last := b"".join(rest)).strip():
            yield last


def _parse(lines: list[bytes], names: Sequence[str] | None) -> pa.RecordBatch:
    frame = pl.read_ndjson(b"\n".join(lines), infer_schema_length=None)
    if names is not None:
        frame = frame.select(pl.col(n) if n in frame.columns else pl.lit(None).alias(n) for n in names)
    return frame.to_arrow().combine_chunks().to_batches()[0]
