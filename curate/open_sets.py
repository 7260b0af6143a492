"""Open sets: a folder of implementations where the file name is the name on the command line."""

import ast
from collections.abc import Mapping
from dataclasses import fields
from importlib import import_module
from pathlib import Path
from types import ModuleType

from curate.errors import CurateError, SchemaError


def names(folder: str) -> tuple[str, ...]:
    """Return the sorted names of every implementation in ``curate/<folder>/`` without importing any of them."""
    return tuple(sorted(p.stem for p in (Path(__file__).parent / folder).glob("*.py") if p.stem[0] != "_"))


def module(folder: str, name: str) -> ModuleType:
    """Import ``curate.<folder>.<name>``; an unknown name lists the known ones."""
    if name not in names(folder):
        raise CurateError(f"unknown name {name!r} in {folder}: choose one of {', '.join(names(folder))}")
    return import_module(f"curate.{folder}.{name}")


def implementation(folder: str, name: str) -> type:
    """Return the class of the file ``name``: ``utility_smooth.py`` holds ``UtilitySmooth``."""
    found: type = getattr(module(folder, name), "".join(part.capitalize() for part in name.split("_")))
    return found


def parse(spec: str) -> tuple[str, dict[str, int | float | str | bool]]:
    """Split ``name:key=value,key=value`` into a name and typed options (int, float, bool, else str)."""
    name, _, rest = spec.partition(":")
    options: dict[str, int | float | str | bool] = {}
    for item in filter(None, rest.split(",")):
        key, equals, value = item.partition("=")
        if not equals:
            raise CurateError(f"option {item!r} in {spec!r} has no value: write {name}:{item}=VALUE")
        try:
            options[key] = ast.literal_eval({"true": "True", "false": "False"}.get(value, value))
        except (ValueError, SyntaxError):
            options[key] = value
    return name, options


def split(specs: str) -> list[str]:
    """Split ``name,name:key=value,key=value,name`` at the commas between names: an item with ``=`` and no ``:`` is an
    option of the name before it."""
    found: list[str] = []
    for item in specs.split(","):
        if found and "=" in item and ":" not in item:
            found[-1] += f",{item}"
        else:
            found.append(item)
    return found


def build(folder: str, spec: str) -> object:
    """Instantiate ``name:key=value,...`` from an open set; a wrong option lists the right ones."""
    name, options = parse(spec)
    cls = implementation(folder, name)
    known = {f.name: f.type for f in fields(cls) if f.init}
    if unknown := sorted(set(options) - set(known)):
        raise CurateError(f"{folder} {name} has no option {unknown[0]!r}: it takes {', '.join(known) or 'none'}")
    check(name, options, known)
    return cls(**options)


WORDS = {int: "a whole number", float: "a number", bool: "true or false"}


def check(name: str, options: Mapping[str, object], kinds: Mapping[str, object]) -> None:
    """Refuse a value that is not of the plain type of its option; a whole number is a number too."""
    for option, value in options.items():
        kind = kinds[option]
        if kind in (int, float, bool) and type(value) is not kind and not (kind is float and type(value) is int):
            whole = kind is int and isinstance(value, float) and value.is_integer()
            instead = f": write {value:.0f}" if whole else ""
            raise SchemaError(f"{name}: {option}={value} is not {WORDS[kind]}{instead}")
