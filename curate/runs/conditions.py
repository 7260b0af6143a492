"""Read SQL over the columns of a run table, such as the condition ``params > 70M AND corpus = 'c4'``."""

import re
from collections.abc import Sequence

import polars as pl

from curate.errors import SchemaError, first_few
from curate.runs import number_columns
from curate.written_numbers import SUFFIXED, number

DETAIL = 200  # letters of another library's error that are shown


def rows_where(frame: pl.DataFrame, where: str, origin: str) -> pl.DataFrame:
    """Return the rows for which a condition holds. A word in a number column counts as empty.

    Raises:
        SchemaError: if the condition is not valid SQL, or names a column that does not exist.
    """
    problem = ""
    # If that fails, try again with the words kept, so that a condition can name them, as in loss.web <> 'crashed'.
    for view in (number_columns.converted(frame, words_to_null=True), frame):
        try:
            condition = expression(where, frame.columns).alias("where")
            return frame.filter(view.select(condition)["where"])
        except (pl.exceptions.PolarsError, TypeError) as error:
            problem = problem or " ".join(str(error).split())[:DETAIL]
    raise SchemaError(
        f"--where {where!r} does not work on {origin} ({problem}). It is a condition in SQL over the columns "
        f"{first_few(frame.columns)}"
    )


def expression(written: str, columns: Sequence[str]) -> pl.Expr:
    """Return the expression that a user wrote in SQL over these columns. Numbers may have suffixes, as in 70M.

    Raises:
        PolarsError: if it is not an expression in SQL, or words follow its end.
    """
    parsed = pl.sql_expr(_plain(written, columns))
    # SQL takes a word after an expression for the name of its result. What users write there is a mistake: 1_000 is 1
    # with the name _000.
    if not parsed.meta.undo_aliases().meta.eq(parsed):
        raise pl.exceptions.SQLSyntaxError(f"unexpected {parsed.meta.output_name() or 'list'!r} at its end")
    return parsed


def _plain(written: str, columns: Sequence[str]) -> str:
    """Return SQL with quotes around dotted names, which would be split at the dot, and with 7e7 in place of 70M."""
    # Longest first: weight.a-b must not be read as weight.a minus b.
    dotted = sorted((c for c in columns if "." in c), key=len, reverse=True)
    names = "|".join(map(re.escape, dotted)) or "(?!)"
    # Quoted text matches first, and stays as it is.
    pattern = rf"""'[^']*'|"[^"]*"|(?<![\w.])(?:(?P<name>{names})|(?P<number>(?i:{SUFFIXED.pattern})))(?![\w.])"""

    def plain(match: re.Match[str]) -> str:
        if match["name"]:
            return f'"{match["name"]}"'
        return repr(number(match["number"])) if match["number"] else match[0]

    return re.sub(pattern, plain, written)
