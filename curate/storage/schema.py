"""The one reader of JSON from files: it parses strictly, and checks the result against a typed form.

In: bytes, and a form (a `TypedDict` whose fields have types and ranges). Out: the record, or one line that names the
file, the path of the wrong field, its value and the remedy. Fields that the form does not name are kept, so that files
of later versions can be read.
"""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from math import isfinite
from pathlib import Path
from typing import TypeVar, cast

import msgspec

from curate.errors import SchemaError
from curate.shown import shortened
from curate.storage import files, s3

LONGEST_NUMBER = 400  # digits; a double has at most 309 before the point
LARGEST_DOUBLE = 10**300
SHOWN_WHOLE = 10**15  # larger whole numbers are shown with three digits and an exponent
SHOWN_CHARACTERS = 60  # of a wrong value in a message
# How msgspec names types, and how a message does.
WORDS: Mapping[str, str] = {
    "float": "a number",
    "int": "a whole number",
    "str": "a text",
    "array": "a list",
    "object": "an object with named fields",
    "bool": "true or false",
    "null": "null",
}
EXPECTED = re.compile(r"Expected `(?P<types>[^`]+)`(?P<limit>.*?)(?:, got `[^`]*`)?$")
NUMBER_LIMIT = re.compile(r" (?P<sign>[<>]=?) (?P<bound>\S+)")
LENGTH_LIMIT = re.compile(r" of length (?:(?P<sign>[<>]=?) )?(?P<bound>\d+)")
SIGNS: Mapping[str, str] = {">": "above", ">=": "at least", "<": "below", "<=": "at most", "": "exactly"}
MISSING = re.compile(r"Object missing required field `(?P<field>.*)`$", re.DOTALL)
STEP = re.compile(r"\[(?P<index>\d+)\]|(?P<any>\[\.\.\.\])|\.(?P<field>[^.\[]+)")

Step = str | int
T = TypeVar("T")


def load(path: Path, remedy: str, *, missing: str = "") -> object:
    """Read the JSON of a file; ``remedy`` ends the message of an error, and ``missing`` that of a missing file.

    Raises:
        SchemaError: if there is no such file, or it is not JSON.
    """
    name = s3.shown(path)
    try:
        content = files.read_bytes(path)
    except FileNotFoundError:
        raise SchemaError(f"no such file: {name}{missing}") from None
    except (IsADirectoryError, NotADirectoryError):
        raise SchemaError(f"{name} is not a file: give the path of a file") from None
    return parse(content, name, remedy)


def parse(content: bytes, name: str, remedy: str) -> object:
    """Return the value of a JSON text in UTF-8; ``name`` begins the message of an error, and ``remedy`` ends it.

    Raises:
        SchemaError: if the text is not UTF-8 or not JSON, nested too deeply, or has NaN, an infinite number, half of a
            character, or an object with the same field twice.
    """
    strict = _Strict(name, remedy)
    try:
        # Some editors begin a file with a byte order mark.
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise SchemaError(f"{name} is not text in UTF-8 (byte {error.start + 1}): {remedy}") from None
    try:
        value: object = json.loads(
            text,
            object_pairs_hook=strict.fields,
            parse_int=strict.whole,
            parse_float=strict.number,
            parse_constant=strict.number,
        )
    except ValueError as error:
        raise SchemaError(f"{name} is not JSON ({shortened(str(error))}): {remedy}") from None
    except RecursionError:
        raise SchemaError(f"{name} is not one of our files (nested too deeply): {remedy}") from None
    if strict.has_infinite:
        steps, number = next(_infinite(value, ()))
        raise SchemaError(f"{_place(name, steps)} is {number}, which is not a finite number: {remedy}")
    if "\\ud" in text.lower():
        try:
            json.dumps(value, ensure_ascii=False).encode()
        except UnicodeEncodeError:
            raise SchemaError(f"{name} has half of a character (an escape \\ud... alone): {remedy}") from None
    return value


class _Strict:
    """The parts of the parser that accept less than JSON's in Python."""

    def __init__(self, name: str, remedy: str) -> None:
        self.name, self.remedy, self.has_infinite = name, remedy, False

    def fields(self, pairs: list[tuple[str, object]]) -> dict[str, object]:
        """Return an object; one with the same field twice is an error, as nobody knows which is meant."""
        record = dict(pairs)
        if len(record) < len(pairs):
            names = [key for key, _ in pairs]
            repeated = next(key for i, key in enumerate(names) if key in names[:i])
            raise SchemaError(f"{self.name} has the field {_quoted(repeated)} twice in one object: {self.remedy}")
        return record

    def whole(self, digits: str) -> int | float:
        """Return a whole number; Python takes minutes to read one with a million digits."""
        return int(digits) if len(digits) <= LONGEST_NUMBER else self.number(digits)

    def number(self, digits: str) -> float:
        """Return a number, which may be infinite; the caller then says where it is."""
        value = float(digits)
        self.has_infinite |= not isfinite(value)
        return value


def _infinite(value: object, steps: tuple[Step, ...]) -> Iterator[tuple[tuple[Step, ...], float]]:
    if isinstance(value, float) and not isfinite(value):
        yield steps, value
    elif isinstance(value, dict):
        for key, entry in cast(dict[str, object], value).items():
            yield from _infinite(entry, (*steps, key))
    elif isinstance(value, list):
        for i, entry in enumerate(cast(list[object], value)):
            yield from _infinite(entry, (*steps, i))


def check(value: object, form: type[T], name: str, remedy: str, *, under: Sequence[Step] = ()) -> T:
    """Check a value against a form, and return it with all its fields.

    ``name`` begins the message of an error, and ``remedy`` ends it. ``under`` is the path of the value in its file.

    Raises:
        SchemaError: if a field is missing, has another type, or is out of its range. The message has its path.
    """
    try:
        msgspec.convert(value, form)
    except msgspec.ValidationError as error:
        raise SchemaError(f"{_mistake(value, form, name, str(error), under)}: {remedy}") from None
    except (RecursionError, OverflowError):
        raise SchemaError(f"{name} is not one of our files: {remedy}") from None
    return cast(T, value)


def record(value: object, form: type[T], name: str, remedy: str) -> T:
    """Check a value against a dataclass, and return it as one. Fields that the class does not have are left out.

    Raises:
        SchemaError: as `check`.
    """
    return msgspec.convert(check(value, form, name, remedy), form)


def _mistake(value: object, form: type, name: str, message: str, under: Sequence[Step]) -> str:
    """Return what is wrong and where, in words, from the message of msgspec."""
    what, _, path = message.partition(" - at `$")
    steps = _steps(value, form, path.rstrip("`"))
    place, wrong = _place(name, (*under, *steps)), _value_of(value, steps)
    if match := MISSING.match(what):
        return f"{place} has no field {_quoted(match['field'])}"
    shown = shortened(_written(wrong), SHOWN_CHARACTERS)
    return f"{place} is {shown}, {_wanted(what, wrong)}"


def _wanted(what: str, value: object) -> str:
    """Return what a value should have been, in words."""
    expected = EXPECTED.match(what)
    if expected is None:
        if what == "Number out of range":
            return "which is too large"
        return f"which is not accepted ({what[0].lower()}{what[1:]})"
    if limit := NUMBER_LIMIT.match(expected["limit"]):
        # A bound of -1e-6 or 1 + 1e-6 leaves room for rounding, and means 0 or 1.
        bound = round(float(limit["bound"]), 5) + 0.0  # no -0
        return f"which is not {SIGNS[limit['sign']]} {bound:g}"
    kinds = [WORDS.get(kind.strip(), kind.strip()) for kind in expected["types"].split("|")]
    length = LENGTH_LIMIT.match(expected["limit"])
    if length and value in ("", [], {}):
        return "which is empty"
    if length:
        kinds[0] += f" of {SIGNS[length['sign'] or '']} {length['bound']}"
    if "matching regex" in expected["limit"]:
        return "which holds a character that it cannot hold"
    return f"not {' or '.join(kinds)}"


def _steps(value: object, form: type, path: str) -> tuple[Step, ...]:
    """Return the steps of a path of msgspec, which writes ``[...]`` for any field of a mapping."""
    steps: list[Step] = []
    for step in STEP.finditer(path):
        if step["index"] is not None:
            steps.append(int(step["index"]))
        elif step["field"] is not None:
            steps.append(step["field"])
        else:
            steps.append(_wrong_key(value, form, steps))
    return tuple(steps)


def _wrong_key(value: object, form: type, steps: Sequence[Step]) -> str:
    """Return the field of a mapping whose value is wrong: the first without which nothing is wrong in its place."""
    entries = _value_of(value, steps)
    for key, entry in cast(dict[str, object], entries).items() if isinstance(entries, dict) else ():
        try:
            msgspec.convert(_with(value, steps, {key: entry}), form)
        except msgspec.ValidationError as error:
            if _same_place(str(error), steps):
                return key
    return "..."


def _same_place(message: str, steps: Sequence[Step]) -> bool:
    """Return whether a message is about an entry of the mapping at ``steps``."""
    found_steps = list(STEP.finditer(message.partition(" - at `$")[2].rstrip("`")))
    return len(found_steps) > len(steps) and found_steps[len(steps)]["any"] is not None


def _with(value: object, steps: Sequence[Step], entry: object) -> object:
    """Return a copy of a value with another entry at the end of a path."""
    if not steps:
        return entry
    first, *rest = steps
    if isinstance(value, dict):
        fields = cast(dict[str, object], value)
        return {**fields, str(first): _with(fields[str(first)], rest, entry)}
    items = list(cast(Sequence[object], value))
    items[int(first)] = _with(items[int(first)], rest, entry)
    return items


def _value_of(value: object, steps: Sequence[Step]) -> object:
    for step in steps:
        if isinstance(value, dict):
            value = cast(dict[str, object], value).get(str(step))
        elif isinstance(value, list) and isinstance(step, int):
            value = cast(list[object], value)[step]
    return value


def _place(name: str, steps: Sequence[Step]) -> str:
    """Return the place of a value: ``plan.json: plans[0].budget.tokens``."""
    text = ""
    for step in steps:
        if isinstance(step, int):
            text += f"[{step}]"
        elif step.isidentifier():
            text += f".{step}" if text else step
        else:
            text += f"[{_quoted(step)}]"
    return f"{name}: {text}" if text else name


def _quoted(text: str) -> str:
    return shortened(repr(text), SHOWN_CHARACTERS)


def _written(value: object) -> str:
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else f"a list of {len(cast(list[object], value))}"
    if isinstance(value, bool) or value is None:
        return json.dumps(value)
    # A whole number may have more digits than a double can hold.
    if isinstance(value, int) and abs(value) >= SHOWN_WHOLE:
        return f"{value:.3g}" if abs(value) < LARGEST_DOUBLE else "a number of over 300 digits"
    return repr(value)
