"""Read and write embedding columns ``emb.<name>``.

Files that curate writes hold fixed-size binary of float32. They are read as (n, d) float32 arrays without a copy. Files
of other programs may hold float16. The same bytes can be read as float16 or as half as many float32 numbers. So the
type must come from the file's metadata or the user; otherwise the bytes are inspected.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import SchemaError
from curate.tables import file_format, readers
from curate.tables.columns import arrow_types, column_types
from curate.tables.reading import Request
from curate.tables.shards import Shard

PREFIX = "emb."
DTYPE = "dtype"  # the key of a field's metadata that gives the type of its numbers
DTYPES = ("float32", "float16")
LOOK_ROWS = 1024  # rows whose bytes are inspected if nothing gives the type of the numbers


def dtypes(shard: Shard, head: readers.Head, names: Sequence[str], declared: str = "") -> dict[str, str]:
    """Return the type, float32 or float16, of each column of binary vectors among ``names``.

    It is ``declared`` if given, else the key ``dtype`` of the field's metadata. Files that curate wrote hold float32.
    For other files the bytes are inspected: see ``looks_like_float32``.

    Raises:
        SchemaError: if none of these gives the type.
    """
    if declared not in ("", *DTYPES):
        raise SchemaError(f"dtype={declared} is not a type of vectors. Use float32 or float16")
    columns = head.columns
    kinds = {n: arrow_types.plain(columns[n]) for n in names if n.startswith(PREFIX) and n in columns}
    binary = [name for name, kind in kinds.items() if arrow_types.is_binary(kind)]
    if declared or not binary:
        return dict.fromkeys(binary, declared)
    rows = readers.rows_of(Request(shard, binary, LOOK_ROWS, view=head.view))
    first = next(column_types.converted(rows, shard.path), None)
    return {name: DTYPES[0] if first is None else _dtype(first, name, shard.path) for name in binary}


def _dtype(batch: pa.RecordBatch, name: str, where: Path) -> str:
    """Return the type of the numbers in one column, from its metadata or its bytes."""
    field, column = batch.schema.field(name), batch.column(name)
    written = (field.metadata or {}).get(DTYPE.encode(), b"").decode()
    if written and written not in DTYPES:
        raise SchemaError(f"{where}: {name} has the metadata {DTYPE}={written}. Write float32 or float16 there")
    if written or file_format.fields(batch.schema.metadata):
        return written or DTYPES[0]
    if column.null_count:
        return DTYPES[0]  # refused when it is read
    rows = _bytes(name, column, where)  # (n, size)
    size = rows.shape[1]
    if size % 4 == 2:
        return "float16"
    if size % 4 == 0 and not looks_like_float32(rows.ravel()):
        raise SchemaError(
            f"{where}: {name} is {_binary_name(field.type)} of {size} bytes, which may be {size // 2} float16 "
            f"or {size // 4} float32 numbers. The bytes look like float16. Give the type: --dtype of score or describe"
            f", or {DTYPE}=float16 or {DTYPE}=float32 in the field's metadata"
        )
    return DTYPES[0]


def looks_like_float32(data: np.ndarray) -> bool:
    """Return whether bytes (n,) uint8 fit float32 better than float16.

    Numbers that are read with the right type vary over fewer powers of two. The low half of a float32 number is part of
    its fraction; read as float16 it gives numbers of all sizes. Two float16 numbers that are read as one float32 vary
    over 8 times as many powers of two: the exponent of float16 has 5 bits, and that of float32 has 8.
    """
    return _spread(data.view("<f4")) < _spread(data.view("<f2"))


def _spread(numbers: np.ndarray) -> float:
    """Return the standard deviation of log2 |x| over the numbers x (m,) that are finite and not 0.

    If every second float16 number is 0, it is infinite. Such numbers are the low halves of float32 numbers with short
    fractions, such as 0.5.
    """
    if numbers.itemsize == 2 and not numbers[::2].any():
        return np.inf
    sizes = np.abs(numbers[np.isfinite(numbers) & (numbers != 0)].astype(np.float64))
    return float(np.log2(sizes).std()) if len(sizes) else 0.0


def _binary_name(kind: pa.DataType) -> str:
    return "fixed-size binary" if pa.types.is_fixed_size_binary(kind) else "binary"


def _bytes(name: str, column: pa.Array, where: Path) -> np.ndarray:
    """Return the bytes (n, size) uint8 of a column of binary without nulls, all of one length.

    The bytes of fixed-size binary and of ordinary binary are not copied.
    """
    if pa.types.is_fixed_size_binary(column.type):
        size, data = column.type.byte_width, column.buffers()[1]
        start = column.offset * size
    else:
        plain = column.cast(pa.large_binary())
        size, data = _one_length(name, pc.binary_length(plain), where, "bytes"), plain.buffers()[2]
        start = int(np.frombuffer(plain.buffers()[1], np.int64)[plain.offset]) if len(plain) else 0
    if not len(column):
        return np.zeros((0, size), np.uint8)
    return np.frombuffer(data, np.uint8, offset=start, count=len(column) * size).reshape(len(column), size)


def from_arrow(name: str, column: pa.Array, where: Path, dtype: str = DTYPES[0]) -> pl.Series:
    """Return a column of vectors as ``pl.Array(Float32, d)``; ``dtype`` is the type of the numbers in binary.

    Binary and fixed-size lists of float32 are not copied.

    Raises:
        SchemaError: if a row is null, the lengths differ, or the type holds no numbers.
    """
    column = arrow_types.decoded(column)
    kind = column.type
    if column.null_count:
        raise SchemaError(f"{where}: {name} has {column.null_count} null rows; every row needs its vector")
    # The bytes of binary are the numbers themselves, so the array is a view of the column's buffer.
    number = np.dtype(dtype).newbyteorder("<")
    if arrow_types.is_binary(kind):
        rows = _bytes(name, column, where)
        if not rows.shape[1] or rows.shape[1] % number.itemsize:
            raise SchemaError(
                f"{where}: {name} is {_binary_name(kind)} of {rows.shape[1]} bytes, which is no whole number "
                f"of {dtype} numbers. Write each vector as fixed-size binary of float32 or float16, or as a list"
            )
        flat, width = rows.ravel().view(number).astype(np.float32, copy=False), rows.shape[1] // number.itemsize
    else:
        column_types.check(where, {name: kind}, [name])
        inner = arrow_types.decoded(column.flatten())
        if not pa.types.is_floating(inner.type):
            inner = inner.cast(pa.float64(), safe=False)
        flat = inner.to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else _one_length(name, _lengths(column), where)
    return pl.Series(name, flat.reshape(len(column), width), dtype=pl.Array(pl.Float32, width))


def to_arrow(column: pl.Series) -> pa.Array:
    """Return vectors of d numbers as fixed-size binary: 4 d little-endian bytes a row."""
    values = np.ascontiguousarray(column.to_numpy(), dtype=np.float32)
    return pa.Array.from_buffers(pa.binary(values.shape[1] * 4), len(values), [None, pa.py_buffer(values)])


def field(name: str, kind: pa.DataType) -> pa.Field:
    """Return the field of a column that curate writes. For vectors, its metadata give the type of the numbers."""
    is_vector = name.startswith(PREFIX) and pa.types.is_fixed_size_binary(kind)
    return pa.field(name, kind, metadata={DTYPE: DTYPES[0]} if is_vector else None)


def is_fixed(kind: pa.DataType) -> bool:
    """Return whether a type alone says how long vectors are."""
    return bool(pa.types.is_fixed_size_binary(kind) or pa.types.is_fixed_size_list(kind))


def width(shard: Shard, head: readers.Head, name: str) -> int | None:
    """Return the length of a column's vectors. It is None for a file without rows or without the column.

    If the type of the column does not give the length, the first row is read.
    """
    kind = arrow_types.plain(head.columns[name]) if name in head.columns else None
    if kind is None:
        return None
    if pa.types.is_fixed_size_list(kind):
        return int(kind.list_size)
    dtype = dtypes(shard, head, [name]).get(name, DTYPES[0])
    if pa.types.is_fixed_size_binary(kind):
        return int(kind.byte_width // np.dtype(dtype).itemsize)
    first = next(readers.rows_of(Request(shard, [name], 1, view=head.view)), None)
    if first is None or not first.num_rows:
        return None
    return int(from_arrow(name, first.column(name), shard.path, dtype).to_numpy().shape[1])


def finite(column: pl.Series) -> np.ndarray:
    """Return an (n,) mask of the rows that are finite numbers, or vectors of them. A null is not finite."""
    if isinstance(column.dtype, pl.Array):
        values = column.to_numpy()
        with np.errstate(invalid="ignore", over="ignore"):
            # The sum is finite if every value is. That takes one pass and no mask; float64 does not overflow here.
            total = values.sum(dtype=np.float64)
        return np.ones(len(values), dtype=bool) if np.isfinite(total) else np.isfinite(values).all(axis=1)
    # Numpy needs a hundredth of the time of an expression of polars where a column is short.
    if column.dtype.is_float() and not column.null_count():
        return np.asarray(np.isfinite(column.to_numpy()))
    if isinstance(column.dtype, pl.List):
        return np.asarray(column.is_not_null().to_numpy())  # hashes, which are whole numbers
    return column.is_finite().fill_null(False).to_numpy()


def check(frame: pl.DataFrame, where: Path, widths: dict[str, int]) -> None:
    """Check that the vectors of a batch are finite, and as long as those before.

    ``widths`` holds the length of each column's vectors. It is filled here.
    """
    for name in frame.columns:
        if not name.startswith(PREFIX):
            continue
        width = frame[name].to_numpy().shape[1]
        if (before := widths.setdefault(name, width)) != width:
            raise SchemaError(
                f"{where}: {name} has vectors of {before} and of {width} numbers; all must have one length"
            )
        good = finite(frame[name])
        if not good.all():
            row = int(good.argmin())
            first = frame["id"][row] if "id" in frame.columns else row
            raise SchemaError(
                f"{where}: {name} is NaN, infinite or null in {int((~good).sum())} rows of a batch, the first "
                f"with id {first!r}. Remove those rows or embed them again"
            )


def _lengths(column: pa.Array) -> pa.Array:
    """Return the number of values in each of (n,) lists."""
    return pc.list_value_length(column)


def _one_length(name: str, lengths: pa.Array, where: Path, unit: str = "numbers") -> int:
    """Return the one length of all rows of a column; 1 if there are no rows."""
    different = np.unique(lengths.to_numpy(zero_copy_only=False))
    if len(different) > 1:
        raise SchemaError(
            f"{where}: {name} has vectors of {different[0]} and of {different[-1]} {unit}; all must have one length"
        )
    if len(different) and different[0] == 0:
        raise SchemaError(f"{where}: {name} has vectors of 0 {unit}")
    return int(different[0]) if len(different) else 1
