"""Read an SQL expression that gives one value for each row, from columns and the fields of structs in them.

In: the text that a user wrote, and the columns of a file. Out: an expression of polars, and the columns and fields that
it reads. An expression must say the same of a row whatever rows stand beside it: files are read in batches.
"""

import json
import re
from collections.abc import Sequence

import polars as pl

from curate.errors import SchemaError

Path = tuple[str, ...]  # the name of a column, and the names of fields within it
DETAIL = 160  # letters of another library's error that are shown
# Functions whose value depends on when a job runs.
CLOCK = re.compile(r"\b(now|current_date|current_time|current_timestamp|localtime|localtimestamp)\b", re.IGNORECASE)


class NotSql(SchemaError):
    """A text is no SQL expression at all; it may be a misspelled name."""


def expression(written: str, columns: Sequence[str], where: str) -> pl.Expr:
    """Return the expression that a user wrote over these columns. ``where`` begins the message of an error.

    Names of columns that hold dots need no quotes. ``meta.domain`` and ``meta['domain']`` are the field ``domain`` of
    the structs in the column ``meta``.

    Raises:
        NotSql: if it is not an expression in SQL.
        SchemaError: if it does not give one value for each row.
    """
    plain, bare = _plain(written, columns)
    if re.search(r"\bselect\b|\bread_\w+\s*\(|\bscan_\w+\s*\(", bare, re.IGNORECASE):
        raise SchemaError(f"{where}: it has a query of its own or reads a file. Compute it from the columns of a row")
    if CLOCK.search(bare):
        raise SchemaError(f"{where}: it depends on the time of day. Compute it from the columns of a row")
    try:
        parsed = pl.sql_expr(plain)
    except pl.exceptions.PolarsError as error:
        raise NotSql(f"{where}: it is no SQL expression ({detail(error)})") from None
    # SQL takes a word after an expression for the name of its result. What users write there is a mistake.
    if not parsed.meta.undo_aliases().meta.eq(parsed):
        raise NotSql(f"{where}: it is no SQL expression (unexpected {parsed.meta.output_name()!r} at its end)")
    if parsed.meta.has_multiple_outputs():
        raise SchemaError(f"{where}: it gives several columns. Name one")
    if not _is_of_rows(parsed):
        raise SchemaError(
            f"{where}: it does not give one value for each row from that row alone, as sums and windows do not. "
            "Compute it from the columns of a row"
        )
    return parsed


def detail(error: Exception) -> str:
    """Return the error of another library on one line."""
    return " ".join(str(error).split())[:DETAIL].rstrip(". ")


def paths(parsed: pl.Expr) -> tuple[Path, ...]:
    """Return the columns and fields that an expression reads."""
    paths: dict[Path, None] = {}
    _collect(json.loads(parsed.meta.serialize(format="json")), (), paths)
    return tuple(paths)


def _collect(node: object, fields: Path, paths: dict[Path, None]) -> None:
    if isinstance(node, list):
        for item in node:
            _collect(item, (), paths)
    if not isinstance(node, dict):
        return
    if isinstance(column := node.get("Column"), str):
        paths[(column, *fields)] = None
        return
    function = node.get("Function")
    if isinstance(function, dict) and isinstance(kind := function.get("function"), dict):
        field = kind.get("StructExpr")
        if isinstance(field, dict) and isinstance(name := field.get("FieldByName"), str):
            for item in function["input"]:
                _collect(item, (name, *fields), paths)
            return
    for item in node.values():
        _collect(item, (), paths)


def _is_of_rows(parsed: pl.Expr) -> bool:
    """Return whether each node of an expression gives one value for each row, from that row."""
    try:
        separable = parsed.meta.is_literal() or (parsed.meta.is_row_separable() and parsed.meta.is_length_preserving())
    except pl.exceptions.PolarsError:
        separable = True  # such as a list of words after IN, which polars cannot judge without the types of columns
    return separable and all(map(_is_of_rows, parsed.meta.pop()))


def _plain(written: str, columns: Sequence[str]) -> tuple[str, str]:
    """Return SQL that polars reads, and the same without the texts in quotes.

    Dotted names of columns get quotes, which polars would split at the dot, and ``meta['domain']`` becomes
    ``meta."domain"``, which polars would read as an element of a list.
    """
    # Longest first: meta.a.b must not be read as the field b of meta.a.
    dotted = sorted((name for name in columns if "." in name), key=len, reverse=True)
    names = "|".join(map(re.escape, dotted)) or "(?!)"
    pattern = (
        r"""(?<!\barray)(?<=[\w"\]])\s*\[\s*'(?P<field>(?:[^']|'')*)'\s*\]"""
        r"""|(?P<quoted>'(?:[^']|'')*'|"(?:[^"]|"")*")"""
        rf"""|(?<![\w.])(?P<name>{names})(?![\w.])"""
    )

    def plain(match: re.Match[str]) -> str:
        if match["field"] is not None:
            return "." + _identifier(match["field"].replace("''", "'"))
        return _identifier(match["name"]) if match["name"] else match[0]

    bare = re.sub(pattern, lambda match: "" if match["quoted"] else match[0], written, flags=re.IGNORECASE)
    return re.sub(pattern, plain, written, flags=re.IGNORECASE), bare


def _identifier(name: str) -> str:
    return '"' + name.replace('"', '""') + '"'
