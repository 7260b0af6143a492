"""Read an SQL expression that a user wrote over the columns of each row, such as ``score.dsir / tokens``.

In: the text. Out: a polars expression whose value in a row depends on that row alone.

Polars knows aggregates, windows and subqueries too. They are refused: a row would get another value in another batch.
"""

import json
import re
from collections.abc import Collection, Iterable
from typing import cast

import polars as pl

from curate.errors import SchemaError, first_few
from curate.open_sets import nearest
from curate.tables import sql

# How the names of columns begin that scorers and models write. After a quote or a dot it is not the start of a name.
PREFIXES = ("score.", "cluster.", "emb.", "probs.", "logits.")
# Nodes of a polars expression that compute a row from the same row. Functions are checked by their names as well.
ROW_NODES = frozenset({"BinaryExpr", "Cast", "Column", "Function", "Literal", "Ternary"})
# Functions of polars to which SQL leads, and which look at other rows.
OTHER_ROWS = frozenset({
    "Correlation", "CumCount", "CumMax", "CumMin", "CumSum", "DropNulls", "FillNullWithStrategy", "NullCount",
    "Quantile", "Range", "Rank", "Repeat", "Reverse", "Shift", "Unique",
})  # fmt: skip
CLOCK = re.compile(r"(?i)\b(?:current_(?:date|timestamp|time)\b|now\s*\()")


def row_expression(written: str, where: str, *, columns: Collection[str] = ()) -> pl.Expr:
    """Return the expression that a user wrote in SQL.

    Names with dots need no quotes if they are among ``columns``, or begin as the names of scores and vectors do
    (``score.``, ``emb.``). Elsewhere a dot reaches into a struct: ``meta.url`` is the field ``url`` of ``meta``.

    Args:
        written: the SQL.
        where: how a message begins, such as ``--require 'tokens > 5'``.
        columns: names of columns.

    Raises:
        SchemaError: if it is not one expression in SQL, has a name for its result, looks at other rows (an aggregate, a
            window or a subquery), or reads the clock.
    """
    if CLOCK.search(sql.without_quoted(written)):
        raise SchemaError(f"{where} reads the clock, so every run would differ. Write the date as a text instead")
    try:
        expression = sql.expression(written, [*columns, *_score_names(written)])
        nodes = json.loads(expression.meta.serialize(format="json"))
    except (pl.exceptions.PolarsError, TypeError, ValueError) as error:
        raise SchemaError(f"{where} is not an expression in SQL: {detail(error)}") from None
    if _looks_at_other_rows(nodes):
        raise SchemaError(
            f"{where} looks at other rows. Write an expression of one row: no aggregates (sum, max), no windows (over) "
            "and no subqueries (select)"
        )
    return expression


def columns_of(expression: pl.Expr) -> tuple[str, ...]:
    """Return the columns that an expression reads, each once, in the order in which it names them."""
    return tuple(dict.fromkeys(expression.meta.root_names()))


def check_columns(expression: pl.Expr, columns: Collection[str], where: str) -> None:
    """Check that all columns of an expression exist.

    Raises:
        SchemaError: if one does not. The message gives the name nearest to it.
    """
    if missing := next((name for name in columns_of(expression) if name not in columns), None):
        hint = nearest(missing, tuple(columns)) or f". There are {first_few(columns, near=missing)}"
        raise SchemaError(f"{where}: no column {missing!r}{hint}")


def _score_names(written: str) -> list[str]:
    """Return the names in an SQL expression that are columns of scorers or models, though they hold dots."""
    names = "|".join(rf"{re.escape(prefix)}\w+(?:\.\w+)*" for prefix in PREFIXES)
    return re.findall(rf"(?<![\w.])(?:{names})(?![\w.])", sql.without_quoted(written))


def detail(error: Exception) -> str:
    """Return the error of polars as a part of one line: without its stack, and with its kind if it is one word."""
    words = sql.problem(str(error).partition("Resolved plan")[0])
    return words if " " in words else f"{type(error).__name__} {words}"


def _looks_at_other_rows(node: object) -> bool:
    """Return whether a node of an expression, or any node below it, looks at other rows."""
    if not isinstance(node, dict):
        return node == "Len"
    for kind, inner in node.items():
        function = inner["function"] if kind == "Function" else ""
        name = function if isinstance(function, str) else next(iter(function), "")
        if kind not in ROW_NODES or name in OTHER_ROWS or any(map(_looks_at_other_rows, _inputs(kind, inner))):
            return True
    return False


def _inputs(kind: str, inner: dict[str, object]) -> Iterable[object]:
    """Return the expressions that a node of an expression is computed from."""
    if kind == "Function":
        return cast(list[object], inner["input"])
    if kind == "Cast":
        return [inner["expr"]]
    return inner.values() if kind in ("BinaryExpr", "Ternary") else ()
