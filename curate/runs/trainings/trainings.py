"""Find which rows of a run table are checkpoints of one training, and how far each training had come."""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import get_args

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.runs.trainings import annealing_areas, disagreement, training_keys
from curate.runs.trainings.progress import FINISHED, Schedules, progress_of_rows
from curate.runs.trainings.training_keys import Checkpoints


@dataclass(frozen=True)
class Trainings:
    """The trainings of the n rows of a run table.

    ``codes`` (n,) are integers; checkpoints of one training share a code. ``names`` (n,) are the names of the
    trainings. ``progress`` (n,) is the part of its planned training that a row has done, in (0, 1]. ``schedules`` says
    from where progress comes: ``planned_tokens`` and ``lr`` are columns; ``assumed`` takes the last row of each
    training for its end. ``areas`` (n, 2) are the annealing areas S1 and S2, if a column ``lr`` shows the schedule.
    ``notes`` say what was taken for a checkpoint in the table as it was read, and why.
    """

    codes: np.ndarray
    names: np.ndarray
    progress: np.ndarray
    schedules: Schedules
    areas: np.ndarray | None = None
    notes: tuple[str, ...] = ()

    def take(self, rows: np.ndarray) -> "Trainings":
        """Return the trainings of the rows at these positions, or where a mask is true."""
        areas = None if self.areas is None else self.areas[rows]
        return replace(self, codes=self.codes[rows], names=self.names[rows], progress=self.progress[rows], areas=areas)

    @property
    def count(self) -> int:
        """The number of trainings."""
        return len(np.unique(self.codes))

    @property
    def has_checkpoints(self) -> bool:
        """Whether any training has more than one row, or any row is of a training that was not finished."""
        return self.count < len(self.codes) or bool((self.progress < FINISHED).any())


def trainings(frame: pl.DataFrame, origin: str, checkpoints: Checkpoints = "auto") -> Trainings:
    """Return the trainings of the rows of a checked run table. ``origin`` names the table in errors.

    Rows with the same value in the column ``training`` are one training. Without that column it is the part of the
    run's name before ``@``. Without that, every row is a finished training of its own. But four or more rows of equal
    mixture, size, unique tokens, seed and text columns are one training if their tokens are mostly evenly spaced, or if
    the column planned_tokens says that they were not finished.

    With ``checkpoints`` = ``yes``, rows of equal mixture, size and settings are one training however their tokens are
    spaced. With ``no``, every row is a finished training of its own, whatever names and columns say.

    Raises:
        SchemaError: rows of one training have different mixtures or sizes, or the same tokens; a row has more tokens
            than were planned; or ``checkpoints`` is ``yes`` and nothing says which rows belong together.
    """
    if checkpoints not in get_args(Checkpoints):
        raise SchemaError(f"--checkpoints {checkpoints!r} is not known: use {', '.join(get_args(Checkpoints))}")
    runs = np.array(frame["run"].to_list(), dtype=object)
    alone = [f"row {i}" for i in range(len(frame))]  # keys of rows that are trainings of their own
    if checkpoints == "no":
        return Trainings(np.arange(len(frame)), runs, np.ones(len(frame)), "assumed")
    # A start row holds the losses before training, and belongs to no training.
    start = (frame["tokens"].fill_null(np.nan) == 0).to_numpy()
    names, keys, told = training_keys.keys_by_name(frame, alone, start)
    codes = _codes(names, keys)
    notes: tuple[str, ...] = ()
    if told:
        disagreement.refuse(frame, codes, names, start, origin)
    elif len(np.unique(codes)) == len(frame):
        keys, notes = training_keys.keys_by_settings(frame, alone, start, origin, checkpoints)
        # A training without a name is called by one of its runs.
        first: dict[str, str] = {}
        for key, run in zip(keys, runs.tolist(), strict=True):
            first[key] = min(first.get(key, run), run)
        names = np.array([first[key] for key in keys], dtype=object)
        codes = _codes(names, keys)
    progress, schedules, more = progress_of_rows(frame, codes, names, start, origin)
    areas = annealing_areas.of_rows(frame, codes)
    return Trainings(codes, names, progress, schedules, areas, (*notes, *more))


def _codes(names: np.ndarray, keys: Sequence[str]) -> np.ndarray:
    """Return (n,) codes of trainings in the order of their names, so that the order of the rows does not matter."""
    pairs = [f"{name}\0{key}" for name, key in zip(names.tolist(), keys, strict=True)]
    return np.asarray(np.unique(np.array(pairs, dtype=object), return_inverse=True)[1])
