"""Apply requirements to all rows: first those about a row alone, then lower bounds on ``score.duplicates``.

In: requirements, and a folder for work files. Out: `Eligible`, and how many rows fail each requirement.
The engine reads ranges of rows, a task each. A lower bound on ``score.duplicates`` comes last, wherever it stands, so
that a text is not lost because the copy that stands for it fails another requirement.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import SchemaError
from curate.progress import counted
from curate.pruning.duplicate_check import compare_again
from curate.pruning.eligible import CODE, ELIGIBLE, Eligible
from curate.pruning.requirements import linked_rows, regrouping
from curate.pruning.requirements.columns import RequiredRows
from curate.pruning.requirements.reading import Requirements, columns_of, failed_first
from curate.pruning.requirements.requirement import DUPLICATES, Requirement
from curate.storage import disk_arrays, s3
from curate.tables import batches, readers

LINKED = "linked"  # the folder of work files about linked rows, below that of the codes
IDS, SCORES = "ids", "scores"  # the hashes of their ids, uint64, and their scores, float64, in the order of the hashes


@dataclass(frozen=True)
class Applied:
    """Which rows meet all requirements, and how many do not.

    ``failing`` (requirements,) counts the rows whose first failed requirement it is, ``rows`` all rows.
    """

    eligible: Eligible
    failing: np.ndarray
    rows: int

    @property
    def remaining(self) -> int:
        """Return how many rows meet all requirements."""
        return self.rows - int(self.failing.sum())


def apply(requirements: Requirements, scores: Path, folder: Path, engine: Engine) -> Applied:
    """Write the code of every row below ``folder``, an empty folder. For the codes see `Eligible`.

    Raises:
        SchemaError: if a requirement does not work on some file, no row meets all, or stored links are missing.
    """
    eligible = Eligible(folder)
    _make_room(requirements.rows, eligible)
    again = regroups(requirements.each, scores)
    first = requirements.plain if again else requirements.each
    counts = _sum(engine, partial(_write_codes, first, eligible), requirements)
    if again:
        counts = _regroup(requirements, scores, eligible, engine)
    applied = Applied(eligible, counts[1:], int(counts.sum()))
    if not applied.rows:
        raise SchemaError(f"the score files below {s3.shown(scores)} have no rows. Score data that has rows")
    if not applied.remaining:
        raise SchemaError(_nothing_left(requirements, applied))
    return applied


def regroups(requirements: Sequence[Requirement], scores: Path) -> bool:
    """Return whether groups of duplicates are formed again among the rows that meet some requirements."""
    # Alone, a bound on duplicates is about all rows, and their groups are those of the stored scores.
    kinds = {requirement.regroups for requirement in requirements}
    # Copies of texts in other files are in no groups.
    return len(kinds) == 2 and not compare_again.compares_with_files(scores)


def _sum(engine: Engine, function: partial[np.ndarray], requirements: Requirements) -> np.ndarray:
    """Return the rows of each code, summed over all ranges."""
    counts = np.zeros(len(requirements.each) + 1, np.int64)
    results = counted(engine.run(function, requirements.rows), "parts checked for requirements", len(requirements.rows))
    for part in results:
        counts[: len(part)] += part
    return counts


def _make_room(parts: Sequence[RequiredRows], eligible: Eligible) -> None:
    """Make the files of codes that several tasks write: those of score files with several ranges."""
    for part in parts:
        if part.rows.first == 0 and part.rows.count is not None:
            eligible.make_room(part.rows.shard.relative, cast(int, readers.head(part.rows.shard).rows))


def _write_codes(requirements: Sequence[Requirement], eligible: Eligible, part: RequiredRows) -> np.ndarray:
    """Write the codes of a range of rows, and return how many rows have each."""
    frames = part.frames(*columns_of(requirements))
    codes = [np.zeros(0, CODE), *(failed_first(requirements, frame, part).to_numpy() for frame in frames)]
    return _save(eligible, part, np.concatenate(codes))


def _save(eligible: Eligible, part: RequiredRows, codes: np.ndarray) -> np.ndarray:
    """Write the codes of a range of rows, and return how many rows have each."""
    eligible.write(part.rows, codes)
    return np.bincount(codes)


def _regroup(requirements: Requirements, scores: Path, eligible: Eligible, engine: Engine) -> np.ndarray:
    """Apply lower bounds on ``score.duplicates`` to groups among the rows that meet all other requirements."""
    bounds = requirements.regrouping
    linked = linked_rows.read(scores, partial(_fails_any, bounds))
    folder = eligible.folder / LINKED
    folder.mkdir()
    _write_array(folder / IDS, linked.ids)
    is_eligible = np.zeros(len(linked.ids), bool)
    look_up = partial(_linked_rows, linked.seed, eligible)
    words, total = "parts searched for duplicates", len(requirements.rows)
    for places in counted(engine.run(look_up, requirements.rows), words, total):
        is_eligible[places] = True
    _write_array(folder / SCORES, regrouping.scores(linked, is_eligible))
    return _sum(engine, partial(_write_regrouped, bounds, eligible), requirements)


def _fails_any(bounds: Sequence[Requirement], scores: np.ndarray) -> np.ndarray:
    """Return which (n,) scores fail at least one lower bound on ``score.duplicates``."""
    frame = pl.DataFrame({DUPLICATES: scores}, schema={DUPLICATES: pl.Float64})
    return np.asarray(failed_first(bounds, frame, DUPLICATES).to_numpy() != ELIGIBLE)


def _linked_rows(seed: int, eligible: Eligible, part: RequiredRows) -> np.ndarray:
    """Return the places among the linked rows of those that meet all other requirements; store their row numbers."""
    linked = _array(eligible.folder / LINKED / IDS, np.uint64)
    remaining = np.flatnonzero(eligible.codes(part.rows) == ELIGIBLE)
    rows, places = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)]
    start = 0
    for frame in part.identities():
        low, high = np.searchsorted(remaining, [start, start + frame.height])
        numbers = remaining[low:high]
        keys = batches.keys(frame["id"][numbers - start], seed)
        place = np.minimum(np.searchsorted(linked, keys), max(0, len(linked) - 1))
        present = linked[place] == keys if len(linked) else np.zeros(len(keys), bool)
        rows.append(numbers[present])
        places.append(place[present])
        start += frame.height
    result = np.concatenate(places)
    np.savez(_of_part(eligible, part), allow_pickle=False, rows=np.concatenate(rows), places=result)
    return result


def _write_regrouped(bounds: Sequence[Requirement], eligible: Eligible, part: RequiredRows) -> np.ndarray:
    """Change the codes of the rows that fail a lower bound among the rows that are left; count all codes."""
    scores = _array(eligible.folder / LINKED / SCORES, np.float64)
    codes = eligible.codes(part.rows).copy()
    with np.load(_of_part(eligible, part)) as stored:
        frame = pl.DataFrame({DUPLICATES: scores[stored["places"]]}, schema={DUPLICATES: pl.Float64})
        codes[stored["rows"]] = failed_first(bounds, frame, part).to_numpy()
    return _save(eligible, part, codes)


def _of_part(eligible: Eligible, part: RequiredRows) -> Path:
    return eligible.folder / LINKED / f"{part.number}.npz"


def _write_array(path: Path, array: np.ndarray) -> None:
    with path.open("wb") as file:
        disk_arrays.append(file, array)


def _array(path: Path, dtype: type[np.generic]) -> np.ndarray:
    """Return an array of a work file. It is mapped, so that workers of one machine share its memory."""
    # An empty file cannot be mapped.
    return np.memmap(path, dtype, mode="r") if path.stat().st_size else np.zeros(0, dtype)


def _nothing_left(requirements: Requirements, applied: Applied) -> str:
    """Return the error for requirements that no row meets together: how many fail each, the most first."""
    order = np.argsort(-applied.failing, kind="stable")
    counts = [f"{requirements.texts[i]!r} {applied.failing[i]:,}" for i in order.tolist() if applied.failing[i]]
    shown = ", ".join(counts[:3])
    more = f" and {len(counts) - 3} more" if len(counts) > 3 else ""
    return (
        f"no row of {applied.rows:,} meets all --require. Rows removed, each by the first requirement that it fails: "
        f"{shown}{more}. Nothing was written. Weaken or leave out {requirements.texts[int(order[0])]!r}"
    )
