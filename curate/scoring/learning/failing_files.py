"""Find the files on whose rows a scorer cannot learn, so that it learns from the others.

In: the tasks that a scorer runs on parts of the data. Out: their results, or the names of the files at fault. A part of
several small files does not say which of them is at fault. They are then learned from one by one, each as a part of its
own.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import cast

from curate.engines import Engine, R, T, WorkerDied
from curate.errors import SchemaError
from curate.scoring.learning.corpus_parts import ScoringPart
from curate.scoring.tasks import file_faults
from curate.scoring.tasks.bundles import deadly_reason
from curate.tables.corpus.corpus import PartRows, PartTask


class FilesFail(Exception):
    """A scorer cannot learn from the rows of some files.

    ``bad`` has the reason for each file at fault, by its name. ``suspects`` are the names of files of which at least
    one is at fault. ``death`` is the error if the rows ended a worker process.
    """

    def __init__(
        self, bad: Mapping[str, str], suspects: frozenset[str] = frozenset(), death: WorkerDied | None = None
    ) -> None:
        """Keep the names and the reasons."""
        super().__init__("; ".join((*bad.values(), *sorted(suspects))))
        self.bad, self.suspects, self.death = dict(bad), suspects, death


@dataclass(frozen=True)
class PartFailure:
    """What a worker returns for a part on whose rows a function failed. ``number`` is the place of the part."""

    number: int
    reason: str


@dataclass(frozen=True)
class GuardedEngine:
    """An engine for the scorer ``scorer`` that learns: it goes on after a part fails, to find all parts that fail."""

    engine: Engine
    scorer: str
    parts: Sequence[ScoringPart] = field(repr=False)

    def session(
        self, *, long: bool = False, folders: Sequence[Path] = (), imports: Sequence[str] = ()
    ) -> AbstractContextManager[Engine]:
        """Return a session of the engine itself."""
        return self.engine.session(long=long, folders=folders, imports=imports)

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish.

        Raises:
            FilesFail: if the function fails on the rows of parts whose files can be set aside.
            SchemaError: if it fails on rows of a file that is scored already.
        """
        failures: list[PartFailure] = []
        try:
            for result in self.engine.run(partial(_caught, function), tasks):
                if isinstance(result, PartFailure):
                    failures.append(result)
                elif not failures:
                    yield result
        except WorkerDied as death:
            if (rows := rows_of_part(death.task)) is None:
                raise
            part = self.parts[rows.number]
            raise self._error([PartFailure(rows.number, deadly_reason(part, death))], death) from None
        if failures:
            raise self._error(sorted(failures, key=lambda failure: failure.number))

    def _error(self, failures: Sequence[PartFailure], death: WorkerDied | None = None) -> Exception:
        """Return the error for the parts that failed: FilesFail if their files can be set aside."""
        bad: dict[str, str] = {}
        suspects: set[str] = set()
        newest = max(part.generation for part in self.parts)
        for failure in failures:
            part = self.parts[failure.number]
            pieces, path = part.pieces, part.pieces[0].shard.path
            reason = failure.reason.removeprefix(f"{self.scorer}: ")
            if len(pieces) == 1 and not reason.startswith(str(path)):
                reason = f"{path}: scorer {self.scorer} cannot learn from its rows: {reason}"
            if part.generation < newest or any(piece.computed is None for piece in pieces):
                # Other files are scored with what was learned from these.
                return death or SchemaError(reason)
            if len(pieces) == 1:
                bad.setdefault(pieces[0].shard.relative, reason)
            else:
                suspects.update(piece.shard.relative for piece in pieces)
        return FilesFail(bad, frozenset(suspects), death)


def rows_of_part(task: object) -> PartRows | None:
    """Return the rows of a part of the job's data that a task reads, or None for a task of another kind."""
    rows = task.rows if isinstance(task, PartTask) else task
    # Parts of a target are of another class: its files are no input of the job.
    return rows if isinstance(rows, PartRows) and isinstance(rows.part, ScoringPart) else None


def _caught(function: Callable[[T], R], task: T) -> R | PartFailure:
    """Run a function in a worker. If it fails on the rows of a part, return why."""
    try:
        return function(task)
    except Exception as error:
        rows = rows_of_part(task)
        if rows is None:
            raise
        part = cast(ScoringPart, rows.part)
        return PartFailure(rows.number, file_faults.reason(error, part.pieces[0].shard.path, quarantine=True))
