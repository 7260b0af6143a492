"""Run functions on every part of the rows that a scorer learns from, and gather their results.

A learner does not know where a function runs, nor how many processes there are. Results come in the order of parts. If
a learner combines them exactly (sums of whole numbers, sorted unions), what it learns has the same bytes for any
engine, any number of workers, and any cut into parts.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Protocol, TypeVar

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.engines.local import Local
from curate.progress import counted, report
from curate.storage import files
from curate.tables.corpus import array_files
from curate.tables.corpus.array_files import Arrays
from curate.tables.reading import Reading

R = TypeVar("R")
NOTHING: Arrays = {}
# The folder of tables on their way from parts to splits. It is removed when the learner is done.
EXCHANGES = "exchanged"


class CorpusPart(Protocol):
    """Some rows of the data: a range of a file, a file, or several small files. It is small and can be pickled."""

    @property
    def name(self) -> str:
        """A file name that no other part has. It changes when the rows may have changed."""
        ...

    @property
    def generation(self) -> int:
        """0 for the files with which a job began. Each time files are added to a job, they have the next number."""
        ...

    def batches(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the column ``id`` and the columns ``needs``, batch by batch."""
        ...


@dataclass(frozen=True)
class PartRows:
    """What a function that runs on a part receives: the rows of the part, and what the learner sent with them.

    ``number`` is the place of the part in the order of parts. ``inputs`` are arrays for this part alone.
    """

    number: int
    part: CorpusPart
    needs: tuple[str, ...]
    folder: Path
    inputs: Arrays = field(default_factory=dict)

    def __str__(self) -> str:
        """Return the name of the part for people."""
        return str(self.part)

    def batches(self) -> Iterator[pl.DataFrame]:
        """Yield the column ``id`` and the columns ``needs``, batch by batch."""
        return self.part.batches(self.needs)

    def kept(self, name: str) -> dict[str, np.ndarray]:
        """Return what an earlier `Corpus.map` with ``keep=name`` returned for this part."""
        return array_files.read_arrays(kept_path(self.folder, name, self.part))


MapFunction = Callable[[PartRows], Arrays]
# A table that would take much memory comes piece by piece, in one piece at least.
SplitFunction = Callable[[PartRows], pl.DataFrame | Iterator[pl.DataFrame]]
ReduceFunction = Callable[[pl.DataFrame], Arrays]
AnswerFunction = Callable[[pl.DataFrame], pl.DataFrame]


@dataclass(frozen=True)
class PartTask:
    """A part whose result a worker writes to the file ``path``."""

    rows: PartRows
    path: Path

    def __str__(self) -> str:
        """Return the name of the part for people."""
        return str(self.rows)


@dataclass(frozen=True)
class SplitTask:
    """One of the ``splits`` of an exchange, whose result a worker writes to the file ``path``."""

    split: int
    splits: int
    path: Path

    def __str__(self) -> str:
        """Return what the rows have in common."""
        return f"group {self.split} of rows with equal keys"


@dataclass(frozen=True)
class Answers:
    """Tables that `Corpus.answer` sends back to ``parts`` parts. It is small and can be pickled."""

    paths: tuple[Path, ...]
    parts: int

    def of(self, rows: PartRows) -> pl.DataFrame:
        """Return the rows that were sent to a part, in the order of splits."""
        return pl.concat([array_files.read_split(path, rows.number, self.parts) for path in self.paths])


@dataclass(frozen=True)
class Corpus:
    """The rows that a scorer learns from.

    ``folder`` is where results of parts are kept: a job that was killed goes on with the parts that are done. What was
    learned by part (`store`) goes to the folder ``learned``, or to ``folder`` if that is None. ``scorer`` is named in
    reports of progress. ``total`` is the number of rows, if it is known. ``out`` is the output folder of the job, for a
    scorer that reads results which another scorer of the job keeps. ``reading`` says how the data are read. Files
    beside the data, such as a target, are read by ``reading.of_other_files()``.
    """

    parts: Sequence[CorpusPart]
    folder: Path
    engine: Engine = field(default_factory=Local)
    scorer: str = "from the data"
    total: int | None = None
    learned: Path | None = None
    out: Path = Path()
    reading: Reading = field(default_factory=Reading)

    def __call__(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield all rows in this process: the column ``id`` and the columns ``needs``, batch by batch.

        Only small data should be learned from in this way: it takes one core, however many there are.
        """
        rows, words = 0, f"{'rows' if self.total else 'parts'} read to learn {self.scorer}"
        report(words, 0, self.total or len(self.parts))
        for done, part in enumerate(self.parts, start=1):
            for batch in part.batches(tuple(needs)):
                yield batch
                rows += batch.height
                if self.total:
                    report(words, rows, self.total)
            if not self.total:
                report(words, done, len(self.parts))

    def first_batch(self, needs: Sequence[str]) -> pl.DataFrame | None:
        """Return the first rows, read in this process: the column ``id`` and the columns ``needs``; None without rows.

        The rows that follow are not read.
        """
        batches = (batch for part in self.parts for batch in part.batches(tuple(needs)))
        return next((batch for batch in batches if batch.height), None)

    def map(
        self,
        function: MapFunction,
        needs: Sequence[str] = (),
        *,
        keep: str = "",
        inputs: Sequence[Arrays] | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Run a function on every part, and yield the arrays that it returns, in the order of parts.

        Args:
            function: a pure function at the top level of a module, or a ``functools.partial`` of one.
            needs: columns that it reads, besides ``id``.
            keep: a name under which the results are stored, for `PartRows.kept` and for a job that continues. Give one
                where results are large or costly. They are then read from storage one at a time.
            inputs: arrays for each part, which the function reads as ``inputs``.
        """
        rows = self._rows(needs, inputs)
        words = f"parts read to learn {self.scorer}"
        if not keep:
            yield from self._in_order(partial(_call, function), rows, words)
            return
        paths = [kept_path(self.folder, keep, item.part) for item in rows]
        missing = [PartTask(item, path) for item, path in zip(rows, paths, strict=True) if not files.exists(path)]
        for _ in counted(self.engine.run(partial(_keep, function), missing), words, len(missing)):
            pass
        yield from map(array_files.read_arrays, paths)

    def kept(self, name: str) -> Iterator[dict[str, np.ndarray]]:
        """Yield what an earlier `map` with ``keep=name`` returned for each part, in the order of parts."""
        return (array_files.read_arrays(kept_path(self.folder, name, part)) for part in self.parts)

    def exchange(
        self,
        function: SplitFunction,
        key: str,
        reduce: ReduceFunction,
        *,
        name: str,
        splits: int,
        needs: Sequence[str] = (),
        inputs: Sequence[Arrays] | None = None,
    ) -> Iterator[dict[str, np.ndarray]]:
        """Bring rows with equal keys together, reduce them, and yield what ``reduce`` returns, split by split.

        ``function`` returns a table for each part, or yields it piece by piece. Its rows go to split number
        ``key % splits``. ``reduce`` is given all rows of a split, in the order of parts, and returns arrays. A worker
        holds the table of one part, a piece of it, or one split in memory.

        Args:
            function: a pure function at the top level of a module, or a partial of one.
            key: the column of uint64 keys, which must be spread evenly, as hashes are.
            reduce: a pure function of the same kind.
            name: the name of this exchange. Every exchange of a learner has another one.
            splits: the number of tables into which the rows are split. Each of them must fit into memory.
            needs: columns that ``function`` reads, besides ``id``.
            inputs: arrays for each part, which ``function`` reads as ``inputs``.
        """
        gather = partial(_gather, reduce)
        tasks = self._rows(needs, inputs)
        reduced = self._reduce(tasks, partial(_send, function, key, splits), gather, name, splits, "npz")
        yield from map(array_files.read_arrays, reduced)

    def answer(
        self,
        function: SplitFunction,
        key: str,
        reduce: AnswerFunction,
        *,
        name: str,
        splits: int,
        needs: Sequence[str] = (),
        inputs: Sequence[Arrays] | None = None,
    ) -> Answers:
        """Bring rows with equal keys together, reduce them, and send the results back to the parts.

        The results go through storage, and never come to this process. ``reduce`` is given all rows of a split, as in
        `exchange`. It returns a table with a column ``part``, the number of the part that gets the row. Functions that
        run on parts read their rows by `Answers.of`. The arguments are those of `exchange`.
        """
        gather = partial(_gather_answers, reduce, len(self.parts))
        tasks = self._rows(needs, inputs)
        send = partial(_send, function, key, splits)
        return Answers(tuple(self._reduce(tasks, send, gather, name, splits, "arrow")), len(self.parts))

    def _reduce(
        self,
        tasks: Sequence[PartRows],
        send: Callable[[PartTask], None],
        gather: Callable[[Sequence[Path], SplitTask], None],
        name: str,
        splits: int,
        suffix: str,
    ) -> list[Path]:
        """Run an exchange, and return the file that each split is reduced to."""
        # An exchange that was killed continues only among the same parts.
        key = files.text_hash(repr((splits, [task.part.name for task in tasks])))
        folder = self.folder / EXCHANGES / f"{name}-{key}"
        reduced = [folder / "reduced" / f"{split:06d}.{suffix}" for split in range(splits)]
        missing = [split for split in range(splits) if not files.exists(reduced[split])]
        paths = [folder / "split" / f"{task.part.name}.arrow" for task in tasks]
        if missing:
            todo = [PartTask(task, path) for task, path in zip(tasks, paths, strict=True) if not files.exists(path)]
            for _ in counted(self.engine.run(send, todo), f"parts read to learn {self.scorer}", len(todo)):
                pass
            splits_to_reduce = [SplitTask(split, splits, reduced[split]) for split in missing]
            words = f"groups of rows compared to learn {self.scorer}"
            for _ in counted(self.engine.run(partial(gather, tuple(paths)), splits_to_reduce), words, len(missing)):
                pass
        return reduced

    def store(self, number: int, arrays: Arrays) -> None:
        """Store what was learned about the rows of one part. A worker that scores this part reads these arrays only.

        The arrays become the fields of the scorer that have these names.
        """
        array_files.write_arrays(stored_path(self.learned or self.folder, self.parts[number].name), arrays)

    def _rows(self, needs: Sequence[str], inputs: Sequence[Arrays] | None) -> list[PartRows]:
        sent = inputs or [NOTHING] * len(self.parts)
        return [
            PartRows(number, part, tuple(needs), self.folder, arrays)
            for number, (part, arrays) in enumerate(zip(self.parts, sent, strict=True))
        ]

    def _in_order(self, function: Callable[[PartRows], R], rows: Sequence[PartRows], words: str) -> Iterator[R]:
        """Run a function on the engine, and yield its results in the order of ``rows``."""
        waiting: dict[int, R] = {}
        following = 0
        for number, result in counted(self.engine.run(partial(_numbered, function), rows), words, len(rows)):
            waiting[number] = result
            while following in waiting:
                yield waiting.pop(following)
                following += 1


def stored_path(folder: Path, part: str) -> Path:
    """Return the file of what was learned about the rows of a part, by `Corpus.store`."""
    return folder / "stored" / f"{part}.npz"


def kept_path(folder: Path, name: str, part: CorpusPart) -> Path:
    """Return the file of what `Corpus.map` keeps of a part under a name."""
    return folder / name / f"{part.name}.npz"


def _numbered(function: Callable[[PartRows], R], rows: PartRows) -> tuple[int, R]:
    return rows.number, function(rows)


def _call(function: MapFunction, rows: PartRows) -> dict[str, np.ndarray]:
    return dict(function(rows))


def _keep(function: MapFunction, task: PartTask) -> None:
    array_files.write_arrays(task.path, function(task.rows))


def _send(function: SplitFunction, key: str, splits: int, task: PartTask) -> None:
    table = function(task.rows)
    pieces = iter([table]) if isinstance(table, pl.DataFrame) else table
    sent = ((piece, (piece[key].to_numpy() % np.uint64(splits)).astype(np.int64)) for piece in pieces)
    array_files.write_splits(task.path, sent, splits)


def _gather(reduce: ReduceFunction, paths: Sequence[Path], task: SplitTask) -> None:
    array_files.write_arrays(task.path, reduce(_of_split(paths, task)))


def _gather_answers(reduce: AnswerFunction, parts: int, paths: Sequence[Path], task: SplitTask) -> None:
    frame = reduce(_of_split(paths, task))
    array_files.write_splits(task.path, [(frame, frame["part"].to_numpy().astype(np.int64))], parts)


def _of_split(paths: Sequence[Path], task: SplitTask) -> pl.DataFrame:
    return pl.concat([array_files.read_split(path, task.split, task.splits) for path in paths])
