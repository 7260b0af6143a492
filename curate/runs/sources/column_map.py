"""Compute the columns of a run table from those of another table, as ``--map`` says.

``params="N (M)" * 1e6`` computes the column ``params`` by an expression in SQL. If the right side is the exact name of
a column, the column is copied: ``tokens=N (B)``. A number such as ``70M`` is the value of all rows.
"""

import tomllib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias

import polars as pl

from curate.errors import SchemaError, first_few
from curate.runs import number_columns
from curate.runs.sources.json_table import flat
from curate.runs.sources.named_table import NamedTable
from curate.tables import sql
from curate.written_names import QUOTED

ENDING = ".toml"  # an item of --map that ends so, and has no "=", is a file of expressions
# A column map as users write it: expressions by name, items NAME=EXPRESSION, or a TOML file.
WrittenMap: TypeAlias = Mapping[str, str] | Sequence[str] | str | Path | None


@dataclass(frozen=True)
class ColumnMap:
    """Expressions in SQL by the name of the column that they compute, in the order in which they are computed."""

    expressions: Mapping[str, str]

    def __bool__(self) -> bool:
        """Return whether there is any expression."""
        return bool(self.expressions)

    def record(self) -> dict[str, str] | None:
        """Return the expressions for the record of a job, or None if there are none."""
        return dict(self.expressions) or None


def parse(written: WrittenMap) -> ColumnMap:
    """Return the column map that a user wrote: a mapping, a TOML file, or items ``NAME=EXPRESSION`` and TOML files.

    Raises:
        SchemaError: an item without a name or an expression, a name that is mapped twice, or a file that is not TOML.
    """
    if written is None:
        return ColumnMap({})
    if isinstance(written, Mapping):
        return ColumnMap({name: str(expression) for name, expression in written.items()})
    expressions: dict[str, str] = {}
    for item in [written] if isinstance(written, str | Path) else written:
        pairs = _read(Path(item)) if _is_file(item) else [_pair(str(item))]
        for name, expression in pairs:
            if name in expressions:
                raise SchemaError(f"--map gives two expressions for {name}. Leave one of them out")
            expressions[name] = expression
    return ColumnMap(expressions)


def _is_file(item: str | Path) -> bool:
    return isinstance(item, Path) or ("=" not in item and item.endswith(ENDING))


def _pair(item: str) -> tuple[str, str]:
    """Return the name and the expression of an item. It is split at its first "=" outside of a quoted name."""
    quoted = QUOTED.fullmatch(item)
    if quoted is not None and quoted[2] is not None:
        name, expression = quoted[1].replace('""', '"'), quoted[2]
    else:
        name, _, expression = item.partition("=")
    if not name.strip() or not expression.strip():
        raise SchemaError(
            f"--map {item!r} is not NAME=EXPRESSION, such as params='\"N (M)\" * 1e6', and not a file {ENDING}"
        )
    return name.strip(), expression.strip()


def _read(path: Path) -> list[tuple[str, str]]:
    """Return the expressions in a TOML file. ``web`` in its table ``[weight]`` is the column ``weight.web``."""
    try:
        content = tomllib.loads(path.read_text(encoding="utf-8"))
    except (OSError, UnicodeError, tomllib.TOMLDecodeError) as error:
        raise SchemaError(
            f"--map {path} cannot be read ({error}). It is a TOML file with lines such as params = '\"N (M)\" * 1e6'"
        ) from None
    pairs = flat(content)
    if wrong := [name for name, value in pairs.items() if isinstance(value, list | bool)]:
        raise SchemaError(f"--map {path}: {wrong[0]} is {pairs[wrong[0]]}. Write an expression in quotes, or a number")
    return [(name, str(value)) for name, value in pairs.items()]


def apply(column_map: ColumnMap, tables: Sequence[NamedTable]) -> list[NamedTable]:
    """Return tables with the columns that a map computes.

    Each expression is applied to the tables that have its columns. A later expression may use the result of an earlier
    one.

    Raises:
        SchemaError: if an expression does not work on a table that has its columns, or if no table has them.
    """
    for name, expression in column_map.expressions.items():
        columns = list(dict.fromkeys(column for table in tables for column in table.frame.columns))
        try:
            parsed = _parsed(name, expression, columns)
            used = parsed.meta.root_names()
            missing = [next((c for c in used if c not in table.frame.columns), None) for table in tables]
            if None not in missing:
                raise _refusal(name, expression, tables[0], f'unable to find column "{missing[0]}"')
        except (pl.exceptions.PolarsError, TypeError) as error:
            raise _refusal(name, expression, tables[0], str(error)) from None
        tables = [
            table if absent else _with_column(table, name, expression, parsed)
            for table, absent in zip(tables, missing, strict=True)
        ]
    return list(tables)


def _parsed(name: str, expression: str, columns: Sequence[str]) -> pl.Expr:
    """Return an expression over columns that some table has."""
    if expression in columns:
        return pl.col(expression)
    if expression[:1] == expression[-1:] == "'" and expression[1:-1] in columns:
        raise TypeError(f'in SQL, {expression} is text. Write "{expression[1:-1]}"')
    return sql.table_expression(sql.WrittenSql(expression, _where(name, expression), _remedy(columns)), columns)


def _with_column(table: NamedTable, name: str, expression: str, parsed: pl.Expr) -> NamedTable:
    """Return a table with the column that an expression computes."""
    frame = table.frame
    if expression in frame.columns:
        return table.changed(frame.with_columns(frame[expression].alias(name)))
    try:
        column = number_columns.numeric(frame).select(parsed.alias("value"))["value"]
    except (pl.exceptions.PolarsError, TypeError) as error:
        raise _refusal(name, expression, table, str(error)) from None
    # A constant such as 1e6 has one row, and is the value of all rows.
    column = column if len(column) == len(frame) else column.new_from_index(0, len(frame))
    return table.changed(frame.with_columns(column.alias(name)))


def _refusal(name: str, expression: str, table: NamedTable, reason: str) -> SchemaError:
    return SchemaError(
        f"{_where(name, expression)} does not work on {table.origin} ({sql.detail(reason)}). "
        f"{_remedy(table.frame.columns)}"
    )


def _where(name: str, expression: str) -> str:
    return f"--map {name}={expression}"


def _remedy(columns: Sequence[str]) -> str:
    return (
        f"The right side of a --map is a column or an expression in SQL over the columns {first_few(columns)}. Put a "
        "name that holds spaces or signs in double quotes"
    )
