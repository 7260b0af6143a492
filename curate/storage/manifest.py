"""What is done: one small JSON file per (step, shard), so that a job continues where it stopped or says why it cannot.

Plain files, no lock database: works on network file systems. An entry is written after its output was renamed into
place, so an entry without an output, or the reverse, is simply not done. The content hash is the truth about an input;
its stamp (size and times) is believed only where it is older than the entry, by the clock of the file system.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from curate import __version__
from curate.errors import Interrupted
from curate.storage import files
from curate.storage.files import content_hash, write_text

FOLDER = "_curate"  # inside the output folder; input discovery skips names that start with "_"
BAD = "quarantine"
Work = tuple[str, Path, Path]  # shard, input, output


@dataclass(frozen=True)
class Entry:
    """One shard of one step; ``input`` and ``config`` are content hashes, ``stamp`` and ``size`` of the input.

    ``rows`` is None where the shard is begun and not done.
    """

    step: str
    shard: str
    input: str
    size: int
    stamp: str
    config: str
    version: str
    rows: int | None


@dataclass(frozen=True)
class Bad:
    """A shard that is set aside: why, and the stamp of the input that was at fault."""

    step: str
    shard: str
    reason: str
    stamp: str


def entry_path(out: Path, step: str, shard: str) -> Path:
    """Return where the entry of a shard lives."""
    return out / FOLDER / step / f"{shard}.json"


def bad_path(out: Path, step: str, shard: str) -> Path:
    """Return where it is recorded that a shard is set aside."""
    return out / FOLDER / BAD / step / f"{shard}.json"


def parts_path(out: Path, step: str, shard: str) -> Path:
    """Return the folder of what is done of a shard that takes long."""
    return out / FOLDER / "parts" / step / shard


def read(out: Path, step: str, shard: str) -> Entry | None:
    """Return the entry of a finished shard, or None when it is not done."""
    return _read(entry_path(out, step, shard))


def begun(out: Path, step: str, shard: str) -> Entry | None:
    """Return the entry of a shard of which parts may be done."""
    return _read(parts_path(out, step, shard) / "begun.json")


def entry(step: str, shard: str, source: Path, *, digest: str, config: str, rows: int | None) -> Entry:
    """Return the entry of a shard whose input has the content hash ``digest``."""
    return Entry(step, shard, digest, files.size(source), files.stamp(source), config, __version__, rows)


def record(out: Path, done: Entry) -> None:
    """Write that a shard is done, after its output is in place, or (without ``rows``) that it is begun."""
    path = entry_path(out, done.step, done.shard)
    if done.rows is None:
        path = parts_path(out, done.step, done.shard) / "begun.json"
    _write(path, asdict(done))
    if done.rows is not None:
        files.remove(parts_path(out, done.step, done.shard))
        files.remove(bad_path(out, done.step, done.shard))


def set_aside(out: Path, bad: Bad) -> None:
    """Write that a shard cannot be done, and why."""
    _write(bad_path(out, bad.step, bad.shard), asdict(bad))


def quarantined(out: Path, step: str, shard: str) -> Bad | None:
    """Return why a shard was set aside, or None."""
    path = bad_path(out, step, shard)
    return Bad(**_json(path)) if files.exists(path) else None  # type: ignore[arg-type]


def changes(entry: Entry, source: Path, config: str, why: Sequence[str] = (), *, at: Path) -> list[str]:
    """Say what differs between a shard and the job as asked now; empty when nothing does.

    ``why`` are the words for another configuration; ``at`` is where the entry lies.
    """
    found = []
    if not files.exists(source):
        found.append(f"input {source} is gone")
    elif (files.stamp(source) != entry.stamp or files.newer(source, at)) and content_hash(source) != entry.input:
        found.append(f"input {source} changed ({entry.size} -> {files.size(source)} bytes)")
    if entry.config != config:
        found += why or [f"configuration changed ({entry.config[:8]} -> {config[:8]})"]
    if entry.version != __version__:
        found.append(f"version changed ({entry.version} -> {__version__})")
    return found


def pending(
    out: Path, step: str, work: Sequence[Work], config: str, *, why: Sequence[str] = (), restart: bool
) -> list[Work]:
    """Return the (shard, input, output) triples still to do; refuse to mix results of two different jobs.

    ``restart`` forgets what is done, and everything is to do again. What was set aside is to do again.
    """

    def is_left(one: Work) -> bool:
        shard, source, output = one
        if restart:
            for path in (entry_path, bad_path, parts_path):
                files.remove(path(out, step, shard))
        entry, at = read(out, step, shard), entry_path(out, step, shard)
        if left := entry is None or not files.exists(output):
            entry, at = begun(out, step, shard), parts_path(out, step, shard) / "begun.json"
        if entry is None or not (found := changes(entry, source, config, why, at=at)):
            return left
        if entry.rows is None and files.exists(bad_path(out, step, shard)):
            files.remove(parts_path(out, step, shard))  # its input was repaired
            return left
        raise Interrupted(
            f"{out} holds results of another {step} job: {shard}: {'; '.join(found)}. "
            "Give --restart to start over, or another --out"
        )

    return [one for one, left in zip(work, files.each(is_left, work, out), strict=True) if left]


def differences(before: Mapping[str, object], asked: Mapping[str, object]) -> list[str]:
    """Say in words how two configurations differ."""
    return [
        f"{what.replace('_', ' ')} changed ({_said(before.get(what))} -> {_said(asked.get(what))})"
        for what in sorted({*before, *asked})
        if before.get(what) != asked.get(what)
    ]


def _said(value: object) -> str:
    if isinstance(value, Mapping):
        return ", ".join(f"{k} {str(v)[:8]}" for k, v in value.items()) or "none"
    if isinstance(value, list | tuple):
        return ", ".join(map(str, value)) or "none"
    return "none" if value is None else str(value)


def _read(path: Path) -> Entry | None:
    if not files.exists(path):
        return None
    try:
        return Entry(**_json(path))  # type: ignore[arg-type]
    except TypeError as error:
        raise Interrupted(f"{path} is damaged ({error}): delete it to redo its shard") from None


def _json(path: Path) -> Mapping[str, object]:
    try:
        found = json.loads(files.read_text(path))
    except ValueError as error:
        raise Interrupted(f"{path} is damaged ({error}): delete it to redo its shard") from None
    if not isinstance(found, dict):
        raise Interrupted(f"{path} is damaged (no JSON object): delete it to redo its shard")
    return found


def _write(path: Path, record: Mapping[str, object]) -> None:
    write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")
