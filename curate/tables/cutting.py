"""Cut record batches: by rows, by the bytes of their texts, and to the rows that are kept."""

import sys
from collections.abc import Iterator

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

_STRING_IDS = {pa.string().id, pa.large_string().id, pa.string_view().id}


def cut(
    stream: Iterator[pa.RecordBatch], rows: int, size: int | None = None, block: int | None = None
) -> Iterator[list[pa.RecordBatch]]:
    """Yield lists of batches of exactly ``rows`` rows in all; the last list may be shorter.

    With ``size``, a list also ends before its texts exceed so many bytes; but it has at least one row. With ``block``,
    a list also ends after every so many rows of the stream. Where the cuts fall depends on the rows alone, not on how
    the stream was cut before. No rows are copied.
    """
    held: list[pa.RecordBatch] = []
    held_rows = held_bytes = position = 0
    for batch in stream:
        start, ends = 0, None
        if size is not None and held_bytes + _text_bytes(batch) > size:
            ends = np.cumsum(_row_bytes(batch))  # (n,): bytes of all rows up to each
        while start < batch.num_rows:
            take = min(rows - held_rows, batch.num_rows - start)
            if block is not None:
                take = min(take, block - position % block)
            # Only a batch that may exceed the bound is looked at row by row.
            if ends is not None and size is not None:
                before = ends[start - 1] if start else 0
                fitting = int(np.searchsorted(ends[start:], before + size - held_bytes, side="right"))
                take = min(take, max(fitting, 0 if held else 1))
            if take:
                held.append(batch.slice(start, take))
                held_rows, start, position = held_rows + take, start + take, position + take
                held_bytes += _text_bytes(held[-1]) if size is not None else 0
            # Rows that are left over mean that the next one does not fit.
            at_edge = block is not None and held_rows > 0 and position % block == 0
            if held_rows == rows or start < batch.num_rows or at_edge:
                yield held
                held, held_rows, held_bytes = [], 0, 0
    if held:
        yield held


def kept(batch: pa.RecordBatch, mask: pa.BooleanArray) -> pa.RecordBatch:
    """Return the rows of a batch where ``mask`` (n,) is true, with the schema of the batch."""
    columns = [_kept(column, mask) for column in batch.columns]
    return pa.RecordBatch.from_arrays(columns, schema=batch.schema)


def _kept(column: pa.Array, mask: pa.BooleanArray) -> pa.Array:
    try:
        return column.filter(mask)
    except pa.ArrowNotImplementedError:
        # Arrow 26 cannot filter views and run-end encoded values, at any depth. It can slice and join all types.
        edges = np.flatnonzero(np.diff(mask.to_numpy(zero_copy_only=False), prepend=False, append=False))
        runs = [column.slice(start, stop - start) for start, stop in edges.reshape(-1, 2).tolist()]
        return pa.concat_arrays(runs) if runs else column.slice(0, 0)


def is_string(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's three types of strings."""
    return kind.id in _STRING_IDS


def string_columns(batch: pa.RecordBatch) -> list[tuple[str, pa.Array]]:
    """Return the names and values of the columns of strings."""
    columns = zip(batch.schema.names, batch.columns, strict=True)
    return [(name, column) for name, column in columns if is_string(column.type)]


def string_bytes(column: pa.Array) -> pa.Array:
    """Return the UTF-8 bytes of each of (n,) strings."""
    plain = column.cast(pa.large_string()) if pa.types.is_string_view(column.type) else column
    return pc.binary_length(plain)


def _row_bytes(batch: pa.RecordBatch) -> np.ndarray:
    """Return the bytes of the strings of each of (n,) rows."""
    total = np.zeros(batch.num_rows, dtype=np.int64)
    for _, column in string_columns(batch):
        total += string_bytes(column).fill_null(0).to_numpy(zero_copy_only=False)
    return total


def _text_bytes(batch: pa.RecordBatch) -> int:
    return sum(map(_column_bytes, (column for _, column in string_columns(batch))))


def _column_bytes(column: pa.Array) -> int:
    """Return the UTF-8 bytes of (n,) strings together."""
    if pa.types.is_string_view(column.type) or column.null_count:
        return pc.sum(string_bytes(column)).as_py() or 0
    # The text of a row ends where that of the next one begins, so the first and the last offset tell the sum.
    width = 4 if pa.types.is_string(column.type) else 8
    offsets, n = column.buffers()[1], len(column)
    if not n or offsets is None:
        return 0
    first, last = column.offset * width, (column.offset + n) * width
    edges = (int.from_bytes(memoryview(offsets)[start : start + width], sys.byteorder) for start in (first, last))
    return -next(edges) + next(edges)
