"""Find how much memory the record batches of an Arrow IPC file or stream need, before any is unpacked.

pyarrow unpacks a whole batch before it tells its size. The file tells it in advance: the footer lists blocks, the head
of a block lists buffers, and a compressed buffer begins with its unpacked length. A stream has no footer: its blocks
follow each other, and each head tells the length of what follows. Source: Arrow columnar format, "Serialization and
Interprocess Communication". Footer and heads are FlatBuffers.
"""

import struct
from collections.abc import Sequence
from dataclasses import dataclass, replace

import pyarrow as pa

MAGIC = b"ARROW1"
BLOCK_BYTES = 24  # of a block in the footer: its offset, the length of its head, the length of its body
BUFFER_BYTES = 16  # of a buffer in a head: its offset in the body, its length
# Positions of fields in the FlatBuffers tables of the format (File.fbs and Message.fbs).
DICTIONARIES, BATCHES = 2, 3  # of the footer
HEADER_TYPE, HEADER, BODY_LENGTH = 1, 2, 3  # of a message
DICTIONARY_BATCH, RECORD_BATCH = 2, 3  # types of the header of a message
LENGTH, BUFFERS, COMPRESSION = 0, 2, 3  # of a record batch
DATA = 1  # of a dictionary


@dataclass(frozen=True)
class IpcBlock:
    """A record batch or dictionary: rows, bytes in the file (packed) and bytes in memory (unpacked).

    ``start`` is where it begins in its stream, in bytes. It is 0 for files.
    """

    rows: int
    packed: int
    unpacked: int
    start: int = 0


class _FlatTable:
    """A FlatBuffers table: the fields of one record, which begins at a position in bytes."""

    def __init__(self, data: bytes, position: int) -> None:
        self.data, self.position = data, position
        self.fields = position - int(struct.unpack_from("<i", data, position)[0])

    def place(self, field: int) -> int | None:
        """Return the position of a field, or None if it is absent."""
        # A table points to its list of offsets. The list begins with its own size and the size of the table, 2 bytes
        # each. An offset of 0, or none, means that the field is absent.
        size = int(struct.unpack_from("<H", self.data, self.fields)[0])
        offset = struct.unpack_from("<H", self.data, self.fields + 4 + 2 * field)[0] if 4 + 2 * field < size else 0
        return self.position + int(offset) if offset else None

    def follow(self, field: int) -> int | None:
        """Return the position that a field points to, or None if the field is absent."""
        position = self.place(field)
        return None if position is None else position + int(struct.unpack_from("<I", self.data, position)[0])

    def table(self, field: int) -> "_FlatTable":
        """Return the table that a field points to."""
        position = self.follow(field)
        if position is None:
            raise struct.error(f"field {field} is missing")
        return _FlatTable(self.data, position)

    def records(self, field: int, size: int) -> list[bytes]:
        """Return the records of ``size`` bytes that a field points to."""
        position = self.follow(field)
        if position is None:
            return []
        count, first = int(struct.unpack_from("<I", self.data, position)[0]), position + 4
        # Checked before the list is built: a damaged count may be in the billions.
        if first + size * count > len(self.data):
            raise struct.error(f"field {field} has {count} records and ends before them")
        return [self.data[first + size * i : first + size * (i + 1)] for i in range(count)]


class _Bytes:
    """The bytes of a file at any position, fetched at least ``ahead`` at a time."""

    def __init__(self, source: "pa.NativeFile", ahead: int) -> None:
        self.source, self.ahead = source, ahead
        self.size = int(source.size())
        self.start, self.held = 0, b""

    def __call__(self, start: int, length: int) -> bytes:
        """Return ``length`` bytes from position ``start`` on."""
        if start < 0 or length < 0 or start + length > self.size:
            raise struct.error(f"a part of {length} bytes at {start} of {self.size}")
        if start < self.start or start + length > self.start + len(self.held):
            fetched = min(max(length, self.ahead), self.size - start)
            self.start, self.held = start, bytes(self.source.read_at(fetched, start))
        return self.held[start - self.start : start - self.start + length]


def blocks(source: "pa.NativeFile", ahead: int = 0) -> tuple[tuple[IpcBlock, ...], tuple[IpcBlock, ...]]:
    """Return the dictionaries and the record batches of an open IPC file, in file order.

    ``ahead`` is how many bytes to fetch at least at a time. The heads of buffers lie close together, and in a store
    every fetch is a request.

    Raises:
        pa.ArrowInvalid: if the heads contradict each other.
    """
    try:
        read = _Bytes(source, ahead)
        # The file ends with the footer, the length of the footer (4 bytes), and the magic bytes (6).
        tail = read(read.size - 10, 10)
        if tail[4:] != MAGIC:
            raise pa.ArrowInvalid("not an Arrow IPC file: it does not end with ARROW1")
        length = int(struct.unpack("<i", tail[:4])[0])
        data = read(read.size - 10 - length, length)
        footer = _FlatTable(data, int(struct.unpack_from("<I", data)[0]))
        dictionaries = [_block_at(read, record, True) for record in footer.records(DICTIONARIES, BLOCK_BYTES)]
        batches = [_block_at(read, record, False) for record in footer.records(BATCHES, BLOCK_BYTES)]
    except struct.error as error:
        raise _damaged(error) from None
    return tuple(dictionaries), tuple(batches)


def stream_blocks(source: "pa.NativeFile", ahead: int = 0) -> tuple[tuple[IpcBlock, ...], tuple[IpcBlock, ...]]:
    """Return the dictionaries and the record batches of an open IPC stream, in order. No body is read.

    ``ahead`` is as for `blocks`.

    Raises:
        pa.ArrowInvalid: if the heads contradict each other, or the stream ends within a block.
    """
    dictionaries, batches = list[IpcBlock](), list[IpcBlock]()
    read, position = _Bytes(source, ahead), 0
    try:
        # A stream may end with an empty head, or simply end.
        while position + 4 <= read.size:
            first, length = _head(read, position)
            if length == 0:
                break
            body = position + first + length
            message = _message(read(position, first + length), first)
            kind, size = message.place(HEADER_TYPE), message.place(BODY_LENGTH)
            number = 0 if kind is None else message.data[kind]
            after = body + (0 if size is None else int(struct.unpack_from("<q", message.data, size)[0]))
            if not body <= after <= read.size:
                raise pa.ArrowInvalid(f"the stream ends within a block, at byte {read.size} of {after}")
            if number in (DICTIONARY_BATCH, RECORD_BATCH):
                block = _block(read, message.table(HEADER), body, number == DICTIONARY_BATCH)
                block = replace(block, start=position)
                (dictionaries if number == DICTIONARY_BATCH else batches).append(block)
            position = after
    except struct.error as error:
        raise _damaged(error) from None
    return tuple(dictionaries), tuple(batches)


def _damaged(error: struct.error) -> pa.ArrowInvalid:
    return pa.ArrowInvalid(f"the heads of its record batches are damaged ({error})")


def _head(read: _Bytes, position: int) -> tuple[int, int]:
    """Return the bytes in front of a head, and the length of the head."""
    # A marker and the length come first. Files from before Arrow 0.15 have the length alone.
    data = read(position, 4)
    first = 4
    if data == b"\xff\xff\xff\xff":
        data, first = read(position + 4, 4), 8
    length = int(struct.unpack("<i", data)[0])
    if length < 0:
        raise struct.error(f"a head of {length} bytes")
    return first, length


def _message(data: bytes, first: int) -> _FlatTable:
    """Return the message in a head whose table of fields begins after ``first`` bytes."""
    return _FlatTable(data, first + int(struct.unpack_from("<I", data, first)[0]))


def _block_at(read: _Bytes, record: bytes, dictionary: bool) -> IpcBlock:
    """Return the block that a record of the footer points to."""
    start, head = struct.unpack_from("<qi", record)
    first, _ = _head(read, start)
    return _block(read, _message(read(start, head), first).table(HEADER), start + head, dictionary)


def _block(read: _Bytes, header: _FlatTable, body: int, dictionary: bool) -> IpcBlock:
    """Return the size of a block from its header; ``body`` is where its buffers begin."""
    batch = header.table(DATA) if dictionary else header
    position = batch.place(LENGTH)
    rows = 0 if position is None else int(struct.unpack_from("<q", batch.data, position)[0])
    buffers = [struct.unpack("<qq", buffer) for buffer in batch.records(BUFFERS, BUFFER_BYTES)]
    packed = sum(length for _, length in buffers)
    if batch.follow(COMPRESSION) is None:
        return IpcBlock(rows, packed, packed)
    return IpcBlock(rows, packed, sum(_unpacked(read, body, buffer) for buffer in buffers))


def _unpacked(read: _Bytes, body: int, buffer: Sequence[int]) -> int:
    """Return the bytes that a compressed buffer takes in memory."""
    offset, length = buffer
    # Too short for the 8 bytes of the unpacked length: the buffer is empty.
    if length < 8:
        return 0
    unpacked = int(struct.unpack("<q", read(body + offset, 8))[0])
    if unpacked < -1:
        raise struct.error(f"a buffer of {unpacked} bytes")
    # -1 says that the buffer was not compressed, because that would not have made it smaller.
    return length - 8 if unpacked == -1 else unpacked
