"""Read an expression in SQL over the columns of a table, such as ``params > 70M AND corpus = 'c4'``.

In: what a user wrote, and the names of the columns. Out: an expression of polars.
"""

import re
from collections.abc import Sequence

import polars as pl

from curate.written_numbers import SUFFIXED, number

QUOTED = r"""'[^']*'|"[^"]*\""""  # a text or a name in quotes, which is never changed
DETAIL = 200  # letters of another library's error that are shown


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


def without_quoted(written: str) -> str:
    """Return SQL without its texts and names in quotes, in which no word is a keyword."""
    return re.sub(QUOTED, "''", written)


def problem(message: str) -> str:
    """Return the first words of another library's error, on one line."""
    # A message of ours lists the columns itself, the nearest first, and shows the expression as it was written.
    first = message.partition("; valid columns")[0].partition("This error occurred")[0]
    return " ".join(first.split())[:DETAIL]


def _plain(written: str, columns: Sequence[str]) -> str:
    """Return SQL with quotes around dotted names, which would be split at the dot, and with 7e7 in place of 70M."""
    # Longest first: weight.a-b must not be read as weight.a minus b.
    dotted = sorted((c for c in columns if "." in c), key=len, reverse=True)
    names = "|".join(map(re.escape, dotted)) or "(?!)"
    # Quoted text matches first, and stays as it is.
    pattern = rf"""{QUOTED}|(?<![\w.])(?:(?P<name>{names})|(?P<number>(?i:{SUFFIXED.pattern})))(?![\w.])"""

    def plain(match: re.Match[str]) -> str:
        if match["name"]:
            return f'"{match["name"]}"'
        return repr(number(match["number"])) if match["number"] else match[0]

    return re.sub(pattern, plain, written)
