"""Write and read files of named arrays and of tables. A file appears when it is whole.

In: arrays, or tables that are cut into sections. Out: files that other workers read.
"""

import io
import math
import struct
from collections.abc import Iterable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from zipfile import BadZipFile, ZipFile, ZipInfo

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from curate.errors import Interrupted
from curate.storage import files
from curate.storage.files import replacing

Arrays = Mapping[str, np.ndarray]
# Bytes of a zip file without members. Any other zip file ends with a record of this length (APPNOTE 4.3.16).
EMPTY_ZIP = 22
# What Python's reader of zip files and numpy raise for files with wrong bytes, wherever these are.
DAMAGES = (ValueError, EOFError, BadZipFile, RuntimeError, KeyError, TypeError, SyntaxError, struct.error)
REMEDY = "delete it, and run the same command again"


class DamagedFile(Interrupted):
    """The file ``path`` of arrays cannot be read. ``reason`` says why."""

    # Errors of workers are rebuilt from their message alone, and then get their fields.
    def __init__(self, message: str, path: Path = Path(), reason: str = "") -> None:
        """Keep the file and the reason beside the message."""
        super().__init__(message)
        self.path, self.reason = path, reason


def write_arrays(path: Path, arrays: Arrays) -> None:
    """Write named arrays as one file."""
    with replacing(path) as temporary, temporary.open("wb") as handle:
        np.savez(handle, allow_pickle=False, **arrays)


def read_arrays(path: Path, remedy: str = REMEDY) -> dict[str, np.ndarray]:
    """Return the arrays of a file by name. ``remedy`` ends the message about a damaged file.

    Raises:
        Interrupted: if the file is damaged.
    """
    try:
        # Python looks for a comment in front of an empty zip file, where Arrow cannot seek.
        if (size := files.size(path)) == EMPTY_ZIP:
            return {}
        with files.opened(path) as file, ZipFile(io.BufferedReader(file)) as archive:
            members = archive.infolist()
            file.seek(size - EMPTY_ZIP)
            # The list of members has no checksum, but its length stands behind it too.
            if struct.unpack("<4s4H2LH", file.read(EMPTY_ZIP))[4] != len(members):
                raise ValueError("its list of arrays is damaged")
            return {member.filename.removesuffix(".npy"): _array(archive, member) for member in members}
    except DAMAGES as error:
        reason = " ".join(str(error).split()) or type(error).__name__
        raise DamagedFile(f"{path} is damaged ({reason}): {remedy}", path, reason) from None


def _array(archive: ZipFile, member: ZipInfo) -> np.ndarray:
    """Return one array of a zip file, after its checksum was compared."""
    with archive.open(member) as file:
        version = np.lib.format.read_magic(file)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, _, dtype = header(file)
        # The checksum is compared at the end of the member. With a damaged shape the array would end elsewhere.
        if file.tell() + math.prod(shape) * dtype.itemsize != member.file_size:
            raise ValueError(f"{member.filename} has another size than its header says")
    with archive.open(member) as file:
        # Arrays only: a pickle could run any code.
        array: np.ndarray = np.lib.format.read_array(file, allow_pickle=False)
    return array


def write_splits(path: Path, tables: Iterable[tuple[pl.DataFrame, np.ndarray]], splits: int) -> None:
    """Write the rows of some tables as one file with a section for each of ``splits``.

    Each table (n rows) comes with ``split`` (n,), the section of each row. Rows of a section keep their order. One
    table is held at a time. There must be one at least, and all have the same columns.
    """
    with ExitStack() as stack:
        sink: pa.ipc.RecordBatchFileWriter | None = None
        temporary = stack.enter_context(replacing(path))
        for frame, split in tables:
            table = frame.rechunk().to_arrow()
            sink = sink or stack.enter_context(pa.ipc.new_file(temporary, table.schema))
            for section in _sections(table, split, splits):
                sink.write_batch(section)


def _sections(table: pa.Table, split: np.ndarray, splits: int) -> Iterator[pa.RecordBatch]:
    """Yield the rows of each section."""
    # Numbers of 16 bits are sorted by radix, several times as fast.
    short = split.astype(np.uint16) if splits <= 1 << 16 else split
    order = np.argsort(short, kind="stable")
    edges = np.searchsorted(split[order], np.arange(splits + 1))
    for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
        # Sections are ordered one by one: an ordered copy of a table with lists may take as much memory as the table.
        # Arrow takes the rows. If polars takes them (2.1), the values of empty lists may begin after the first value of
        # the column, and Arrow 26 then writes a damaged file.
        section = table.take(pa.array(order[low:high])).combine_chunks()
        # Arrow writes no batch for an empty table, and sections are read by their number.
        batches = section.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
        yield batches[0]


def read_split(path: Path, split: int, splits: int) -> pl.DataFrame:
    """Return the rows of one section of a file of `write_splits` with so many ``splits``."""
    with files.mapped(path) as source, pa.ipc.open_file(source) as reader:
        # Sections of the first table come first, then those of the next one.
        batches = [reader.get_batch(number) for number in range(split, reader.num_record_batches, splits)]
        # The section is copied, since the file is closed before the rows are used.
        return pl.DataFrame(pl.from_arrow(pa.Table.from_batches(batches))).clone()
