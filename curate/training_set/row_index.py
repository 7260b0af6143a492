"""List which rows of which files belong to which pool, with a random key for every row.

In: pools. Out: an index file for each data file.
A pool's filter, score range and decisions are read once. The text is not read where there are score files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.tables import batches, line_losses, scored
from curate.tables.batches import Reading, Shard
from curate.tables.scored import DECISIONS

INDEX = {"pool": pl.Int32(), "row": pl.Int64(), "key": pl.UInt64(), "tokens": pl.Int64()}


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


def data_files(pools: Sequence[Pool]) -> tuple[DataFile, ...]:
    """Return the files of all pools. Pools of the same scored data share a file, so that it is read once.

    Raises:
        SchemaError: if a pool names no files, or a file that it needs is missing.
    """
    # Bins of one source differ only in their score range: one reading marks the rows of all of them.
    same_data: dict[tuple[object, ...], list[tuple[int, Pool]]] = {}
    for number, pool in enumerate(pools):
        same_data.setdefault((frozenset(pool.where), pool.scores, pool.kept), []).append((number, pool))
    result: list[DataFile] = []
    for members in same_data.values():
        _, pool = members[0]
        pairs, reading = _files(pool)
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


def _files(pool: Pool) -> tuple[list[tuple[Shard, Shard | None]], Reading]:
    """Return the data files of a pool with their score files, and how they are read."""
    if not pool.where:
        raise SchemaError(f"pool {pool.name!r} names no files. List them in its `where` in pools.json")
    inputs = batches.shards(pool.where)
    if pool.scores is None:
        return [(shard, None) for shard in inputs], Reading()
    pairs = scored.with_inputs(Path(pool.scores), inputs)
    return [(data, shard) for shard, data in pairs], scored.reading(Path(pool.scores))


def index_path(folder: Path, number: int) -> Path:
    """Return the file that lists the rows of a data file."""
    return folder / f"{number:05d}.rows.parquet"


def write_index(task: IndexTask) -> int:
    """List the rows of each pool in a data file, and return how many; one row group for each pool.

    Columns: pool, row, key = hash(id, pool, seed), tokens.
    """
    file = task.file
    parts: dict[int, list[pl.DataFrame]] = {number: [] for number, _ in file.pools}
    # A seed of its own for each pool: pools that share rows draw them in different orders. It follows from the name, so
    # other pools in the plan do not change it.
    seeds = {number: int(batches.keys([pool.name], task.seed)[0]) for number, pool in file.pools}
    start = 0
    for batch, verdict in _marks(file):
        # A negative count would make the planned tokens unreachable, and times that go backwards.
        if (batch["tokens"] < 0).any():
            raise SchemaError(f"{file.files[-1]} has rows with negative tokens. Score the data again")
        for number, pool in file.pools:
            rows = np.flatnonzero(verdict.to_numpy() & scored.members(pool, batch))
            ids, tokens = batch["id"].gather(rows), batch["tokens"].gather(rows)
            columns = {"pool": np.full(len(rows), number), "row": rows + start, "key": batches.keys(ids, seeds[number])}
            parts[number].append(pl.DataFrame({**columns, "tokens": tokens}, schema=INDEX))
        start += batch.height
    frames = (pl.concat(frames) for frames in parts.values() if frames)
    return batches.write(index_path(task.folder, file.number), frames, schema=INDEX)


def _marks(file: DataFile) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield what decides membership, batch by batch: scores and verdicts where there are scores, else the data."""
    needs = scored.pool_columns(pool for _, pool in file.pools)
    if file.scores is not None:
        yield from scored.kept_batches(file.scores, file.kept, needs)
        return
    for batch in batches.batches(file.data, needs, reading=file.reading):
        yield batch, pl.repeat(True, batch.height, eager=True)
