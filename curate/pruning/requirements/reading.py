"""Read the requirements of a call of `prune`, and check each before any row is decided.

In: conditions as users wrote them, and score files. Out: `Requirements`.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from curate.errors import CurateError, SchemaError, amount
from curate.pruning.requirements import columns, differing_inputs
from curate.pruning.requirements.columns import RequiredRows
from curate.pruning.requirements.requirement import DUPLICATES, Requirement, check, expression
from curate.tables.shards import Shard


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
        """Return a line for each column that some inputs lack, and each condition that uses stored duplicates."""
        return (*self._lacking(), *self._stored_duplicates())

    def _lacking(self) -> Iterator[str]:
        for name in dict.fromkeys(name for part in self.rows for name in part.lacking):
            lacking = [part.data.path for part in self.rows if name in part.lacking and part.data is not None]
            yield (
                f"--require: {name!r} is missing from {len(lacking)} of {amount(len(self.rows), 'input')}, such "
                f"as {lacking[0]}. It counts as null in their rows"
            )

    def _stored_duplicates(self) -> tuple[str, ...]:
        """Return a line for each condition that is not applied to groups among the rows that meet the others."""
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
    present = columns.of_scores(shards)
    check(texts, present)
    requirements = tuple(_read_one(text, number, scores, shards) for number, text in enumerate(texts, start=1))
    of_inputs = tuple(dict.fromkeys(path for requirement in requirements for path in requirement.input_paths))
    rows = columns.required_rows(scores, shards, with_inputs=bool(of_inputs), partial=partial) if requirements else ()
    rows = differing_inputs.with_lacking(rows, of_inputs, scores) if of_inputs else rows
    _check_types(requirements, rows)
    return Requirements(requirements, rows)


def read_applied(texts: Sequence[str], scores: Path, shards: Sequence[Shard]) -> tuple[Requirement, ...]:
    """Read requirements that were applied to score files before, so that they need no checks.

    Where the inputs cannot be read any more, every column that the score files lack counts as one of the inputs.
    """
    return tuple(_read_applied(text, number, scores, shards) for number, text in enumerate(texts, start=1))


def _read_applied(text: str, number: int, scores: Path, shards: Sequence[Shard]) -> Requirement:
    try:
        return _read_one(text, number, scores, shards)
    except (CurateError, OSError):
        present = columns.of_scores(shards)
        names = sorted(expression(text, present).columns)
        of_inputs = tuple(name for name in names if name not in present)
        return Requirement(text, number, tuple(name for name in names if name in present), of_inputs)


def _read_one(text: str, number: int, scores: Path, shards: Sequence[Shard]) -> Requirement:
    present = columns.of_scores(shards)
    parsed = expression(text, present)
    if set(parsed.columns) <= set(present):
        return Requirement(text, number, tuple(sorted(parsed.columns)))
    # Only now the inputs are needed: they may have been moved away since they were scored.
    unknown = [path for path in parsed.paths if path[0] not in present]
    try:
        of_inputs = columns.of_inputs(scores, shards, [path[0] for path in unknown])
    except SchemaError as error:
        more = f". If it is a column of the inputs: they cannot be read ({error})"
        raise parsed.written.no_column(".".join(unknown[0]), present, more) from None
    every = tuple(dict.fromkeys((*present, *of_inputs)))
    parsed = expression(text, every)
    parsed.check_columns(every)
    names = sorted(parsed.columns)
    # A column of both files is that of the score file, where every row has an identity.
    return Requirement(
        text,
        number,
        tuple(name for name in names if name in present),
        tuple(name for name in names if name not in present),
    )


def _check_types(requirements: Sequence[Requirement], rows: Sequence[RequiredRows]) -> None:
    """Apply requirements to the first row, so that a wrong type is an error before any work."""
    for part in rows:
        for frame in part.frames(*columns_of(requirements)):
            if frame.height:
                for requirement in requirements:
                    requirement.met(frame.head(1), part)
                return


def columns_of(requirements: Sequence[Requirement]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the columns of the score files that requirements read, and those of the inputs, each once."""
    scored = dict.fromkeys(name for requirement in requirements for name in requirement.scored)
    inputs = dict.fromkeys(name for requirement in requirements for name in requirement.inputs)
    return tuple(scored), tuple(inputs)


def failed_first(requirements: Sequence[Requirement], frame: pl.DataFrame, where: object) -> pl.Series:
    """Return the number (n,) of the first requirement that each row of a table fails, 0 where it meets all."""
    codes = pl.repeat(0, frame.height, dtype=pl.UInt16, eager=True)
    for requirement in reversed(requirements):
        met = pl.Series(requirement.met(frame, where))
        codes = codes.zip_with(met, pl.repeat(requirement.number, frame.height, dtype=pl.UInt16, eager=True))
    return codes
