"""Run one function over many tasks: here, in processes, or on a Ray cluster.

In: a pure, idempotent function and its tasks. Out: the results, in the order in which they finish.
May use: the files at the root of `curate`, storage.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Protocol, TypeVar

from curate.errors import CurateError
from curate.shown import shortened

T = TypeVar("T")
R = TypeVar("R")

# A task that ended so many workers is to blame. One may be bad luck, such as a machine that was switched off.
ATTEMPTS = 3
# A job that reads more bytes than this is long: the fastest scorers of text take a second for about 15 MB.
LONG_JOB_BYTES = 16 * 2**20


class Engine(Protocol):
    """A place where tasks run.

    The function must be importable from the top level of a module, since workers may be other processes or machines.
    Give values that all tasks share with the function: ``functools.partial(function, shared)``. A worker receives
    them once, however many tasks it runs, and must not change them: arrays may be read-only.
    """

    def run(self, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        """Yield results in the order in which they finish.

        A task may run twice, if the worker that ran it died.

        Raises:
            WorkerDied: if a task ended its workers three times.
        """
        ...

    def session(
        self, *, long: bool = False, folders: Sequence[Path] = (), imports: Sequence[str] = ()
    ) -> AbstractContextManager["Engine"]:
        """Return a context whose value is an engine with workers that live until the block ends.

        Starting workers takes seconds, so a job that calls ``run`` many times opens one session around all of it.

        Args:
            long: the job will certainly take more than a few seconds of one core, so that workers are worth their
                start. Without it an engine may try in this process first.
            folders: folders that tasks write. Workers on other machines check that they have them, before the first
                task: otherwise each would write into a folder of its own.
            imports: names of modules that tasks need. An engine that will certainly use worker processes may start them
                at once, so that they import these modules while this process prepares the tasks.
        """
        ...


# Characters of a task's name in a message: room for the path of a file.
LONGEST_NAME = 240


class WorkerDied(CurateError):
    """A task ended its worker each time that it ran.

    ``task`` is that task, and ``reason`` the likely cause, as part of a sentence.
    """

    def __init__(self, task: object, remaining: int, total: int, *, reason: str, advice: str) -> None:
        """Write the message. ``reason`` says why workers died, and ``advice`` what to change; both are parts of it."""
        super().__init__(
            f"{ATTEMPTS} worker processes died while they ran the same task, {reason}. {advice}, and run the same "
            f"command again: finished tasks are kept. {remaining} of {total} tasks remain. The task: "
            f"{shortened(str(task), LONGEST_NAME)}"
        )
        self.task, self.reason = task, reason
