"""What the values of a column of text files must be: text, names, counts, vectors, and so on.

In: values as a JSON or CSV parser gives them. Out: Arrow arrays, or for each wrong value the reason.
The columns that curate knows have a fixed kind. Any other column has the kind of the first values in its file.
"""

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.tables.mapping import chat

Value = object  # what a parser gives: a text, number, list, dictionary, true, false or null
TEXT, WHOLE = pa.large_string(), pa.int64()
LARGEST = 2**63 - 1  # of a whole number in a table
# Of a count of tokens: a million such rows can still be summed in int64, and no text has a trillion tokens.
MOST_TOKENS = 2**40
SHOWN_CHARACTERS = 40  # of a wrong value in a message
# What pyarrow and numpy raise for a list in which a value has the wrong type or size.
WRONG = (TypeError, ValueError, OverflowError, pa.ArrowException)


class UnreadableValue(ValueError):
    """A value is wrong for a reason that its message tells."""


@dataclass(frozen=True)
class ValueKind:
    """One kind of values.

    ``words`` say what is right. ``annotation`` is the type by which the fast parser checks a value.
    ``array`` makes an array of right values, and raises one of ``WRONG`` if a value may be wrong. ``checked`` returns a
    single value, mended where that is exact (5.0 for a count), and raises ValueError if it is wrong.
    """

    words: str
    arrow: pa.DataType
    annotation: object = field(compare=False)
    array: Callable[[Sequence[Value]], pa.Array] = field(compare=False, repr=False)
    checked: Callable[[Value], Value] = field(compare=False, repr=False)


def kind(
    name: str, values: Sequence[Value], fields: Sequence[tuple[str, ...]] = (), *, rendered: bool = False
) -> ValueKind:
    """Return the kind of a column.

    ``name`` is the one that jobs use. ``values`` are those of the first lines that have the column, nulls included.
    ``fields`` are those that an expression reads of its objects. If ``rendered``, the texts are conversations.
    """
    present = [value for value in values if value is not None]
    if name == "text":
        return CONVERSATIONS if rendered else TEXTS
    if name in ("id", "source"):
        return NAMES
    if name == "tokens":
        return COUNTS
    if name.startswith("emb."):
        return _vectors(next((len(value) for value in present if isinstance(value, list)), None))
    if fields:
        return _objects(present, fields)
    # Probabilities may also come as an object with a number for each class.
    if name.startswith(("probs.", "logits.")) and not any(isinstance(value, dict) for value in present[:1]):
        return NUMBER_LISTS
    return _kind_of(present)


def _kind_of(values: Sequence[Value]) -> ValueKind:
    """Return the kind that fits the first value; whole numbers and fractions together are numbers."""
    if not values or isinstance(values[0], str):
        return TEXTS
    if isinstance(values[0], bool):
        return TRUTHS
    if isinstance(values[0], int | float):
        numbers = [value for value in values if isinstance(value, int | float)]
        return WHOLE_NUMBERS if all(isinstance(value, int) for value in numbers) else NUMBERS
    return _nested(values)


def shown(value: Value) -> str:
    """Return a wrong value as a message shows it: its start, or what kind of value it is."""
    if value is None:
        return "missing or null"
    if isinstance(value, list):
        return f"a list of {len(value)}"
    if isinstance(value, dict):
        return "an object"
    if isinstance(value, bool):
        return str(value).lower()
    text = ascii(value) if isinstance(value, str) else repr(value)
    return text if len(text) <= SHOWN_CHARACTERS else text[:SHOWN_CHARACTERS] + "..."


def _text(value: Value) -> Value:
    if value is None or isinstance(value, str):
        if value is not None:
            value.encode()  # raises for lone surrogates, which UTF-8 cannot hold
        return value
    raise ValueError


def _name(value: Value) -> Value:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int):
        return str(value)
    if isinstance(value, float) and math.isfinite(value):
        return repr(value)
    return _text(value)


def _names(values: Sequence[Value]) -> pa.Array:
    try:
        return pa.array(values, TEXT)
    except (TypeError, pa.ArrowException):
        return pa.array([_name(value) for value in values], TEXT)


def _whole(value: Value) -> Value:
    number = int(value) if isinstance(value, float) and value.is_integer() else value
    if number is None or (isinstance(number, int) and not isinstance(number, bool) and abs(number) <= LARGEST):
        return number
    raise ValueError


def _count(value: Value) -> Value:
    count = _whole(value)
    if isinstance(count, int) and not 0 <= count <= MOST_TOKENS:
        raise ValueError
    return count


def _counts(values: Sequence[Value]) -> pa.Array:
    array = pa.array(values, WHOLE)
    least, most = pc.min_max(array).as_py().values()
    if least is not None and not 0 <= least <= most <= MOST_TOKENS:
        raise ValueError
    return array


def _truth(value: Value) -> Value:
    if value is None or isinstance(value, bool):
        return value
    raise ValueError


def _number(value: Value) -> Value:
    if isinstance(value, int | float) and not isinstance(value, bool):
        return float(value)
    if value is None:
        return None
    raise ValueError


def _numbers_of(value: Value) -> Value:
    if not isinstance(value, list) or None in value:
        raise ValueError
    return [_number(item) for item in value]


def _plain(arrow: pa.DataType) -> Callable[[Sequence[Value]], pa.Array]:
    return lambda values: pa.array(values, arrow)


def _number_lists(values: Sequence[Value]) -> pa.Array:
    if None in values:
        raise ValueError
    return pa.array(values, pa.list_(pa.float64()))


def _vectors(width: int | None) -> ValueKind:
    """Return the kind of vectors of ``width`` numbers; None: no line has one."""
    if not width:
        width, words = 1, "a list of numbers"
    else:
        words = f"a list of {width} finite numbers, as in the first line that has one"

    def array(values: Sequence[Value]) -> pa.Array:
        if not values:
            return pa.array([], pa.list_(pa.float32(), width))
        # Numpy refuses lists of different lengths and nulls. A number that is too large becomes infinite.
        with np.errstate(over="ignore"):
            numbers = np.asarray(values, dtype=np.float32)
        if numbers.shape != (len(values), width) or not np.isfinite(numbers).all():
            raise ValueError
        return pa.FixedSizeListArray.from_arrays(pa.array(numbers.reshape(-1)), width)

    def checked(value: Value) -> Value:
        array([_numbers_of(value)])
        return value

    return ValueKind(words, pa.list_(pa.float32(), width), list[float] | None, array, checked)


def _nested(values: Sequence[Value]) -> ValueKind:
    """Return the kind of lists and objects like the first of these values."""
    try:
        arrow = _with_fractions(pa.array(values[:1]).type)
    except WRONG:
        # A list of numbers and words has no type; nor has any value of such a column.
        arrow = pa.null()

    def checked(value: Value) -> Value:
        pa.array([value], arrow)
        return value

    return ValueKind("a list or an object of one type in all lines", arrow, object, _plain(arrow), checked)


def _objects(values: Sequence[Value], fields: Sequence[tuple[str, ...]]) -> ValueKind:
    """Return the kind of objects of which an expression reads these fields. Other fields may hold anything."""
    kinds: dict[str, ValueKind] = {}
    objects = [value for value in values if isinstance(value, dict)]
    for name in dict.fromkeys(path[0] for path in fields):
        inner = [path[1:] for path in fields if path[0] == name and len(path) > 1]
        present = [value[name] for value in objects if value.get(name) is not None]
        kinds[name] = _objects(present, inner) if inner else _field_kind(present)
    arrow = pa.struct([(name, kind.arrow) for name, kind in kinds.items()])

    def checked(value: Value) -> Value:
        if value is None:
            return None
        if not isinstance(value, dict):
            raise ValueError
        return {name: kind.checked(value.get(name)) for name, kind in kinds.items()}

    return ValueKind("an object with fields that have one type in all lines", arrow, object, _plain(arrow), checked)


def _field_kind(values: Sequence[Value]) -> ValueKind:
    """Return the kind of the values of a field. Texts among other values make it a name, which may be a number."""
    if not values or any(isinstance(value, str) for value in values):
        return NAMES
    # The first list or object tells the kind, as it does for a column.
    return _kind_of(values)


def _with_fractions(arrow: pa.DataType) -> pa.DataType:
    """Return a nested type with fractions for whole numbers, which would cut off what stands after the point."""
    if pa.types.is_integer(arrow):
        return pa.float64()
    if pa.types.is_list(arrow):
        return pa.list_(_with_fractions(arrow.value_type))
    if pa.types.is_struct(arrow):
        return pa.struct([field.with_type(_with_fractions(field.type)) for field in arrow])
    return arrow


def _conversation(value: Value) -> Value:
    try:
        chat.rendered(value)
    except UnicodeEncodeError:
        raise
    except ValueError as error:
        raise UnreadableValue(f"cannot be rendered: {error}") from None
    # It is rendered once all values are known to be right.
    return value


def _conversations(values: Sequence[Value]) -> pa.Array:
    return pa.array(list(map(chat.rendered, values)), TEXT)


TEXTS = ValueKind("text or null", TEXT, str | None, _plain(TEXT), _text)
NAMES = ValueKind("text or a number", TEXT, str | int | float | bool | None, _names, _name)
COUNTS = ValueKind("a whole number from 0 to 2^40, or null", WHOLE, int | None, _counts, _count)
WHOLE_NUMBERS = ValueKind("a whole number, as in the first lines", WHOLE, int | None, _plain(WHOLE), _whole)
NUMBERS = ValueKind("a number, as in the first lines", pa.float64(), float | None, _plain(pa.float64()), _number)
CONVERSATIONS = ValueKind(chat.WORDS, TEXT, object, _conversations, _conversation)
TRUTHS = ValueKind("true or false, as in the first lines", pa.bool_(), bool | None, _plain(pa.bool_()), _truth)
NUMBER_LISTS = ValueKind("a list of numbers", pa.list_(pa.float64()), list[float] | None, _number_lists, _numbers_of)


@dataclass(frozen=True)
class Columns:
    """The columns that are read from a file of text, and their kinds."""

    names: tuple[str, ...]
    kinds: tuple[ValueKind, ...]

    def checked(self, values: Iterable[Value]) -> list[Value]:
        """Return the values of one row, mended where that is exact.

        Raises:
            ValueError: with the reason why one is wrong.
        """
        return [_checked(name, kind, value) for name, kind, value in zip(self.names, self.kinds, values, strict=True)]

    def arrays(
        self, numbers: Sequence[int], columns: Sequence[Sequence[Value]], refuse: Callable[[int, str], None]
    ) -> tuple[Sequence[int], list[pa.Array]]:
        """Return the rows of which every value is right: their numbers and an array for each column.

        ``numbers`` (n,) are those of the rows in their file. For the others ``refuse`` is called with the number and
        the reason.
        """
        try:
            return numbers, [kind.array(column) for kind, column in zip(self.kinds, columns, strict=True)]
        except WRONG:
            pass  # rows are looked at one by one only if one of them is wrong
        right, rows = [], []
        for number, row in zip(numbers, zip(*columns, strict=True), strict=True):
            try:
                rows.append(self.checked(row))
                right.append(number)
            except ValueError as error:
                refuse(number, str(error))
        return right, [kind.array([row[i] for row in rows]) for i, kind in enumerate(self.kinds)]


def _checked(name: str, kind: ValueKind, value: Value) -> Value:
    try:
        return kind.checked(value)
    except UnicodeEncodeError:
        raise ValueError(f"{name} has a lone surrogate, which is no character") from None
    except UnreadableValue as error:
        raise ValueError(f"{name} {error}") from None
    except WRONG:
        if kind is TEXTS and chat.is_conversation(value):
            raise ValueError(f"{name} is a conversation, not text; --render chat reads conversations") from None
        raise ValueError(f"{name} is {shown(value)}; it must be {kind.words}") from None
