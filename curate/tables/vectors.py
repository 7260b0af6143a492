"""Read and write embedding columns ``emb.<name>``.

On disk they are fixed-size binary, in memory (n, d) float32; nothing is copied between the two.
"""

from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa

from curate.errors import SchemaError

PREFIX = "emb."


def from_arrow(name: str, column: pa.Array, where: Path) -> pl.Series:
    """Return a column of vectors as ``pl.Array(Float32, d)``.

    Fixed-size binary and fixed-size lists of float32 are not copied.

    Raises:
        SchemaError: if a row is null, the lengths differ, or the type holds no numbers.
    """
    kind = column.type
    if column.null_count:
        raise SchemaError(f"{where}: {name} has {column.null_count} null rows; every row needs its vector")
    # The bytes of fixed-size binary are the numbers themselves, so the array is a view of the column's buffer.
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width % 4 == 0:
        start = column.offset * kind.byte_width
        flat = np.frombuffer(
            column.buffers()[1], dtype=np.float32, offset=start, count=len(column) * kind.byte_width // 4
        )
        width = kind.byte_width // 4
    elif _is_list(kind) and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else _width(name, column, where)
    else:
        raise SchemaError(f"{where}: {name} is {kind}; use lists of numbers, all of one length, or fixed-size binary")
    return pl.Series(name, flat.reshape(len(column), width), dtype=pl.Array(pl.Float32, width))


def to_arrow(column: pl.Series) -> pa.Array:
    """Return vectors of d numbers as fixed-size binary: 4 d little-endian bytes a row."""
    values = np.ascontiguousarray(column.to_numpy(), dtype=np.float32)
    return pa.Array.from_buffers(pa.binary(values.shape[1] * 4), len(values), [None, pa.py_buffer(values)])


def width(kind: pa.DataType | None) -> int | None:
    """Return the length of a column's vectors, or None if its type does not say."""
    if kind is None or not (pa.types.is_fixed_size_binary(kind) or pa.types.is_fixed_size_list(kind)):
        return None
    return int(kind.byte_width // 4 if pa.types.is_fixed_size_binary(kind) else kind.list_size)


def finite(column: pl.Series) -> np.ndarray:
    """Return an (n,) mask of the rows that are finite numbers, or vectors of them. A null is not finite."""
    if isinstance(column.dtype, pl.Array):
        values = column.to_numpy()
        with np.errstate(invalid="ignore", over="ignore"):
            # The sum is finite if every value is. That takes one pass and no mask; float64 does not overflow here.
            total = values.sum(dtype=np.float64)
        return np.ones(len(values), dtype=bool) if np.isfinite(total) else np.isfinite(values).all(axis=1)
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


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _width(name: str, column: pa.Array, where: Path) -> int:
    """Return the one length of all rows of a list column."""
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) > 1:
        raise SchemaError(
            f"{where}: {name} has vectors of {lengths[0]} and of {lengths[-1]} numbers; all must have one length"
        )
    if lengths[0] == 0:
        raise SchemaError(f"{where}: {name} has vectors of 0 numbers")
    return int(lengths[0])
