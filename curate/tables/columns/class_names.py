"""The order of class names: numbers by their value, then words by their letters."""

import re
from collections.abc import Iterable

NUMBER = re.compile(r"[+-]?(\d+(\.\d*)?|\.\d+)([eE][+-]?\d+)?", re.ASCII)


def in_order(names: Iterable[str]) -> list[str]:
    """Return class names in the order of their columns, unless a user names another.

    Names that are numbers come first, by value: "2" before "10". Words follow, by letters. Equal numbers ("1", "01")
    keep the order of their letters.
    """
    return sorted(names, key=_key)


def class_numbers(names: Iterable[str]) -> dict[str, int] | None:
    """Return the number of each name, if all names are different whole numbers from 0 on; otherwise None."""
    numbers: dict[str, int] = {}
    for name in names:
        value = float(name) if NUMBER.fullmatch(name) else -1.0
        if value < 0 or not value.is_integer():
            return None
        numbers[name] = int(value)
    return numbers if len(set(numbers.values())) == len(numbers) else None


def _key(name: str) -> tuple[bool, float, str]:
    number = NUMBER.fullmatch(name)
    return (number is None, float(name) if number else 0.0, name)
