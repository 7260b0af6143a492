"""List which rows of which files belong to which pool, with a random key for every row.

In: pools. Out: an index file for each data file.
A pool's filter, score range and decisions are read once. The text is not read where there are score files. Memory is
that of a run of rows, however long a file is.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.tables import batches, readers, scored
from curate.tables.batches import Reading, Shard
from curate.tables.row_ranges import RowRange
from curate.tables.scored import DECISIONS
from curate.tables.scored_inputs import line_losses
from curate.training_set.ordering import pieces
from curate.training_set.ordering.cells import INDEX, index_path
from curate.training_set.ordering.pieces import Run

ROWS, POOLS = "rows", "pools"  # fields of an index: the rows of the file, and the counts of each pool


@dataclass(frozen=True)
class DataFile:
    """One file of data, the numbered pools that read it, and the score and decision files that mark their rows."""

    number: int
    data: Shard
    scores: Shard | None
    kept: Path | None
    reading: Reading
    pools: tuple[tuple[int, Pool], ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Return every file that decides which copies come from this one."""
        decisions = [self.kept / (self.data.relative + DECISIONS)] if self.kept else []
        return (self.data.path, *([self.scores.path] if self.scores else []), *decisions)


@dataclass(frozen=True)
class IndexTask:
    """A data file whose rows are to be listed in ``folder``."""

    file: DataFile
    folder: Path
    seed: int


def data_files(pools: Sequence[Pool], *, partial: bool = False) -> tuple[DataFile, ...]:
    """Return the files of all pools. Pools of the same scored data share a file, so that it is read once.

    With ``partial``, scores may be of a job that has not ended.

    Raises:
        Unfinished: if the job that scored or pruned a pool has not ended.
        SchemaError: if a pool names no files, or a file that it needs is missing.
    """
    # Bins of one source differ only in their score range: one reading marks the rows of all of them.
    same_data: dict[tuple[object, ...], list[tuple[int, Pool]]] = {}
    for number, pool in enumerate(pools):
        same_data.setdefault((frozenset(pool.where), pool.scores, pool.kept), []).append((number, pool))
    result: list[DataFile] = []
    for members in same_data.values():
        _, pool = members[0]
        pairs, reading = _files(pool, partial)
        kept = Path(pool.kept) if pool.scores and pool.kept else None
        for data, scores in pairs:
            if pool.scores:
                reading = line_losses.aligned(reading, Path(pool.scores), data)
            result.append(DataFile(len(result), data, scores, kept, reading, tuple(members)))
            if missing := [path for path in result[-1].files if not path.is_file()]:
                raise SchemaError(
                    f"no such file: {missing[0]}, which pool {pool.name!r} needs. Make it with `curate prune`"
                )
    return tuple(result)


def _files(pool: Pool, partial: bool) -> tuple[list[tuple[Shard, Shard | None]], Reading]:
    """Return the data files of a pool with their score files, and how they are read."""
    if not pool.where:
        raise SchemaError(f"pool {pool.name!r} names no files. List them in its `where` in pools.json")
    if pool.scores is None:
        return [(shard, None) for shard in batches.shards(pool.where)], Reading()
    if pool.kept:
        scored.check_decisions(Path(pool.scores), Path(pool.kept))
    pairs = scored.with_inputs(Path(pool.scores), batches.inputs(pool.where).shards, partial=partial)
    return [(data, shard) for shard, data in pairs], scored.reading(Path(pool.scores))


def write_index(task: IndexTask) -> int:
    """List the rows of each pool in a data file with a random key each, and return the number of the file.

    The key is hash(id, pool, seed). Rows whose text is null are not listed, but counted: see `counts`.
    """
    file = task.file
    totals = {str(number): [0, 0, 0, 0] for number, _ in file.pools}
    fields: dict[str, object] = {ROWS: 0, POOLS: totals}
    # A seed of its own for each pool: pools that share rows draw them in different orders. It follows from the name, so
    # other pools in the plan do not change it.
    seeds = {number: int(batches.keys([pool.name], task.seed)[0]) for number, pool in file.pools}

    def listed() -> Iterator[Run]:
        start = 0
        for batch, verdict, has_text in _marked(file):
            # A negative count would make the planned tokens unreachable, and times that go backwards.
            if (batch["tokens"] < 0).any():
                raise SchemaError(f"{file.files[-1]} has rows with negative tokens. Score the data again")
            for position, (number, pool) in enumerate(file.pools):
                members = verdict.to_numpy() & scored.members(pool, batch)
                total, tokens = totals[str(number)], batch["tokens"].to_numpy()
                if has_text is not None:
                    lost = members & ~has_text
                    total[2], total[3] = total[2] + int(lost.sum()), total[3] + int(tokens[lost].sum())
                    members = members & has_text
                rows = np.flatnonzero(members)
                listed_rows = np.empty(len(rows), dtype=INDEX)
                listed_rows["row"], listed_rows["tokens"] = rows + start, tokens[rows]
                listed_rows["key"] = batches.keys(batch["id"].gather(rows), seeds[number])
                total[0], total[1] = total[0] + len(rows), total[1] + int(tokens[rows].sum())
                if len(rows):
                    yield np.full(len(rows), position), listed_rows
            start += batch.height
            fields[ROWS] = start

    pieces.write(index_path(task.folder, file.number), listed(), len(file.pools), fields)
    return file.number


@dataclass(frozen=True)
class PoolRows:
    """The rows of a pool in a data file and their tokens, and those of the rows whose text is null."""

    rows: int
    tokens: int
    null_rows: int
    null_tokens: int


def counts(path: Path) -> tuple[int, dict[int, PoolRows]]:
    """Return the rows of an indexed data file, and for each pool what it has of them."""
    fields = pieces.opened(path).fields
    totals = cast(Mapping[str, list[int]], fields[POOLS])
    return cast(int, fields[ROWS]), {int(number): PoolRows(*total) for number, total in totals.items()}


def _marks(file: DataFile) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield what decides membership, batch by batch: scores and verdicts where there are scores, else the data."""
    needs = scored.pool_columns(pool for _, pool in file.pools)
    if file.scores is not None:
        yield from scored.kept_batches(RowRange(file.scores), file.kept, needs)
        return
    for batch in batches.batches(file.data, needs, reading=file.reading):
        yield batch, pl.repeat(True, batch.height, eager=True)


def _marked(file: DataFile) -> Iterator[tuple[pl.DataFrame, pl.Series, np.ndarray | None]]:
    """Yield the batches of `_marks`, each with a mask (n,) of the rows that have a text; None where all have one."""
    mapping = file.reading.whole_mapping
    view = None if mapping.is_empty else readers.head(file.data, (), mapping).view
    if not readers.may_hold_null(file.data, "text", view):
        yield from ((batch, verdict, None) for batch, verdict in _marks(file))
        return
    texts = batches.batches(file.data, ("text",), reading=file.reading, identity=())
    for marks, rows in zip_longest(_marks(file), texts):
        if marks is None or rows is None or marks[0].height != rows.height:
            raise SchemaError(f"{file.data.path} has other rows than were scored: score the data again")
        batch, verdict = marks
        yield batch, verdict, rows["text"].is_not_null().to_numpy()
