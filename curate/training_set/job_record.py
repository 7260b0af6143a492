"""The record of one `materialize` job, in its output folder."""

from collections.abc import Sequence
from pathlib import Path

from curate.engines import Engine
from curate.storage import artifacts, job_record
from curate.storage.job_record import Arguments, JobRecord, listed

__all__ = ["changes", "hashes", "listed", "save"]


def save(path: Path, arguments: Arguments, files: Sequence[Path], engine: Engine) -> None:
    """Write the arguments and the content hash of every input file; the workers of the engine hash."""
    inputs = dict(engine.run(job_record.input_file, files))
    artifacts.save(path, "job", JobRecord(arguments, inputs).to_json())


def hashes(path: Path) -> dict[str, str]:
    """Return the recorded content hash of every input file, by its path."""
    return {name: file.hash for name, file in _load(path).inputs.items()}


def changes(path: Path, arguments: Arguments, files: Sequence[Path]) -> list[str]:
    """Return one phrase for each difference between the recorded job and this one.

    A file is read again only if its size or one of its times changed.
    """
    before = _load(path)
    # Format 1 recorded the version of curate among the arguments. A new release continues the job.
    recorded = {name: value for name, value in before.arguments.items() if name != "version"}
    inputs = job_record.current_inputs(files, before.inputs)
    return job_record.argument_changes(recorded, arguments) + job_record.input_changes(before.inputs, inputs)


def _load(path: Path) -> JobRecord:
    return job_record.from_json(artifacts.load(path, "job"))
