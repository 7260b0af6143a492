"""Which rows of which files are which pool's: an index of each data file, with a random key for every row.

The pool's filter, score range and decisions are read once; the text is not, where there are score files.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.tables import batches
from curate.tables import scored as rows
from curate.tables.batches import Shard
from curate.tables.scored import DECISIONS

INDEX = {"pool": pl.Int32(), "row": pl.Int64(), "key": pl.UInt64(), "tokens": pl.Int64()}


@dataclass(frozen=True)
class Source:
    """One data file, the numbered pools that read it, and the score and decision files that name their rows."""

    number: int
    data: Shard
    scores: Shard | None
    kept: Path | None
    text_column: str
    pools: tuple[tuple[int, Pool], ...]

    @property
    def files(self) -> tuple[Path, ...]:
        """Every file that decides which copies come from this source."""
        decisions = [self.kept / (self.data.relative + DECISIONS)] if self.kept else []
        return (self.data.path, *([self.scores.path] if self.scores else []), *decisions)


@dataclass(frozen=True)
class Counting:
    """A source whose pool rows are to be listed in ``folder``."""

    source: Source
    folder: Path
    seed: int


def sources(pools: Sequence[Pool]) -> tuple[Source, ...]:
    """Return the files of all pools; pools of the same scored data share them, so that each is read once."""
    groups: dict[tuple[object, ...], list[tuple[int, Pool]]] = {}
    for number, pool in enumerate(pools):
        groups.setdefault((frozenset(pool.where), pool.scores, pool.kept), []).append((number, pool))
    found: list[Source] = []
    for members in groups.values():
        _, one = members[0]
        if not one.where:
            raise SchemaError(f"pool {one.name!r} names no files: its `where` in pools.json must list them")
        inputs = batches.shards(one.where)
        if one.scores is None:
            pairs: list[tuple[Shard, Shard | None]] = [(shard, None) for shard in inputs]
            text_column = "text"
        else:
            known = {shard.relative: shard for shard in inputs}
            scored = rows.score_files(Path(one.scores))
            if moved := [shard for shard in scored if shard.relative not in known]:
                raise SchemaError(
                    f"{moved[0].path} has no input {moved[0].relative} under {', '.join(one.where)}: was it moved?"
                )
            pairs = [(known[shard.relative], shard) for shard in scored]
            text_column = str(rows.job(Path(one.scores))["text_column"])
        kept = Path(one.kept) if one.scores and one.kept else None
        for data, scores in pairs:
            found.append(Source(len(found), data, scores, kept, text_column, tuple(members)))
            if lost := [file for file in found[-1].files if not file.is_file()]:
                raise SchemaError(f"no such file: {lost[0]}, which pool {one.name!r} needs; `curate prune` makes it")
    return tuple(found)


def index_path(folder: Path, number: int) -> Path:
    """Return where the pool rows of a source are listed."""
    return folder / f"{number:05d}.rows.parquet"


def count(task: Counting) -> int:
    """List the rows of each pool in a source: pool, row, key = hash(id, pool, seed), tokens; one row group a pool."""
    source = task.source
    found: dict[int, list[pl.DataFrame]] = {number: [] for number, _ in source.pools}
    seeds = {number: int(batches.keys([pool.name], task.seed)[0]) for number, pool in source.pools}
    at = 0
    for batch, verdict in _marks(source):
        if (batch["tokens"] < 0).any():
            raise SchemaError(f"{source.files[-1]} has rows with negative tokens: score the data again")
        for number, pool in source.pools:
            mine = np.flatnonzero(_members(pool, batch, verdict))
            ids, tokens = batch["id"].gather(mine), batch["tokens"].gather(mine)
            columns = {"pool": np.full(len(mine), number), "row": mine + at, "key": batches.keys(ids, seeds[number])}
            found[number].append(pl.DataFrame({**columns, "tokens": tokens}, schema=INDEX))
        at += batch.height
    frames = (pl.concat(parts) for parts in found.values() if parts)
    return batches.write(index_path(task.folder, source.number), frames, schema=INDEX)


def _marks(source: Source) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield what decides membership, batch by batch: scores and verdicts where there are scores, else the data."""
    wanted = chain.from_iterable([*(pool.filter or {}), *(pool.score or {})] for _, pool in source.pools)
    needs = tuple(name for name in dict.fromkeys(wanted) if name not in ("id", "source", "tokens"))
    if source.scores is not None:
        yield from rows.kept_batches(source.scores, source.kept, needs)
        return
    for batch in batches.batches(source.data, needs):
        yield batch, pl.repeat(True, batch.height, eager=True)


def _members(pool: Pool, batch: pl.DataFrame, verdict: pl.Series) -> np.ndarray:
    mine = verdict.to_numpy().copy()
    for column, value in (pool.filter or {}).items():
        mine &= (batch[column].cast(pl.String) == value).fill_null(False).to_numpy()
    for column, limits in (pool.score or {}).items():
        mine &= rows.inside(batch[column].to_numpy(), limits)
    return mine
