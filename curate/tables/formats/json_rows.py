"""Read the rows of JSON lines, packed with gzip or zstd or not."""

from collections.abc import Iterator, Sequence

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.storage import files
from curate.tables import reading
from curate.tables.reading import Request
from curate.tables.shards import Shard

PARSED_LINES = 4096  # parsed at a time
HEAD_LINES = 64  # that tell the columns of a file


def head(shard: Shard) -> tuple[pa.Schema, None]:
    """Return the schema of the first lines. A file of lines does not say how many rows it has."""
    first = next(read(Request(shard, None, HEAD_LINES)), None)
    return (pa.schema([]) if first is None else first.schema), None


def read(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request."""
    pending: list[bytes] = []
    size = 0
    for number, line in enumerate(_lines(request)):
        if number < request.start:
            continue
        pending.append(line)
        size += len(line)
        if len(pending) == min(request.rows, PARSED_LINES) or size >= reading.PIECE_BYTES:
            yield _parsed(pending, request.columns)
            pending, size = [], 0
    if pending:
        yield _parsed(pending, request.columns)


def _lines(request: Request) -> Iterator[bytes]:
    """Yield the lines that are not blank."""
    path = request.shard.path
    # A line may be longer than its text: `\u00e9` takes six bytes for the two of é, and other columns come on top.
    longest = 2 * request.document_bytes
    compression = {".gz": "gzip", ".zst": "zstd"}.get(path.suffix.lower())
    with files.opened(path) as file, pa.input_stream(file, compression=compression) as stream:
        rest: list[bytes] = []
        size = number = 0
        while chunk := stream.read(files.buffer(path)):
            first, *others = chunk.split(b"\n")
            rest.append(first)
            size += len(first)
            # Checked while the line grows, before all of it is in memory.
            if size > longest:
                raise SchemaError(
                    f"{path}: line {number + 1} has over {longest / 2**20:.0f} MB, twice --max-document-mb. "
                    "Raise it, or remove the line"
                )
            if others:
                for line in (b"".join(rest), *others[:-1]):
                    number += 1
                    if line.strip():
                        yield line
                rest, size = [others[-1]], len(others[-1])
        if (last := b"".join(rest)).strip():
            yield last


def _parsed(lines: list[bytes], columns: Sequence[str] | None) -> pa.RecordBatch:
    frame = pl.read_ndjson(b"\n".join(lines), infer_schema_length=None)
    if columns is not None:
        frame = frame.select(pl.col(name) if name in frame.columns else pl.lit(None).alias(name) for name in columns)
    return frame.to_arrow().combine_chunks().to_batches()[0]
