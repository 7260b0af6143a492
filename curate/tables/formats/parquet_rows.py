"""Read Parquet files page by page, so that memory does not grow with the size of row groups."""

from collections.abc import Iterator, Sequence
from itertools import groupby

import pyarrow as pa
import pyarrow.parquet as pq

from curate.storage import files, s3
from curate.tables import file_format, reading
from curate.tables.formats.parquet_sizes import RequestedFile
from curate.tables.reading import Request
from curate.tables.shards import Shard

Groups = tuple[tuple[int, int], ...]  # of each row group: its rows, and its bytes when unpacked


def head(shard: Shard) -> tuple[pa.Schema, Groups]:
    """Return the schema of a Parquet file and the sizes of its row groups, without reading any row."""
    with _opened(shard) as file:
        metadata = file.metadata
        groups = [metadata.row_group(number) for number in range(metadata.num_row_groups)]
        reading.check_rows(shard.path, sum(group.num_rows for group in groups), files.size(shard.path))
        return file.schema_arrow, tuple((group.num_rows, group.total_byte_size) for group in groups)


def decoded_groups(shard: Shard, names: Sequence[str]) -> Groups:
    """Return the rows of each row group, and about how many bytes it takes when the columns ``names`` are decoded."""
    with _opened(shard) as file:
        return RequestedFile(file, Request(shard, names, 1), files.size(shard.path)).decoded_groups()


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
        requested = RequestedFile(file, request, files.size(request.shard.path))
        for _, members in groupby(range(file.metadata.num_row_groups), requested.run_of):
            run = list(members)
            rows = [file.metadata.row_group(group).num_rows for group in run]
            while run and 0 < start >= rows[0]:
                start -= rows.pop(0)
                run = run[1:]
            if not run:
                continue
            # Rows before the first one are decoded too: many at a time, even if the job reads few.
            wanted = max(request.rows, reading.BATCH_ROWS) if start else request.rows
            piece = min(wanted, *map(requested.piece_rows, run))
            for batch in _batches(file, request, run, piece):
                for first in range(start, batch.num_rows, request.rows):
                    yield batch.slice(first, request.rows)
                start = max(0, start - batch.num_rows)


def _batches(file: pq.ParquetFile, request: Request, run: list[int], piece: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of row groups, at most ``piece`` at a time.

    Raises:
        pa.ArrowInvalid: if they are damaged, with the first row group and column that are.
    """
    expected = sum(file.metadata.row_group(group).num_rows for group in run)
    try:
        # No threads: a queue of decoded batches would cost memory and save no CPU time.
        for batch in file.iter_batches(piece, row_groups=run, columns=request.columns, use_threads=False):
            # The column `text` also selects columns whose names begin with `text.`.
            yield batch if request.columns is None else batch.select(request.columns)
            expected -= batch.num_rows
        if expected:
            raise pa.ArrowInvalid(f"{abs(expected)} rows {'are missing' if expected > 0 else 'too many'}")
    except (pa.ArrowException, OSError) as error:
        path = request.shard.path
        if s3.trouble(error, path) is not None:
            raise
        place = _damaged(file, request, run, piece)
        raise pa.ArrowInvalid(f"{place}: {error}") from None


def _damaged(file: pq.ParquetFile, request: Request, run: list[int], piece: int) -> str:
    """Return the first row group of a run that cannot be read, and the column if that alone cannot be."""
    names = request.columns if request.columns is not None else file.schema_arrow.names
    for group in run:
        for name in names:
            try:
                for _ in file.iter_batches(piece, row_groups=[group], columns=[name], use_threads=False):
                    pass
            except (pa.ArrowException, OSError):
                return f"row group {group}, column {name}"
    return f"row groups {run[0]} to {run[-1]}" if len(run) > 1 else f"row group {run[0]}"


def _opened(shard: Shard) -> pq.ParquetFile:
    """Open a file so that columns are read page by page (``buffer_size``), not a row group at a time.

    Pages with a checksum are compared with it.
    """
    file = pq.ParquetFile(
        files.opened(shard.path),
        pre_buffer=False,
        buffer_size=files.buffer(shard.path),
        page_checksum_verification=True,
    )
    file_format.check(shard.path, file.metadata.metadata)
    return file
