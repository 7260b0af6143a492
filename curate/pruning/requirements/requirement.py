"""One requirement: a condition in SQL, the columns that it reads, and whether a row meets it.

In: a condition as a user wrote it, and the names of columns. Out: a `Requirement`, or an error of one line.
"""

import re
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.tables import sql

DUPLICATES = "score.duplicates"  # the score for which groups are formed again
MOST = 1000  # requirements: codes have room for 65,535, and nobody reads a table of so many reasons
REMEDY = "Write a condition over columns of one row, such as score.length > 100"
NUMBER = r"[+-]?(?:\d+\.?\d*|\.\d+)(?:[eE][+-]?\d+)?"
SCORE = r'(?:score\.duplicates|"score\.duplicates")'
LOWER_BOUND = re.compile(rf"\s*(?:{SCORE}\s*>=?\s*{NUMBER}|{NUMBER}\s*<=?\s*{SCORE})\s*")


@dataclass(frozen=True)
class Requirement:
    """A condition that a row must meet. Rows that fail it have its ``text`` as their reason.

    ``number`` is its place among all requirements, from 1. ``scored`` are the columns of the score files that it reads,
    and ``inputs`` those of the inputs.
    """

    text: str
    number: int
    scored: tuple[str, ...]
    inputs: tuple[str, ...] = ()

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the names of all columns that it reads."""
        return (*self.scored, *self.inputs)

    @property
    def input_paths(self) -> tuple[sql.Path, ...]:
        """Return the columns of inputs that it reads, with the fields of structs."""
        return tuple(path for path in expression(self.text, self.columns).paths if path[0] in self.inputs)

    @property
    def regroups(self) -> bool:
        """Return whether it is a lower bound on ``score.duplicates``, such as ``score.duplicates >= 0.25``.

        Such a requirement is applied last, to groups that are formed again among the rows that meet all others.
        """
        return LOWER_BOUND.fullmatch(self.text) is not None

    def met(self, frame: pl.DataFrame, where: object) -> np.ndarray:
        """Return an (n,) mask of the rows of a table that meet it. A row for which the result is null does not.

        NaN counts as null, also where it arises within the condition, as in ``0 / 0 > 5``.

        Raises:
            SchemaError: if it does not work on the columns of this table, or its result is not true or false.
                ``where`` names the table.
        """
        try:
            result = expression(self.text, self.columns).values(frame)
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise refusal(self.text, f"does not work on {where} ({sql.detail(error)})", _remedy(error, frame)) from None
        if result.dtype != pl.Boolean:
            raise refusal(self.text, f"is {result.dtype} on {where}, not true or false")
        return np.asarray(result.fill_null(value=False).to_numpy())


def _remedy(error: Exception, frame: pl.DataFrame) -> str:
    """Return what to change where a value has another type than the condition expects; else nothing."""
    problem = str(error)
    if "compare string with numeric" in problem:
        return "Ids and all columns of CSV are texts. Write TRY_CAST(NAME AS DOUBLE) > 5 for a number in a text"
    if "conversion from `str`" in problem:
        return "TRY_CAST in the place of CAST gives null for these values, so that their rows fail"
    if "'date/datetime/time' to a string" in problem:
        return "Write a date as DATE '2026-01-31', and a time as TIMESTAMP '2026-01-31 12:00:00'"
    if isinstance(error, pl.exceptions.StructFieldNotFoundError):
        structs = {name: kind.fields for name, kind in frame.schema.items() if isinstance(kind, pl.Struct)}
        names = {name: first_few([field.name for field in fields]) for name, fields in structs.items()}
        return "; ".join(f"{name} has the fields {fields}" for name, fields in names.items())
    return ""


def refusal(text: str, problem: str, remedy: str = "") -> SchemaError:
    """Return the error for a requirement that cannot be used."""
    return _written(text).refusal(problem, remedy)


# A condition is applied to each batch of each file.
@lru_cache(maxsize=MOST)
def expression(text: str, columns: tuple[str, ...]) -> sql.RowExpression:
    """Return the expression of a condition over columns. A struct counts as a column, and not its fields.

    Raises:
        SchemaError: if it is not an expression in SQL, reads files, has a subquery, names no column, or depends on
            other rows.
    """
    return sql.row_expression(_written(text), columns, constants=False)


def check(texts: Sequence[str], columns: Collection[str] = ()) -> None:
    """Check requirements as far as their texts tell: it needs no score files. ``columns`` are those that are known.

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
    for text in texts:
        expression(text, tuple(columns))


def _written(text: str) -> sql.WrittenSql:
    return sql.WrittenSql(text, f"--require {text!r}", REMEDY)
