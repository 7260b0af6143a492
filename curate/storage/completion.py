"""Record whether the job that writes a folder has ended, and what it left out, so that later jobs know.

A job calls `begin` before its first output and `end` after its last one. Between the two calls, and after a kill, the
record says that the folder is not finished; only the same command, run to its end, changes that. The record is the
file ``OUT/_curate/completion/<job>.json``:

    {"job": "score", "ended": true, "inputs": ["a.jsonl", "b.jsonl"], "set_aside": {"b.jsonl": "reason"},
     "bad_lines": {"a.jsonl": 3}, "partial": false, "format": 1}

``inputs`` are the names of what the job works through: files, or runs. ``bad_lines`` counts the lines that a reader
left out of a file. ``partial`` says that the job was told to take a part of an unfinished folder. A folder without a
record is of an older version: it is judged by what is in it.
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from curate.errors import CurateError, Interrupted, SchemaError, amount, files_set_aside, first_few
from curate.storage import files, s3, schema
from curate.storage.files import write_text
from curate.storage.manifest import FOLDER

FORMAT = 1
ROWS = "rows"  # the folder of kept rows, inside the folder of the job `prune`, which has the record


class Unfinished(CurateError):
    """The job that writes a folder has not ended, so that not all of its output is there."""


@dataclass(frozen=True)
class Completion:
    """The record of one job: see the module's docstring for the fields."""

    job: str
    ended: bool
    inputs: Sequence[str] = ()
    set_aside: Mapping[str, str] = field(default_factory=dict)
    bad_lines: Mapping[str, int] = field(default_factory=dict)
    partial: bool = False
    format: int = FORMAT


@dataclass(frozen=True)
class LeftOut:
    """What is not in a folder although it was in the data: files set aside, lines left out, and files not yet done.

    ``total`` counts all input files. ``unfinished`` is not empty only where a part of a folder was asked for.
    """

    folder: Path
    total: int = 0
    set_aside: Mapping[str, str] = field(default_factory=dict)
    bad_lines: Mapping[str, int] = field(default_factory=dict)
    unfinished: Sequence[str] = ()

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return one line for each kind of what was left out."""
        place, lines = s3.shown(self.folder), []
        if self.unfinished:
            lines.append(
                f"{place} is not finished. --partial leaves out {len(self.unfinished)} of "
                f"{amount(self.total, 'file')}, not scored yet: {first_few(self.unfinished)}"
            )
        if self.set_aside:
            reason = next(iter(self.set_aside.values()))
            lines.append(
                f"{files_set_aside(len(self.set_aside), self.total)} and not scored in {place}: "
                f"{first_few(self.set_aside)}. The {'first ' * (len(self.set_aside) > 1)}reason: {reason}"
            )
        if self.bad_lines:
            counts = [f"{name} ({count})" for name, count in self.bad_lines.items()]
            total = sum(self.bad_lines.values())
            verb = "was" if total == 1 else "were"
            lines.append(f"{amount(total, 'bad line')} {verb} set aside and not scored in {place}: {first_few(counts)}")
        return tuple(lines)

    def record(self) -> dict[str, object]:
        """Return the fields as JSON values."""
        record: dict[str, object] = {"set_aside": dict(self.set_aside), "bad_lines": dict(self.bad_lines)}
        return record | {"unfinished": list(self.unfinished), "files": self.total}


def path(folder: Path, job: str) -> Path:
    """Return the path of the record of a job."""
    return folder / FOLDER / "completion" / f"{job}.json"


def begin(folder: Path, job: str, inputs: Sequence[str], *, partial: bool = False) -> None:
    """Record that a job works on ``inputs`` in a folder. Call it before anything in the folder is changed."""
    _write(folder, Completion(job, ended=False, inputs=sorted(inputs), partial=partial))


def end(
    folder: Path,
    job: str,
    *,
    set_aside: Mapping[str, str] | None = None,
    bad_lines: Mapping[str, int] | None = None,
) -> None:
    """Record that a job has ended. Call it after its last output is in place."""
    begun = read(folder, job) or Completion(job, ended=False)
    _write(folder, replace(begun, ended=True, set_aside=dict(set_aside or {}), bad_lines=dict(bad_lines or {})))


def read(folder: Path, job: str) -> Completion | None:
    """Return the record of a job, or None if the folder has none.

    Raises:
        Interrupted: if the record is damaged, or of a newer format.
    """
    source = path(folder, job)
    return _load(source) if files.exists(source) else None


def records(folder: Path) -> list[Completion]:
    """Return the records of all jobs in a folder."""
    return [_load(source) for source in files.below(folder / FOLDER / "completion", ".json")]


def require(folder: Path, job: str) -> None:
    """Check that a job has ended in a folder, if the folder has a record of it.

    Raises:
        Unfinished: if it has not.
    """
    record = read(folder, job)
    if record is not None and not record.ended:
        raise Unfinished(
            f"`curate {job}` has not finished {s3.shown(folder)} "
            f"({amount(len(record.inputs), 'run' if job == 'pilot' else 'file')}): it was stopped, or still runs. Let "
            f"it end, or run the same `curate {job}` again to finish it"
        )


def check_input(item: str) -> None:
    """Check that a folder, glob or file of rows to read is not the output of a job that has not ended.

    Raises:
        Unfinished: if it is.
    """
    folder, _ = files.glob_parts(item)
    if not s3.remote(folder) and folder.exists() and not folder.is_dir():
        folder = folder.parent
    for record in records(folder):
        require(folder, record.job)
    # The data files of kept rows are in a folder of their own.
    for rows in (folder, folder.parent):
        if rows.name == ROWS:
            require(rows.parent, "prune")


def _write(folder: Path, record: Completion) -> None:
    write_text(path(folder, record.job), json.dumps(asdict(record), indent=1, sort_keys=True) + "\n")


def _load(source: Path) -> Completion:
    remedy, name = "delete it, and run the job that wrote its folder again", s3.shown(source)
    try:
        record = schema.record(schema.load(source, remedy), Completion, name, remedy)
    except SchemaError as error:
        raise Interrupted(str(error)) from None
    if record.format > FORMAT:
        raise Interrupted(f"{source} has format {record.format}; this curate reads {FORMAT}. Install a newer curate")
    return record
