"""Record which shards are done, so that a job continues where it stopped or says why it cannot.

Each finished (step, shard) has one small JSON file. Plain files work on network file systems, where a lock or a
database might not. An entry is written after its output was renamed into place: an entry without an output, or an
output without an entry, means that the shard is not done.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar, cast

from curate import __version__
from curate.errors import Interrupted, SchemaError
from curate.storage import files, schema
from curate.storage.files import content_hash, write_text
from curate.storage.forms.jobs import EntryForm, SetAsideForm

FOLDER = "_curate"  # inside the output folder; `files.listed` skips names that start with "_"
QUARANTINE = "quarantine"
PARTS = "parts"  # the folder of what is computed of parts of the data: it may be removed between jobs
COLUMNS = "columns"  # the folder, beside those of steps, of columns that are computed before the score file is written
DAMAGED = "delete it to redo its shard"
# Entries of format 1 have no number; their `config` also covers the source code of scorers. Up to format 2, `input` is
# the hash of the input's bytes. Since format 3 it is the hash of the rows of ``columns``.
FORMAT = 3
ROWS_FORMAT = 3
CONFIG_FORMAT = 2  # the first in which ``config`` is a hash of the arguments alone
Work = tuple[str, Path, Path]  # shard, input, output


@dataclass(frozen=True)
class ManifestEntry:
    """The record of one shard in one step: its input, and the configuration with which it was processed.

    ``input`` and ``config`` are hashes: ``input`` is of the rows of the input, in the columns ``columns``. It is empty
    for a shard that was begun but is not done; then ``rows`` is None, and ``spans`` are the ranges of rows [start,
    stop) that its tasks take. ``stamp`` and ``size`` (bytes) are those of the input. ``version`` is the version of
    curate that wrote the entry; it is never compared.
    """

    step: str
    shard: str
    input: str
    size: int
    stamp: str
    config: str
    version: str
    rows: int | None
    format: int = FORMAT
    columns: Sequence[str] = ()
    spans: Sequence[Sequence[int | None]] = ()


T = TypeVar("T")
# Says whether an input has the rows that an entry records. It is asked only where size or time of the file changed.
SameRows = Callable[[ManifestEntry, Path], bool]


@dataclass(frozen=True)
class SetAside:
    """A shard that was skipped because its input is faulty.

    ``stamp`` is that of the input (see `curate.storage.files.stamp`): it changes when somebody repairs the file.
    """

    step: str
    shard: str
    reason: str
    stamp: str


@dataclass(frozen=True)
class Configuration:
    """The hash of a job's arguments, and how they differ from those recorded in the folder.

    ``covers_old_entries`` is True if the record in the folder was written together with its entries of format 1. Those
    hold no hash that can be compared, so their arguments are the ones in the record.
    """

    hash: str
    changes: Sequence[str] = ()
    covers_old_entries: bool = False


def entry_path(out: Path, step: str, shard: str) -> Path:
    """Return the path of the entry of a finished shard."""
    return out / f"{FOLDER}/{step}/{shard}.json"


def set_aside_path(out: Path, step: str, shard: str) -> Path:
    """Return the path of the file that records why a shard was set aside."""
    return out / f"{FOLDER}/{QUARANTINE}/{step}/{shard}.json"


def parts_path(out: Path, step: str, shard: str) -> Path:
    """Return the folder for the finished parts of a shard."""
    # The ending keeps the parts of a file `x` apart from those of files in a folder `x`, which another input may have.
    return out / f"{FOLDER}/{PARTS}/{step}/{shard}.parts"


def begun_path(out: Path, step: str, shard: str) -> Path:
    """Return the path of the entry of a shard that was begun but is not done."""
    return parts_path(out, step, shard) / "begun.json"


def read(out: Path, step: str, shard: str) -> ManifestEntry | None:
    """Return the entry of a finished shard, or None if it is not done."""
    return read_entry(entry_path(out, step, shard))


def begun(out: Path, step: str, shard: str) -> ManifestEntry | None:
    """Return the entry of a begun shard, or None if no part of it was started."""
    return read_entry(begun_path(out, step, shard))


def entry(
    step: str,
    shard: str,
    source: Path,
    *,
    digest: str,
    config: str,
    rows: int | None,
    columns: Sequence[str] = (),
    spans: Sequence[Sequence[int | None]] = (),
) -> ManifestEntry:
    """Return the entry of a shard whose input file ``source`` has the content hash ``digest``."""
    size, stamp = files.size_and_stamp(source)
    return ManifestEntry(
        step, shard, digest, size, stamp, config, __version__, rows, columns=list(columns), spans=spans
    )


def record(out: Path, done: ManifestEntry) -> None:
    """Write the entry of a shard that is done, or only begun if the entry has no rows.

    Call it after the output of a finished shard is in place.
    """
    record_all(out, [done])


def record_all(out: Path, entries: Sequence[ManifestEntry]) -> None:
    """Write the entries of many shards, as `record` writes one. Together they cost far less than one by one.

    Call it after the outputs of all finished shards are in place, and not in a block of `files.together`.
    """
    with files.together():
        files.each(lambda entry: _write(_place(out, entry), vars(entry)), entries, out)
    finished_entries = [entry for entry in entries if entry.rows is not None]
    # Nothing is removed before the entries of the shards are on disk.
    files.each(lambda entry: _remove_remains(out, entry), finished_entries, out)


def _place(out: Path, entry: ManifestEntry) -> Path:
    """Return the path of an entry; a shard that is only begun has none for its rows."""
    path_of = begun_path if entry.rows is None else entry_path
    return path_of(out, entry.step, entry.shard)


def _remove_remains(out: Path, entry: ManifestEntry) -> None:
    """Remove what a shard leaves that was begun or set aside before it was finished."""
    files.remove(parts_path(out, entry.step, entry.shard))
    files.remove(set_aside_path(out, entry.step, entry.shard))


def finished(out: Path, step: str) -> set[str]:
    """Return the names of all shards that have an entry."""
    return _names(out / FOLDER / step)


def quarantined_all(out: Path, step: str) -> dict[str, str]:
    """Return why each shard in quarantine was set aside, by name."""
    names = sorted(_names(out / FOLDER / QUARANTINE / step))
    return {name: shard.reason for name in names if (shard := quarantined(out, step, name)) is not None}


def _names(folder: Path) -> set[str]:
    return {path.relative_to(folder).as_posix().removesuffix(".json") for path in files.below(folder, ".json")}


def set_aside(out: Path, shard: SetAside) -> None:
    """Write the file that records why a shard was set aside."""
    _write(set_aside_path(out, shard.step, shard.shard), vars(shard))


def quarantined(out: Path, step: str, shard: str) -> SetAside | None:
    """Return why a shard was set aside, or None if it was not."""
    path = set_aside_path(out, step, shard)
    return _read(path, SetAsideForm, SetAside) if files.exists(path) else None


def same_bytes(entry: ManifestEntry, source: Path) -> bool:
    """Return whether the input ``source`` has the bytes that an entry of format 2 records."""
    return content_hash(source) == entry.input


def is_stamped(entry: ManifestEntry, source: Path, *, path: Path) -> bool:
    """Return whether size and times of the input ``source`` prove that it is the recorded one; nothing is read.

    ``path`` is the file that holds the entry.
    """
    # An unchanged stamp is trusted only if the input is older than the entry, by the clock of the file system. A newer
    # input may have been written twice within one tick of that clock, with the same stamp.
    return files.stamp(source) == entry.stamp and not files.newer(source, path)


def changes(
    entry: ManifestEntry,
    source: Path,
    configuration: Configuration,
    *,
    path: Path,
    same_rows: SameRows = same_bytes,
) -> list[str]:
    """Return one phrase for each way in which a recorded shard differs from the job.

    ``source`` is the input file, and ``path`` is the file that holds the entry. ``same_rows`` reads the input; it is
    asked only where size or times of the input are not those of the entry.
    """
    phrases = []
    if not files.exists(source):
        phrases.append(f"input {source} is gone")
    elif not is_stamped(entry, source, path=path) and not same_rows(entry, source):
        what = "rows" if entry.format >= ROWS_FORMAT else "bytes"
        sizes = entry.size, files.size(source)
        # Other rows may take as many bytes.
        detail = "" if sizes[0] == sizes[1] else f" ({sizes[0]} -> {sizes[1]} bytes)"
        phrases.append(f"the {what} of input {source} changed{detail}")
    if entry.format < CONFIG_FORMAT and configuration.covers_old_entries:
        phrases += configuration.changes
    elif entry.config != configuration.hash:
        phrases += configuration.changes or [f"configuration changed ({entry.config[:8]} -> {configuration.hash[:8]})"]
    return phrases


def pending(
    out: Path,
    step: str,
    work: Sequence[Work],
    configuration: Configuration,
    *,
    restart: bool,
    same_rows: SameRows = same_bytes,
) -> list[Work]:
    """Return the work that is still to do, including shards that were set aside.

    With ``restart``, the records of finished shards are deleted, and all work is returned. An input that was only
    touched or copied gets its new size and times recorded, so that it is not read again next time. ``same_rows`` is as
    for `changes`.

    Raises:
        Interrupted: if the folder holds results of another job.
    """

    def is_pending(item: Work) -> bool:
        shard, source, output = item
        if restart:
            for path_of in (entry_path, set_aside_path, parts_path):
                files.remove(path_of(out, step, shard))
        entry, path = read(out, step, shard), entry_path(out, step, shard)
        unfinished = entry is None or not files.exists(output)
        if unfinished:
            entry, path = begun(out, step, shard), begun_path(out, step, shard)
        if entry is None:
            return unfinished
        before = files.stamp(source) if files.exists(source) else ""
        phrases = changes(entry, source, configuration, path=path, same_rows=same_rows)
        if not phrases:
            if before != entry.stamp:
                _write(path, vars(replace(entry, stamp=before, size=files.size(source))))
            return unfinished
        if entry.rows is None and files.exists(set_aside_path(out, step, shard)):
            # Its parts were made from the faulty input, which has been repaired since.
            files.remove(parts_path(out, step, shard))
            return unfinished
        raise Interrupted(
            f"{out} holds results of another {step} job: {shard}: {'; '.join(phrases)}. "
            "Give --restart to start over, or another --out"
        )

    return [item for item, todo in zip(work, files.each(is_pending, work, out), strict=True) if todo]


def renew(out: Path, step: str, configuration: Configuration) -> None:
    """Give entries of format 1 the configuration of this job, and the format 2.

    Call it before the record of the job is replaced: afterwards nothing says what those entries were made with.
    """
    if not configuration.covers_old_entries or configuration.changes:
        return
    for folder in (out / FOLDER / step, out / FOLDER / "parts" / step):
        for path in files.below(folder, ".json"):
            old = read_entry(path)
            if old is not None and old.format < CONFIG_FORMAT:
                _write(path, vars(replace(old, config=configuration.hash, format=CONFIG_FORMAT)))


def read_entry(path: Path) -> ManifestEntry | None:
    """Return the entry in a file, or None if there is no such file."""
    if not files.exists(path):
        return None
    entry = _read(path, EntryForm, ManifestEntry)
    if entry.format > FORMAT:
        raise Interrupted(f"{path} has format {entry.format}; this curate reads up to {FORMAT}. Install a newer curate")
    return entry


def _read(path: Path, form: type, record: type[T]) -> T:
    """Return what a file of this room records; an entry without a number is of format 1."""
    try:
        fields = cast(Mapping[str, object], schema.check(schema.load(path, DAMAGED), form, str(path), DAMAGED))
        return schema.record({"format": 1, **fields}, record, str(path), DAMAGED)
    except SchemaError as error:
        raise Interrupted(str(error)) from None


def _write(path: Path, record: Mapping[str, object]) -> None:
    write_text(path, json.dumps(record, indent=1, sort_keys=True) + "\n")
