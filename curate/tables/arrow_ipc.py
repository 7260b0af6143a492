"""What the record batches of an Arrow IPC file will take in memory, read from their heads before any is unpacked.

pyarrow unpacks a whole batch to say anything of it. The format says it in advance: the footer lists blocks, the head
of a block lists buffers, and a compressed buffer begins with its unpacked length (Arrow columnar format, "Serialization
and Interprocess Communication"; the heads are FlatBuffers).
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass

import pyarrow as pa

MAGIC = b"ARROW1"
BLOCK = 24  # bytes of a block in the footer: offset, length of the head, of the body
BUFFER = 16  # bytes of a buffer in a head: offset in the body, length
DICTIONARIES, BATCHES = 2, 3  # fields of the footer
HEADER, LENGTH, BUFFERS, COMPRESSION, DATA = 2, 0, 2, 3, 1  # fields of a message, a record batch, a dictionary


@dataclass(frozen=True)
class Block:
    """A record batch (or a dictionary): its rows, the bytes of its buffers in the file and in memory."""

    rows: int
    packed: int
    unpacked: int


class _Table:
    """A FlatBuffers table: the fields of one record at a place in bytes."""

    def __init__(self, data: bytes, at: int) -> None:
        self.data, self.at = data, at
        self.fields = at - int(struct.unpack_from("<i", data, at)[0])

    def place(self, field: int) -> int | None:
        """Return where a field lies, None where it is absent."""
        size = int(struct.unpack_from("<H", self.data, self.fields)[0])
        offset = struct.unpack_from("<H", self.data, self.fields + 4 + 2 * field)[0] if 4 + 2 * field < size else 0
        return self.at + int(offset) if offset else None

    def follow(self, field: int) -> int | None:
        """Return where what a field points at lies."""
        at = self.place(field)
        return None if at is None else at + int(struct.unpack_from("<I", self.data, at)[0])

    def table(self, field: int) -> "_Table":
        """Return the table that a field points at."""
        at = self.follow(field)
        if at is None:
            raise struct.error(f"field {field} is missing")
        return _Table(self.data, at)

    def records(self, field: int, size: int) -> list[bytes]:
        """Return the records of ``size`` bytes that a field points at."""
        at = self.follow(field)
        if at is None:
            return []
        count, first = int(struct.unpack_from("<I", self.data, at)[0]), at + 4
        if first + size * count > len(self.data):  # before a list of them is made: a damaged count may be of billions
            raise struct.error(f"field {field} has {count} records and ends before them")
        return [self.data[first + size * i : first + size * (i + 1)] for i in range(count)]


class _Bytes:
    """Bytes of a file at any place, fetched at least ``ahead`` at a time."""

    def __init__(self, source: "pa.NativeFile", ahead: int) -> None:
        self.source, self.ahead = source, ahead
        self.size = int(source.size())
        self.at, self.held = 0, b""

    def __call__(self, at: int, length: int) -> bytes:
        """Return ``length`` bytes at ``at``."""
        if at < 0 or length < 0 or at + length > self.size:
            raise struct.error(f"a part of {length} bytes at {at} of {self.size}")
        if at < self.at or at + length > self.at + len(self.held):
            more = min(max(length, self.ahead), self.size - at)
            self.at, self.held = at, bytes(self.source.read_at(more, at))
        return self.held[at - self.at : at - self.at + length]


def blocks(source: "pa.NativeFile", ahead: int = 0) -> tuple[tuple[Block, ...], tuple[Block, ...]]:
    """Return the dictionaries and the record batches of an open IPC file, in the order of the footer.

    ``ahead``: bytes fetched at a time, where every fetch is a request to a store and heads of buffers lie close.
    Errors: ``pa.ArrowInvalid`` where the heads contradict themselves.
    """
    try:
        read = _Bytes(source, ahead)
        tail = read(read.size - 10, 10)
        if tail[4:] != MAGIC:
            raise pa.ArrowInvalid("not an Arrow IPC file: it does not end with ARROW1")
        length = int(struct.unpack("<i", tail[:4])[0])
        data = read(read.size - 10 - length, length)
        footer = _Table(data, int(struct.unpack_from("<I", data)[0]))
        found = [footer.records(field, BLOCK) for field in (DICTIONARIES, BATCHES)]
        dictionaries, batches = ([_block(read, record, i == 0) for record in f] for i, f in enumerate(found))
    except struct.error as error:
        raise pa.ArrowInvalid(f"the heads of its record batches are damaged ({error})") from None
    return tuple(dictionaries), tuple(batches)


def _block(read: _Bytes, record: bytes, dictionary: bool) -> Block:
    start, head = struct.unpack_from("<qi", record)
    data = read(start, head)
    first = 8 if data[:4] == b"\xff\xff\xff\xff" else 4  # a marker, then the length; old files have the length alone
    header = _Table(data, first + int(struct.unpack_from("<I", data, first)[0])).table(HEADER)
    batch = header.table(DATA) if dictionary else header
    at = batch.place(LENGTH)
    rows = 0 if at is None else int(struct.unpack_from("<q", data, at)[0])
    buffers = [struct.unpack("<qq", one) for one in batch.records(BUFFERS, BUFFER)]
    packed = sum(length for _, length in buffers)
    if batch.follow(COMPRESSION) is None:
        return Block(rows, packed, packed)
    return Block(rows, packed, sum(_unpacked(read, start + head, one) for one in buffers))


def _unpacked(read: _Bytes, body: int, buffer: Sequence[int]) -> int:
    """Return the bytes of a compressed buffer in memory; -1 before it says that it was left as it is."""
    offset, length = buffer
    if length < 8:
        return 0
    found = int(struct.unpack("<q", read(body + offset, 8))[0])
    if found < -1:
        raise struct.error(f"a buffer of {found} bytes")
    return length - 8 if found == -1 else found
