"""Check the types of the columns that jobs read, and convert each to the one type that batches have.

This is the only place that decides which types are accepted. A dictionary (``category`` of pandas, ``Categorical`` and
``Enum`` of polars) or a run-end encoded column counts as what its values are, an extension type as what it stores, and
a column of type null as nulls.

| Column | Accepted types | In a batch |
|---|---|---|
| text | string, large_string, string_view | string |
| ``id``, ``source`` | strings; integers, whole floats and decimals; dates and times; UUID; boolean | string |
| ``label`` | strings, integers, booleans, floats, whole decimals | string or number |
| ``tokens`` | integers of any width, whole floats and decimals; from 0 on | int64 |
| ``emb.<name>`` | lists of numbers of one length; binary of one length | array of float32 |
| ``probs.<epoch>``, ``logits.<epoch>`` | lists of numbers; structs of numbers, one field a class | list |
| ``member``, ``correct`` | lists of booleans or numbers | list |
| any other | any type that polars has | as it is |
"""

from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import SchemaError
from curate.tables import reading
from curate.tables.columns.class_names import in_order
from curate.tables.cutting import is_string
from curate.tables.formats.values import MOST_TOKENS

INT64_DIGITS = 18  # that every whole number of int64 can have
SHOWN = 80  # characters of a type that a message shows; a nested type may have thousands
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


@dataclass(frozen=True)
class BatchPlace:
    """Where the rows of a batch come from, so that a message can name one.

    ``path`` is the file, ``position`` the number of the first row there, and ``ids`` the column of ids if it has one.
    """

    path: Path
    position: int
    ids: pa.Array | None

    def name(self, row: int) -> str:
        """Return the id of a row of the batch, or its number in the file."""
        value = None if self.ids is None else self.ids[row].as_py()
        return f"row {self.position + row}" if value is None else f"the row with id {str(value)!r}"


@dataclass(frozen=True)
class Role:
    """What a column is for: the types that it may have, how a message describes them, and how to convert a column."""

    accepts: Callable[[pa.DataType], bool]
    wanted: str
    remedy: str
    convert: Callable[[pa.Array, str, BatchPlace], pa.Array]


def check(path: Path, columns: Mapping[str, pa.DataType], names: Iterable[str], text_column: str = "text") -> None:
    """Check the types of the columns ``names`` of a file; names that the file lacks are passed over.

    Raises:
        SchemaError: for the first column of a wrong type, with the type and what to do.
    """
    for name in names:
        role = _role(name, text_column)
        if role is None or name not in columns or role.accepts(plain(columns[name])):
            continue
        kind = str(columns[name])
        shown = kind if len(kind) <= SHOWN else f"{kind[:SHOWN]}..."
        raise SchemaError(f"{path}: {name} is {shown}, not {role.wanted}. {_remedy(columns[name], role)}")


def converted(
    stream: Iterable[pa.RecordBatch], path: Path, text_column: str = "text", start: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield record batches with every column in the type that batches have. ``start`` is the first row's number.

    A batch is cut where its decoded texts would exceed ``reading.PIECE_BYTES``.

    Raises:
        SchemaError: for a column of a wrong type, or a count of tokens that is negative or no whole number.
    """
    position = start
    for whole in stream:
        names = whole.schema.names
        check(path, dict(zip(names, whole.schema.types, strict=True)), names, text_column)
        for batch in _pieces(whole):
            ids = batch.column("id") if "id" in names else None
            where = BatchPlace(path, position, ids)
            before = batch.columns
            columns = [
                _convert(name, column, _role(name, text_column), where)
                for name, column in zip(names, before, strict=True)
            ]
            position += batch.num_rows
            if all(column is old for column, old in zip(columns, before, strict=True)):
                yield batch
                continue
            fields = [
                # The metadata of a field tell the type of the numbers in binary vectors.
                pa.field(name, column.type, metadata=batch.schema.field(i).metadata)
                for i, (name, column) in enumerate(zip(names, columns, strict=True))
            ]
            yield pa.RecordBatch.from_arrays(columns, schema=pa.schema(fields, metadata=batch.schema.metadata))


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


def _pieces(batch: pa.RecordBatch) -> Iterator[pa.RecordBatch]:
    """Yield a batch in slices whose decoded texts have at most ``reading.PIECE_BYTES``, and at least one row each."""
    sizes = [size for column in batch.columns if (size := encoded_bytes(column)) is not None]
    if not sizes:
        # What is not encoded has its final size already.
        if batch.num_rows:
            yield batch
        return
    ends, start = np.cumsum(np.sum(sizes, axis=0)), 0
    while start < batch.num_rows:
        before = ends[start - 1] if start else 0
        stop = max(start + 1, int(np.searchsorted(ends, before + reading.PIECE_BYTES, side="right")))
        yield batch.slice(start, stop - start)
        start = stop


def _convert(name: str, column: pa.Array, role: Role | None, where: BatchPlace) -> pa.Array:
    if role is not None:
        return role.convert(decoded(column), name, where)
    # Polars has no run-end encoding and no extension types. It would read a dictionary as categories.
    return decoded(column)


def _role(name: str, text_column: str) -> Role | None:
    """Return what a column is for, by its name; None for columns that may have any type."""
    if name == text_column:
        return TEXT
    return NAMED.get(name) or next((role for prefix, role in PREFIXED.items() if name.startswith(prefix)), None)


def _remedy(kind: pa.DataType, role: Role) -> str:
    """Return what to do about a column of a wrong type."""
    values = plain(kind)
    if role is not TEXT:
        return role.remedy
    if is_binary(values):
        return "Write it as string (UTF-8)"
    if pa.types.is_struct(values):
        inner = [field.name for field in values if is_text(field.type)]
        part = f"its field {inner[0]}" if inner else "the text in it"
        return f"Name a column of text with --text-column, or write {part} as a column of strings"
    if pa.types.is_map(values):
        return "Write the text in it as a column of strings, or name a column of text with --text-column"
    if is_list(values):
        return "Join each list to one string and write that as a column, or name a column of text with --text-column"
    return role.remedy


def _is_number(kind: pa.DataType) -> bool:
    return bool(pa.types.is_integer(kind) or pa.types.is_floating(kind) or pa.types.is_decimal(kind))


def _is_name(kind: pa.DataType) -> bool:
    """Return whether values of a type can be written as the name of a row or a source."""
    is_time = pa.types.is_date(kind) or pa.types.is_time(kind) or pa.types.is_timestamp(kind)
    fits = _is_number(kind) or pa.types.is_boolean(kind) or is_time
    return bool(is_string(kind) or pa.types.is_null(kind) or isinstance(kind, pa.UuidType) or fits)


def _is_vector(kind: pa.DataType) -> bool:
    numbers = is_list(kind) and (_is_number(plain(kind.value_type)) or pa.types.is_null(kind.value_type))
    return numbers or is_binary(kind) or bool(pa.types.is_null(kind))


def _is_row_of_numbers(kind: pa.DataType) -> bool:
    if not is_list(kind):
        return bool(pa.types.is_null(kind))
    inner = plain(kind.value_type)
    return _is_number(inner) or bool(pa.types.is_boolean(inner) or pa.types.is_null(inner))


def _is_prediction(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return kind.num_fields > 0 and all(_is_number(plain(field.type)) for field in kind)
    return _is_row_of_numbers(kind)


def _as_text(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    return column.cast(pa.large_string()) if pa.types.is_null(column.type) else column


def _as_name(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    kind = column.type
    if pa.types.is_decimal(kind) and kind.precision - kind.scale > INT64_DIGITS:
        # The type decides, and not the values, so that a file has one hash however it is cut into batches.
        with suppress(pa.ArrowInvalid):  # a fraction, which `whole_numbers` names
            return column.cast(pa.decimal256(kind.precision, 0)).cast(pa.large_string())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return whole_numbers(column, name, where)
    return _as_text(column, name, where)


def _as_label(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    return whole_numbers(column, name, where) if pa.types.is_decimal(column.type) else _as_text(column, name, where)


def _as_count(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    numbers = column.cast(pa.int64()) if pa.types.is_null(column.type) else whole_numbers(column, name, where)
    least, most = (bound.as_py() for bound in pc.min_max(numbers).values())
    if least is not None and not 0 <= least <= most <= MOST_TOKENS:
        wrong = pc.or_(pc.less(numbers, 0), pc.greater(numbers, MOST_TOKENS)).fill_null(False)
        count = pc.sum(wrong).as_py()
        row = pc.index(wrong, True).as_py()
        raise _bad_number(name, column[row].as_py(), count, where, row)
    return numbers


def whole_numbers(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    """Return integers, whole floats and whole decimals as int64.

    Raises:
        SchemaError: for a fraction, NaN, infinity, or a number beyond int64; with the row.
    """
    if pa.types.is_int64(column.type):
        return column
    try:
        return column.cast(pa.int64())
    except pa.ArrowInvalid:
        # One cast for all rows is fast. Only where it fails are the numbers looked at.
        values = column.cast(pa.float64(), safe=False).to_numpy(zero_copy_only=False)
        with np.errstate(invalid="ignore"):
            fits = np.isfinite(values) & (values == np.floor(values)) & (np.abs(values) < 2.0**63)
        bad = ~fits & column.is_valid().to_numpy(zero_copy_only=False)
        row = int(bad.argmax())
        raise _bad_number(name, column[row].as_py(), max(1, int(bad.sum())), where, row) from None


def _bad_number(name: str, value: object, rows: int, where: BatchPlace, row: int) -> SchemaError:
    least = " from 0 to 2^40" if name == "tokens" else ""
    others = f" and in {rows - 1} more rows near it" if rows > 1 else ""
    return SchemaError(
        f"{where.path}: {name} is {value} in {where.name(row)}{others}. It must be a whole number{least}: correct it, "
        f"or leave {name} empty"
    )


def _as_vector(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    return column  # `curate.tables.columns.vectors` makes arrays of float32 of all accepted types


def _as_list(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    kind = column.type
    if pa.types.is_struct(kind):
        # Matched by name: the classes stand in the order that class names always have.
        fields = {
            field.name: decoded(values).cast(pa.float64()) for field, values in zip(kind, column.flatten(), strict=True)
        }
        ordered = [fields[key].to_numpy(zero_copy_only=False) for key in in_order(fields)]
        flat = np.stack(ordered, axis=1).ravel()
        lists = pa.FixedSizeListArray.from_arrays(pa.array(flat), len(ordered))
        return lists if not column.null_count else pc.if_else(column.is_valid(), lists, pa.scalar(None, lists.type))
    if pa.types.is_list_view(kind) or pa.types.is_large_list_view(kind):
        # Arrow 26 loses the last list when it casts views to lists, so the lists are built from their lengths.
        lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
        offsets = pa.array(np.append(0, np.cumsum(lengths)), pa.int64())
        return pa.LargeListArray.from_arrays(offsets, column.flatten(), mask=column.is_null())
    return column


NAME_REMEDY = "Write it as a column of strings or whole numbers, or leave it out"
TEXT = Role(
    lambda kind: bool(is_string(kind) or pa.types.is_null(kind)),
    "text",
    "Write it as a column of strings, or name a column of text with --text-column",
    _as_text,
)
NAMED: Mapping[str, Role] = {
    "id": Role(_is_name, "text or numbers", NAME_REMEDY, _as_name),
    "source": Role(_is_name, "text or numbers", NAME_REMEDY, _as_name),
    "label": Role(
        lambda kind: bool(is_string(kind) or pa.types.is_null(kind) or _is_number(kind) or pa.types.is_boolean(kind)),
        "text, whole numbers or booleans",
        "Write each class as its name or its number from 0",
        _as_label,
    ),
    "tokens": Role(
        lambda kind: bool(_is_number(kind) or pa.types.is_null(kind)),
        "whole numbers",
        "Write whole numbers from 0 on, or leave the column out: tokens are then counted from the text",
        _as_count,
    ),
    "member": Role(_is_row_of_numbers, "lists of booleans", "Write one list for each row", _as_list),
    "correct": Role(_is_row_of_numbers, "lists of booleans", "Write one list for each row", _as_list),
}
PREDICTION = Role(
    _is_prediction,
    "lists of numbers",
    "Write one list for each row with a number for each class, or a struct with a field for each class",
    _as_list,
)
PREFIXED: Mapping[str, Role] = {
    "emb.": Role(
        _is_vector,
        "vectors",
        "Use lists of numbers, all of one length, or fixed-size binary of float32 or float16",
        _as_vector,
    ),
    "probs.": PREDICTION,
    "logits.": PREDICTION,
}
