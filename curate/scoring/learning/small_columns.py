"""Keep the columns that a job computed of small inputs, many inputs to a file, until their score files are written.

A file of its own for each small input costs more time than its rows do: it is created, synced to disk, opened and
removed. In: the columns of small inputs, one input after the other. Out: files
``OUT/_curate/parts/columns/_small/<stage>/<hash of the inputs>.arrow``. Each ends with an index of its inputs. What the
stages are is told in `columns`.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc

from curate.errors import Interrupted
from curate.scoring.learning import columns
from curate.scoring.learning.columns import ColumnFolder
from curate.storage import files
from curate.storage.files import replacing, text_hash
from curate.tables import writer

# No input has such a name: names that begin with "_" are passed over.
FOLDER = "_small"
INDEX = b"curate.index"  # the key, in the metadata of a file's last batch, of the index of its inputs


@dataclass(frozen=True)
class SharedBatches:
    """Where one stage of the columns of a small input lies: batches [first, stop) of the file ``name``.

    ``stamp`` is that of the input.
    """

    name: str
    first: int
    stop: int
    stamp: str


@dataclass(frozen=True)
class SmallColumns(columns.ColumnStages):
    """The columns of a small input: for each complete stage, their names and where they lie below ``folder``.

    ``hashes`` are the digests of the blocks of the input's rows, and the columns that were hashed.
    """

    folder: Path
    columns: tuple[tuple[str, ...], ...] = ()
    places: tuple[SharedBatches, ...] = ()
    hashes: tuple[tuple[str, ...], tuple[str, ...]] = ((), ())

    def with_stage(
        self, names: Iterable[str], place: SharedBatches, hashes: tuple[tuple[str, ...], tuple[str, ...]]
    ) -> "SmallColumns":
        """Return the columns with one more stage."""
        return replace(self, columns=(*self.columns, tuple(names)), places=(*self.places, place), hashes=hashes)

    def batches(self, wanted: Sequence[str] | None = None, first: int | None = None) -> Iterator[pl.DataFrame]:
        """Yield the columns ``wanted`` (None: all) from row ``first`` on, in the batches of the computation."""
        position = 0
        with ExitStack() as stack:
            readers = [
                stack.enter_context(columns.opened(stage_folder(self.folder, number) / place.name))
                for number, place in enumerate(self.places)
            ]
            # All stages have the same batches, and differ in their columns.
            for indices in zip(*(range(place.first, place.stop) for place in self.places), strict=True):
                batches = [reader.get_batch(index) for reader, index in zip(readers, indices, strict=True)]
                position += batches[0].num_rows
                if position > (first or 0):
                    yield columns.to_frame(batches, wanted)

    def hashed(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the digests of the blocks of the input's rows, and the columns that were hashed."""
        return list(self.hashes[0]), self.hashes[1]


AnyColumns = ColumnFolder | SmallColumns


def folder(out: Path) -> Path:
    """Return the folder of the columns of small inputs."""
    return columns.columns_folder(out) / FOLDER


def stage_folder(small_folder: Path, stage: int) -> Path:
    """Return the folder of one stage, of all small inputs."""
    return small_folder / str(stage)


@dataclass
class SharedFile:
    """Writes the columns of several inputs as one file."""

    name: str
    sink: pa.ipc.RecordBatchFileWriter
    schema: pa.Schema
    batches: int = 0  # that are written

    def add(self, frames: Iterable[pl.DataFrame], stamp: str) -> tuple[int, SharedBatches]:
        """Write the columns of an input; return the number of rows, and where they lie."""
        first, rows = self.batches, 0
        for frame in frames:
            for batch in writer.record_batches(frame, self.schema):
                self.sink.write_batch(batch)
                self.batches += 1
                rows += batch.num_rows
        return rows, SharedBatches(self.name, first, self.batches, stamp)

    def end(self, index: bytes) -> None:
        """Write the index of the inputs whose columns are whole. Batches of others stay in the file, unused."""
        self.sink.write_batch(pa.RecordBatch.from_pylist([], self.schema), custom_metadata={INDEX: index})


@contextmanager
def shared_file(
    small_folder: Path, stage: int, inputs: Sequence[tuple[str, str]], schema: Mapping[str, pl.DataType]
) -> Iterator[SharedFile]:
    """Write a file with the columns of some inputs, whole or not at all. ``inputs`` are their names and stamps."""
    path = stage_folder(small_folder, stage) / f"{text_hash(repr(inputs))}.arrow"
    kinds = writer.arrow_schema(schema)
    with replacing(path) as temporary, pa.ipc.new_file(temporary, kinds) as sink:
        yield SharedFile(path.name, sink, kinds)


def indices(small_folder: Path, stage: int) -> Iterator[bytes]:
    """Yield the index of every file of a stage. A damaged file is removed: its columns are computed again."""
    for path in files.below(stage_folder(small_folder, stage), ".arrow"):
        if (index := _index(path)) is None:
            files.remove(path)
        else:
            yield index


def _index(path: Path) -> bytes | None:
    """Return the index of a file, or None if the file was cut short or damaged."""
    try:
        with columns.opened(path) as reader:
            _, metadata = reader.get_batch_with_custom_metadata(reader.num_record_batches - 1)
    except (Interrupted, ValueError):
        return None
    return (metadata or {}).get(INDEX)
