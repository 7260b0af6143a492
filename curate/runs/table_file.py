"""Read the file of a table of runs: Parquet, Arrow, JSON, or text with commas, semicolons or tabs between the columns.

Spreadsheets, experiment trackers and data-frame libraries write many dialects. Each dialect is read into the same
table, or refused with one line that says what to change.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.runs.sources import json_table
from curate.storage import completion
from curate.tables import file_format

SEPARATORS = (",", ";", "\t")  # a header with none of these is read with the first: a table of one column
PARQUET, PARQUET_ENDINGS = b"PAR1", (".parquet", ".pq")
ARROW = b"ARROW1"  # a file of Arrow IPC, which is also Feather
JSON = ("{", "[")
WORKBOOK = b"PK"  # also the first bytes of a zip archive
PACKED = {b"\x1f\x8b": "gzip", b"\x28\xb5\x2f\xfd": "zstd"}  # first bytes of packed files
# A table of runs has megabytes at most. A larger text is a file that was made to fill the memory, or not a run table.
MOST_BYTES = 2**30
# Endings of the files in a folder that are taken for tables. Of a file that is named alone the ending does not matter.
ENDINGS = (".parquet", ".pq", ".csv", ".tsv", ".json", ".jsonl", ".ndjson", ".arrow", ".feather")
# Numbers with a decimal comma, as spreadsheets write them where the comma is the decimal sign.
DECIMAL_COMMA = re.compile(r"[+-]?\d*,\d+(e[+-]?\d+)?", re.IGNORECASE)
DECIMAL_POINT = re.compile(r"[+-]?\d*\.\d+(e[+-]?\d+)?", re.IGNORECASE)
# Byte-order marks, which spreadsheets write. Text without one is UTF-8.
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
NAMELESS = re.compile(r"(Unnamed: \d+)?")  # an empty header, or pandas' name for a column without one
DETAIL = 200  # letters of another library's error that are shown


def read(path: Path) -> pl.DataFrame:
    """Return the table in a file. In a text file, a column whose values are all numbers becomes a number column.

    The first bytes show the kind of the file, and the header shows the separator. The ending of the name does not
    matter. Files that are packed with gzip or zstd are unpacked. Columns without a name and rows without a value are
    dropped.

    Raises:
        Unfinished: the pilot that writes the table has not ended.
        SchemaError: no such file, not a table, two columns of one name, or a line with too many values.
    """
    if not path.is_file():
        raise SchemaError(f"no such run table: {path}; make one with `curate pilot`")
    # Beside the table of a pilot lie its runs, with the record of whether all of them are done.
    completion.require(path.with_suffix(".runs"), "pilot")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(PARQUET) or path.suffix.lower() in PARQUET_ENDINGS:
            frame = pl.read_parquet(path)
            file_format.check_file(path)
            return frame
        if start.startswith(ARROW):
            return pl.read_ipc(path)
        content = _unpacked(path, start)
        if content.startswith(WORKBOOK):
            raise SchemaError(f"{path} is a workbook or an archive. Save its table as CSV")
        text = _decoded(path, content)
        return json_table.table(text) if text.lstrip().startswith(JSON) else _text_table(path, text)
    except (pl.exceptions.PolarsError, pa.ArrowException, OSError, csv.Error, ValueError, RecursionError) as error:
        # Errors of polars may have several lines.
        detail = " ".join(str(error).split())[:DETAIL]
        raise SchemaError(
            f"{path} cannot be read as a run table ({detail}). Write it again as CSV or Parquet"
        ) from None


def is_table(path: Path) -> bool:
    """Return whether the name of a file in a folder is that of a table, packed or not."""
    name = path.name.lower().removesuffix(".gz").removesuffix(".zst")
    return path.is_file() and name.endswith(ENDINGS) and not name.startswith(".")


def _unpacked(path: Path, start: bytes) -> bytes:
    codec = next((name for mark, name in PACKED.items() if start.startswith(mark)), None)
    with pa.input_stream(path, compression=codec) as stream:
        content = bytes(stream.read(MOST_BYTES + 1))
    if len(content) > MOST_BYTES:
        raise SchemaError(f"{path} has over {MOST_BYTES / 2**30:.0f} GiB of text: is it a run table?")
    return content


def _decoded(path: Path, content: bytes) -> str:
    encoding = next((name for mark, name in ENCODINGS.items() if content.startswith(mark)), "utf-8")
    try:
        text = content.decode(encoding)
        if "\0" in text:
            raise UnicodeError
        return text
    except UnicodeError:
        raise SchemaError(
            f"{path} is neither Parquet nor UTF-8 text. In a spreadsheet, save it as 'CSV UTF-8'"
        ) from None


def _text_table(path: Path, text: str) -> pl.DataFrame:
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=header_line.count)
    # Strict mode makes a quote that is never closed an error. Otherwise the rest of the file would become one cell.
    # Lines end with a line feed, a carriage return, or both.
    lines = csv.reader(StringIO(text, newline=None), delimiter=separator, strict=True)
    rows = ((lines.line_num, [cell.strip() for cell in cells]) for cells in lines)
    with_values = ((line, cells) for line, cells in rows if any(cells))
    _, header = next(with_values, (0, []))
    names = [None if NAMELESS.fullmatch(name) else name for name in header]
    if twice := [name for i, name in enumerate(names) if name is not None and name in names[:i]]:
        raise SchemaError(f"{path} has two columns named {twice[0]!r}: rename or remove one of them")
    columns = list(zip(*_full_rows(path, with_values, len(header), separator), strict=True)) or [()] * len(header)
    if separator == ";":
        columns = _with_decimal_points(columns)
    return pl.DataFrame([_typed(name, cells) for name, cells in zip(names, columns, strict=True) if name is not None])


def _full_rows(
    path: Path, rows: Iterator[tuple[int, list[str]]], width: int, separator: str
) -> Iterator[Sequence[str]]:
    """Yield every row with exactly ``width`` cells. Missing cells at the end are added, extra empty cells removed."""
    for line, cells in rows:
        if any(cells[width:]):
            raise SchemaError(
                f"{path}, line {line}: {len(cells)} values where the header names {width} columns. Write numbers "
                f"without thousands separators, and put text that holds {separator!r} in quotes"
            )
        yield [*cells[:width], *[""] * (width - len(cells))]


def _with_decimal_points(columns: list[tuple[str, ...]]) -> list[tuple[str, ...]]:
    """Return columns in which decimal commas are points. If any cell has a decimal point, nothing is changed.

    Spreadsheets write semicolons between the columns where the comma is the decimal sign.
    """
    if any(DECIMAL_POINT.fullmatch(cell) for cells in columns for cell in cells):
        return columns
    return [
        tuple(cell.replace(",", ".") if DECIMAL_COMMA.fullmatch(cell) else cell for cell in cells) for cells in columns
    ]


def _typed(name: str, cells: Sequence[str]) -> pl.Series:
    """Return cells as whole numbers if all are whole, else as floats if all are numbers, else as text.

    An empty cell becomes null.
    """
    text = pl.Series(name, [cell or None for cell in cells], dtype=pl.String)
    # Names of runs stay text, so that 007 and 7 remain two runs.
    for dtype in () if name == "run" else (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == text.null_count():
            return numbers
    return text
