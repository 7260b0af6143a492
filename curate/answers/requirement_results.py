"""Tell which requirements a row meets, and the values that decided.

In: the requirements of a pruning, and the place of a row with its stored reason. Out: `RequirementResult`, one for each
requirement. Where the input of the row was moved or changed, the stored reason tells the result.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from curate.answers.fates import RequirementResult
from curate.answers.row_places import RowPlace
from curate.errors import CurateError, SchemaError
from curate.pruning.requirements import applying, differing_inputs, missing
from curate.pruning.requirements import columns as requirement_columns
from curate.pruning.requirements import reading as requirement_reading
from curate.pruning.requirements.columns import RequiredRows
from curate.pruning.requirements.requirement import Requirement
from curate.tables import scored
from curate.tables.row_ranges import RowRange
from curate.tables.scored_inputs import line_losses, scored_rows
from curate.tables.shards import Shard


@dataclass(frozen=True)
class RowResults:
    """The result of each requirement for a row. ``unread`` says why its input could not be read, or is empty."""

    requirements: tuple[RequirementResult, ...]
    unread: str = ""


@dataclass(frozen=True)
class AppliedRequirements:
    """The requirements that a pruning applied to the rows of a score folder, in their order.

    ``regroups`` says that it formed groups of duplicates again, after all other requirements.
    """

    scores: Path
    shards: tuple[Shard, ...]
    each: tuple[Requirement, ...]
    regroups: bool

    def of_row(self, place: RowPlace, reason: str) -> RowResults:
        """Return which requirements a row meets. ``reason`` is what was stored for it."""
        names = tuple(dict.fromkeys(name for requirement in self.each for name in requirement.inputs))
        of_input, unread = pl.DataFrame(), ""
        if names:
            try:
                of_input = self._input_row(place, names)
                self._check(place, reason, of_input)
            # Inputs may be moved, changed or protected since they were scored.
            except (CurateError, OSError) as error:
                of_input, unread = pl.DataFrame(), str(error)
        results = (self._result(requirement, place, reason, of_input) for requirement in self.each)
        return RowResults(tuple(results), unread)

    def _check(self, place: RowPlace, reason: str, of_input: pl.DataFrame) -> None:
        """Check that the input of a row gives it the stored reason.

        The hash of a scored input covers only the columns that a scorer reads, and a requirement may read others.

        Raises:
            SchemaError: if the input gives it another reason.
        """
        for requirement in self.each:
            stored = self._met_by_reason(requirement, reason)
            if requirement.inputs and stored is not None and stored != self._met(requirement, place, of_input):
                raise SchemaError("it was changed after the rows were pruned")

    def _result(
        self, requirement: Requirement, place: RowPlace, reason: str, of_input: pl.DataFrame
    ) -> RequirementResult:
        unread = tuple(name for name in requirement.inputs if name not in of_input.columns)
        # The stored score is about all rows, and groups were formed again among some of them.
        regrouped = self.regroups and requirement.regroups
        if regrouped or unread:
            met = self._met_by_reason(requirement, reason)
        else:
            met = self._met(requirement, place, of_input)
        frame = self._values(requirement, place, of_input)
        values = frame.row(0, named=True) if frame.width else {}
        return RequirementResult(requirement.text, met, values, regrouped, unread)

    def _met(self, requirement: Requirement, place: RowPlace, of_input: pl.DataFrame) -> bool:
        return bool(requirement.met(self._values(requirement, place, of_input), place.shard.path)[0])

    def _values(self, requirement: Requirement, place: RowPlace, of_input: pl.DataFrame) -> pl.DataFrame:
        """Return the columns that a requirement reads, of one row; of the input those that could be read."""
        rows = RequiredRows(0, RowRange(place.shard, place.row, 1))
        frame = pl.concat(rows.frames(requirement.scored, ())) if requirement.scored else pl.DataFrame()
        present = [name for name in requirement.inputs if name in of_input.columns]
        return pl.concat([frame, of_input.select(present)], how="horizontal") if present else frame

    def _met_by_reason(self, requirement: Requirement, reason: str) -> bool | None:
        """Return whether a row meets a requirement, as far as its reason tells. None: the reason does not tell."""
        # The reason of a row is the first requirement that it fails, in the order in which they were applied.
        order = sorted(self.each, key=lambda item: (self.regroups and item.regroups, item.number))
        failed = next((item for item in order if item.text == reason), None)
        # A row that is kept, or that a rank or a cap removed, meets all requirements.
        if failed is None or order.index(requirement) < order.index(failed):
            return True
        return False if requirement == failed else None

    def _input_row(self, place: RowPlace, names: Sequence[str]) -> pl.DataFrame:
        """Return the named columns of the input of a row, as a frame of one row.

        Raises:
            CurateError: if the input is not in its place, or changed since it was scored.
        """
        part = next((part for part in self._inputs if part.rows.shard.relative == place.shard.relative), None)
        if part is None or part.data is None:
            raise SchemaError("it is not in its place any more")
        scored_rows.check(self.scores, [part.data], scored.reading(self.scores))
        rows = requirement_columns.input_batches(part.data, part.reading, names, start=place.row)
        return missing.columns(part.typed(next(rows).head(1)))

    # For every row of a call the same, and read from the heads of all inputs.
    @cached_property
    def _inputs(self) -> tuple[RequiredRows, ...]:
        """Return the score files whose inputs are in their places, with the types of what an input lacks."""
        inputs, reading = {shard.relative: shard for shard in scored.inputs(self.scores)}, scored.reading(self.scores)
        rows = tuple(
            RequiredRows(number, RowRange(shard), data, line_losses.aligned(reading, self.scores, data))
            for number, shard in enumerate(self.shards)
            if (data := inputs.get(shard.relative)) is not None
        )
        paths = tuple(dict.fromkeys(path for requirement in self.each for path in requirement.input_paths))
        return differing_inputs.with_lacking(rows, paths, self.scores)


def read(texts: Sequence[str], scores: Path, shards: Sequence[Shard]) -> AppliedRequirements:
    """Return the requirements that a pruning of a score folder applied."""
    each = requirement_reading.read_applied(texts, scores, shards)
    return AppliedRequirements(scores, tuple(shards), each, applying.regroups(each, scores))
