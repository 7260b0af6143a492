"""Read the types and the values of Arrow columns, however they are encoded.

In: columns of files. Out: plain types and values. A dictionary (``category`` of pandas, ``Categorical`` and ``Enum`` of
polars) or a run-end encoded column counts as what its values are, and an extension type as what it stores.
"""

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.tables.cutting import is_string

LIST_KINDS = (
    pa.types.is_list,
    pa.types.is_large_list,
    pa.types.is_fixed_size_list,
    pa.types.is_list_view,
    pa.types.is_large_list_view,
)
BINARY_KINDS = (
    pa.types.is_binary,
    pa.types.is_large_binary,
    pa.types.is_binary_view,
    pa.types.is_fixed_size_binary,
)


def plain(kind: pa.DataType) -> pa.DataType:
    """Return the type of a column's values: without dictionary, run-end encoding and extension."""
    if isinstance(kind, pa.UuidType):
        return kind
    if isinstance(kind, pa.BaseExtensionType):
        return plain(kind.storage_type)
    if pa.types.is_dictionary(kind) or pa.types.is_run_end_encoded(kind):
        return plain(kind.value_type)
    return kind


def is_text(kind: pa.DataType) -> bool:
    """Return whether a column of this type holds text, in any encoding."""
    return is_string(plain(kind))


def inner_names(kind: pa.DataType) -> tuple[str, ...]:
    """Return the names of the fields of a struct; none for other types."""
    return tuple(field.name for field in plain(kind)) if pa.types.is_struct(plain(kind)) else ()


def is_list(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's five types of lists."""
    return any(is_kind(kind) for is_kind in LIST_KINDS)


def is_binary(kind: pa.DataType) -> bool:
    """Return whether a type is one of Arrow's four types of bytes."""
    return any(is_kind(kind) for is_kind in BINARY_KINDS)


def decoded(column: pa.Array) -> pa.Array:
    """Return a column without dictionary, run-end encoding and extension."""
    kind = column.type
    if isinstance(kind, pa.UuidType):
        # Arrow would cast the 16 bytes, not their usual notation.
        return pa.array([None if value is None else str(value) for value in column.to_pylist()], pa.string())
    if isinstance(kind, pa.BaseExtensionType):
        return decoded(column.storage)
    if pa.types.is_dictionary(kind):
        values = _without_views(decoded(column.dictionary))
        return values.take(column.indices)
    if pa.types.is_run_end_encoded(kind):
        values = _without_views(decoded(column.values))
        return values.take(pa.array(_runs(column)))
    return column


def encoded_bytes(column: pa.Array) -> np.ndarray | None:
    """Return the bytes (n,) that each row's text takes once it is decoded; None where nothing is encoded."""
    kind = column.type
    if isinstance(kind, pa.BaseExtensionType) and not isinstance(kind, pa.UuidType):
        return encoded_bytes(column.storage)
    if pa.types.is_dictionary(kind):
        values, positions = column.dictionary, column.indices.cast(pa.int64()).fill_null(-1).to_numpy()
    elif pa.types.is_run_end_encoded(kind):
        values, positions = column.values, _runs(column)
    else:
        return None
    lengths = value_bytes(values)
    if lengths is None:
        return None
    # The last place stands for null rows.
    return np.asarray(np.append(lengths, 0)[positions])


def value_bytes(values: pa.Array) -> np.ndarray | None:
    """Return the bytes (n,) of strings or binary values; None for other types."""
    kind = plain(values.type)
    if not (is_string(kind) or is_binary(kind)):
        return None
    lengths = pc.binary_length(_without_views(decoded(values)))
    return np.asarray(lengths.fill_null(0).to_numpy(zero_copy_only=False)).astype(np.int64)


def _runs(column: pa.Array) -> np.ndarray:
    """Return the number (n,) of the run that each row of a run-end encoded column lies in."""
    ends = column.run_ends.to_numpy()
    return np.searchsorted(ends, np.arange(column.offset, column.offset + len(column)), side="right")


def _without_views(values: pa.Array) -> pa.Array:
    """Return strings and binary values in a type that Arrow's functions accept, without views."""
    if pa.types.is_string_view(values.type):
        return values.cast(pa.large_string())
    return values.cast(pa.large_binary()) if pa.types.is_binary_view(values.type) else values
