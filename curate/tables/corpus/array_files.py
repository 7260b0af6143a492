"""Write and read files of named arrays and of tables. A file appears when it is whole.

In: arrays, or a table that is cut into sections. Out: files that other workers read.
"""

import io
from collections.abc import Mapping
from pathlib import Path
from zipfile import BadZipFile

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc

from curate.errors import Interrupted
from curate.storage import files
from curate.storage.files import replacing

Arrays = Mapping[str, np.ndarray]
EMPTY_ZIP = 22  # bytes of a zip file without members, by its specification (APPNOTE 4.3.16)
REMEDY = "delete it, and run the same command again"


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
        if files.size(path) == EMPTY_ZIP:
            return {}
        # Arrays only: a pickle could run any code.
        with files.opened(path) as file, np.load(io.BufferedReader(file), allow_pickle=False) as stored:
            return dict(stored.items())
    except (ValueError, EOFError, BadZipFile) as error:
        raise Interrupted(f"{path} is damaged ({' '.join(str(error).split())}): {remedy}") from None


def write_splits(path: Path, frame: pl.DataFrame, split: np.ndarray, splits: int) -> None:
    """Write the rows of a table as one file with a section for each of ``splits``.

    ``split`` (n,) is the section of each row. Rows of a section keep their order.
    """
    # Numbers of 16 bits are sorted by radix, several times as fast.
    short = split.astype(np.uint16) if splits <= 1 << 16 else split
    order = np.argsort(short, kind="stable")
    edges = np.searchsorted(split[order], np.arange(splits + 1))
    table = frame[order].rechunk().to_arrow()
    with replacing(path) as temporary, pa.ipc.new_file(temporary, table.schema) as sink:
        for low, high in zip(edges[:-1].tolist(), edges[1:].tolist(), strict=True):
            section = table.slice(low, high - low).combine_chunks()
            # Arrow writes no batch for an empty table, and sections are read by their number.
            batches = section.to_batches() or [pa.RecordBatch.from_pylist([], table.schema)]
            sink.write_batch(batches[0])


def read_split(path: Path, split: int) -> pl.DataFrame:
    """Return the rows of one section of a file of `write_splits`."""
    with files.mapped(path) as source, pa.ipc.open_file(source) as reader:
        # The section is copied, since the file is closed before the rows are used.
        return pl.DataFrame(pl.from_arrow(pa.Table.from_batches([reader.get_batch(split)]))).clone()
