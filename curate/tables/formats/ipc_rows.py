"""Read the rows of Arrow IPC files."""

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain

import pyarrow as pa
import pyarrow.ipc

from curate.errors import SchemaError
from curate.storage import files
from curate.tables import reading
from curate.tables.formats import arrow_ipc
from curate.tables.reading import Request
from curate.tables.shards import Shard


def head(shard: Shard) -> tuple[pa.Schema, tuple[tuple[int, int], ...]]:
    """Return the schema of a file, and the rows and unpacked bytes of its record batches."""
    with _opened(shard) as (source, reader):
        _, batches = arrow_ipc.blocks(source, files.ahead(shard.path))
        return reader.schema, tuple((batch.rows, batch.unpacked) for batch in batches)


def read(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request."""
    start, path = request.start, request.shard.path
    with _opened(request.shard, request.columns) as (source, reader):
        for number, block in enumerate(chain(*arrow_ipc.blocks(source, files.ahead(path)))):
            if block.unpacked > max(request.document_bytes, reading.EXPANSION * block.packed):
                raise SchemaError(
                    f"{path}: a record batch grows from {block.packed / 2**20:.3g} to "
                    f"{block.unpacked / 2**20:.0f} MB (block {number}), like a compression bomb. Remove the file, or "
                    "raise --max-document-mb"
                )
        for number in range(reader.num_record_batches):
            batch = reader.get_batch(number)
            batch = batch.select(request.columns if request.columns is not None else reader.schema.names)
            for first in range(min(start, batch.num_rows), batch.num_rows, request.rows):
                yield batch.slice(first, request.rows)
            start = max(0, start - batch.num_rows)


@contextmanager
def _opened(
    shard: Shard, columns: Sequence[str] | None = None
) -> "Iterator[tuple[pa.NativeFile, pa.ipc.RecordBatchFileReader]]":
    """Open a file. Only the named columns of its batches are unpacked."""
    with files.mapped(shard.path) as source:
        start = bytes(source.read_at(min(8, source.size()), 0))
        if start[:4] == b"\xff\xff\xff\xff" or start[:4] == b"FEA1":
            what = "Feather V1" if start[:4] == b"FEA1" else "the Arrow stream format"
            raise pa.ArrowInvalid(f"it is in {what}, not an Arrow IPC file: write it as that, or as Parquet")
        with pa.ipc.open_file(source) as reader:
            if not columns:
                yield source, reader
                return
            schema = reader.schema
        fields = [position for position, name in enumerate(schema.names) if name in columns]
        with pa.ipc.open_file(source, options=pa.ipc.IpcReadOptions(included_fields=fields)) as reader:
            yield source, reader
