"""The sources as pools: where their samples are, and how many examples and tokens they offer."""

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TypeAlias

import polars as pl

from curate.errors import SchemaError, first_few
from curate.pool.pool import Pool, check_examples, load_pools
from curate.storage.scratch import scratch_folder
from curate.tables import batches, frames
from curate.tables.frames import Table
from curate.tables.reading import Reading
from curate.tables.scored_inputs.pool_reading import PoolReading, pool_reading
from curate.tables.shards import Shard
from curate.tables.token_counts import COLUMN, ESTIMATE

Sources: TypeAlias = str | Path | Mapping[str, Table]
TARGET = "the target"  # its name as a pool


@dataclass(frozen=True)
class SelectionInputs:
    """Sources and target as pools to read from, and what to record of them.

    ``files``: all files that are read. ``hashes``: content hashes of tables in memory, by name. ``notes``: the sources
    that were left out. ``readings``: how the files are read.
    """

    pools: tuple[Pool, ...]
    target: Pool
    files: tuple[Path, ...]
    hashes: Mapping[str, str]
    notes: tuple[str, ...] = ()
    readings: PoolReading = field(default_factory=PoolReading)

    def reading_of(self, pool: Pool) -> Reading:
        """Return how the files of a source, or of the target, are read."""
        return self.readings.targets if pool is self.target else self.readings.of(pool)

    def recorded_pools(self) -> tuple[Pool, ...]:
        """Return the pools as plan.json holds them: a table in memory has no place on disk."""
        return tuple(replace(pool, where=()) if pool.name in self.hashes else pool for pool in self.pools)


@contextmanager
def opened(
    sources: Sources, target: Table, examples: float, reading: Reading = batches.READING
) -> Iterator[SelectionInputs]:
    """Yield the sources and the target as pools; each source offers ``examples`` examples, unless pools.json says.

    ``sources``: pools.json; or a folder or glob of files with a ``source`` column or folder; or a path or table for
    each name. Tables in memory lie in temporary files meanwhile, so that they are read exactly like files. ``reading``
    says which columns the files have: see `pool_reading`.
    """
    with scratch_folder() as folder:
        tables = {**(sources if isinstance(sources, Mapping) else {}), TARGET: target}
        in_memory = {name: frames.frame(table) for name, table in tables.items() if frames.in_memory(table)}
        paths = {name: str(table) for name, table in tables.items() if name not in in_memory}
        for i, (name, frame) in enumerate(in_memory.items()):
            path = folder / f"table{i}.parquet"
            batches.write(path, [frame])
            paths[name] = str(path)
        if isinstance(sources, Mapping):
            every = [(name, _named_pool(name, paths[name], examples, reading)) for name in sorted(sources)]
        elif str(sources).endswith(".json"):
            every = [(pool.name, pool) for pool in load_pools(Path(str(sources)))]
        else:
            every = _pools_of_files(str(sources), examples, reading)
        pools = tuple(pool for _, pool in every if pool is not None)
        empty = [name for name, pool in every if pool is None]
        if not pools:
            raise SchemaError(
                f"all texts of the sources {', '.join(empty[:5])} are empty or null. Give sources with text"
            )
        on_disk = [pool.where for pool in pools if pool.name not in in_memory]
        on_disk += [] if TARGET in in_memory else [(paths[TARGET],)]
        files = dict.fromkeys(shard.path for where in on_disk for shard in batches.shards(where))
        hashes = {name: frames.content_hash(frame) for name, frame in in_memory.items()}
        target_pool = Pool(TARGET, 1.0, 1, where=(paths[TARGET],))
        notes = tuple(f"source {name!r} is left out: all its texts are empty or null" for name in empty)
        readings = pool_reading(pools, [paths[TARGET]], reading)
        yield SelectionInputs(pools, target_pool, tuple(files), hashes, notes, readings)


def offers(pools: Sequence[Pool], prices: Mapping[str, float]) -> tuple[Pool, ...]:
    """Return the pools with examples in the place of tokens, each with the price of an example.

    Raises:
        SchemaError: for a price of an unknown source, or one that is negative or not finite.
    """
    if unknown := sorted(set(prices) - {pool.name for pool in pools}):
        raise SchemaError(
            f"--price of {unknown[0]!r}: the sources are {first_few((pool.name for pool in pools), near=unknown[0])}"
        )
    if bad := [name for name, price in prices.items() if not 0 <= price < float("inf")]:
        raise SchemaError(f"--price {bad[0]}={prices[bad[0]]:g}: a price is at least 0 and finite")
    return tuple(
        replace(pool, tokens=float(examples_of(pool)), cost_per_token=prices.get(pool.name, _price_of_example(pool)))
        for pool in pools
    )


def examples_of(pool: Pool) -> int:
    """Return the number of examples of a pool.

    Raises:
        SchemaError: if nobody counted them.
    """
    check_examples([pool], "select counts in examples")
    return pool.examples or 0


def _price_of_example(pool: Pool) -> float | None:
    return None if pool.cost_per_token is None else pool.cost_per_token * pool.tokens / examples_of(pool)


def _named_pool(name: str, path: str, examples: float, reading: Reading) -> Pool | None:
    """Return one source of a mapping; a ``source`` column in its rows does not matter."""
    counts = [count for shard in batches.shards([path]) for count in _counts(shard, reading).values()]
    return _pool(name, [path], counts, examples, reading, filtered=False)


def _pools_of_files(sources: str, examples: float, reading: Reading) -> list[tuple[str, Pool | None]]:
    """Return each source that the rows of the files name, with its pool."""
    places: dict[str, list[str]] = {}
    counts: dict[str, list[tuple[int, int]]] = {}
    for shard in batches.shards([sources]):
        for name, count in _counts(shard, reading).items():
            places.setdefault(name, []).append(str(shard.path))
            counts.setdefault(name, []).append(count)
    return [
        (name, _pool(name, places[name], counts[name], examples, reading, filtered=True)) for name in sorted(places)
    ]


def _counts(shard: Shard, reading: Reading) -> dict[str, tuple[int, int]]:
    """Return tokens and rows of each source in a file."""
    totals: dict[str, tuple[int, int]] = {}
    for batch in batches.batches(shard, reading=reading):
        sums = batch.group_by("source").agg(pl.col("tokens").sum(), rows=pl.len()).sort("source")
        for name, tokens, rows in sums.rows():
            tokens_before, rows_before = totals.get(name, (0, 0))
            totals[name] = (tokens_before + tokens, rows_before + rows)
    return totals


def _pool(
    name: str,
    places: Sequence[str],
    counts: Sequence[tuple[int, int]],
    examples: float,
    reading: Reading,
    *,
    filtered: bool,
) -> Pool | None:
    """Return a pool that offers ``examples`` examples, with the tokens an example of the samples.

    The result is None if the samples have no tokens.
    """
    rows = sum(count for _, count in counts)
    if not rows:
        raise SchemaError(f"source {name!r} has no rows: give a few hundred samples of it")
    if not (total := sum(size for size, _ in counts)):
        return None
    tokens = max(1.0, examples * total / rows)
    source = {"source": name} if filtered else None
    counted = all("tokens" in batches.columns(shard, reading) for shard in batches.shards(places))
    return Pool(
        name=name,
        tokens=tokens,
        examples=round(examples),
        where=tuple(places),
        filter=source,
        token_counts=COLUMN if counted else ESTIMATE,
    )
