"""The record of a job that reads many files and makes many: continue the same job, refuse another with what differs."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import cast

from curate.engines import Engine
from curate.storage import artifacts
from curate.storage.files import content_hash

SHOWN = 3  # differences that a message names
Asked = Mapping[str, object]  # in words, what is compared: JSON values


def save(path: Path, asked: Asked, files: Sequence[Path], engine: Engine) -> None:
    """Write what was asked and the content hash of every input file; the workers hash."""
    prints = dict(sorted(engine.run(fingerprint, files)))
    artifacts.save(path, "job", {"asked": dict(asked), "inputs": prints})


def fingerprint(path: Path) -> tuple[str, dict[str, object]]:
    """Return a file's name with its bytes, time of change and content hash."""
    stat = path.stat()
    return str(path), {"bytes": stat.st_size, "mtime": stat.st_mtime_ns, "hash": content_hash(path)}


def hashes(path: Path) -> dict[str, str]:
    """Return the recorded content hash of every input file."""
    return {name: str(one["hash"]) for name, one in _inputs(artifacts.load(path, "job")).items()}


def changes(path: Path, asked: Asked, files: Sequence[Path]) -> list[str]:
    """Say what differs between the recorded job and this one; a file with another time is compared by its hash."""
    record = artifacts.load(path, "job")
    before, inputs = cast(Asked, record["asked"]), _inputs(record)
    found = []
    for what in sorted({*before, *asked}):
        old, new = before.get(what), asked.get(what)
        if old != new:
            shown = "" if isinstance(old, dict) or isinstance(new, dict) else f" ({_said(old)} -> {_said(new)})"
            found.append(f"{what} changed{shown}")
    names = {str(file): file for file in files}
    found += [f"{name} is an input no more" for name in sorted(set(inputs) - set(names))]
    for name, file in sorted(names.items()):
        if name not in inputs:
            found.append(f"{name} is a new input")
            continue
        stat, old = file.stat(), inputs[name]
        if (stat.st_size, stat.st_mtime_ns) != (old["bytes"], old["mtime"]) and content_hash(file) != old["hash"]:
            found.append(f"{name} changed ({old['bytes']} -> {stat.st_size} bytes)")
    return found


def listed(found: Sequence[str]) -> str:
    """Return the first differences as words, and how many more there are."""
    return "; ".join(found[:SHOWN]) + (f" and {len(found) - SHOWN} more" if len(found) > SHOWN else "")


def _said(value: object) -> str:
    return "none" if value is None else str(value)


def _inputs(record: Mapping[str, object]) -> dict[str, dict[str, object]]:
    return cast(dict[str, dict[str, object]], record["inputs"])
