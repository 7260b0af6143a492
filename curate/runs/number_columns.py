"""Read the number columns of a run table, and say what to write instead of a value that is not a number."""

import re
from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from curate import written_numbers
from curate.errors import SchemaError

# Every command needs these columns. A value that is not a number is refused when the table is read.
REQUIRED = re.compile(r"params|tokens|weight\..+|unique\..+")
# In these columns a value that is not a number is refused only when the column is used, so that one bad loss does not
# stop the fit of another eval.
OPTIONAL = re.compile(r"planned_tokens|batch_tokens|lr|(loss|metric|distance)\..+")
# Columns of counts, in which 70M is a number. In a share or a loss it is a mistake.
COUNTS = re.compile(r"(params|tokens|planned_tokens|batch_tokens|unique\..+)")
PERCENT = re.compile(r"((?:\d+\.?\d*|\.\d+)(?:e[+-]?\d+)?) ?%", re.IGNORECASE)
THOUSANDS = re.compile(r"\d{1,3}([,'_. \u00a0\u202f]\d{3})+")  # with no-break spaces, as some spreadsheets print them
DECIMAL_COMMA = re.compile(r"\d*,\d+")
REMEDIES = {
    "params": "Write the number of parameters, such as 7e7",
    "tokens": "Write the number of training tokens, such as 2e10",
    "weight": "Write the share as a number from 0 to 1. If the run did not use the pool, leave the cell empty",
    "unique": "Write the number of tokens on hand. Leave the cell empty if the pool never runs out",
}
SHOWN = 60  # letters of a wrong value in an error
NOT_MEASURED = "Leave the cell empty if it was not measured"


def converted(frame: pl.DataFrame, *, words_to_null: bool = False) -> pl.DataFrame:
    """Return a frame with its number columns as float64, and null for empty cells and NaN.

    A column that also holds words is not changed. With ``words_to_null`` it is converted, and the words become null.
    """
    names = [name for name in frame.columns if REQUIRED.fullmatch(name) or OPTIONAL.fullmatch(name)]
    columns = [_floats(frame[name]) for name in names]
    return frame.with_columns(
        column.floats for column in columns if column is not None and (words_to_null or not column.words.any())
    )


@dataclass(frozen=True)
class _Floats:
    """A column as float64, and a mask (n,) of the cells that hold something other than a number."""

    floats: pl.Series
    words: pl.Series


def _floats(column: pl.Series) -> _Floats | None:
    """Return a column as numbers, or None if its type is neither text nor numbers, such as dates or lists."""
    if isinstance(column.dtype, pl.Categorical | pl.Enum):
        column = column.cast(pl.String)
    if column.dtype == pl.String:
        text = column.str.strip_chars().replace("", None)
        floats = text.cast(pl.Float64, strict=False)
        if (words := text.is_not_null() & floats.is_null()).any():
            floats = floats.zip_with(~words, _written(text, words))
        return _Floats(floats.fill_nan(None), text.is_not_null() & floats.is_null())
    if column.dtype.is_numeric() or column.dtype == pl.Null:
        floats = column.cast(pl.Float64).fill_nan(None)
        return _Floats(floats, pl.repeat(False, len(column), eager=True))
    return None


def _written(text: pl.Series, words: pl.Series) -> pl.Series:
    """Return the numbers in the cells of ``words`` that are written as 70M, or as 25% in a column of shares."""
    share, count = text.name.startswith("weight."), COUNTS.fullmatch(text.name) is not None
    values: list[float | None] = [None] * len(text)
    for row in words.arg_true().to_list():
        cell = str(text[row])
        if share and (percent := PERCENT.fullmatch(cell)):
            values[row] = float(percent[1]) / 100
        elif count and written_numbers.SUFFIXED.fullmatch(cell):
            values[row] = written_numbers.number(cell)
    return pl.Series(text.name, values, dtype=pl.Float64)


def numeric(frame: pl.DataFrame, *, but: Sequence[str] = ("run",)) -> pl.DataFrame:
    """Return a frame in which each column of text that holds only numbers, such as 70M, is a column of numbers.

    Columns named in ``but``, and columns without any value, are not changed.
    """
    texts = [frame[name] for name, dtype in frame.schema.items() if dtype == pl.String and name not in but]
    # In a column of unknown meaning, 70M is read as in the column params.
    columns = [(text.name, _floats(text.alias("params"))) for text in texts if text.null_count() < len(text)]
    return frame.with_columns(
        column.floats.alias(name) for name, column in columns if column is not None and not column.words.any()
    )


def mostly_numbers(column: pl.Series) -> bool:
    """Return whether a column has numbers: by its type, or as text in which more cells are numbers than words."""
    if column.dtype.is_numeric():
        return True
    # In a column of unknown meaning, 70M is read as in the column params.
    floats = _floats(column.alias("params"))
    return floats is not None and int(floats.words.sum()) < floats.floats.count()


def refuse_words(frame: pl.DataFrame, name: str, table: str) -> None:
    """Check that a column of a converted frame holds only numbers.

    Raises:
        SchemaError: if it does not. The message gives the run, the column, the value, and what to write instead.
    """
    column = frame[name]
    if column.dtype == pl.Float64:
        return
    floats = _floats(column)
    wrong = column.is_not_null() if floats is None else floats.words
    if wrong.any():
        row = int(wrong.arg_max() or 0)
        cell = " ".join(str(column.gather([row]).to_list()[0]).split())[:SHOWN]
        count = int(wrong.sum())
        others = f" ({count} such values)" if count > 1 else ""
        raise SchemaError(
            f'{table}: {name} of run {frame["run"][row]!r} is "{cell}", which is not a number{others}. '
            f"{_remedy(name, cell)}, or drop such rows with --where"
        )


def _remedy(name: str, cell: str) -> str:
    """Return advice on what to write instead of a cell."""
    kind = name.partition(".")[0]
    if percent := PERCENT.fullmatch(cell):
        return f"Write {float(percent[1]) / 100:g}"
    if written_numbers.SUFFIXED.fullmatch(cell):
        return f"Write {written_numbers.number(cell):g}"
    # In a count, the comma in 2,163 separates thousands. In other columns it is a decimal comma.
    if kind not in ("params", "tokens", "unique") and DECIMAL_COMMA.fullmatch(cell):
        return f"Write {cell.replace(',', '.')}, with a decimal point"
    if THOUSANDS.fullmatch(cell):
        return f"Write {re.sub(r'[^0-9]', '', cell)}, without thousands separators"
    return REMEDIES.get(kind, NOT_MEASURED)
