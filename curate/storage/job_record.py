"""Record what a job was made from, and say in words how another job differs.

A job may continue in a folder only if its arguments and the content of its inputs are those of the record. Arguments
include the format numbers of everything that decides the output. The version of curate is not among them, so that a new
release continues the jobs of the old one.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import cast

from curate.errors import first_few
from curate.storage import files, schema

SHOWN = 3  # differences that a message names: more do not fit on its line
Arguments = Mapping[str, object]  # JSON values by name


@dataclass(frozen=True)
class InputFile:
    """The content hash of an input; its size in bytes and its stamp, where they were recorded."""

    hash: str
    size: int | None = None
    stamp: str = ""


@dataclass(frozen=True)
class JobRecord:
    """The arguments of a job, and its input files by name."""

    arguments: Arguments
    inputs: Mapping[str, InputFile] = field(default_factory=dict)

    def to_json(self) -> dict[str, object]:
        """Return the fields ``arguments`` and ``inputs`` of an artefact."""
        # An input of which only the hash is known is written as its hash alone.
        inputs = {
            name: file.hash if file == InputFile(file.hash) else asdict(file)
            for name, file in sorted(self.inputs.items())
        }
        return {"arguments": dict(self.arguments), "inputs": inputs}


def from_json(record: Mapping[str, object]) -> JobRecord:
    """Return the record that `to_json` wrote.

    Files of format 1 called the arguments ``asked``, and the size of an input ``bytes``; they had no stamps.
    """
    inputs: dict[str, InputFile] = {}
    for name, entry in cast(Mapping[str, str | Mapping[str, object]], record["inputs"]).items():
        if isinstance(entry, str):
            inputs[name] = InputFile(entry)
        else:
            size = cast(int | None, entry.get("size", entry.get("bytes")))
            inputs[name] = InputFile(str(entry["hash"]), size, str(entry.get("stamp", "")))
    arguments = cast(dict[str, object], record.get("arguments", record.get("asked", {})))
    schema.check(arguments, dict[str, object], "the arguments of the job before", "run the job again with --restart")
    return JobRecord(arguments, inputs)


def input_file(path: Path) -> tuple[str, InputFile]:
    """Return the name of a file, and its content hash, size and stamp."""
    # The stamp is taken first: a file that changes while it is hashed then has another stamp next time.
    stamp = files.stamp(path)
    return str(path), InputFile(files.content_hash(path), files.size(path), stamp)


def current_inputs(paths: Iterable[Path], before: Mapping[str, InputFile]) -> dict[str, InputFile]:
    """Return every file as it is now. A file is read again only if its stamp is not that of ``before``."""
    inputs = {}
    for path in paths:
        recorded = before.get(str(path))
        unchanged = recorded is not None and recorded.stamp == files.stamp(path)
        inputs[str(path)] = recorded if recorded is not None and unchanged else input_file(path)[1]
    return inputs


def argument_changes(before: Arguments, after: Arguments) -> list[str]:
    """Return one phrase for each argument that differs: ``batch rows changed (4096 -> 5)``."""
    changes = []
    for name in sorted({*before, *after}):
        old, new = before.get(name), after.get(name)
        if old != new:
            if isinstance(old, Mapping) and isinstance(new, Mapping):
                # Only the entries that differ are shown, since such an argument may have hundreds.
                differ = [key for key in sorted({*old, *new}) if old.get(key) != new.get(key)]
                old, new = ({key: entries[key] for key in differ if key in entries} for entries in (old, new))
            # A nested argument, such as a whole pool, is too long to show.
            values = "" if _is_nested(old) or _is_nested(new) else f" ({_words(old)} -> {_words(new)})"
            changes.append(f"{name.replace('_', ' ')} changed{values}")
    return changes


def input_changes(before: Mapping[str, InputFile], after: Mapping[str, InputFile]) -> list[str]:
    """Return one phrase for each input file that was added, removed or changed."""
    changes = [f"{name} is new" for name in sorted(set(after) - set(before))]
    changes += [f"{name} is gone" for name in sorted(set(before) - set(after))]
    for name in sorted(set(before) & set(after)):
        old, new = before[name], after[name]
        if old.hash != new.hash:
            sizes = "" if None in (old.size, new.size) else f" ({old.size} -> {new.size} bytes)"
            if old.size == new.size:
                sizes = f" (other content, {new.size} bytes as before)" if new.size is not None else ""
            changes.append(f"{name} changed{sizes}")
    return changes


def listed(changes: Sequence[str]) -> str:
    """Return the first changes in one phrase, and how many more there are."""
    more = f" and {len(changes) - SHOWN} more" if len(changes) > SHOWN else ""
    return "; ".join(changes[:SHOWN]) + more


def _is_nested(value: object) -> bool:
    return isinstance(value, Mapping) and not all(isinstance(entry, str | int) for entry in value.values())


def _words(value: object) -> str:
    if isinstance(value, Mapping):
        # Hashes are cut to 8 digits, which is enough to see that they differ.
        return first_few(f"{key} {str(entry)[:8]}" for key, entry in value.items()) or "none"
    if isinstance(value, list | tuple):
        return first_few(value) or "none"
    return "none" if value is None else str(value)
