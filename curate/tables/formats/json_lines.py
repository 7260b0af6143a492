"""Cut a file of JSON into rows that are not parsed yet: its lines, or the elements of its array."""

import codecs
import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import chain

import pyarrow as pa

from curate.errors import SchemaError
from curate.storage import files
from curate.tables.formats import unpacking
from curate.tables.formats.unpacking import BYTE_ORDER_MARK
from curate.tables.shards import Shard, ending

Piece = tuple[int, bytes]  # the number of a row in its file, from 0, and its bytes
Refusal = Callable[[int, str], None]  # of the number of a row and the reason why it cannot be read
SPACE = b" \t\r\n"
NOT_SPACE = re.compile(r"[^ \t\r\n]")


@dataclass(frozen=True)
class Pieces:
    """The rows of an open file, in order. ``is_array`` says that they are the elements of one JSON array.

    Blank lines are counted and not yielded. A row that is too long is refused by the function, not yielded.
    """

    is_array: bool
    rows: Callable[[Refusal], Iterator[Piece]] = field(repr=False)


def pieces(shard: Shard, stream: pa.NativeFile, line_bytes: int) -> Pieces:
    """Return the rows of an open file of JSON.

    A ``.json`` file whose first character is ``[`` is an array. Everything else is lines.

    Raises:
        SchemaError: if the file is UTF-16.
    """
    size = files.buffer(shard.path)
    first = bytes(stream.read(size))
    unpacking.check_encoding(shard.path, first)
    chunks = chain([first], iter(lambda: bytes(stream.read(size)), b""))
    # A `.jsonl` file is never an array: its first line may be a bad one that begins with a bracket.
    named_json = ending(shard.path.name).startswith(".json") and not ending(shard.path.name).startswith(".jsonl")
    is_array = named_json and first.removeprefix(BYTE_ORDER_MARK).lstrip(SPACE).startswith(b"[")
    if is_array:
        return Pieces(True, lambda refuse: _elements(shard, chunks, line_bytes))
    # Lines of old Macintosh programs end with a carriage return alone.
    separator = b"\r" if b"\n" not in first and b"\r" in first.rstrip(SPACE) else b"\n"
    return Pieces(False, lambda refuse: _lines(chunks, separator, line_bytes, refuse))


def place(number: int, *, is_array: bool) -> str:
    """Return the place of a row, for messages."""
    return f"element {number + 1} of the array" if is_array else f"line {number + 1}"


def too_long(line_bytes: int) -> str:
    """Return why a line of more than ``line_bytes`` bytes is refused."""
    return f"it has over {line_bytes / 2**20:.3g} MB, twice --max-document-mb (raise that to read it)"


def _lines(chunks: Iterator[bytes], separator: bytes, most: int, refuse: Refusal) -> Iterator[Piece]:
    """Yield the lines that are not blank, with their ends as they are; the last line gets one if it has none."""
    rest: list[bytes] = []
    size = number = 0
    for chunk in chunks:
        first, *others = chunk.split(separator)
        size += len(first)
        # Of a line that is too long, no more is held in memory than it takes to know that.
        rest = [*rest, first] if size <= most else []
        for following in others:
            if size > most:
                refuse(number, too_long(most))
            elif not _is_blank(line := b"".join(rest)):
                yield number, line + separator
            number += 1
            rest, size = [following], len(following)
    if size > most:
        refuse(number, too_long(most))
    elif not _is_blank(line := b"".join(rest)):
        yield number, line + separator


def _is_blank(line: bytes) -> bool:
    return not line or line.isspace() or (line.startswith(BYTE_ORDER_MARK) and not line[len(BYTE_ORDER_MARK) :].strip())


def _elements(shard: Shard, chunks: Iterator[bytes], most: int) -> Iterator[Piece]:
    """Yield the elements of an array, one at a time, as they stand in the file.

    Raises:
        SchemaError: if the array ends early, or an element is no JSON: nothing says where the next one begins.
    """
    # Bytes that are not UTF-8 pass through as lone surrogates, so that they cost one element and not the file.
    text = _Text(chunks, most)
    text.skip_space()
    text.take(1)
    number = 0
    if text.skip_space() == "]":
        text.take(1)
    else:
        while True:
            yield number, text.element(shard, number).encode("utf-8", "surrogateescape")
            number += 1
            if (mark := text.skip_space()) not in (",", "]"):
                what = f"{mark!r}" if mark else "the end of the file"
                raise SchemaError(
                    f"{shard.path}: after {place(number - 1, is_array=True)} comes {what}, not a comma or a bracket. "
                    "Repair the file"
                )
            text.take(1)
            if mark == "]":
                break
            text.skip_space()
    if text.skip_space():
        raise SchemaError(f"{shard.path}: there is more after the end of the array. Write one array, or JSON lines")


class _Text:
    """The text of a file, decoded as it is needed, and a position in it."""

    def __init__(self, chunks: Iterator[bytes], most: int) -> None:
        self.chunks = chunks
        self.decode = codecs.getincrementaldecoder("utf-8-sig")("surrogateescape").decode
        self.most = most
        self.held = ""
        self.position = 0
        self.ended = False
        self.scan = json.JSONDecoder(parse_int=_number, parse_float=_number).raw_decode

    def more(self, size: int = 1) -> None:
        """Decode at least ``size`` further characters, if there are so many."""
        parts = [self.held[self.position :]]
        added = 0
        while added < size and not self.ended:
            chunk = next(self.chunks, b"")
            self.ended = not chunk
            parts.append(self.decode(chunk, self.ended))
            added += len(parts[-1])
        self.held, self.position = "".join(parts), 0

    def take(self, characters: int) -> None:
        """Go on by so many characters."""
        self.position += characters

    def skip_space(self) -> str:
        """Go to the next character that is no space, and return it; empty at the end of the file."""
        while True:
            if match := NOT_SPACE.search(self.held, self.position):
                self.position = match.start()
                return self.held[self.position]
            self.position = len(self.held)
            if self.ended:
                return ""
            self.more()

    def element(self, shard: Shard, number: int) -> str:
        """Return the JSON value at the position, and go to its end."""
        where = place(number, is_array=True)
        while True:
            length = len(self.held) - self.position
            try:
                _, end = self.scan(self.held, self.position)
            except (ValueError, RecursionError) as error:
                reason = "it is nested too deeply" if isinstance(error, RecursionError) else _not_json(error)
            else:
                # A number at the end of what is held may go on.
                if end < len(self.held) or self.ended:
                    element = self.held[self.position : end]
                    self.position = end
                    return element
                reason = "it is not JSON"
            if length > self.most:
                reason = too_long(self.most)
            if self.ended or length > self.most:
                raise SchemaError(f"{shard.path}, {where}: {reason}. Repair the file")
            # Twice as much each time, so that a long element is scanned few times.
            self.more(max(length, 1))


def _not_json(error: ValueError) -> str:
    # The place that Python tells is counted from the start of the element, and would be taken for one in the file.
    reason = error.msg.removesuffix(" at") if isinstance(error, json.JSONDecodeError) else str(error)
    return f"it is not JSON ({reason})"


def _number(text: str) -> int:
    """Stand for a number, which is parsed later: Python refuses whole numbers of over 4,300 digits."""
    return 0
