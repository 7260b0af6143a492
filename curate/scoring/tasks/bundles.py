"""Run bundles of tasks, and find the file whose rows end the worker that reads them.

A scorer of the user's own, or a library in C, may end its whole process on unusual rows. Then no error comes back, and
the engine only knows the bundle. Its files are run again one by one, so that the one at fault is set aside alone.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from curate.engines import ATTEMPTS, Engine, WorkerDied
from curate.scoring.tasks.scoring_task import ScoringOutcome, ScoringTask
from curate.storage.files import sweep

# If so many files in a row end their workers, and no other task is done meanwhile, the job itself is at fault: the
# machine has too little memory, or a scorer never works.
DEADLY_IN_A_ROW = 3

BundleFunction = Callable[[Sequence[ScoringTask]], list[ScoringOutcome]]


@dataclass(frozen=True)
class Bundle:
    """Tasks that one worker does together. Every bundle of a run has another ``number``."""

    number: int
    tasks: tuple[ScoringTask, ...]

    def __str__(self) -> str:
        """Return the first file and how many others there are."""
        others = len(self.tasks) - 1
        return f"{self.tasks[0]}{f' and {others} more' if others else ''}"


def run_bundles(
    engine: Engine, function: BundleFunction, groups: Sequence[Sequence[ScoringTask]], *, quarantine: bool
) -> Iterator[ScoringOutcome]:
    """Yield the outcome of every task, in the order in which groups finish.

    With ``quarantine``, a task that ends its worker each time has an outcome with the reason.

    Raises:
        WorkerDied: without ``quarantine``, or if several files in a row end their workers.
    """
    remaining = {number: Bundle(number, tuple(group)) for number, group in enumerate(groups)}
    following, in_a_row = len(remaining), 0
    while remaining:
        try:
            for number, outcomes in engine.run(partial(_numbered, function), tuple(remaining.values())):
                del remaining[number]
                in_a_row = 0
                yield from outcomes
        except WorkerDied as death:
            bundle = death.task
            if not quarantine or not isinstance(bundle, Bundle):
                raise
            del remaining[bundle.number]
            # Remove the unfinished files of the dead workers.
            sweep(bundle.tasks[0].out)
            if len(bundle.tasks) > 1:
                # These go first, so that the bad file is known before all other bundles are done.
                alone = {following + i: Bundle(following + i, (task,)) for i, task in enumerate(bundle.tasks)}
                remaining = alone | remaining
                following += len(alone)
                continue
            in_a_row += 1
            if in_a_row == DEADLY_IN_A_ROW:
                raise
            yield _deadly(bundle.tasks[0], death)


def _numbered(function: BundleFunction, bundle: Bundle) -> tuple[int, list[ScoringOutcome]]:
    return bundle.number, function(bundle.tasks)


def _deadly(task: ScoringTask, death: WorkerDied) -> ScoringOutcome:
    return ScoringOutcome(task.shard.relative, 0, reason=deadly_reason(task, death), start=task.start)


def deadly_reason(rows: object, death: WorkerDied) -> str:
    """Return why a file is bad whose rows ended the workers that read them; ``rows`` names the rows."""
    return (
        f"{rows}: the worker process ended each of the {ATTEMPTS} times that it read these rows, {death.reason}. Score "
        "the file on a machine with more memory, or without the scorer that ends the process"
    )
