"""The steps that draw a training set: index the inputs, put the copies in order, write the shards.

In: a drawing job. Out: files. A step that finds its files does nothing, so every step can be resumed.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TypeVar, cast

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import SchemaError
from curate.pool.mixture import Part
from curate.pool.pool import to_json
from curate.progress import Progress
from curate.storage import artifacts, manifest
from curate.training_set import placement, row_index, shuffle
from curate.training_set.placement import PoolDraw
from curate.training_set.row_index import IndexTask, Source
from curate.training_set.shuffle import GatherTask, ScatterTask

MOST_SHARDS = 100_000  # the names of shards have five digits
T = TypeVar("T")


@dataclass(frozen=True)
class DrawingJob:
    """What every step needs: the pools with their tokens, the sources, and where and how to work.

    Pools are numbered in the order of ``parts``, which is that of their names.
    """

    out: Path
    parts: tuple[Part, ...]
    sources: tuple[Source, ...]
    shard_rows: int
    seed: int
    engine: Engine
    progress: Progress

    @property
    def folder(self) -> Path:
        """Return the folder in which the steps leave files for each other; it is removed in the end."""
        return self.out / manifest.FOLDER / "draw"

    @property
    def record(self) -> Path:
        """Return the file that records the settings and the inputs."""
        return self.out / manifest.FOLDER / "materialize.json"

    @property
    def order(self) -> Path:
        """Return the file that records what is drawn of each pool."""
        return self.out / manifest.FOLDER / "order.json"

    @property
    def files(self) -> list[Path]:
        """Return every input file."""
        return sorted({file for source in self.sources for file in source.files})

    @property
    def settings(self) -> dict[str, object]:
        """Return all that decides the result but the contents of the inputs, by names that messages use."""
        return {
            "seed": self.seed,
            "shard rows": self.shard_rows,
            **{f"tokens of pool {part.pool.name}": part.tokens for part in self.parts},
            **{f"phases of pool {p.pool.name}": [list(phase) for phase in p.phases] for p in self.parts if p.phases},
            **{f"pool {row['name']}": row for row in to_json([part.pool for part in self.parts])},
        }

    def run(self, step: str, function: Callable[[T], int], tasks: Sequence[T], *, total: int) -> None:
        """Run the remaining tasks of a step on the engine; ``total`` counts those done before too."""
        self.progress(step, total - len(tasks), total)
        for done, _ in enumerate(self.engine.run(function, tasks), start=1):
            self.progress(step, total - len(tasks) + done, total)


def planned(job: DrawingJob) -> tuple[PoolDraw, ...] | None:
    """Return what an earlier call planned to draw of each pool, in name order; None if none did."""
    if not job.order.is_file():
        return None
    rows = cast(Mapping[str, Mapping[str, int]], artifacts.load(job.order, "drawn_rows")["draws"])
    return tuple(PoolDraw(pool, **counts) for pool, counts in sorted(rows.items()))


def spans(job: DrawingJob, draws: Sequence[PoolDraw]) -> list[tuple[str, int, int]]:
    """Return the name of each shard, and the places [start, end) in it."""
    rows = sum(draw.copies for draw in draws)
    starts = range(0, rows, job.shard_rows)
    return [(shuffle.part_name(i), start, min(start + job.shard_rows, rows)) for i, start in enumerate(starts)]


def missing(job: DrawingJob, draws: Sequence[PoolDraw]) -> list[GatherTask]:
    """Return the shards that are not written yet."""
    parts = spans(job, draws)
    return [
        GatherTask(number, job.out / name, job.folder, start, end, len(parts))
        for number, (name, start, end) in enumerate(parts)
        if not (job.out / name).is_file()
    ]


def put_in_order(job: DrawingJob) -> tuple[tuple[PoolDraw, ...], np.ndarray]:
    """Index every source, plan every draw and place every copy.

    Returns the draws, and for each source and pool the place of the source's first row among the pool's rows,
    (sources, pools).
    """
    indexes = [row_index.index_path(job.folder, source.number) for source in job.sources]
    unindexed = [source for source, index in zip(job.sources, indexes, strict=True) if not index.is_file()]
    tasks = [IndexTask(source, job.folder, job.seed) for source in unindexed]
    job.run("count", row_index.write_index, tasks, total=len(job.sources))
    pools = [pl.read_parquet(index, columns=["pool"], glob=False)["pool"] for index in indexes]
    rows = np.array([np.bincount(pool, minlength=len(job.parts)) for pool in pools])
    draws = planned(job)
    if draws is None or not _placed(job, draws):
        draws = tuple(_lay_out(job, number, indexes) for number in range(len(job.parts)))
        _check_shards(job, draws)
        placement.place(job.folder, draws)
        counts = {draw.pool: {k: v for k, v in asdict(draw).items() if k != "pool"} for draw in draws}
        artifacts.save(job.order, "drawn_rows", {"draws": counts})
    return draws, rows.cumsum(axis=0) - rows


def write(job: DrawingJob, draws: Sequence[PoolDraw], starts: np.ndarray) -> None:
    """Spill the copies of every source, and write the shards that are missing."""
    shards = len(spans(job, draws))
    spills = [
        ScatterTask(source, job.folder, tuple(starts[source.number].tolist()), job.shard_rows, shards)
        for source in job.sources
        if not shuffle.spill_path(job.folder, source.number).is_file()
    ]
    job.run("scatter", shuffle.scatter, spills, total=len(job.sources))
    job.run("write", shuffle.gather, missing(job, draws), total=shards)


def _placed(job: DrawingJob, draws: Sequence[PoolDraw]) -> bool:
    paths = (placement.slots_path(job.folder, i) for i, draw in enumerate(draws) if draw.copies)
    return all(path.is_file() for path in paths)


def _lay_out(job: DrawingJob, number: int, indexes: Sequence[Path]) -> PoolDraw:
    """Plan the draw of one pool and write the order of its copies."""
    pool, target = job.parts[number].pool, job.parts[number].tokens
    index = pl.scan_parquet(list(indexes), glob=False).filter(pl.col("pool") == number).collect()
    if index.is_empty():
        raise SchemaError(
            f"pool {pool.name!r} has no rows in {', '.join(pool.where)}, and the plan draws {target} tokens from it. "
            "Make its pools.json again with `curate pools`"
        )
    keys, tokens = index["key"].to_numpy(), index["tokens"].to_numpy()
    if (total := int(tokens.sum())) != round(pool.tokens):
        raise SchemaError(
            f"pool {pool.name!r} has {total} unique tokens on disk in {len(keys)} rows, but its pools.json says "
            f"{pool.tokens:.15g} in {pool.examples or '?'}. Run `curate pools` and `curate plan` again"
        )
    draw = placement.plan_draw(pool.name, keys, tokens, target)
    placement.lay_out(job.folder, number, draw, keys, tokens, job.parts[number].phases)
    return draw


def _check_shards(job: DrawingJob, draws: Sequence[PoolDraw]) -> None:
    rows = sum(draw.copies for draw in draws)
    if rows == 0:
        raise SchemaError(
            f"{sum(part.tokens for part in job.parts)} tokens are less than half of the first document of every pool, "
            "so nothing is drawn. Choose a larger budget"
        )
    if (shards := -(-rows // job.shard_rows)) > MOST_SHARDS:
        raise SchemaError(
            f"{rows} rows at --shard-rows {job.shard_rows} are {shards} files, and the most is {MOST_SHARDS}. Use "
            f"--shard-rows {-(-rows // MOST_SHARDS)} or more"
        )
