"""Hash the rows of a file in their order, whatever holds them: batches, row groups, compression or string types.

In: record batches of the columns that a job reads. Out: a hash that says whether another file has the same rows.
Rows are hashed in blocks of a fixed number of rows. So the hash of a file can be put together from those of its parts,
if the parts begin and end where blocks do. A value is hashed as its bytes: a string in UTF-8, a vector as its numbers,
and a number as float64. An integer that float64 cannot hold is hashed as an integer too.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import xxhash

# A multiple of the rows of a batch, so that batches need no further cuts; small against a part of a long file.
BLOCK_ROWS = 4096
PREFIX = "rows:"  # of the hash of rows; the hash of a file's bytes has none
LARGEST_EXACT = 2**53  # every integer up to here is a float64


@dataclass
class _Column:
    """The hashes of one column in the present block: the bytes of its values, their sizes, and the rows of nulls."""

    values: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    sizes: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)
    nulls: xxhash.xxh3_128 = field(default_factory=xxhash.xxh3_128)

    def add(self, column: pa.Array, row: int) -> None:
        """Add values, of which the first is in row ``row`` of the block."""
        if pa.types.is_string_view(column.type) or pa.types.is_binary_view(column.type):
            # Arrow can hardly compute with views.
            column = column.cast(pa.large_string() if pa.types.is_string_view(column.type) else pa.large_binary())
        if column.null_count:
            # Nulls are hashed as row numbers: a column of nulls alone may come with any type.
            nulls = row + np.flatnonzero(column.is_null().to_numpy(zero_copy_only=False))
            self.nulls.update(nulls.astype(np.int64).data)
            column = column.drop_null()
        if len(column):
            values, sizes = _bytes_and_sizes(column)
            self.values.update(values)
            if sizes is not None:
                self.sizes.update(np.ascontiguousarray(sizes, dtype=np.int64).data)

    def digest(self) -> bytes:
        """Return the digest of the column in this block."""
        return self.values.digest() + self.sizes.digest() + self.nulls.digest()


@dataclass
class RowHasher:
    """Hashes the rows that are added, in order; the first one must begin a block.

    ``columns`` are the names of the columns in the file. Who reads the rows sets them.
    """

    columns: tuple[str, ...] = ()
    _blocks: list[str] = field(default_factory=list)
    _current: dict[str, _Column] = field(default_factory=dict)
    _rows: int = 0  # of the present block

    def add(self, batch: pa.RecordBatch) -> None:
        """Add the rows of a batch."""
        start = 0
        while start < batch.num_rows:
            piece = batch.slice(start, BLOCK_ROWS - self._rows)
            for name, column in zip(piece.schema.names, piece.columns, strict=True):
                self._current.setdefault(name, _Column()).add(column, self._rows)
            start, self._rows = start + piece.num_rows, self._rows + piece.num_rows
            if self._rows == BLOCK_ROWS:
                self._end_block()

    def blocks(self) -> list[str]:
        """Return the hex digests of the blocks since the last call. The present block ends, full or not."""
        if self._rows:
            self._end_block()
        ended, self._blocks = self._blocks, []
        return ended

    def _end_block(self) -> None:
        digest = xxhash.xxh3_128(str(self._rows).encode())
        for name in sorted(self._current):
            digest.update(f"\0{name}\0".encode())
            digest.update(self._current[name].digest())
        self._blocks.append(digest.hexdigest())
        self._current, self._rows = {}, 0


def combined(blocks: Sequence[str]) -> str:
    """Return the hash of a file from the digests of its blocks in order."""
    return PREFIX + xxhash.xxh3_128_hexdigest("".join(blocks).encode())


def hashed(batches: Iterator[pa.RecordBatch]) -> list[str]:
    """Return the digests of the blocks of all rows in ``batches``."""
    hasher = RowHasher()
    for batch in batches:
        hasher.add(batch)
    return hasher.blocks()


def _bytes_and_sizes(column: pa.Array) -> tuple[memoryview | bytes, np.ndarray | None]:
    """Return the bytes of values without nulls, and the size of each in bytes; None where all are alike."""
    kind = column.type
    if pa.types.is_dictionary(kind):
        return _bytes_and_sizes(column.dictionary_decode())
    if pa.types.is_integer(kind) or pa.types.is_boolean(kind) or pa.types.is_floating(kind):
        return _numbers(column)
    if pa.types.is_fixed_size_binary(kind):
        data = memoryview(column.buffers()[1])[column.offset * kind.byte_width :][: len(column) * kind.byte_width]
        return data, np.full(len(column), kind.byte_width)
    if any(
        is_kind(kind)
        for is_kind in (pa.types.is_string, pa.types.is_large_string, pa.types.is_binary, pa.types.is_large_binary)
    ):
        return _strings(column)
    if any(is_kind(kind) for is_kind in (pa.types.is_list, pa.types.is_large_list, pa.types.is_fixed_size_list)):
        numbers = column.flatten()
        if (pa.types.is_floating(numbers.type) or pa.types.is_integer(numbers.type)) and not numbers.null_count:
            # JSON has whole numbers where a vector happens to have no fractions.
            plain = numbers.cast(pa.float64()) if pa.types.is_integer(numbers.type) else numbers
            values = np.ascontiguousarray(plain.to_numpy(zero_copy_only=False))
            return values.data, pc.list_value_length(column).to_numpy() * values.itemsize
    # Dates, decimals and nested values are rare among the columns that scorers read, so speed does not matter here.
    return _strings(pa.array(map(repr, column.to_pylist()), type=pa.large_string()))


def _numbers(column: pa.Array) -> tuple[memoryview, np.ndarray | None]:
    numbers = column.to_numpy(zero_copy_only=False)
    values = np.ascontiguousarray(numbers, dtype=np.float64)
    if numbers.dtype.kind in "iu" and numbers.dtype.itemsize == 8:
        large = (numbers > LARGEST_EXACT) | (numbers < -LARGEST_EXACT if numbers.dtype.kind == "i" else False)
        if large.any():
            return values.data, numbers[large].astype(np.int64)
    return values.data, None


def _strings(column: pa.Array) -> tuple[memoryview | bytes, np.ndarray]:
    wide = pa.types.is_large_string(column.type) or pa.types.is_large_binary(column.type)
    _, edges, data = column.buffers()
    dtype = np.dtype(np.int64 if wide else np.int32)
    offsets = np.frombuffer(edges, dtype=dtype, count=len(column) + 1, offset=column.offset * dtype.itemsize)
    # A column of empty strings may have no buffer of characters at all.
    values = memoryview(data)[int(offsets[0]) : int(offsets[-1])] if data is not None else b""
    return values, np.diff(offsets)
