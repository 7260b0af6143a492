"""Find the files that the pools of a training set read: data, with the scores and decisions that mark their rows.

In: pools. Out: numbered data files, each with the pools that read it.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.tables import batches, scored
from curate.tables.batches import Reading, Shard
from curate.tables.scored import DECISIONS
from curate.tables.scored_inputs import line_losses
from curate.tables.scored_inputs.pool_reading import pool_reading


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
    def score_folder(self) -> str:
        """Return the folder of the scores that mark the rows; empty without scores."""
        return self.pools[0][1].scores or ""

    @property
    def files(self) -> tuple[Path, ...]:
        """Return every file that decides which copies come from this one."""
        decisions = [self.kept / (self.data.relative + DECISIONS)] if self.kept else []
        return (self.data.path, *([self.scores.path] if self.scores else []), *decisions)


def data_files(
    pools: Sequence[Pool], *, partial: bool = False, unscored: Reading = batches.READING
) -> tuple[DataFile, ...]:
    """Return the files of all pools. Pools of the same scored data share a file, so that it is read once.

    With ``partial``, scores may be of a job that has not ended. ``unscored`` says how the files of pools without scores
    are read; the others are read as they were scored.

    Raises:
        Unfinished: if the job that scored or pruned a pool has not ended.
        SchemaError: if a pool names no files, or a file that it needs is missing.
    """
    readings = pool_reading(pools, (), unscored)
    # Bins of one source differ only in their score range: one reading marks the rows of all of them.
    same_data: dict[tuple[object, ...], list[tuple[int, Pool]]] = {}
    for number, pool in enumerate(pools):
        same_data.setdefault((frozenset(pool.where), pool.scores, pool.kept), []).append((number, pool))
    result: list[DataFile] = []
    for members in same_data.values():
        _, pool = members[0]
        pairs, reading = _files(pool, partial), readings.of(pool)
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


def _files(pool: Pool, partial: bool) -> list[tuple[Shard, Shard | None]]:
    """Return the data files of a pool with their score files."""
    if not pool.where:
        raise SchemaError(f"pool {pool.name!r} names no files. List them in its `where` in pools.json")
    if pool.scores is None:
        return [(shard, None) for shard in batches.shards(pool.where)]
    if pool.kept:
        scored.check_decisions(Path(pool.scores), Path(pool.kept))
    pairs = scored.with_inputs(Path(pool.scores), batches.inputs(pool.where).shards, partial=partial)
    return [(data, shard) for shard, data in pairs]
