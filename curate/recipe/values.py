"""Read a value of a recipe as the type that a parameter of a job has.

In: a value of TOML, and the annotation of a parameter. Out: the value for the parameter, or an error that says in words
what the parameter takes. Values may also be written as on the command line: ``"20B"``, ``"NAME=VALUE"``.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from types import NoneType, UnionType
from typing import Literal, Union, get_args, get_origin

from curate import written_names, written_numbers

WORDS: Mapping[object, str] = {
    bool: "true or false",
    int: "a whole number",
    float: "a number",
    str: "a text in quotes",
    Path: "a path in quotes",
}


class WrongType(Exception):
    """A value does not suit a parameter. The text says in words what the parameter takes."""


def takes(annotation: object) -> bool:
    """Return whether a recipe can hold a value for a parameter with this annotation."""
    return bool(_forms(annotation))


def read(value: object, annotation: object) -> object:
    """Return a value of TOML as a parameter with this annotation takes it.

    Raises:
        WrongType: if the value is of another type.
    """
    forms = _forms(annotation)
    for form in forms:
        try:
            return _read(value, form)
        except ValueError:
            continue
    # A list may also be written as a single text, which need not be said twice.
    words = dict.fromkeys(_words(form) for form in forms)
    raise WrongType(" or ".join(words))


def _forms(annotation: object) -> list[object]:
    """Return the types among those of an annotation that TOML can hold."""
    if get_origin(annotation) in (Union, UnionType):
        return [form for inner in get_args(annotation) for form in _forms(inner)]
    if annotation in WORDS or get_origin(annotation) is Literal:
        return [annotation]
    values = [inner for inner in get_args(annotation) if inner not in (Ellipsis, NoneType)]
    if _is_list(annotation):
        return [annotation] if values and _forms(values[0]) else []
    if _is_table(annotation):
        return [annotation] if len(values) == 2 and values[0] is str and _forms(values[1]) else []
    return []


def _is_list(form: object) -> bool:
    return get_origin(form) in (list, tuple, Sequence, Iterable)


def _is_table(form: object) -> bool:
    return get_origin(form) in (dict, Mapping)


def _read(value: object, form: object) -> object:
    """Return a value as one type; ValueError if it is of another."""
    if _is_list(form):
        return _list(value, get_args(form)[0])
    if _is_table(form):
        return _table(value, get_args(form)[1])
    if get_origin(form) is Literal:
        if value in get_args(form):
            return value
    elif form is float:
        return _number(value)
    elif form is int:
        number = _number(value)
        if number.is_integer():
            return value if isinstance(value, int) else int(number)
    elif form is Path and isinstance(value, str):
        return Path(value)
    elif type(value) is form:
        return value
    raise ValueError


def _number(value: object) -> float:
    if isinstance(value, str):
        return written_numbers.number(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise ValueError
    return float(value)


def _list(value: object, form: object) -> tuple[object, ...]:
    # A flag that may be repeated is often given once.
    items = [value] if isinstance(value, str) else value
    if not isinstance(items, list | tuple):
        raise ValueError
    return tuple(_one_of(item, form) for item in items)


def _table(value: object, form: object) -> dict[str, object]:
    if isinstance(value, str):
        value = written_names.split(value)
    if isinstance(value, list | tuple):
        pairs = [written_names.valued(item) for item in value if isinstance(item, str)]
        if len(pairs) < len(value) or any(text is None for _, text in pairs):
            raise ValueError
        value = {name: (text or "").strip('"') for name, text in pairs}
    if not isinstance(value, Mapping):
        raise ValueError
    return {str(name): _one_of(item, form) for name, item in value.items()}


def _one_of(value: object, annotation: object) -> object:
    try:
        return read(value, annotation)
    except WrongType as error:
        raise ValueError from error


def _words(form: object) -> str:
    if _is_list(form):
        return "a list of texts" if get_args(form)[0] is str else "a list"
    if _is_table(form):
        return "a table, such as { NAME = VALUE }"
    if get_origin(form) is Literal:
        return " or ".join(f'"{choice}"' for choice in get_args(form))
    return WORDS[form]
