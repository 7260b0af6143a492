"""Parts of a corpus: ranges of files, or tables in memory."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace

import polars as pl

from curate.storage import files
from curate.tables import batches
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import BATCH_BYTES, Reading
from curate.tables.shards import Shard


@dataclass(frozen=True)
class FilePart:
    """All rows of some files, in order. Bad lines are passed over."""

    shards: tuple[Shard, ...]
    reading: Reading = field(default_factory=Reading)
    generation: int = 0

    def __str__(self) -> str:
        """Return the first file and how many others there are."""
        others = len(self.shards) - 1
        return f"{self.shards[0].path}{f' and {others} more' if others else ''}"

    @property
    def name(self) -> str:
        """A name that changes with the names and the stamps of the files."""
        return files.text_hash(repr([(str(shard.path), files.stamp(shard.path)) for shard in self.shards]))

    def batches(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the column ``id`` and the columns ``needs``, batch by batch."""
        reading = replace(self.reading, bad_lines=BadLines())
        for shard in self.shards:
            for batch in batches.batches(shard, needs, reading=reading, size=BATCH_BYTES):
                yield batch.select(*dict.fromkeys(("id", *needs)))


@dataclass(frozen=True)
class FramePart:
    """Rows in memory, as tables that have a column ``id``."""

    name: str
    frames: tuple[pl.DataFrame, ...]
    generation: int = 0

    def __str__(self) -> str:
        """Return the name of the part."""
        return self.name

    def batches(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the column ``id`` and the columns ``needs``, table by table."""
        return (frame.select(*dict.fromkeys(("id", *needs))) for frame in self.frames)
