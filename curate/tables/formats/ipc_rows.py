"""Read the rows of Arrow IPC files and streams."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain, islice

import numpy as np
import pyarrow as pa
import pyarrow.ipc

from curate.storage import files
from curate.tables import reading
from curate.tables.formats import arrow_ipc
from curate.tables.formats.arrow_ipc import IpcBlock
from curate.tables.reading import Request
from curate.tables.shards import Shard

Blocks = tuple[tuple[IpcBlock, ...], tuple[IpcBlock, ...]]  # dictionaries and record batches


def head(shard: Shard) -> tuple[pa.Schema, tuple[tuple[int, int], ...]]:
    """Return the schema of a file, and the rows and unpacked bytes of its record batches."""
    with files.mapped(shard.path) as source:
        _, batches = _blocks(shard, source)
        with _opened(source) as reader:
            return reader.schema, tuple((batch.rows, batch.unpacked) for batch in batches)


def read(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request."""
    start, path = request.start, request.shard.path
    with files.mapped(path) as source:
        blocks = _blocks(request.shard, source)
        for number, block in enumerate(chain(*blocks)):
            if reading.is_bomb(block.unpacked, block.packed, request.document_bytes):
                raise reading.bomb(path, f"a record batch (block {number})", block.packed, block.unpacked)
        with _opened(source, request.columns) as reader:
            skipped, rows = _before(blocks, start)
            start -= rows
            for batch in _batches(source, reader, blocks, skipped):
                batch = batch.select(request.columns if request.columns is not None else reader.schema.names)
                for first in range(min(start, batch.num_rows), batch.num_rows, request.rows):
                    yield batch.slice(first, request.rows)
                start = max(0, start - batch.num_rows)


def _is_file(source: "pa.NativeFile") -> bool:
    """Return whether the content is an IPC file; otherwise it is a stream.

    Raises:
        pa.ArrowInvalid: if it is neither.
    """
    start = bytes(source.read_at(min(8, source.size()), 0))
    if start[:6] == arrow_ipc.MAGIC:
        return True
    # A stream begins with a marker, or with the length of its schema where Arrow before 0.15 wrote it. The fourth byte
    # of such a length is 0, since no schema has 16 MB. Text has no byte of 0.
    if start[:4] == b"\xff\xff\xff\xff" or start[3:4] == b"\0":
        return False
    what = "it is in Feather V1" if start[:4] == b"FEA1" else "it is neither an Arrow IPC file nor a stream"
    raise pa.ArrowInvalid(f"{what}: write it as one of these, or as Parquet")


def _blocks(shard: Shard, source: "pa.NativeFile") -> Blocks:
    """Return the sizes of all blocks, after checking their numbers of rows."""
    find = arrow_ipc.blocks if _is_file(source) else arrow_ipc.stream_blocks
    dictionaries, batches = find(source, files.ahead(shard.path))
    reading.check_rows(shard.path, sum(batch.rows for batch in batches), source.size())
    return dictionaries, batches


def _before(blocks: Blocks, start: int) -> tuple[int, int]:
    """Return how many record batches end before row ``start``, and the rows in them."""
    ends = np.cumsum([batch.rows for batch in blocks[1]], dtype=np.int64)
    count = int(np.searchsorted(ends, start, side="right"))
    return count, int(ends[count - 1]) if count else 0


def _batches(
    source: "pa.NativeFile",
    reader: "pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader",
    blocks: Blocks,
    skipped: int,
) -> Iterator[pa.RecordBatch]:
    """Yield record batches one by one, without the first ``skipped``, which are not unpacked where possible."""
    if isinstance(reader, pa.ipc.RecordBatchFileReader):
        yield from (reader.get_batch(number) for number in range(skipped, reader.num_record_batches))
        return
    dictionaries, batches = blocks
    # A stream goes on wherever its source is. A dictionary between two batches must be read in its turn.
    if skipped and not dictionaries:
        source.seek(batches[skipped].start if skipped < len(batches) else source.size())
        skipped = 0
    yield from islice(reader, skipped, None)


@contextmanager
def _opened(
    source: "pa.NativeFile", columns: Sequence[str] | None = None
) -> "Iterator[pa.ipc.RecordBatchFileReader | pa.ipc.RecordBatchStreamReader]":
    """Open a file or stream. Only the named columns of its batches are unpacked."""
    open_source = pa.ipc.open_file if _is_file(source) else pa.ipc.open_stream
    source.seek(0)
    with open_source(source) as reader:
        if not columns:
            yield reader
            return
        fields = [position for position, name in enumerate(reader.schema.names) if name in columns]
    source.seek(0)
    with open_source(source, options=pa.ipc.IpcReadOptions(included_fields=fields)) as reader:
        yield reader
