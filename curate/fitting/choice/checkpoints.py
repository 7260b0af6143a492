"""Decide which rows of a run table are fitted: all of them, or the last row of each training.

A law of finished runs that is fitted to checkpoints takes their high learning rate for a lack of tokens, and predicts
larger runs worse (benchmarks/fitting/checkpoints.py).
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace

from curate import open_sets
from curate.errors import FitError, amount
from curate.fitting.choice.without_formula import OPTIONS as WITHOUT_FORMULA
from curate.runs.runs import Runs
from curate.runs.trainings import annealing_areas
from curate.runs.trainings.progress import FINISHED

COLUMNS = {
    "planned_tokens": "the column planned_tokens says how long the trainings were planned",
    "lr": "the learning rate has fallen at the end of every training",
}


@dataclass(frozen=True)
class FittedRows:
    """The runs that are fitted, and whether unfinished ones among them need a term.

    ``note`` says which rows are checkpoints and what was done with them; it is empty if there are none.
    """

    runs: Runs
    unfinished: bool = False
    note: str = ""

    @property
    def notes(self) -> tuple[str, ...]:
        """The note, if there is one."""
        return (self.note,) if self.note else ()


def rows_to_fit(runs: Runs, laws: Sequence[str], evals: Sequence[str]) -> FittedRows:
    """Return the rows to which ``laws`` of ``evals`` are fitted.

    If the table says how long its trainings were planned, all rows are fitted, with a term for unfinished runs. If not,
    only the last row of each training is, and each training is taken for finished. So it is where a column ``lr`` shows
    that the rate falls only towards the end: the term then predicts several times worse than the last rows alone
    (benchmarks/fitting/annealing_term.py). A law with the option ``checkpoints`` describes checkpoints itself, and then
    all rows are fitted.

    Raises:
        FitError: if all rows are checkpoints of one training.
    """
    trainings = runs.trainings
    if not trainings.has_checkpoints:
        return FittedRows(runs, note=_sentences(trainings.notes))
    # A note on what was taken for checkpoints has these counts.
    before = "" if trainings.notes else f"{len(runs)} rows of {amount(trainings.count, 'training')}: "
    if any(open_sets.parse(law)[1].get("checkpoints") for law in laws):
        note = f"{before}all rows are fitted, because the law describes checkpoints itself"
        return FittedRows(runs, False, _sentences([*trainings.notes, note]))
    if trainings.count == 1 and len(runs) > 1:
        raise FitError(
            f"{runs.origin}: all {len(runs)} rows are checkpoints of one training, {trainings.names[0]!r}, and a law "
            "needs several trainings. Add trainings that differ in size, length or mixture. For the loss over the "
            "steps of one training use --law annealing; to count every row as a run of its own, --checkpoints no"
        )
    reason = ""
    if trainings.schedules == "assumed":
        reason = "no column planned_tokens or lr shows whether the trainings were finished"
    elif _fall_late(runs):
        reason = (
            "the learning rate falls only towards the end of the trainings, and the term for unfinished runs does not "
            "describe that"
        )
    elif without_term := [law for law in laws if open_sets.parse(law)[0] in WITHOUT_FORMULA]:
        reason = f"{without_term[0]} has no term for unfinished runs"
    if reason:
        finished = replace(runs.finished(evals), notes=runs.notes)
        note = f"{before}the last row of each training is fitted, because {reason}"
        return FittedRows(finished, False, _sentences([*trainings.notes, note]))
    note = f"{before}all rows are fitted, with a term for unfinished runs, because {COLUMNS[trainings.schedules]}"
    if trainings.areas is None:
        note += ". If the learning rate falls only towards the end of the trainings, add a column lr"
    if not (trainings.progress >= FINISHED).any():
        furthest = float(trainings.progress.max())
        note += (
            f". No training was finished: the furthest row has {furthest:.0%} of its planned tokens, so predictions of "
            "finished runs rest on that term"
        )
    return FittedRows(runs, True, _sentences([*trainings.notes, note]))


def _sentences(notes: Sequence[str]) -> str:
    """Join notes on checkpoints into one note, a sentence each."""
    return ". ".join([*notes[:1], *(note[0].upper() + note[1:] for note in notes[1:])])


def _fall_late(runs: Runs) -> bool:
    """Return whether the annealing areas of the runs show that their learning rates fall only towards the end."""
    recipes = runs.recipes()
    if recipes.areas is None or recipes.progress is None:
        return False
    return annealing_areas.fall_late(recipes.areas.numpy(), recipes.progress.numpy(), runs.clusters)
