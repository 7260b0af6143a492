"""Read the file of a run table: Parquet, or text in which commas, semicolons or tabs separate the columns.

Spreadsheets, trackers and data-frame libraries write many dialects. Each becomes the same table here, or one line that
says what to change.
"""

import csv
import re
from collections.abc import Iterator, Sequence
from io import StringIO
from pathlib import Path

import polars as pl

from curate.errors import SchemaError
from curate.tables import file_format

SEPARATORS = (",", ";", "\t")  # the first wins where a header has none of them: it is a table of one column
PARQUET, PARQUET_ENDINGS = b"PAR1", (".parquet", ".pq")
# How a file begins that is neither text nor Parquet, and what to do with it.
OTHER_KINDS = {
    b"PK": "is a workbook or an archive. Save its table as CSV",
    b"ARROW1": "is an Arrow file. Save it as Parquet",
    b"\x1f\x8b": "is compressed. Unpack it first",
    b"\x28\xb5\x2f\xfd": "is compressed. Unpack it first",
    b"{": "is JSON. Save it as CSV or Parquet",
    b"[": "is JSON. Save it as CSV or Parquet",
}
# Byte-order marks, which spreadsheets write; without one, text is UTF-8.
ENCODINGS = {b"\xef\xbb\xbf": "utf-8-sig", b"\xff\xfe": "utf-16", b"\xfe\xff": "utf-16"}
NAMELESS = re.compile(r"(Unnamed: \d+)?")  # pandas names a column without a header, such as its index, like this
DETAIL = 200  # letters of another library's error that are shown


def read(path: Path) -> pl.DataFrame:
    """Return the table of a file; a column of text files is of numbers if all its values are.

    The first bytes decide between Parquet and text, and the header decides the separator, so that endings such as .CSV
    or .tsv need no rule. Columns without a name and rows without a value are dropped.

    Raises:
        SchemaError: no such file, not a table, two columns of one name, or a line with too many values.
    """
    if not path.is_file():
        raise SchemaError(f"no such run table: {path}; make one with `curate pilot`")
    try:
        with path.open("rb") as file:
            start = file.read(8)
        if start.startswith(PARQUET) or path.suffix.lower() in PARQUET_ENDINGS:
            frame = pl.read_parquet(path)
            file_format.check_file(path)
            return frame
        for signature, remedy in OTHER_KINDS.items():
            if start.lstrip().startswith(signature):
                raise SchemaError(f"{path} {remedy}: a run table is a .csv, .tsv or .parquet file")
        return _text_table(path, _decoded(path, start))
    except (pl.exceptions.PolarsError, OSError, csv.Error) as error:
        # Errors of polars may have several lines.
        detail = " ".join(str(error).split())[:DETAIL]
        raise SchemaError(
            f"{path} cannot be read as a run table ({detail}). Write it again as CSV or Parquet"
        ) from None


def _decoded(path: Path, start: bytes) -> str:
    encoding = next((name for mark, name in ENCODINGS.items() if start.startswith(mark)), "utf-8")
    try:
        return path.read_text(encoding=encoding)
    except UnicodeError:
        raise SchemaError(
            f"{path} is neither Parquet nor UTF-8 text. In a spreadsheet, save it as 'CSV UTF-8'"
        ) from None


def _text_table(path: Path, text: str) -> pl.DataFrame:
    header_line = next((line for line in text.splitlines() if line.strip()), "")
    separator = max(SEPARATORS, key=header_line.count)
    # Strict, so that a quote that never closes is an error; otherwise it would swallow the rest of the file.
    lines = csv.reader(StringIO(text), delimiter=separator, strict=True)
    rows = ((lines.line_num, [cell.strip() for cell in cells]) for cells in lines)
    with_values = ((line, cells) for line, cells in rows if any(cells))
    _, header = next(with_values, (0, []))
    names = [None if NAMELESS.fullmatch(name) else name for name in header]
    if twice := [name for i, name in enumerate(names) if name is not None and name in names[:i]]:
        raise SchemaError(f"{path} has two columns named {twice[0]!r}: rename or remove one of them")
    columns = list(zip(*_full_rows(path, with_values, len(header), separator), strict=True)) or [()] * len(header)
    return pl.DataFrame([_typed(name, cells) for name, cells in zip(names, columns, strict=True) if name is not None])


def _full_rows(
    path: Path, rows: Iterator[tuple[int, list[str]]], width: int, separator: str
) -> Iterator[Sequence[str]]:
    """Yield every row with exactly ``width`` cells: empty cells at its end may be absent, or be too many."""
    for line, cells in rows:
        if any(cells[width:]):
            raise SchemaError(
                f"{path}, line {line}: {len(cells)} values where the header names {width} columns. Write numbers "
                f"without thousands separators, and put text that holds {separator!r} in quotes"
            )
        yield [*cells[:width], *[""] * (width - len(cells))]


def _typed(name: str, cells: Sequence[str]) -> pl.Series:
    """Return cells as whole numbers or numbers if all are, else as text; an empty cell is null."""
    text = pl.Series(name, [cell or None for cell in cells], dtype=pl.String)
    # Names of runs stay text: 007 and 7 are two runs.
    for dtype in () if name == "run" else (pl.Int64, pl.Float64):
        numbers = text.cast(dtype, strict=False)
        if numbers.null_count() == text.null_count():
            return numbers
    return text
