"""Do the work of a task, and judge whether its input is bad or changed meanwhile.

In: a task, and a function that does its work. Out: the outcome of the task. If the input is bad, the outcome has the
reason.
"""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from curate.errors import SchemaError
from curate.scoring import parts
from curate.scoring.learning.columns import ColumnFolder
from curate.scoring.tasks import file_faults
from curate.scoring.tasks.scoring_task import ScoringOutcome, ScoringTask
from curate.storage import files
from curate.tables.formats.bad_lines import BadLines
from curate.tables.scored_inputs import scored_rows

# The work of a task. Lines that cannot be read are added to the second argument.
TaskFunction = Callable[[ScoringTask, BadLines], ScoringOutcome]


def judged(task: ScoringTask, work: TaskFunction) -> ScoringOutcome:
    """Do the work of a task. With quarantine, the outcome of a bad shard has the reason.

    Raises:
        SchemaError: if the shard is bad, without quarantine.
    """
    try:
        return _unchanged(task, work)
    except Exception as error:
        reason = file_faults.reason(error, task.shard.path, quarantine=task.quarantine)
    if not task.quarantine:
        raise SchemaError(reason)
    return ScoringOutcome(task.shard.relative, 0, reason=reason, start=task.start)


def _unchanged(task: ScoringTask, work: TaskFunction) -> ScoringOutcome:
    """Do the work of a task; raise SchemaError if its shard changed meanwhile."""
    path, bad_lines = task.shard.path, BadLines()
    # Taken before the rows are read, so that a change meanwhile is seen below.
    stamp = task.stamp or files.stamp(path)
    outcome = work(task, bad_lines)
    # A stamp costs nothing to compare; the rows are hashed again only if the stamp changed.
    if files.stamp(path) != stamp and not _has_rows(task, outcome):
        raise SchemaError(f"{path} changed while it was read. Leave it alone and score again")
    if task.columns is not None and task.columns.stages:
        return outcome
    return replace(outcome, bad_lines=len(bad_lines), first_bad=bad_lines.first(task.shard))


def _has_rows(task: ScoringTask, outcome: ScoringOutcome) -> bool:
    """Return whether the input still has the rows of a task, whose stamp changed while it ran."""
    if outcome.digest:
        reading = replace(task.reading, bad_lines=BadLines())
        return scored_rows.row_digest(task.shard, outcome.columns, reading) == outcome.digest
    folder = task.columns.stage(0) if isinstance(task.columns, ColumnFolder) else task.parts
    return parts.match(folder or Path(), task.shard, task.reading)
