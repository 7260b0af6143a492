"""Expressions in SQL that users write over the columns of a table, such as ``score.dsir / tokens > 0.1``.

In: a text, and the names of columns. Out: an expression of Polars, and the columns that it reads.
Every option that takes SQL reads it here, so that all refuse the same things in the same words.
"""

from curate.tables.sql.expressions import NotSql, RowExpression, WrittenSql, row_expression, table_expression
from curate.tables.sql.nodes import Path
from curate.tables.sql.spelling import detail, without_quoted

__all__ = [
    "NotSql", "Path", "RowExpression", "WrittenSql", "detail", "row_expression", "table_expression", "without_quoted",
]  # fmt: skip
