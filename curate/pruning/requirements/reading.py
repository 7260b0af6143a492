"""Read the requirements of a call of `prune`, and check each before any row is decided.

In: conditions as users wrote them, and score files. Out: `Requirements`.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curate.errors import SchemaError
from curate.pruning.requirements import columns
from curate.pruning.requirements.columns import RequiredRows
from curate.pruning.requirements.requirement import DUPLICATES, Requirement, names_in, refusal, unknown_column
from curate.tables.shards import Shard

MOST = 1000  # requirements: codes have room for 65,535, and nobody reads a table of so many reasons


@dataclass(frozen=True)
class Requirements:
    """All requirements, in their order, and the rows that they are applied to, range by range."""

    each: tuple[Requirement, ...]
    rows: tuple[RequiredRows, ...]

    @property
    def texts(self) -> tuple[str, ...]:
        """Return the conditions: the reasons of the rows that fail them."""
        return tuple(requirement.text for requirement in self.each)

    @property
    def regrouping(self) -> tuple[Requirement, ...]:
        """Return the lower bounds on ``score.duplicates``, which are applied last."""
        return tuple(requirement for requirement in self.each if requirement.regroups)

    @property
    def plain(self) -> tuple[Requirement, ...]:
        """Return the requirements that are applied first: all others."""
        return tuple(requirement for requirement in self.each if not requirement.regroups)

    def warnings(self) -> tuple[str, ...]:
        """Return a line for each condition that compares the stored duplicates, without forming groups again."""
        return tuple(
            f"--require {requirement.text!r} uses the groups of duplicates among all scored rows. Only a condition "
            f"such as '{DUPLICATES} >= 0.25' alone is applied to groups among the rows that meet the others"
            for requirement in self.plain
            if DUPLICATES in requirement.scored and len(self.each) > 1
        )


def read(texts: Sequence[str], scores: Path, shards: Sequence[Shard], *, partial: bool = False) -> Requirements:
    """Read requirements, and check them on the first rows.

    Raises:
        SchemaError: if one cannot be used, with what to change.
    """
    if len(texts) > MOST:
        raise SchemaError(f"{len(texts)} requirements are too many: give at most {MOST}, and join some by AND")
    if "kept" in texts:
        raise refusal(
            "kept",
            "would be the reason of rows that it removes, and 'kept' is that of rows that are kept",
            "Write kept = true",
        )
    if twice := next((text for i, text in enumerate(texts) if text in texts[:i]), None):
        raise refusal(twice, "is given twice", "Leave one out")
    present = columns.of_scores(shards)
    requirements = tuple(_read_one(text, number, scores, present) for number, text in enumerate(texts, start=1))
    with_inputs = any(requirement.inputs for requirement in requirements)
    rows = columns.required_rows(scores, shards, with_inputs=with_inputs, partial=partial) if requirements else ()
    for requirement in requirements:
        _check_type(requirement, rows)
    return Requirements(requirements, rows)


def _read_one(text: str, number: int, scores: Path, present: Sequence[str]) -> Requirement:
    names = names_in(text, present)
    if set(names) <= set(present):
        return Requirement(text, number, names)
    # Only now the inputs are needed: they may have been moved away since they were scored.
    unknown = [name for name in names if name not in present]
    try:
        of_inputs = columns.of_inputs(scores, unknown)
    except SchemaError as error:
        more = f". If it is a column of the inputs: they cannot be read ({error})"
        raise unknown_column(text, unknown[0], present, more) from None
    every = tuple(dict.fromkeys((*present, *of_inputs)))
    names = names_in(text, every)
    if unknown := [name for name in names if name not in every]:
        raise unknown_column(text, unknown[0], every)
    # A column of both files is that of the score file, where every row has an identity.
    return Requirement(
        text,
        number,
        tuple(name for name in names if name in present),
        tuple(name for name in names if name not in present),
    )


def _check_type(requirement: Requirement, rows: Sequence[RequiredRows]) -> None:
    """Apply a requirement to the first rows, so that a wrong type is an error before any work."""
    for part in rows:
        for frame in part.frames(requirement.scored, requirement.inputs):
            if frame.height:
                requirement.met(frame.head(1), part)
                return


def failed_first(requirements: Sequence[Requirement], frame: pl.DataFrame, where: object) -> pl.Series:
    """Return the number (n,) of the first requirement that each row of a table fails, 0 where it meets all."""
    codes = pl.repeat(0, frame.height, dtype=pl.UInt16, eager=True)
    for requirement in reversed(requirements):
        met = pl.Series(requirement.met(frame, where))
        codes = codes.zip_with(met, pl.repeat(requirement.number, frame.height, dtype=pl.UInt16, eager=True))
    return codes
