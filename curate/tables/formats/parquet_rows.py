"""Read Parquet files page by page, so that memory does not grow with the size of row groups."""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import groupby

import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.storage import files
from curate.tables import file_format, reading
from curate.tables.reading import Request
from curate.tables.shards import Shard

Groups = tuple[tuple[int, int], ...]  # of each row group: its rows, and its bytes when unpacked


def head(shard: Shard) -> tuple[pa.Schema, Groups]:
    """Return the schema of a Parquet file and the sizes of its row groups, without reading any row."""
    with _opened(shard) as file:
        metadata = file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        return file.schema_arrow, tuple((group.num_rows, group.total_byte_size) for group in groups)


def fields(shard: Shard) -> dict[str, object]:
    """Return the JSON fields that curate wrote into a file's metadata."""
    with _opened(shard) as file:
        return file_format.fields(file.metadata.metadata)


def may_hold_null(shard: Shard, column: str) -> bool:
    """Return whether a column may hold a null, according to the statistics in the file. No row is read."""
    with _opened(shard) as file:
        metadata = file.metadata
        paths = [metadata.schema.column(position).path for position in range(metadata.num_columns)]
        if column not in paths:  # it is nested
            return True
        position = paths.index(column)
        statistics = [
            metadata.row_group(number).column(position).statistics for number in range(metadata.num_row_groups)
        ]
    return any(group is None or not group.has_null_count or group.null_count for group in statistics)


def read(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request."""
    start = request.start
    with _opened(request.shard) as file:
        requested = _RequestedFile(file, request)
        for run in requested.runs():
            rows = [file.metadata.row_group(group).num_rows for group in run]
            while run and start >= rows[0] and rows[0]:
                start -= rows.pop(0)
                run = run[1:]
            if not run:
                continue
            piece = min(request.rows, *map(requested.piece_rows, run))
            # No threads: a queue of decoded batches would cost memory and save no CPU time.
            for batch in file.iter_batches(
                batch_size=piece, row_groups=run, columns=request.columns, use_threads=False
            ):
                if start < batch.num_rows:
                    yield batch.slice(start)
                start = max(0, start - batch.num_rows)


def _opened(shard: Shard) -> pq.ParquetFile:
    """Open a file so that columns are read page by page (``buffer_size``), not a row group at a time."""
    file = pq.ParquetFile(files.opened(shard.path), pre_buffer=False, buffer_size=files.buffer(shard.path))
    file_format.check(shard.path, file.metadata.metadata)
    return file


@dataclass(frozen=True)
class _RequestedFile:
    """An open file and the request for its rows.

    It decides which row groups to decode together, and how many rows at a time.
    """

    file: pq.ParquetFile
    request: Request

    def columns(self, group: int) -> list[pq.ColumnChunkMetaData]:
        """Return the column chunks of a row group that are asked for."""
        metadata, names = self.file.metadata.row_group(group), self.request.columns
        chunks = map(metadata.column, range(metadata.num_columns))
        return [chunk for chunk in chunks if names is None or chunk.path_in_schema.split(".")[0] in names]

    def runs(self) -> Iterator[list[int]]:
        """Yield lists of row groups that are read together.

        Small groups are read together, so that batches do not end where groups end. A large group is read alone.
        """

        def run_of(group: int) -> int:
            chunks, rows = self.columns(group), self.file.metadata.row_group(group).num_rows
            size = sum(chunk.total_uncompressed_size for chunk in chunks)
            large = self.request.rows * size > reading.PIECE_BYTES * rows or any(map(_is_coded, chunks))
            return group if large else -1

        for _, run in groupby(range(self.file.metadata.num_row_groups), run_of):
            yield list(run)

    def piece_rows(self, group: int) -> int:
        """Return how many rows of a row group to decode at a time.

        Raises:
            SchemaError: if a column grows beyond reason when it is unpacked.
        """
        rows, row_bytes = self.file.metadata.row_group(group).num_rows, 1
        for chunk in self.columns(group):
            unpacked, packed = chunk.total_uncompressed_size, max(1, chunk.total_compressed_size)
            if unpacked > max(self.request.document_bytes, reading.EXPANSION * packed):
                raise SchemaError(
                    f"{self.request.shard.path}: {chunk.path_in_schema} grows from {packed / 2**20:.3g} to "
                    f"{unpacked / 2**20:.0f} MB in row group {group}, like a compression bomb. Remove the file, or "
                    "raise --max-document-mb"
                )
            longest = self.longest(group, chunk) if _is_coded(chunk) else 0
            row_bytes += max(unpacked // max(1, rows), longest)
        return max(1, reading.PIECE_BYTES // row_bytes)

    def longest(self, group: int, chunk: pq.ColumnChunkMetaData) -> int:
        """Return the bytes of the longest value in a column's dictionary: it may stand in every row."""
        name, path = chunk.path_in_schema, self.request.shard.path
        if chunk.physical_type != "BYTE_ARRAY" or name not in self.file.schema_arrow.names:
            return 0
        kind = self.file.schema_arrow.field(name).type
        if not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
            return 0
        with pq.ParquetFile(
            files.opened(path),
            metadata=self.file.metadata,
            read_dictionary=[name],
            pre_buffer=False,
            buffer_size=files.buffer(path),
        ) as coded:
            first = next(coded.iter_batches(batch_size=1, row_groups=[group], columns=[name]), None)
        values = first.column(0) if first is not None else None
        if values is None or not pa.types.is_dictionary(values.type):
            return 0
        return pc.max(pc.binary_length(values.dictionary)).as_py() or 0


def _is_coded(chunk: pq.ColumnChunkMetaData) -> bool:
    """Return whether one value of a chunk's dictionary may stand for more bytes than the whole chunk has."""
    # A sixteenth of a piece: a smaller dictionary, times the rows of a batch, cannot fill the memory unnoticed.
    return bool(chunk.has_dictionary_page) and chunk.total_uncompressed_size > reading.PIECE_BYTES // 16
