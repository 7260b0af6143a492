"""Keep computed columns of an input on disk, until its score file is written.

Scorers that need no learning run first, once: the rows of a file go through them while the file is hashed. Their
columns lie in ``OUT/_curate/parts/columns/<shard>/<stage>/<first row>.arrow``. Scorers that learn read them there, and
so does the task that writes the score file. Stage 0 also has the identity of the rows, and the digests of the input. If
a scorer learns from columns that another scorer adds after it has learned, these columns are a further stage.
"""

from collections.abc import Iterable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc

from curate.errors import Interrupted, SchemaError
from curate.scoring import parts
from curate.storage import files, manifest, s3
from curate.tables import writer
from curate.tables.columns import vectors
from curate.tables.shards import Shard


class ColumnStages:
    """The names of the columns of each complete stage, ``columns``."""

    columns: tuple[tuple[str, ...], ...]

    @property
    def stages(self) -> int:
        """The number of complete stages."""
        return len(self.columns)

    @property
    def names(self) -> tuple[str, ...]:
        """The names of all columns."""
        return tuple(name for stage in self.columns for name in stage)


@dataclass(frozen=True)
class ColumnFolder(ColumnStages):
    """The computed columns of rows [start, stop) of one input.

    ``path`` is the folder of the stages. ``columns`` are the names of the columns of each complete stage. A stage that
    is being computed is not among them.
    """

    path: Path
    columns: tuple[tuple[str, ...], ...] = ()
    start: int = 0
    stop: int | None = None

    def with_stage(self, names: Iterable[str]) -> "ColumnFolder":
        """Return the folder with one more stage."""
        return replace(self, columns=(*self.columns, tuple(names)))

    def stage(self, number: int) -> Path:
        """Return the folder of one stage."""
        return self.path / str(number)

    def files(self, number: int) -> list[Path]:
        """Return the files of one stage in the order of rows."""
        return [path for path in files.below(self.stage(number), ".arrow") if self._has(int(path.stem))]

    def _has(self, row: int) -> bool:
        return self.start <= row and (self.stop is None or row < self.stop)

    def batches(self, wanted: Sequence[str] | None = None, first: int | None = None) -> Iterator[pl.DataFrame]:
        """Yield the columns ``wanted`` (None: all) from row ``first`` on, in batches as they were computed."""
        streams = [self._stage_batches(number, wanted, first) for number in range(self.stages)]
        for frames in zip(*streams, strict=True):
            yield pl.DataFrame([series for frame in frames for series in frame.iter_columns()])

    def _stage_batches(self, number: int, wanted: Sequence[str] | None, first: int | None) -> Iterator[pl.DataFrame]:
        position = self.start
        paths = self.files(number)
        if not paths:
            raise gone(self.stage(number))
        for path in paths:
            if int(path.stem) != position:
                raise gone(parts.part_path(self.stage(number), position))
            # A stage without any of the wanted columns still says how many rows each batch has.
            with opened(path) as reader:
                for index in range(reader.num_record_batches):
                    batch = reader.get_batch(index)
                    position += batch.num_rows
                    if batch.num_rows and position > (first or 0):
                        yield to_frame([batch], wanted)

    def discard_stale(self, stamp: str) -> None:
        """Remove the columns of these rows if they were computed of another version of the input."""
        paths = self.files(0)
        first = writer.whole_part(paths[0]) if paths else None
        if not paths or (first is not None and first.stamp == stamp):
            return
        for path in files.below(self.path, ".arrow"):
            if self._has(int(path.stem)):
                files.remove(path)

    def hashed(self) -> tuple[list[str], tuple[str, ...]]:
        """Return the digests of the blocks of the input's rows, and the columns that were hashed."""
        return parts.hashed([writer.part(path) for path in self.files(0)]) or ([], ())


def columns_folder(out: Path) -> Path:
    """Return the folder of the columns of all inputs."""
    return out / manifest.FOLDER / manifest.PARTS / manifest.COLUMNS


def folder(out: Path, shard: Shard) -> Path:
    """Return the folder of the columns of an input."""
    return manifest.parts_path(out, manifest.COLUMNS, shard.relative)


@contextmanager
def opened(path: Path) -> Iterator[pa.ipc.RecordBatchFileReader]:
    """Open a file of columns.

    Raises:
        Interrupted: if it was removed or damaged while the job ran.
    """
    with ExitStack() as stack:
        try:
            reader = pa.ipc.open_file(stack.enter_context(files.mapped(path)))
        except (FileNotFoundError, ValueError):
            # No input is at fault.
            raise gone(path) from None
        yield stack.enter_context(reader)


def gone(path: Path) -> Interrupted:
    """Return the error for columns that are missing although they were computed."""
    return Interrupted(
        f"{s3.shown(path)} was removed or damaged while the job ran. Run the same command again: it computes these "
        "columns again"
    )


def to_frame(batches: Iterable[pa.RecordBatch], wanted: Sequence[str] | None = None) -> pl.DataFrame:
    """Return the columns ``wanted`` (None: all) of batches of the same rows, side by side, as scorers see them."""
    series = []
    for batch in batches:
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if wanted is not None and name not in wanted:
                continue
            if name.startswith(vectors.PREFIX):
                series.append(vectors.from_arrow(name, column, Path(), vectors.DTYPES[0]))
            else:
                series.append(pl.Series(name, pl.from_arrow(column)))
    return pl.DataFrame(series)


def beside(computed: Iterator[pl.DataFrame], read: Iterator[pl.DataFrame], shard: Shard) -> Iterator[pl.DataFrame]:
    """Yield the columns of two streams of the same rows side by side, in the batches of the first stream.

    A column that both have is taken from ``read``.

    Raises:
        SchemaError: if the file ``shard``, which is read again, has fewer rows than before.
    """
    held: list[pl.DataFrame] = []
    for frame in computed:
        while sum(piece.height for piece in held) < frame.height:
            following = next(read, None)
            if following is None:
                raise SchemaError(f"{shard.path} changed while it was read. Leave it alone and score again")
            held.append(following)
        rows = held[0] if len(held) == 1 else pl.concat(held)
        held = [rows[frame.height :]] if rows.height > frame.height else []
        yield frame.drop(rows.columns, strict=False).hstack(rows[: frame.height])
