"""Read an SQL expression that a user wrote: one value for each row, from that row alone, or from a whole table.

In: the text, what a message about it needs, and the names of columns. Out: an expression of Polars.
"""

import re
from collections.abc import Collection
from dataclasses import dataclass
from functools import cached_property

import polars as pl

from curate.errors import SchemaError, first_few
from curate.open_sets import nearest
from curate.tables.sql import division, nodes, not_a_number
from curate.tables.sql.nodes import Path, Tree
from curate.tables.sql.spelling import detail, plain, without_quoted

# Polars opens a file of a subquery as soon as it parses the expression, so these words are looked for before.
READS_FILES = re.compile(r"(?i)\b(?:read|scan)_\w+\s*\(")
SUBQUERY = re.compile(r"(?i)\bselect\b")
WINDOW = re.compile(r"(?i)\)\s*over\b")
# Polars replaces these by the time at which it parses the expression. A dot before them makes them a field.
CLOCK = re.compile(r"(?i)(?<![\w.])(?:now\s*\(|(?:current_(?:date|time|timestamp)|localtime|localtimestamp)\b)")
# Comments, and texts in forms in which a quote does not end them. Words could hide there from the checks above.
UNUSUAL = re.compile(r"(?i)--|/\*|\$|\b(?:[benqrx]|nq|u&)'")
PARSE_ERRORS = (pl.exceptions.PolarsError, pl.exceptions.PanicException, TypeError, ValueError)


@dataclass(frozen=True)
class WrittenSql:
    """SQL as a user wrote it. A message about it begins with ``where`` and ends with ``remedy``.

    ``where`` names the option and what was written, such as ``--require 'tokens > 5'``.
    """

    text: str
    where: str
    remedy: str

    def refusal(self, problem: str, remedy: str = "") -> SchemaError:
        """Return the error that says what is wrong with the expression: its name, a verb, and what to change."""
        return SchemaError(f"{self.where} {problem}. {remedy or self.remedy}")

    def no_column(self, name: str, columns: Collection[str], more: str = "") -> SchemaError:
        """Return the error for a column that does not exist, with the nearest name. ``more`` ends the message."""
        # SQL takes what stands in double quotes for the name of a column. Users often mean a text.
        if f'"{name}"' in self.text:
            text = "'" + name.replace("'", "''") + "'"
            return SchemaError(
                f"{self.where} names {name!r}, which is no column. Write a text in single quotes: {text}. There are "
                f"{first_few(columns, near=name)}{more}"
            )
        # What stands before a dot may be the misspelled name of a column of structs.
        guess = nearest(name, tuple(columns)) or nearest(name.partition(".")[0], tuple(columns))
        guess = guess or ("." if "." in name else f". If it is a text, write it in single quotes: '{name}'.")
        return SchemaError(
            f"{self.where} names {name!r}, which is no column{guess} There are {first_few(columns, near=name)}{more}"
        )


class NotSql(SchemaError):
    """A text is no SQL expression at all; it may be a misspelled name. ``problem`` says why, without what to change."""

    def __init__(self, written: WrittenSql, problem: str) -> None:
        """Hold the message and the problem."""
        self.problem = f"{written.where} is no SQL expression ({problem})"
        super().__init__(f"{self.problem}. {written.remedy}")


@dataclass(frozen=True)
class RowExpression:
    """An expression whose value in a row depends on that row alone. ``paths`` are the columns and fields it reads."""

    written: WrittenSql
    polars: pl.Expr
    paths: tuple[Path, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """Return the columns that it reads, each once, in the order in which it names them."""
        return tuple(dict.fromkeys(path[0] for path in self.paths))

    def check_columns(self, columns: Collection[str]) -> None:
        """Check that all its columns exist.

        Raises:
            SchemaError: if one does not. The message gives the nearest name.
        """
        if missing := next((path for path in self.paths if path[0] not in columns), None):
            raise self.written.no_column(".".join(missing), columns)

    def values(self, frame: pl.DataFrame) -> pl.Series:
        """Return its values (n,) in a table. NaN counts as null, wherever it arises, as in ``0 / 0``.

        Raises:
            PolarsError: if it does not work on the types of the columns.
        """
        return self._steps.values(frame.select(self.columns))

    @cached_property
    def _steps(self) -> not_a_number.Steps:
        return not_a_number.steps(self.polars)


def row_expression(written: WrittenSql, columns: Collection[str] = (), *, constants: bool = True) -> RowExpression:
    """Return an expression over these columns that gives one value for each row, from that row alone.

    Names with dots need no quotes if they are among ``columns``, or begin as the names of scores and vectors do
    (``score.``, ``emb.``). Elsewhere a dot reaches into a struct: ``meta.url`` and ``meta['url']`` are the field
    ``url`` of ``meta``. Numbers may have suffixes, as in ``70M``. Without ``constants`` it must read a column.

    Raises:
        NotSql: if it is not an expression in SQL.
        SchemaError: if it reads a file or the clock, has a subquery, or depends on other rows.
    """
    _check_words(written)
    bare = without_quoted(written.text)
    if WINDOW.search(bare):
        raise written.refusal("has a window (OVER), so that a row depends on other rows")
    if CLOCK.search(bare):
        raise written.refusal(
            "reads the clock, so that every run would differ",
            "Write the date, such as DATE '2026-01-31'. Put the name of a column in double quotes",
        )
    parsed, tree = _parsed(written, columns)
    if (problem := nodes.not_of_one_row(tree)) is not None:
        raise written.refusal(*problem)
    paths = tuple(nodes.paths(tree))
    if not paths and not constants:
        raise written.refusal("names no column, so that it is the same for every row")
    return RowExpression(written, parsed, paths)


def table_expression(written: WrittenSql, columns: Collection[str]) -> pl.Expr:
    """Return an expression over the columns of a whole table, which may also have aggregates.

    Raises:
        NotSql: if it is not an expression in SQL.
        SchemaError: if it reads a file or has a subquery.
    """
    _check_words(written)
    parsed, tree = _parsed(written, columns)
    if nodes.has_subquery(tree):
        raise written.refusal(*nodes.REFUSED_KINDS["SubPlan"])
    return parsed


def _check_words(written: WrittenSql) -> None:
    """Refuse what must not reach the parser: files and subqueries, and forms of writing in which they could hide."""
    bare = without_quoted(written.text)
    if UNUSUAL.search(bare):
        raise written.refusal(
            "has a comment, or a text or a name in an unusual form",
            "Write texts as '...', names that hold signs in double quotes, and no comments",
        )
    if READS_FILES.search(bare):
        raise written.refusal("reads a file")
    if SUBQUERY.search(bare):
        raise written.refusal(*nodes.REFUSED_KINDS["SubPlan"])


def _parsed(written: WrittenSql, columns: Collection[str]) -> tuple[pl.Expr, Tree]:
    try:
        parsed = pl.sql_expr(plain(written.text, columns))
        tree = division.with_floats(nodes.tree_of(parsed))
    except PARSE_ERRORS as error:
        raise NotSql(written, detail(error)) from None
    # SQL takes a word after an expression for the name of its result. What users write there is a mistake: 1_000 is 1
    # with the name _000.
    if isinstance(tree, dict) and "Alias" in tree:
        raise NotSql(written, f"unexpected {parsed.meta.output_name() or 'list'!r} at its end")
    if nodes.compares_with_null(tree):
        raise written.refusal(*nodes.WITH_NULL)
    return nodes.expression_of(tree), tree
