"""Read the rows of JSON lines and JSON arrays: only the columns that are needed, and each line for itself.

A line that cannot be read is refused alone. What stands in the other columns does not matter, as long as the line is
JSON as Python reads it: NaN and Infinity, numbers of any length and columns that first appear late are all accepted.
"""

import json
from collections.abc import Callable, Container, Iterator, Sequence
from dataclasses import dataclass, field
from operator import attrgetter

import msgspec
import pyarrow as pa

from curate.errors import SchemaError
from curate.shown import is_text
from curate.tables import reading
from curate.tables.formats import json_lines, json_objects, unpacking, values
from curate.tables.formats.bad_lines import BadLines, check_hopeless, refuse
from curate.tables.formats.json_lines import Piece, Pieces
from curate.tables.formats.unpacking import BYTE_ORDER_MARK
from curate.tables.formats.values import Columns, Value
from curate.tables.mapping import chat
from curate.tables.reading import ROW, Request
from curate.tables.shards import Shard

PARSED_LINES = 4096  # parsed at a time
HEAD_LINES = 256  # that tell the columns of a file, apart from those that a job needs
HEAD_BYTES = 1 << 20  # that tell them, where lines are long
MOST_DIGITS = 4300  # of a whole number that Python parses; longer ones become fractions


def head(
    shard: Shard, needs: Sequence[str] = (), nested: Sequence[tuple[str, ...]] = ()
) -> tuple[pa.Schema, tuple[()] | None]:
    """Return the columns of a file and their types, as its first lines tell them. An empty file has no row groups.

    The file is read on until every column of ``needs`` has a value, since a column may first appear late. ``nested``
    are columns and fields in them that an expression reads.

    Raises:
        SchemaError: if no line can be read.
    """
    inner: dict[str, tuple[tuple[str, ...], ...]] = {}
    for column, *fields in nested:
        if fields:
            inner[column] = (*inner.get(column, ()), tuple(fields))
    try:
        first = _first_values(Request(shard, None, HEAD_LINES, nested=inner), needs)
    except SchemaError:
        if json_objects.is_one_object(shard.path):
            raise SchemaError(
                f"{shard.path}: it is one JSON object over several lines. Write each row as an object on one line, or "
                "all rows as an array in a .json file"
            ) from None
        raise
    kinds = [(name, values.kind(name, column, inner.get(name, ())).arrow) for name, column in first.columns.items()]
    return pa.schema(kinds), None if first.lines else ()


def read(request: Request) -> Iterator[pa.RecordBatch]:
    """Yield the rows of a request, and for each the number of its line in the column ``ROW``."""
    names = tuple(dict.fromkeys((*(request.columns or ()), *request.judged)))
    if request.columns is None:
        names = tuple(_first_values(request, ()).columns)
    parser = _Parser(request, _columns(request, names))
    start, rows = request.start, 0
    with unpacking.opened(request.shard.path) as stream:
        parser.pieces = json_lines.pieces(request.shard, stream, request.line_bytes)
        pending: list[Piece] = []
        size = 0
        for piece in parser.pieces.rows(parser.refuse):
            if piece[0] in request.skipped:
                continue
            pending.append(piece)
            size += len(piece[1])
            if len(pending) < min(request.rows, PARSED_LINES) and size < reading.PIECE_BYTES:
                continue
            batch = parser.batch(pending)
            pending, size = [], 0
            rows += batch.num_rows
            check_hopeless(request.shard, request.bad_lines, rows, ended=False)
            if start < batch.num_rows:
                yield batch.slice(start)
            start = max(0, start - batch.num_rows)
        if pending:
            batch = parser.batch(pending)
            rows += batch.num_rows
            if start < batch.num_rows:
                yield batch.slice(start)
    check_hopeless(request.shard, request.bad_lines, rows, ended=True)


def good_lines(request: Request) -> Iterator[bytes]:
    """Yield the bytes of every line that is not among the recorded bad ones, as they stand in the file.

    The last line gets an end of line if it has none. Elements of an array come without the commas between them.
    """

    def too_long(number: int, reason: str) -> None:
        if number not in request.skipped:
            refuse(request.shard, request.bad_lines, number, f"line {number + 1}: {reason}")

    with unpacking.opened(request.shard.path) as stream:
        for number, line in json_lines.pieces(request.shard, stream, request.line_bytes).rows(too_long):
            if number not in request.skipped:
                # The mark belongs to the file, and not to its first line.
                yield line.removeprefix(BYTE_ORDER_MARK)


def is_array(shard: Shard) -> bool:
    """Return whether a file of JSON is one array of rows, and not lines."""
    with unpacking.opened(shard.path) as stream:
        return json_lines.pieces(shard, stream, reading.DOCUMENT_BYTES).is_array


class _Parser:
    """Parse rows into record batches. Rows with a wrong value are refused, and the others go on."""

    def __init__(self, request: Request, columns: Columns) -> None:
        self.request = request
        self.columns = columns
        self.pieces = Pieces(False, lambda refuse: iter(()))
        fields = [(f"c{i}", kind.annotation, None) for i, kind in enumerate(columns.kinds)]
        rename = {f"c{i}": name for i, name in enumerate(columns.names)}
        self.fast: Callable[[bytes], msgspec.Struct]
        try:
            self.row = msgspec.defstruct("Row", fields, rename=rename, gc=False)
        except ValueError:
            # A name has quotes or control characters, which the fast parser does not know.
            self.row = msgspec.defstruct("Row", fields, gc=False)
            self.fast = self._parsed_slowly
        else:
            self.fast = msgspec.json.Decoder(self.row).decode
        self.values = [attrgetter(f"c{i}") for i in range(len(columns.names))]

    def refuse(self, number: int, reason: str) -> None:
        """Note that a row cannot be read, with its place and the reason."""
        # A line that is too long is refused before it is known to be one of those that are skipped.
        if number in self.request.skipped:
            return
        place = json_lines.place(number, is_array=self.pieces.is_array)
        refuse(self.request.shard, self.request.bad_lines, number, f"{place}: {reason}")

    def batch(self, pieces: Sequence[Piece]) -> pa.RecordBatch:
        """Return the right ones of these rows."""
        numbers, rows = [], []
        wrong: dict[int, str] = {}
        for number, line in pieces:
            try:
                rows.append(self._parsed(line))
                numbers.append(number)
            except ValueError as error:
                wrong[number] = str(error)
        columns = [list(map(value_of, rows)) for value_of in self.values]
        right, arrays = self.columns.arrays(numbers, columns, wrong.__setitem__)
        # In the order of the file, so that an error names the first bad line.
        for number in sorted(wrong):
            self.refuse(number, wrong[number])
        wanted = self.columns.names if self.request.columns is None else self.request.columns
        arrays = [arrays[self.columns.names.index(name)] for name in wanted]
        return pa.RecordBatch.from_arrays([*arrays, pa.array(right, pa.int64())], names=[*wanted, ROW])

    def _parsed(self, line: bytes) -> msgspec.Struct:
        """Return a row whose values are of about the right types.

        Raises:
            ValueError: with the reason why the line cannot be read.
        """
        # The fast parser does not look into the texts that it skips.
        if not (line.isascii() or _is_utf8(line)):
            raise ValueError("it is not UTF-8")
        try:
            row = self.fast(line)
        except (msgspec.MsgspecError, RecursionError):
            row = self._parsed_slowly(line)
        if len(line) > self.request.document_bytes:
            self._check_size(row)
        return row

    def _parsed_slowly(self, line: bytes) -> msgspec.Struct:
        return self.row(*self.columns.checked(map(parsed(line).get, self.columns.names)))

    def _check_size(self, row: msgspec.Struct) -> None:
        most = self.request.document_bytes
        for name, kind, value_of in zip(self.columns.names, self.columns.kinds, self.values, strict=True):
            value = chat.rendered(value_of(row)) if kind is values.CONVERSATIONS else value_of(row)
            if isinstance(value, str) and len(value.encode()) > most:
                raise ValueError(
                    f"{name} has over {most / 2**20:.3g} MB, more than --max-document-mb allows (raise it to read this)"
                )


def parsed(line: bytes) -> dict[str, Value]:
    """Return a line as Python's json reads it, which accepts more than the fast parser.

    Raises:
        ValueError: with the reason why the line cannot be read.
    """
    try:
        return _object(msgspec.json.decode(line))
    except (msgspec.MsgspecError, RecursionError):
        pass  # such as NaN, which Python accepts
    try:
        return _object(json.loads(line.removeprefix(BYTE_ORDER_MARK).decode(), parse_int=_whole))
    except UnicodeDecodeError:
        raise ValueError("it is not UTF-8") from None
    except json.JSONDecodeError as error:
        # Lines of one file are often cut off: the place tells where. Some of Python's reasons end with "at".
        reason = error.msg.removesuffix(" at")
        raise ValueError(f"it is not JSON ({reason} at character {error.pos + 1})") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def _object(record: Value) -> dict[str, Value]:
    if not isinstance(record, dict):
        raise ValueError(f"it is {values.shown(record)}, not an object")
    return record


def _is_utf8(line: bytes) -> bool:
    try:
        line.decode()
    except UnicodeDecodeError:
        return False
    return True


def _whole(digits: str) -> int | float:
    return int(digits) if len(digits) <= MOST_DIGITS else float(digits)


def _columns(request: Request, names: tuple[str, ...]) -> Columns:
    """Return the kind of each column. Lines are read for it only if a column has no fixed kind."""
    roles = list(map(request.role, names))
    fixed = ("text", "id", "source", "tokens")
    open_names = [name for name, role in zip(names, roles, strict=True) if role not in fixed]
    first = _first_values(request, open_names).columns if open_names else {}
    kinds = [
        values.kind(role, first.get(name, ()), request.nested.get(name, ()), rendered=request.rendered)
        for name, role in zip(names, roles, strict=True)
    ]
    return Columns(names, tuple(kinds))


@dataclass
class _FirstValues:
    """The values of columns in the first lines of a file, and how many lines and bytes were looked at."""

    columns: dict[str, list[Value]] = field(default_factory=dict)
    # Columns of objects of which every one is kept: an expression may read a field that the first one lacks.
    nested: Container[str] = ()
    lines: int = 0
    size: int = 0
    records: int = 0

    def add(self, line: bytes, names: set[str] | None) -> None:
        """Add the values of a line to those of each column, of ``names`` or of all."""
        record = parsed(line)
        self.records += 1
        for name, value in record.items():
            # No table has a column whose name holds a lone surrogate, so that no job can need it.
            if (names is not None and name not in names) or not is_text(name):
                continue
            column = self.columns.setdefault(name, [])
            # Only the type of a text matters. Of lists and objects the first one tells the kind.
            if isinstance(value, str):
                column.append("")
            elif name in self.nested:
                column.append(value)
            elif not (isinstance(value, list | dict) and any(isinstance(before, list | dict) for before in column)):
                column.append(value)

    def lacks(self, name: str) -> bool:
        """Return whether a column has no value yet, apart from nulls."""
        return all(value is None for value in self.columns.get(name, ()))


def _first_values(request: Request, needs: Sequence[str]) -> _FirstValues:
    """Return the values of every column in the first lines, and the first value of each column of ``needs``.

    A column of ``needs`` that only has nulls has these; one that no line has is left out.

    Raises:
        SchemaError: if no line can be read.
    """
    first, bad = _FirstValues(nested=request.nested), BadLines()
    with unpacking.opened(request.shard.path) as stream:
        pieces = json_lines.pieces(request.shard, stream, request.line_bytes)

        def note(number: int, reason: str) -> None:
            bad.add(number, f"{json_lines.place(number, is_array=pieces.is_array)}: {reason}")

        missing: set[str] | None = None  # once the first lines are read: the columns that have no value yet
        for number, line in pieces.rows(note):
            if number in request.skipped:
                continue
            if missing is None and first.records and (first.lines >= HEAD_LINES or first.size >= HEAD_BYTES):
                missing = set(filter(first.lacks, needs))
            if missing is not None and not missing:
                break
            first.lines += 1
            first.size += len(line)
            # Looking for a name is much faster than parsing; a name may also be spelled with escapes.
            if missing and not any(f'"{name}"'.encode() in line or b"\\u" in line for name in missing):
                continue
            try:
                first.add(line, missing)
            except ValueError as error:
                note(number, str(error))
                check_hopeless(request.shard, bad, first.records, ended=False)
            else:
                missing = missing and set(filter(first.lacks, missing))
        check_hopeless(request.shard, bad, first.records, ended=True)
    return first
