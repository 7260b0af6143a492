"""Read a table that is written as JSON: a list of rows, one row a line, or a dictionary of columns.

A field within a field becomes a column with a dotted name: ``{"weight": {"web": 0.3}}`` is the column ``weight.web``.
"""

import json
from collections.abc import Iterator, Mapping, Sequence

import polars as pl

Row = Mapping[str, object]


def table(text: str) -> pl.DataFrame:
    """Return the table that a JSON text holds.

    Raises:
        ValueError: if the text is neither JSON nor JSON lines, or its rows are not dictionaries.
    """
    return frame([flat(row) for row in rows(text)])


def rows(text: str) -> list[Row]:
    """Return the rows of a JSON text as dictionaries, in their order."""
    try:
        content = json.loads(text)
    except ValueError:
        if text.lstrip().startswith("["):
            raise
        # Each line is a row of its own. If it is not, the error names the line.
        content = list(_lines(text))
    if isinstance(content, dict):
        content = _rows_of_columns(content)
    if not isinstance(content, list) or not all(isinstance(row, dict) for row in content):
        raise ValueError("its rows are not dictionaries of column names and values")
    return content


def _lines(text: str) -> Iterator[object]:
    for number, line in enumerate(text.splitlines(), start=1):
        if line.strip():
            try:
                yield json.loads(line)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}") from None


def _rows_of_columns(content: dict[str, object]) -> object:
    """Return the rows of a dictionary of columns, in one of the three forms that data-frame libraries write."""
    values = list(content.values())
    if set(content) >= {"columns", "data"} and isinstance(content["columns"], list):
        data = content["data"]
        return [dict(zip(content["columns"], row, strict=True)) for row in data] if isinstance(data, list) else data
    if values and all(isinstance(column, list) for column in values):
        return [dict(zip(content, cells, strict=True)) for cells in zip(*values, strict=True)]
    if values and all(isinstance(column, dict) for column in values):
        columns = {name: column for name, column in content.items() if isinstance(column, dict)}
        # The keys of the cells are row numbers, as in {"run": {"0": "a", "1": "b"}}. A column may lack some of them.
        keys = list(dict.fromkeys(key for column in columns.values() for key in column))
        return [{name: column.get(key) for name, column in columns.items()} for key in keys]
    return [content]


def flat(row: Row, prefix: str = "") -> dict[str, object]:
    """Return a row in which fields within fields have dotted names. Lists stay as they are."""
    cells: dict[str, object] = {}
    for name, value in row.items():
        if isinstance(value, Mapping):
            cells |= flat(value, f"{prefix}{name}.")
        else:
            cells[f"{prefix}{name}"] = value
    return cells


def frame(rows: Sequence[Row]) -> pl.DataFrame:
    """Return rows as a frame. A column has numbers or truth values if all its cells do, and otherwise text."""
    names = dict.fromkeys(name for row in rows for name in row)
    return pl.DataFrame([_column(name, [row.get(name) for row in rows]) for name in names])


def _column(name: str, cells: Sequence[object]) -> pl.Series:
    kinds = {type(cell) for cell in cells if cell is not None}
    if kinds in ({bool}, {int}) and all(
        cell is None or abs(int(str(cell))) < 2**63 for cell in cells if kinds == {int}
    ):
        return pl.Series(name, cells)
    if kinds and kinds <= {int, float}:
        return pl.Series(name, [None if cell is None else float(str(cell)) for cell in cells], dtype=pl.Float64)
    return pl.Series(name, [_text(cell) for cell in cells], dtype=pl.String)


def _text(cell: object) -> str | None:
    if cell is None or isinstance(cell, str):
        return cell
    return json.dumps(cell)
