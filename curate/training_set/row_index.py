"""List which rows of which files belong to which pool, with a random key for every row.

In: pools. Out: an index file for each data file.
A pool's filter, score range and decisions are read once. The text is not read where there are score files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.tables import batches, file_format, readers, scored
from curate.tables.batches import Reading, Shard
from curate.tables.scored import DECISIONS
from curate.tables.scored_inputs import line_losses

WITHOUT_TEXT = "without_text"  # the field of the metadata that counts rows whose text is null
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


def index_path(folder: Path, number: int) -> Path:
    """Return the file that lists the rows of a data file."""
    return folder / f"{number:05d}.rows.parquet"


def write_index(task: IndexTask) -> int:
    """List the rows of each pool in a data file, and return how many; one row group for each pool.

    Columns: pool, row, key = hash(id, pool, seed), tokens. Rows whose text is null are not listed, but counted in the
    metadata: see `without_text`.
    """
    file = task.file
    parts: dict[int, list[pl.DataFrame]] = {number: [] for number, _ in file.pools}
    nulls = {number: np.zeros(2, np.int64) for number, _ in file.pools}
    # A seed of its own for each pool: pools that share rows draw them in different orders. It follows from the name, so
    # other pools in the plan do not change it.
    seeds = {number: int(batches.keys([pool.name], task.seed)[0]) for number, pool in file.pools}
    start = 0
    for batch, verdict, has_text in _marked(file):
        # A negative count would make the planned tokens unreachable, and times that go backwards.
        if (batch["tokens"] < 0).any():
            raise SchemaError(f"{file.files[-1]} has rows with negative tokens. Score the data again")
        for number, pool in file.pools:
            members = verdict.to_numpy() & scored.members(pool, batch)
            if has_text is not None:
                lost = members & ~has_text
                nulls[number] += (lost.sum(), batch["tokens"].to_numpy()[lost].sum())
                members = members & has_text
            rows = np.flatnonzero(members)
            ids, tokens = batch["id"].gather(rows), batch["tokens"].gather(rows)
            columns = {"pool": np.full(len(rows), number), "row": rows + start, "key": batches.keys(ids, seeds[number])}
            parts[number].append(pl.DataFrame({**columns, "tokens": tokens}, schema=INDEX))
        start += batch.height
    frames = (pl.concat(frames) for frames in parts.values() if frames)
    counts = {str(number): count.tolist() for number, count in nulls.items() if count[0]}
    fields = {WITHOUT_TEXT: counts}
    return batches.write(index_path(task.folder, file.number), frames, schema=INDEX, fields=fields)


def without_text(path: Path) -> dict[int, tuple[int, int]]:
    """Return the rows and tokens of each pool whose text is null in a data file, from its index."""
    counts = cast(dict[str, list[int]], file_format.fields(pq.read_metadata(path).metadata).get(WITHOUT_TEXT, {}))
    return {int(number): (rows, tokens) for number, (rows, tokens) in counts.items()}


def _marks(file: DataFile) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield what decides membership, batch by batch: scores and verdicts where there are scores, else the data."""
    needs = scored.pool_columns(pool for _, pool in file.pools)
    if file.scores is not None:
        yield from scored.kept_batches(file.scores, file.kept, needs)
        return
    for batch in batches.batches(file.data, needs, reading=file.reading):
        yield batch, pl.repeat(True, batch.height, eager=True)


def _marked(file: DataFile) -> Iterator[tuple[pl.DataFrame, pl.Series, np.ndarray | None]]:
    """Yield the batches of `_marks`, each with a mask (n,) of the rows that have a text; None where all have one."""
    if not readers.may_hold_null(file.data, file.reading.text_column):
        yield from ((batch, verdict, None) for batch, verdict in _marks(file))
        return
    texts = batches.batches(file.data, ("text",), reading=file.reading, identity=())
    for marks, rows in zip_longest(_marks(file), texts):
        if marks is None or rows is None or marks[0].height != rows.height:
            raise SchemaError(f"{file.data.path} has other rows than were scored: score the data again")
        batch, verdict = marks
        yield batch, verdict, rows["text"].is_not_null().to_numpy()
