"""Cut a long shard into tasks and parts, so that a killed job continues inside the shard."""

from collections.abc import Iterator, Sequence
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import polars as pl

from curate.storage import files
from curate.tables import readers, writer
from curate.tables.formats.bad_lines import BadLines
from curate.tables.reading import Reading
from curate.tables.row_ranges import RowRange
from curate.tables.scored_inputs import scored_rows
from curate.tables.scored_inputs.row_hash import BLOCK_ROWS
from curate.tables.shards import Shard
from curate.tables.writer import ScoredPart

TASK_ROWS = 1 << 17  # enough work for a task to pay for its start, even where rows are short
TASK_BYTES = 16 << 20  # of unpacked rows: a second of work for most scorers
# A row group is read from its beginning, whichever of its rows are wanted. With so many pieces at most, the rows that
# are passed over cost less than the work on the others.
GROUP_PIECES = 8
PART_ROWS = 1 << 15  # the most rows that a killed job has to score again
# A file of lines does not say how many rows it has. One up to this size is scored in one go: parts would double the
# number of files to write.
SMALL_BYTES = 1 << 20
Span = tuple[int, int | None]  # rows [start, stop) of a shard; None means its end


def spans(head: readers.Head) -> tuple[Span, ...]:
    """Return the ranges of rows that tasks of a shard take.

    A range has ``TASK_ROWS`` rows or ``TASK_BYTES`` bytes, or a little more. It ends where a block of hashed rows does,
    so that the hashes of ranges can be put together. There is one range if the file does not say how many rows it has.
    """
    if head.groups is None:
        return ((0, None),)
    total, edges = head.rows or 0, [0]
    size = 0.0
    for end, piece_bytes in _pieces(head.groups):
        size += piece_bytes
        edge = min(-(-end // BLOCK_ROWS) * BLOCK_ROWS, total)
        if edge - edges[-1] >= TASK_ROWS or (size >= TASK_BYTES and edge > edges[-1]):
            edges.append(edge)
            size = 0.0
    if total > edges[-1]:
        edges.append(total)
    return tuple(pairwise(edges))


def row_range(shard: Shard, start: int, stop: int | None) -> RowRange:
    """Return the rows [start, stop) of a shard."""
    return RowRange(shard, start, None if stop is None else stop - start)


def cover(ranges: Sequence[Span], head: readers.Head) -> bool:
    """Return whether ranges of rows follow each other from the first row of a shard to its last."""
    starts = [start for start, _ in ranges]
    stops = [head.rows if stop is None else stop for _, stop in ranges]
    return starts[:1] == [0] and stops == [*starts[1:], head.rows]


def _pieces(groups: Sequence[tuple[int, int]]) -> Iterator[tuple[int, float]]:
    """Yield where pieces of row groups end, as a row of the file, and about how many bytes each has."""
    first = 0
    for rows, size in groups:
        pieces = max(1, min(GROUP_PIECES, size // TASK_BYTES))
        for piece in range(1, pieces + 1):
            yield first + rows * piece // pieces, size / pieces
        first += rows


def is_long(shard: Shard, head: readers.Head) -> bool:
    """Return whether a shard is scored in parts. If it does not tell its rows, its size decides."""
    if head.groups is None:
        return files.size(shard.path) > SMALL_BYTES
    return (head.rows or 0) > PART_ROWS or len(spans(head)) > 1


def part_path(folder: Path, start: int) -> Path:
    """Return the path of the part whose first row is row ``start`` of the shard."""
    return folder / f"{start:012d}.arrow"


def complete(folder: Path, ranges: Sequence[Span]) -> list[Path] | None:
    """Return the parts of a shard in order, or None if some are missing."""
    parts: list[Path] = []
    # The last range is usually done last: until then, one look at it is enough.
    for start, stop in reversed(ranges):
        paths, _, ended = done_parts(folder, start, stop)
        if not ended:
            return None
        parts = paths + parts
    return parts


def done_parts(folder: Path, start: int, stop: int | None) -> tuple[list[Path], int, bool]:
    """Return the parts of rows [start, stop) that follow each other without a gap. A damaged part is a gap.

    Also return the row where they end, and whether that is the end of the range.
    """
    parts: list[Path] = []
    end, rows = start, PART_ROWS
    # Without a stop, a part that is not full is the last one.
    while not (ended := rows < PART_ROWS if stop is None else end == stop):
        if (part := writer.whole_part(part_path(folder, end))) is None:
            break
        parts.append(part.path)
        end += (rows := part.rows)
    return parts, end, ended


def hashed(parts: Sequence[ScoredPart]) -> tuple[list[str], tuple[str, ...]] | None:
    """Return the digests of all blocks of a shard, and the columns that were hashed, from its parts in order.

    The result is None if a part has no digests, or ends within a block: parts of format 2 may.
    """
    if any(part.blocks is None for part in parts) or any(part.rows % BLOCK_ROWS for part in parts[:-1]):
        return None
    columns = next((part.columns for part in parts if part.columns), ())
    return [block for part in parts for block in part.blocks or ()], columns


def stored(folder: Path) -> list[tuple[int, ScoredPart]]:
    """Return every whole part in a folder, each with its first row."""
    paths = files.below(folder, ".arrow")
    return [(int(path.stem), part) for path in paths if (part := writer.whole_part(path)) is not None]


def match(folder: Path, shard: Shard, reading: Reading) -> bool:
    """Return whether an input has the rows of all parts that were made of it. The input is read to its end."""
    stored_parts = [(start, part) for start, part in stored(folder) if part.rows]
    if not stored_parts:
        return True
    if any(part.blocks is None or start % BLOCK_ROWS for start, part in stored_parts):
        return False
    blocks = scored_rows.row_blocks(
        shard, next(part.columns for _, part in stored_parts), replace(reading, bad_lines=BadLines())
    )
    if blocks is None:
        return False
    first_blocks = [(start // BLOCK_ROWS, list(part.blocks or ())) for start, part in stored_parts]
    return all(blocks[first : first + len(digests)] == digests for first, digests in first_blocks)


def until(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield batches until they have ``rows`` rows or more."""
    count = 0
    for batch in batches:
        yield batch
        if (count := count + batch.height) >= rows:
            return
