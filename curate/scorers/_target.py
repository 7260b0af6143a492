"""Read rows of files beside the data, which an option such as ``target=`` names: examples of the texts that are wanted.

In: files, folders or globs. Out: a corpus, whose parts are learned from on the engine of the data.

All such files are read by one rule: like the data, with the columns of ``--columns``, as far as a file has them, and
without them by the names that jobs use. An option such as ``target_column=`` names the texts of these files alone.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.storage import files
from curate.tables import batches, readers
from curate.tables.corpus import Corpus
from curate.tables.corpus.corpus import EXCHANGES
from curate.tables.readers import head
from curate.tables.reading import BATCH_BYTES, Reading
from curate.tables.shards import Shard, has_lines

JOIN = "+"  # stands between the names of a list in an option
PART_BYTES = 64 << 20  # of files: enough to outweigh the start of a task, and far below the memory of a worker


@dataclass(frozen=True)
class TargetPart:
    """Rows [start, stop) of a file, or all rows of several small files. Unlike in the data, a bad line is an error."""

    shards: tuple[Shard, ...]
    reading: Reading
    start: int = 0
    stop: int | None = None
    generation: int = 0

    @property
    def name(self) -> str:
        """A name that changes with the names and the stamps of the files, and with the columns that are read."""
        stamps = [(str(shard.path), files.stamp(shard.path)) for shard in self.shards]
        mapping = self.reading.whole_mapping
        mapped = () if mapping.is_empty else (mapping,)
        return files.text_hash(repr((stamps, self.start, self.stop, *mapped)))

    def batches(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the column ``id`` and the columns ``needs``, batch by batch."""
        for shard in self.shards:
            position = self.start
            for batch in batches.batches(
                shard, needs, reading=self.reading, identity=("id",), size=BATCH_BYTES, start=self.start
            ):
                # Batches are cut by rows and bytes, so the last one may reach beyond the part.
                yield batch if self.stop is None else batch.head(self.stop - position)
                position += batch.height
                if self.stop is not None and position >= self.stop:
                    break


def corpus_of_target(data: Corpus, target: str, text_column: str, scorer: str) -> Corpus:
    """Return the texts of files, folders or globs, joined by ``+``, as a corpus that runs on the engine of the data.

    Raises:
        SchemaError: if ``target`` is empty, a part of it names no files, or a file has no column of texts.
    """
    if not target:
        raise SchemaError(
            f"{scorer} has no target. Name a file or folder of texts like those that you want more of: "
            f"{scorer}:target=PATH"
        )
    return corpus_of_files(data, listed(target), text_column, f"{scorer}:target_column=COLUMN")


def corpus_of_files(data: Corpus, paths: Sequence[str], text_column: str, option: str) -> Corpus:
    """Return the texts of files, folders or globs as a corpus that runs on the engine of the data.

    ``text_column`` is their column of texts. Empty: as in the data, or ``text`` in a file without that. ``option`` is
    how to name it, for messages.

    Raises:
        SchemaError: if one of them names no files, or a file has no column of texts.
    """
    reading, shards = data.reading.of_other_files(text_column), batches.shards(paths)
    for shard in shards:
        batches.require(shard, ("text",), head(shard, ("text",), reading.whole_mapping), names_texts(option))
    return replace(data, parts=_parts(shards, reading), folder=data.folder / EXCHANGES / "target", total=None)


def names_texts(option: str) -> str:
    """Return what to do about a file without a column of texts."""
    return f"Name its column of texts: {option}"


def batches_of_files(data: Corpus, paths: str, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield the rows of files, folders or globs, joined by ``+``, in this process.

    Raises:
        SchemaError: if one of them names no files, or a file lacks one of the columns ``needs``.
    """
    reading = data.reading.of_other_files()
    for shard in batches.shards(listed(paths)):
        remedy = f"Name it with --columns {needs[0]}=COLUMN, or write it into the file"
        batches.require(shard, needs, head(shard, needs, reading.whole_mapping), remedy)
        yield from batches.batches(shard, needs, reading=reading)


def listed(paths: str) -> list[str]:
    """Return the paths that an option joins by ``+``. A file or folder that exists may have this sign in its name.

    Raises:
        SchemaError: if there are none.
    """
    pieces = paths.split(JOIN)
    result, start = [], 0
    while start < len(pieces):
        # the longest run of pieces that is the name of a file; a single piece may also be a glob, or lie in a store
        longer = range(len(pieces), start + 1, -1)
        stop = next((stop for stop in longer if Path(JOIN.join(pieces[start:stop])).exists()), start + 1)
        result.append(JOIN.join(pieces[start:stop]))
        start = stop
    if not any(result):
        raise SchemaError(f"{paths!r} names no files. Join the names of files by {JOIN}: a.jsonl{JOIN}b.jsonl")
    return [path for path in result if path]


def _parts(shards: Sequence[Shard], reading: Reading) -> list[TargetPart]:
    """Cut files into parts: large ones at row groups, if they have any, and small ones together."""
    parts: list[TargetPart] = []
    small: list[Shard] = []
    small_bytes = 0
    for shard in shards:
        size = files.size(shard.path)
        if size >= PART_BYTES:
            parts += [TargetPart((shard,), reading, start, stop) for start, stop in row_ranges(shard)]
            continue
        if small_bytes + size > PART_BYTES:
            parts.append(TargetPart(tuple(small), reading))
            small, small_bytes = [], 0
        small.append(shard)
        small_bytes += size
    return [*parts, TargetPart(tuple(small), reading)] if small else parts


def row_ranges(shard: Shard) -> list[tuple[int, int | None]]:
    """Return the rows [start, stop) of each part of a file. None is the end of the file."""
    groups = None if has_lines(shard) else readers.head(shard).groups
    if not groups:
        return [(0, None)]
    rows, sizes = (np.cumsum(values) for values in zip(*groups, strict=True))
    # A part ends before the group that begins in the next multiple of the size.
    stops = rows[np.flatnonzero(np.diff(sizes // PART_BYTES, append=-1))].tolist()
    return list(pairwise([0, *stops]))
