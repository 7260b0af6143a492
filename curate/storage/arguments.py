"""The arguments of a job as JSON values, for the record of what made an artefact."""

from collections.abc import Mapping, Sequence
from dataclasses import asdict, is_dataclass
from pathlib import Path

IN_MEMORY = "table in memory"  # stands for a table that has no path; its content hash is recorded beside it


def as_json(arguments: Mapping[str, object]) -> dict[str, object]:
    """Return arguments as JSON values: paths as text, records as dictionaries, tables as ``table in memory``."""
    return {name: _value(value) for name, value in arguments.items()}


def _value(value: object) -> object:
    if value is None or isinstance(value, str | int | float):
        return value
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, Mapping):
        return {str(key): _value(item) for key, item in value.items()}
    if is_dataclass(value) and not isinstance(value, type):
        return as_json(asdict(value))
    if isinstance(value, Sequence):
        return [_value(item) for item in value]
    return IN_MEMORY
