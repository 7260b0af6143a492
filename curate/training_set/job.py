"""The job `materialize`: draw the training set of a plan, a schedule, or pools.

In: the path of a plan, schedule or pools file, or pools in memory. Out: shards and index.json.
"""

import json
from collections.abc import Iterable
from pathlib import Path

import xxhash

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pool import mixture as mixtures
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Pool, load_pools, to_json
from curate.progress import Progress, silent
from curate.storage import artifacts
from curate.tables.writer import SHARD_ROWS
from curate.training_set.draw import TrainingSet, draw

__all__ = ["TrainingSet", "materialize"]

INDEX = "index.json"
PoolsOrPath = str | Path | Iterable[Pool]


def materialize(
    plan: PoolsOrPath,
    out: str | Path,
    *,
    pools: PoolsOrPath | None = None,
    budget: int | None = None,
    shard_rows: int = SHARD_ROWS,
    seed: int = 0,
    workers: int = 1,
    restart: bool = False,
    progress: Progress = silent,
) -> TrainingSet:
    """Draw a training set into Parquet shards below ``out``, shuffled, with exact counts of rows and tokens.

    Args:
        plan: plan.json, or schedule.json, which is drawn in its order. Or pools (the result of `pools`, or the path of
            pools.json): then every row of every pool is drawn once.
        out: a folder for ``part-00000.parquet`` and so on, and for ``index.json``, which lists what was drawn.
        pools: the pools of the plan, or the path of pools.json. None: the pools that the plan file holds.
        budget: which of the plan's budgets, counted from 0. None: the only one.
        shard_rows: rows in each shard; a worker holds about three shards in memory.
        seed: of the order of the rows.
        workers: processes on this machine. They change no byte.
        restart: forget what is done, and start over.
        progress: called with what is counted, how many are done, and of how many.

    The same call continues a job that was interrupted.

    Raises:
        SchemaError: if the plan cannot be read, or the pools do not match the files they name.
        Interrupted: if ``out`` holds another training set, or inputs change while they are read.
    """
    out, plan, pools = Path(out), _in_hand(plan), None if pools is None else _in_hand(pools)
    mixture = _mixture(plan, pools, budget)
    training_set = draw(
        mixture,
        out,
        shard_rows=shard_rows,
        seed=seed,
        engine=Local(workers),
        restart=restart,
        progress=progress,
    )
    sources = {"plan": plan, "pools": pools}
    paths = {name: source for name, source in sources.items() if isinstance(source, Path)}
    hashes = {name: _content_hash(source) for name, source in sources.items() if isinstance(source, tuple)}
    arguments = {"plan": None, "pools": None, **paths, "budget": budget, "shard_rows": shard_rows}
    # The files behind the pools were hashed while they were drawn from.
    made_by = artifacts.made_by(arguments, list(paths.values()), seed, tables={**hashes, **training_set.inputs})
    artifacts.save(out / INDEX, "training_set", {**training_set.record(), "made_by": made_by})
    return training_set


def _in_hand(pools: PoolsOrPath) -> Path | tuple[Pool, ...]:
    return Path(pools) if isinstance(pools, str | Path) else tuple(pools)


def _mixture(plan: Path | tuple[Pool, ...], pools: Path | tuple[Pool, ...] | None, budget: int | None) -> Mixture:
    if isinstance(plan, Path) and not _holds_pools_alone(plan):
        return mixtures.load(plan, budget, pools=None if pools is None else _read(pools))
    if pools is not None or budget is not None:
        flag = "--pools" if pools is not None else "--budget"
        raise SchemaError(f"{flag} is for a plan. Pools are drawn whole, every row once: leave it out")
    parts = tuple(Part(pool, round(pool.tokens)) for pool in _read(plan))
    return Mixture(parts, (), None, "all rows of the pools")


def _holds_pools_alone(path: Path) -> bool:
    """Return whether a file is a pools.json, and not a plan or a schedule, which may hold pools too."""
    record = artifacts.load(path, "plan", "schedule", "pools")
    return "plans" not in record and "phases" not in record


def _read(pools: Path | tuple[Pool, ...]) -> tuple[Pool, ...]:
    return load_pools(pools) if isinstance(pools, Path) else pools


def _content_hash(pools: tuple[Pool, ...]) -> str:
    return xxhash.xxh3_128_hexdigest(json.dumps(to_json(pools), sort_keys=True).encode())
