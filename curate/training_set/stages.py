"""The steps that draw a training set: index the inputs, put the copies in order, write the shards; each resumes."""

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
from curate.training_set.placement import Draw
from curate.training_set.row_index import Counting, Source
from curate.training_set.shuffle import Gathering, Scattering

MOST_SHARDS = 100_000  # their names have five digits
T = TypeVar("T")


@dataclass(frozen=True)
class Job:
    """What every step needs: pools with their tokens, numbered by name, the sources, and where and how to work."""

    out: Path
    parts: tuple[Part, ...]
    sources: tuple[Source, ...]
    shard_rows: int
    seed: int
    engine: Engine
    progress: Progress

    @property
    def folder(self) -> Path:
        """Where the steps meet; empty once the shards are whole."""
        return self.out / manifest.FOLDER / "draw"

    @property
    def record(self) -> Path:
        """What was asked, of which inputs."""
        return self.out / manifest.FOLDER / "materialize.json"

    @property
    def order(self) -> Path:
        """What is drawn of each pool."""
        return self.out / manifest.FOLDER / "order.json"

    @property
    def files(self) -> list[Path]:
        """Every input file."""
        return sorted({file for source in self.sources for file in source.files})

    @property
    def asked(self) -> dict[str, object]:
        """Everything but the contents of the inputs that decides the result, by the words of a refusal."""
        return {
            "seed": self.seed,
            "shard rows": self.shard_rows,
            **{f"tokens of pool {part.pool.name}": part.tokens for part in self.parts},
            **{f"phases of pool {p.pool.name}": [list(one) for one in p.phases] for p in self.parts if p.phases},
            **{f"pool {row['name']}": row for row in to_json([part.pool for part in self.parts])},
        }

    def run(self, what: str, function: Callable[[T], int], tasks: Sequence[T], *, of: int) -> None:
        """Run one step on the engine and show its progress; ``of`` counts what was done before."""
        self.progress(what, of - len(tasks), of)
        for done, _ in enumerate(self.engine.run(function, tasks), start=1):
            self.progress(what, of - len(tasks) + done, of)


def planned(job: Job) -> tuple[Draw, ...] | None:
    """Return what is drawn of each pool, in name order, where an earlier call has put it in order."""
    if not job.order.is_file():
        return None
    rows = cast(Mapping[str, Mapping[str, int]], artifacts.load(job.order, "drawn_rows")["draws"])
    return tuple(Draw(pool, **counts) for pool, counts in sorted(rows.items()))


def spans(job: Job, draws: Sequence[Draw]) -> list[tuple[str, int, int]]:
    """Return the name of each shard and the places [start, end) in it."""
    rows = sum(draw.copies for draw in draws)
    starts = range(0, rows, job.shard_rows)
    return [(shuffle.part_name(i), start, min(start + job.shard_rows, rows)) for i, start in enumerate(starts)]


def missing(job: Job, draws: Sequence[Draw]) -> list[Gathering]:
    """Return the shards that are not written yet."""
    parts = spans(job, draws)
    return [
        Gathering(number, job.out / name, job.folder, start, end, len(parts))
        for number, (name, start, end) in enumerate(parts)
        if not (job.out / name).is_file()
    ]


def put_in_order(job: Job) -> tuple[tuple[Draw, ...], np.ndarray]:
    """Index every source, plan every draw and place every copy; return where (sources, p) rows start in their pools."""
    indexes = [row_index.index_path(job.folder, source.number) for source in job.sources]
    todo = [source for source, index in zip(job.sources, indexes, strict=True) if not index.is_file()]
    tasks = [Counting(source, job.folder, job.seed) for source in todo]
    job.run("count", row_index.count, tasks, of=len(job.sources))
    pools = [pl.read_parquet(index, columns=["pool"], glob=False)["pool"] for index in indexes]
    each = np.array([np.bincount(pool, minlength=len(job.parts)) for pool in pools])
    draws = planned(job)
    if draws is None or not all(placement.slots_path(job.folder, i).is_file() for i, d in enumerate(draws) if d.copies):
        draws = tuple(_lay_out(job, number, indexes) for number in range(len(job.parts)))
        _check_shards(job, draws)
        placement.place(job.folder, draws)
        rows = {draw.pool: {k: v for k, v in asdict(draw).items() if k != "pool"} for draw in draws}
        artifacts.save(job.order, "drawn_rows", {"draws": rows})
    return draws, each.cumsum(axis=0) - each


def _lay_out(job: Job, number: int, indexes: Sequence[Path]) -> Draw:
    pool, target = job.parts[number].pool, job.parts[number].tokens
    index = pl.scan_parquet(list(indexes), glob=False).filter(pl.col("pool") == number).collect()
    if index.is_empty():
        raise SchemaError(
            f"pool {pool.name!r} has no rows in {', '.join(pool.where)}; the plan draws {target} tokens from it: "
            "make its pools.json again with `curate pools`"
        )
    keys, tokens = index["key"].to_numpy(), index["tokens"].to_numpy()
    if (found := int(tokens.sum())) != round(pool.tokens):
        raise SchemaError(
            f"pool {pool.name!r} has {found} unique tokens on disk in {len(keys)} rows, its pools.json says "
            f"{pool.tokens:.15g} in {pool.examples or '?'}: run `curate pools` and `curate plan` again"
        )
    draw = placement.take(pool.name, keys, tokens, target)
    placement.lay_out(job.folder, number, draw, keys, tokens, job.parts[number].phases)
    return draw


def _check_shards(job: Job, draws: Sequence[Draw]) -> None:
    rows = sum(draw.copies for draw in draws)
    if rows == 0:
        raise SchemaError(
            f"{sum(part.tokens for part in job.parts)} tokens are less than half of the first document of every pool: "
            "nothing to draw; choose a larger budget"
        )
    if (shards := -(-rows // job.shard_rows)) > MOST_SHARDS:
        raise SchemaError(
            f"{rows} rows at --shard-rows {job.shard_rows} are {shards} files; the most is {MOST_SHARDS}: give "
            f"--shard-rows {-(-rows // MOST_SHARDS)} or more"
        )


def write(job: Job, draws: Sequence[Draw], starts: np.ndarray) -> None:
    """Spill the copies of every source and write the shards that are missing."""
    shards = len(spans(job, draws))
    spills = [
        Scattering(source, job.folder, tuple(starts[source.number].tolist()), job.shard_rows, shards)
        for source in job.sources
        if not shuffle.spill_path(job.folder, source.number).is_file()
    ]
    job.run("scatter", shuffle.scatter, spills, of=len(job.sources))
    job.run("write", shuffle.gather, missing(job, draws), of=shards)
