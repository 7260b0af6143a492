"""Choose rows of a run table by a condition in SQL, such as ``loss.web > 2 AND corpus = 'c4'``."""

import re
from collections.abc import Sequence

import polars as pl

from curate.errors import SchemaError, first_few
from curate.runs import number_columns

DETAIL = 200  # letters of another library's error that are shown


def rows_where(frame: pl.DataFrame, where: str, origin: str) -> pl.DataFrame:
    """Return the rows for which a condition holds. A word in a number column counts as empty.

    Raises:
        SchemaError: if the condition is not valid SQL, or names a column that does not exist.
    """
    condition = quoted(where, frame.columns)
    problem = ""
    # If that fails, try again with the words kept, so that a condition can name them, as in loss.web <> 'crashed'.
    for view in (number_columns.converted(frame, words_to_null=True), frame):
        try:
            return frame.filter(view.select(pl.sql_expr(condition).alias("where"))["where"])
        except (pl.exceptions.PolarsError, TypeError) as error:
            problem = problem or " ".join(str(error).split())[:DETAIL]
    raise SchemaError(
        f"--where {where!r} does not work on {origin} ({problem}). It is a condition in SQL over the columns "
        f"{first_few(frame.columns)}"
    )


def quoted(where: str, columns: Sequence[str]) -> str:
    """Return SQL with quotes around dotted column names, which would otherwise be split at the dot."""
    # Longest first: weight.a-b must not be read as weight.a minus b.
    dotted = sorted((c for c in columns if "." in c), key=len, reverse=True)
    if not dotted:
        return where
    names = "|".join(map(re.escape, dotted))
    # Quoted text matches first, and stays as it is.
    pattern = rf"""'[^']*'|"[^"]*"|(?<![\w.])({names})(?![\w.])"""
    return re.sub(pattern, lambda match: f'"{match[1]}"' if match[1] else match[0], where)
