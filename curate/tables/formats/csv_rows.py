"""Read the rows of CSV and TSV files, as text; only counts, vectors and probabilities become numbers.

A row with too few or too many fields, a stray quote, or bytes that are not UTF-8 is refused alone. Rows are numbered
from 0 after the header; blank lines are not counted. An empty field is a null.
"""

import csv
import io
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace

import msgspec
import pyarrow as pa

from curate.errors import SchemaError
from curate.shown import is_text
from curate.tables import reading
from curate.tables.formats import unpacking, values
from curate.tables.formats.bad_lines import check_hopeless, refuse
from curate.tables.formats.values import TEXTS, Columns, Value
from curate.tables.reading import ROW, Request
from curate.tables.shards import Shard, ending

PARSED_ROWS = 4096  # made into a batch at a time
SEPARATORS = ",;\t"  # semicolons where the comma is the decimal sign


def head(shard: Shard, needs: Sequence[str] = ()) -> tuple[pa.Schema, tuple[()] | None]:
    """Return the columns in the header. A file without rows has no row groups."""
    request = Request(shard, None, 1)
    with _opened(request) as table:
        first = next(table.rows(), None)
        # As a job reads them: vectors and probabilities as lists, and the rest as text.
        columns = _columns(replace(request, columns=table.header), table.header, table.header)
    fields = [(name, kind.arrow) for name, kind in zip(columns.names, columns.kinds, strict=True)]
    return pa.schema(fields), () if first is None else None


def read(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request, and for each its number in the column ``ROW``."""
    start, rows = request.start, 0
    with _opened(request) as table:
        wanted = tuple(table.header if request.columns is None else request.columns)
        columns = _columns(request, tuple(dict.fromkeys((*wanted, *request.judged))), table.header)
        places = [table.header.index(name) if name in table.header else None for name in columns.names]
        pending: list[tuple[int, list[str]]] = []
        size = 0
        last = False
        records = table.rows()
        while not last:
            record = next(records, None)
            last = record is None
            if record is not None:
                pending.append(record)
                size += sum(map(len, record[1]))
                if len(pending) < min(request.rows, PARSED_ROWS) and size < reading.PIECE_BYTES:
                    continue
            batch = _batch(table, pending, columns, places).select([*wanted, ROW])
            pending, size = [], 0
            table.ends.clear()
            rows += batch.num_rows
            check_hopeless(request.shard, request.bad_lines, rows, ended=last)
            if start < batch.num_rows:
                yield batch.slice(start)
            start = max(0, start - batch.num_rows)


@dataclass
class _Table:
    """An open file: its header and the reader that stands behind it."""

    request: Request
    lines: "_Lines"
    header: tuple[str, ...]
    ends: dict[int, int] = field(default_factory=dict)  # the last line of each row that is not made into a batch yet

    def rows(self) -> Iterator[tuple[int, list[str]]]:
        """Yield the number and the fields of each row that has as many fields as the header."""
        reader, number = self.lines.reader, 0
        most = self.request.document_bytes
        while True:
            try:
                record = next(reader)
            except StopIteration:
                return
            except csv.Error as error:
                self.refuse(number, f"it is not CSV ({error})")
                number += 1
                continue
            # A blank line is no row.
            if not record:
                continue
            if number not in self.request.skipped:
                joined = "".join(record)
                if len(record) != len(self.header):
                    self.refuse(number, f"it has {len(record)} fields, and the header has {len(self.header)}")
                elif not joined.isascii() and not is_text(joined):
                    self.refuse(number, "it is not UTF-8")
                elif self.lines.bytes > most and max(len(value.encode()) for value in record) > most:
                    self.refuse(number, f"it has over {most / 2**20:.3g} MB, more than --max-document-mb allows")
                else:
                    self.ends[number] = self.lines.reader.line_num
                    yield number, record
            self.lines.bytes = 0
            number += 1

    def refuse(self, number: int, reason: str) -> None:
        """Note that a row is bad: the one that was read last, or one that is not made into a batch yet."""
        if number not in self.request.skipped:
            shard, line = self.request.shard, self.ends.get(number, self.lines.reader.line_num)
            refuse(shard, self.request.bad_lines, number, f"row {number + 1} (to line {line}): {reason}")


class _Lines:
    """The lines of a file for the parser, which joins those that a quoted field spans. Their size is bounded."""

    def __init__(self, request: Request, text: io.TextIOWrapper) -> None:
        self.request = request
        self.text = text
        self.bytes = 0
        first = text.readline(request.line_bytes)
        separator = "\t" if ending(request.shard.path.name).startswith(".tsv") else max(SEPARATORS, key=first.count)
        # Python's limit of 128 kB for a field is meant for other uses; ours is --max-document-mb.
        csv.field_size_limit(sys.maxsize)
        self.reader = csv.reader(self._fed(first), delimiter=separator, strict=True)

    def _fed(self, first: str) -> Iterator[str]:
        line, most = first, self.request.line_bytes
        while line:
            self.bytes += len(line)
            if self.bytes > most:
                raise SchemaError(
                    f"{self.request.shard.path}: a row that ends after line {self.reader.line_num} has over "
                    f"{most / 2**20:.3g} MB, twice --max-document-mb. Close its quotes, or raise --max-document-mb"
                )
            yield line
            line = self.text.readline(most)


@contextmanager
def _opened(request: Request) -> Iterator[_Table]:
    """Open a file and read its header."""
    shard = request.shard
    with unpacking.opened(shard.path) as stream:
        unpacking.check_encoding(shard.path, bytes(stream.read(4)))
    with unpacking.opened(shard.path) as stream:
        # Bytes that are not UTF-8 pass through as lone surrogates, so that they cost one row and not the file.
        text = io.TextIOWrapper(stream, encoding="utf-8-sig", errors="surrogateescape", newline="")
        lines = _Lines(request, text)
        try:
            header = tuple(next((record for record in lines.reader if record), ()))
        except csv.Error as error:
            raise SchemaError(f"{shard.path}: its header is not CSV ({error}). Repair it") from None
        lines.bytes = 0
        if not all(map(is_text, header)):
            raise SchemaError(f"{shard.path}: its header is not UTF-8. Convert the file to UTF-8")
        if twice := next((name for name in header if header.count(name) > 1), None):
            raise SchemaError(f"{shard.path}: column {twice!r} stands twice in the header. Rename one of the two")
        names = tuple(name or f"column_{place}" for place, name in enumerate(header, start=1))
        yield _Table(request, lines, names)


def _columns(request: Request, names: Sequence[str], header: Sequence[str]) -> Columns:
    """Return the kinds of columns. Rows are read for it only if there are vectors, whose length must be known."""
    first: dict[str, Value] = {}
    vectors = [name for name in names if request.role(name).startswith("emb.") and name in header]
    if vectors and request.columns is not None:
        with _opened(request) as table:
            record = next(table.rows(), None)
            first = {name: _value(record[1][header.index(name)]) for name in vectors} if record else {}
    # Rows that are copied whole keep their text: a column that no job reads may hold anything.
    numbers = ("tokens",) if request.columns is None else ("tokens", "emb.", "probs.", "logits.")
    roles = list(map(request.role, names))
    kinds = [
        values.kind(role, [first.get(name)], rendered=request.rendered)
        if role.startswith(numbers) or (role == "text" and request.rendered)
        else TEXTS
        for name, role in zip(names, roles, strict=True)
    ]
    return Columns(tuple(names), tuple(kinds))


def _batch(
    table: _Table, records: Sequence[tuple[int, list[str]]], columns: Columns, places: Sequence[int | None]
) -> pa.RecordBatch:
    fields: list[list[Value]] = []
    for kind, place in zip(columns.kinds, places, strict=True):
        column = [None if place is None else record[place] or None for _, record in records]
        fields.append(
            list(column) if kind is TEXTS else [value if value is None else _value(value) for value in column]
        )
    numbers, arrays = columns.arrays([number for number, _ in records], fields, table.refuse)
    return pa.RecordBatch.from_arrays([*arrays, pa.array(numbers, pa.int64())], names=[*columns.names, ROW])


def _value(field: str) -> Value:
    """Return a number or a list that is written in a field; anything else stays text."""
    try:
        value: Value = msgspec.json.decode(field)
    except msgspec.MsgspecError:
        return field
    return value
