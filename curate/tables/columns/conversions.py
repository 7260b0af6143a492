"""Convert columns to the one type that batches have, and name the row of a value that cannot be converted.

In: decoded columns of accepted types. Out: columns of strings, int64, numbers or lists.
"""

from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import SchemaError
from curate.tables.columns.arrow_types import decoded
from curate.tables.columns.class_names import in_order
from curate.tables.formats.values import MOST_TOKENS

COUNTS = " from 0 to 2^40"  # the end of a message on a count of tokens
INT64_DIGITS = 18  # every whole number of so many digits fits into int64


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


def as_text(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    """Return text as it is, and a column of type null as null texts."""
    return column.cast(pa.large_string()) if pa.types.is_null(column.type) else column


def as_name(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    """Return ids or sources. Floats and decimals become whole numbers, of any length."""
    kind = column.type
    if pa.types.is_decimal(kind) and kind.precision - kind.scale > INT64_DIGITS:
        # The type decides, and not the values, so that a file has one hash however it is cut into batches.
        with suppress(pa.ArrowInvalid):  # a fraction, which `whole_numbers` names
            return column.cast(pa.decimal256(kind.precision, 0)).cast(pa.large_string())
    if pa.types.is_floating(kind) or pa.types.is_decimal(kind):
        return whole_numbers(column, name, where)
    return as_text(column, name, where)


def as_label(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    """Return labels. Decimals become whole numbers."""
    return whole_numbers(column, name, where) if pa.types.is_decimal(column.type) else as_text(column, name, where)


def as_count(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    """Return counts of tokens as int64.

    Raises:
        SchemaError: for a count that is no whole number, or outside 0 to MOST_TOKENS.
    """
    is_null = pa.types.is_null(column.type)
    numbers = column.cast(pa.int64()) if is_null else whole_numbers(column, name, where, COUNTS)
    least, most = (bound.as_py() for bound in pc.min_max(numbers).values())
    if least is not None and not 0 <= least <= most <= MOST_TOKENS:
        wrong = pc.or_(pc.less(numbers, 0), pc.greater(numbers, MOST_TOKENS)).fill_null(False)
        count = pc.sum(wrong).as_py()
        row = pc.index(wrong, True).as_py()
        raise _bad_number(f"{where.path}: {name}", column[row].as_py(), count, where.name(row), COUNTS)
    return numbers


def whole_numbers(column: pa.Array, name: str, where: BatchPlace, limits: str = "") -> pa.Array:
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
        raise _bad_number(
            f"{where.path}: {name}", column[row].as_py(), max(1, int(bad.sum())), where.name(row), limits
        ) from None


def _bad_number(name: str, value: object, rows: int, row: str, limits: str) -> SchemaError:
    others = f" and in {rows - 1} more rows near it" if rows > 1 else ""
    return SchemaError(
        f"{name} is {value} in {row}{others}. It must be a whole number{limits}: correct it, or leave it empty"
    )


def as_vector(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    """Return vectors as they are. `curate.tables.columns.vectors` makes arrays of float32 of all accepted types."""
    return column


def as_list(column: pa.Array, name: str, where: BatchPlace) -> pa.Array:
    """Return lists of numbers. A struct becomes a list, in the order of class names."""
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
