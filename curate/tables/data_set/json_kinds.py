"""Find the types of the values of JSON rows, column by column, so that a card can declare them.

In: rows of JSON lines. Out: an Arrow type for each column, or none where no type holds all values.
`datasets` takes the types of JSON from the first rows, and stops at a later row with another type. With the types in
the card it reads all rows: columns of mixed types as its type `json`.
"""

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime

import pyarrow as pa

from curate.tables.formats import json_rows

# An object with more names is a map, such as counts by word, and not a record. Arrow would make a column of each name.
MOST_FIELDS = 1000
INT64 = range(-(2**63), 2**63)
# Text that Arrow, inside `datasets`, reads as a time in whole seconds if all values of a column are of this form.
TIME = re.compile(r"\d{4}-\d\d-\d\d(?:[T ]\d\d(?::\d\d(?::\d\d)?)?Z?)?\Z", re.ASCII)
MIXED = "mixed"  # the kind of a place whose values no single type holds


@dataclass
class Kinds:
    """The kinds of values so far in one place of the rows: a column, a field of an object, or the items of lists."""

    scalars: set[str] = field(default_factory=set)
    fields: "dict[str, Kinds]" = field(default_factory=dict)
    items: "Kinds | None" = None
    is_object: bool = False

    def add(self, value: object) -> None:
        """Add a value as a JSON parser gives it."""
        if isinstance(value, str):
            self.scalars.add("time" if _is_time(value) else "text")
        elif isinstance(value, bool):
            self.scalars.add("bool")
        elif isinstance(value, int):
            self.scalars.add("whole" if value in INT64 else "number")
        elif isinstance(value, float):
            self.scalars.add("number")
        elif isinstance(value, list):
            self.items = self.items or Kinds()
            for item in value:
                self.items.add(item)
        elif isinstance(value, Mapping):
            self.is_object = True
            for name, inner in value.items():
                if name not in self.fields and len(self.fields) >= MOST_FIELDS:
                    self.scalars.add(MIXED)
                    return
                self.fields.setdefault(name, Kinds()).add(inner)

    def merge(self, other: "Kinds") -> None:
        """Add the kinds of other rows."""
        self.scalars |= other.scalars
        self.is_object |= other.is_object
        for name, kinds in other.fields.items():
            self.fields.setdefault(name, Kinds()).merge(kinds)
        if len(self.fields) > MOST_FIELDS:
            self.scalars.add(MIXED)
        if other.items is not None:
            self.items = self.items or Kinds()
            self.items.merge(other.items)

    def arrow(self) -> pa.DataType | None:
        """Return the Arrow type that holds all values; None if there is none."""
        if (self.is_object + (self.items is not None) + bool(self.scalars)) > 1:
            return None
        if self.items is not None:
            item = self.items.arrow()
            return None if item is None else pa.list_(item)
        if self.is_object:
            inner = {name: kinds.arrow() for name, kinds in self.fields.items()}
            # An object without any name has no Arrow type that Parquet can hold.
            return pa.struct(inner.items()) if inner and None not in inner.values() else None
        return _scalar(frozenset(self.scalars))


def add_line(kinds: Kinds, line: bytes) -> None:
    """Add the values of one line of JSON.

    Raises:
        ValueError: if it is not JSON, or not an object.
    """
    kinds.add(json_rows.parsed(line))


def columns(kinds: Kinds) -> dict[str, pa.DataType | None]:
    """Return the type of every column of the rows, in the order in which they first appear."""
    return {name: column.arrow() for name, column in kinds.fields.items()}


def _scalar(scalars: frozenset[str]) -> pa.DataType | None:
    """Return the type of plain values of these kinds."""
    if scalars == {"time"}:
        return pa.timestamp("s")
    if scalars <= {"text", "time"} and scalars:
        return pa.string()
    if scalars <= {"whole", "number"} and scalars:
        return pa.float64() if "number" in scalars else pa.int64()
    if scalars == {"bool"}:
        return pa.bool_()
    return None if scalars else pa.null()


def _is_time(text: str) -> bool:
    """Return whether a text is a time in whole seconds, as Arrow reads it."""
    if not TIME.match(text):
        return False
    try:
        datetime.fromisoformat(text)
    except ValueError:
        return False
    return True


def without_times(kind: pa.DataType) -> pa.DataType:
    """Return a type in which text that may be read as a time is text."""
    if pa.types.is_timestamp(kind):
        return pa.string()
    if pa.types.is_struct(kind):
        return pa.struct([(field.name, without_times(field.type)) for field in kind])
    return pa.list_(without_times(kind.value_type)) if pa.types.is_list(kind) else kind
