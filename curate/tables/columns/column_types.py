"""Check the types of the columns that jobs read, and convert each to the one type that batches have.

Only this file decides which types are accepted. A dictionary (``category`` of pandas, ``Categorical`` and
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
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa

from curate.errors import SchemaError
from curate.tables import reading
from curate.tables.columns import conversions
from curate.tables.columns.arrow_types import decoded, encoded_bytes, is_binary, is_list, is_text, plain
from curate.tables.columns.conversions import BatchPlace
from curate.tables.cutting import is_string
from curate.tables.mapping.chat import holds_messages

SHOWN = 80  # characters of a type that a message shows; a nested type may have thousands


@dataclass(frozen=True)
class Role:
    """What a column is for: the types that it may have, how a message describes them, and how to convert a column."""

    accepts: Callable[[pa.DataType], bool]
    wanted: str
    remedy: str
    convert: Callable[[pa.Array, str, BatchPlace], pa.Array]


NO_LABELS: Mapping[str, str] = {}


def check(
    path: Path, columns: Mapping[str, pa.DataType], names: Iterable[str], labels: Mapping[str, str] = NO_LABELS
) -> None:
    """Check the types of the columns ``names`` of a file; names that the file lacks are passed over.

    ``labels`` are what the user calls columns that have another name in the file.

    Raises:
        SchemaError: for the first column of a wrong type, with the type and what to do.
    """
    for name in names:
        role = _role(name)
        if role is None or name not in columns or role.accepts(plain(columns[name])):
            continue
        kind = str(columns[name])
        shown = kind if len(kind) <= SHOWN else f"{kind[:SHOWN]}..."
        label = labels.get(name, name)
        raise SchemaError(f"{path}: {label} is {shown}, not {role.wanted}. {_remedy(columns[name], role)}")


def converted(
    stream: Iterable[pa.RecordBatch], path: Path, labels: Mapping[str, str] = NO_LABELS, start: int = 0
) -> Iterator[pa.RecordBatch]:
    """Yield record batches with every column in the type that batches have. ``start`` is the first row's number.

    For ``labels`` see `check`. A batch is cut where its decoded texts would exceed ``reading.PIECE_BYTES``.

    Raises:
        SchemaError: for a column of a wrong type, or a count of tokens that is negative or no whole number.
    """
    position = start
    for whole in stream:
        names = whole.schema.names
        check(path, dict(zip(names, whole.schema.types, strict=True)), names, labels)
        for batch in _pieces(whole):
            ids = batch.column("id") if "id" in names else None
            where = BatchPlace(path, position, ids)
            before = batch.columns
            columns = [_convert(name, column, where, labels) for name, column in zip(names, before, strict=True)]
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


def _convert(name: str, column: pa.Array, where: BatchPlace, labels: Mapping[str, str]) -> pa.Array:
    role = _role(name)
    if role is not None:
        return role.convert(decoded(column), labels.get(name, name), where)
    # Polars has no run-end encoding and no extension types. It would read a dictionary as categories.
    return decoded(column)


def _role(name: str) -> Role | None:
    """Return what a column is for, by its name; None for columns that may have any type."""
    return NAMED.get(name) or next((role for prefix, role in PREFIXED.items() if name.startswith(prefix)), None)


def _remedy(kind: pa.DataType, role: Role) -> str:
    """Return what to do about a column of a wrong type."""
    values = plain(kind)
    if role is not TEXT:
        return role.remedy
    if holds_messages(kind):
        return "Give --render chat, which reads it as conversations, or name a column of text with --text-column"
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


NAME_REMEDY = "Write it as a column of strings or whole numbers, or leave it out"
TEXT = Role(
    lambda kind: bool(is_string(kind) or pa.types.is_null(kind)),
    "text",
    "Write it as a column of strings, or name a column of text with --text-column",
    conversions.as_text,
)
NAMED: Mapping[str, Role] = {
    "text": TEXT,
    "id": Role(_is_name, "text or numbers", NAME_REMEDY, conversions.as_name),
    "source": Role(_is_name, "text or numbers", NAME_REMEDY, conversions.as_name),
    "label": Role(
        lambda kind: bool(is_string(kind) or pa.types.is_null(kind) or _is_number(kind) or pa.types.is_boolean(kind)),
        "text, whole numbers or booleans",
        "Write each class as its name or its number from 0",
        conversions.as_label,
    ),
    "tokens": Role(
        lambda kind: bool(_is_number(kind) or pa.types.is_null(kind)),
        "whole numbers",
        "Write whole numbers from 0 on, or leave the column out: tokens are then counted from the text",
        conversions.as_count,
    ),
    "member": Role(_is_row_of_numbers, "lists of booleans", "Write one list for each row", conversions.as_list),
    "correct": Role(_is_row_of_numbers, "lists of booleans", "Write one list for each row", conversions.as_list),
}
PREDICTION = Role(
    _is_prediction,
    "lists of numbers",
    "Write one list for each row with a number for each class, or a struct with a field for each class",
    conversions.as_list,
)
PREFIXED: Mapping[str, Role] = {
    "emb.": Role(
        _is_vector,
        "vectors",
        "Use lists of numbers, all of one length, or fixed-size binary of float32 or float16",
        conversions.as_vector,
    ),
    "probs.": PREDICTION,
    "logits.": PREDICTION,
}
