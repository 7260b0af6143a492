"""One requirement: a condition in SQL, the columns that it reads, and whether a row meets it.

In: a condition as a user wrote it, and the names of columns. Out: a `Requirement`, or an error of one line.
"""

import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from difflib import get_close_matches

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.pruning.requirements import missing
from curate.tables import sql

DUPLICATES = "score.duplicates"  # the score for which groups are formed again
# What SQL writes for a condition on other tables, on files, on other rows, or on the time of day. Polars reads a file
# of a subquery as soon as it parses the expression, so these words are looked for before.
REFUSED_WORDS = {
    r"\b(?:read|scan)_\w+\s*\(": "reads a file",
    r"\bSELECT\b": "has a subquery",
    r"\bOVER\b": "has a window (OVER), so that a row would depend on other rows",
    r"\b(?:NOW\s*\(|CURRENT_(?:DATE|TIME|TIMESTAMP)\b)": "reads the clock, so that the result would change with time",
}
# Nodes of an expression of polars whose value depends on more than one row, or that make more rows of one.
OTHER_ROWS = frozenset("Agg Over Explode Len Filter Slice Gather Sort SortBy SubPlan AnonymousAgg Rolling".split())
OTHER_ROWS_FUNCTIONS = frozenset(
    "Quantile Correlation Range Shift Rank CumSum CumCount CumMin CumMax CumProd Diff Unique Mode Random".split()
)
# Parts of a node that hold values and options, not further nodes.
VALUES = frozenset("Literal function dtype options op Column".split())
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
    def regroups(self) -> bool:
        """Return whether it is a lower bound on ``score.duplicates``, such as ``score.duplicates >= 0.25``.

        Such a requirement is applied last, to groups that are formed again among the rows that meet all others.
        """
        return LOWER_BOUND.fullmatch(self.text) is not None

    def met(self, frame: pl.DataFrame, where: object) -> np.ndarray:
        """Return an (n,) mask of the rows of a table that meet it. A row for which the result is null does not.

        Raises:
            SchemaError: if it does not work on the columns of this table, or its result is not true or false.
                ``where`` names the table.
        """
        try:
            result = frame.select(missing.computed(sql.expression(self.text, self.columns)).alias("met"))["met"]
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise refusal(self.text, f"does not work on {where} ({sql.problem(str(error))})", _remedy(error)) from None
        if result.dtype != pl.Boolean:
            raise refusal(self.text, f"is {result.dtype} on {where}, not true or false")
        return np.asarray(result.fill_null(value=False).to_numpy())


def _remedy(error: Exception) -> str:
    """Return what to change where a text was used as a number; else nothing."""
    if "compare string with numeric" in str(error):
        return "Ids and all columns of CSV are texts. Write TRY_CAST(NAME AS DOUBLE) > 5 for a number in a text"
    if "conversion from `str`" in str(error):
        return "TRY_CAST in the place of CAST gives null for these values, so that their rows fail"
    return ""


def refusal(text: str, problem: str, remedy: str = "") -> SchemaError:
    """Return the error for a requirement that cannot be used."""
    remedy = remedy or "Write a condition over columns of one row, such as score.length > 100"
    return SchemaError(f"--require {text!r} {problem}. {remedy}")


def names_in(text: str, columns: Sequence[str]) -> tuple[str, ...]:
    """Return the columns that a condition names, sorted; a struct counts, and not its fields.

    Raises:
        SchemaError: if it is not an expression in SQL, reads files, has a subquery, or depends on other rows.
    """
    plain = sql.without_quoted(text)
    for pattern, problem in REFUSED_WORDS.items():
        if re.search(pattern, plain, re.IGNORECASE):
            raise refusal(text, problem)
    try:
        parsed = sql.expression(text, columns)
        roots = tuple(sorted(set(parsed.meta.root_names())))
        nodes = set(_nodes(json.loads(parsed.meta.serialize(format="json"))))
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise refusal(text, f"is no condition in SQL ({sql.problem(str(error))})") from None
    if nodes & (OTHER_ROWS | OTHER_ROWS_FUNCTIONS):
        raise refusal(text, "depends on other rows: it has an aggregate or a function of several rows")
    if not roots:
        raise refusal(text, "names no column, so that it is the same for every row")
    return roots


def unknown_column(text: str, name: str, columns: Sequence[str], more: str = "") -> SchemaError:
    """Return the error for a condition that names a column that does not exist; ``more`` ends the message."""
    # A dotted name that is no column was read as a field of the column before the dot.
    dotted = re.search(rf"(?<![\w.]){re.escape(name)}(?:\.\w+)+", text)
    written = dotted[0] if dotted else name
    # SQL takes what stands in double quotes for the name of a column. Users often mean a text.
    if f'"{name}"' in text:
        remedy = f"Write a text in single quotes: {_quoted_text(name)}. There are {first_few(columns, near=name)}{more}"
        return refusal(text, f"names {name!r}, which is no column", remedy)
    near = get_close_matches(written, columns, n=1, cutoff=0.6)
    guess = f"Did you mean {near[0]}? " if near else ""
    remedy = f"{guess}There are {first_few(columns, near=written)}{more}"
    return refusal(text, f"names {written!r}, which is no column", remedy)


def _quoted_text(text: str) -> str:
    """Return a text as SQL writes it."""
    return "'" + text.replace("'", "''") + "'"


def _nodes(tree: object) -> Iterator[str]:
    """Yield the kinds of the nodes of an expression, and of its functions."""
    if isinstance(tree, str):
        yield tree
    elif isinstance(tree, list):
        for branch in tree:
            yield from _nodes(branch)
    elif isinstance(tree, dict):
        for name, branch in tree.items():
            yield name
            if name == "function":
                yield branch if isinstance(branch, str) else next(iter(branch))
            elif name not in VALUES:
                yield from _nodes(branch)
