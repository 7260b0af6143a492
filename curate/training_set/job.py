"""The job `materialize`: draw the training set of a plan, a schedule, or pools.

In: a plan, a schedule or pools, as the path of their file or in memory. Out: shards and index.json.
"""

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pool import mixture as mixtures
from curate.pool.mixture import Mixture, Part
from curate.pool.plan_files import PlanSource, Recorded, plan_hash
from curate.pool.pool import Pool, pools_hash, read_pools
from curate.progress import Progress, silent
from curate.storage import artifacts, completion
from curate.storage.locks import lock
from curate.tables.data_set import card
from curate.tables.scored_inputs.pool_reading import mapped
from curate.tables.writer import SHARD_ROWS
from curate.training_set.draw import STEP, TrainingSet, check_apart, draw
from curate.training_set.holdout import groups
from curate.training_set.set_card import save_card

__all__ = ["TrainingSet", "materialize"]

INDEX = "index.json"
PoolsSource = str | Path | Iterable[Pool]


def materialize(
    plan: PlanSource | Iterable[Pool],
    out: str | Path,
    *,
    pools: PoolsSource | None = None,
    budget: int | None = None,
    shard_rows: int = SHARD_ROWS,
    seed: int = 0,
    workers: int = 1,
    engine: Engine | None = None,
    restart: bool = False,
    partial: bool = False,
    take_over: bool = False,
    progress: Progress = silent,
    tag: str = "",
    holdout: float | None = None,
    holdout_by: str = "",
    columns: str | Mapping[str, str] = "",
    text_column: str = "text",
    join: str | Sequence[str] = (),
    render: str = "",
) -> TrainingSet:
    """Draw a training set into Parquet shards below ``out``, shuffled, with exact counts of rows and tokens.

    Args:
        plan: a plan; a schedule, whose phases are drawn in order; or pools, of which every row is drawn once. Each may
            be the path of its file or the result of `plan`, `schedule` or `pools`.
        out: a folder for ``part-00000.parquet`` and so on, for ``index.json``, which lists what was drawn, and for a
            card that `datasets.load_dataset` reads.
        pools: the pools of the plan, or the path of pools.json. None: the pools that the plan holds.
        budget: which of the plan's budgets, counted from 0. None: the only one.
        shard_rows: rows in each shard; a worker holds about three shards in memory.
        seed: seed of the order of the rows.
        workers: number of processes on this machine; 1 is this process alone, and 0 one for each core. The result does
            not depend on it.
        engine: where to run instead, such as a Ray cluster; ``workers`` does not count then.
        restart: delete the results of earlier calls and start over.
        partial: draw from what is scored so far, although the job `score` has not ended.
        take_over: write even if a job on another machine holds ``out``; that job stops.
        progress: is called with three values: what is counted, how many are done, and how many there are.
        tag: a column, such as ``source``. ``source: books`` and an empty line are then prepended to a text whose
            ``source`` is ``books``. The tokenizer that counted the texts counts tags too; without one, a tag of n bytes
            counts n / 4 tokens, rounded up.
        holdout: the share of the tokens to set aside, to ``out/holdout/data``. Rows that `duplicates` links are set
            aside together, or not at all. The plan is drawn from the other rows.
        holdout_by: a column whose equal values are set aside together instead, such as ``domain``.
        columns: which columns of the files of pools without scores stand for ``text``, ``id`` and others, as for
            `curate.score`. Pools that were scored are read as they were scored.
        text_column: the column of texts in these files.
        join: columns of texts in these files that are joined to one text, as for `curate.score`.
        render: ``chat`` if their column of texts holds conversations, as for `curate.score`.

    The same call continues a job that was interrupted.

    Raises:
        Unfinished: if the job that scored or pruned a pool has not ended.
        FolderBusy: if another job writes in ``out``.
        SchemaError: if the plan cannot be read, or the pools do not match the files they name.
        Interrupted: if ``out`` holds another training set, or inputs change while they are read.
    """
    out = Path(out)
    if not isinstance(pools, str | Path | None):
        pools = tuple(pools)
    planned = _plan_or_pools(plan)
    mixture = _mixture(planned, pools, budget)
    held_out, unscored = groups.holdout(holdout, holdout_by), mapped(columns, text_column, join, render)
    check_apart(out, [part.pool for part in mixture.parts])
    with lock.held(out, "materialize", take_over=take_over, progress=progress):
        training_set = draw(
            mixture,
            out,
            shard_rows=shard_rows,
            seed=seed,
            engine=engine or Local(workers),
            restart=restart,
            partial=partial,
            progress=progress,
            tag=tag,
            holdout=held_out,
            unscored=unscored,
        )
        paths = {"plan": _path(plan), "pools": _path(pools)}
        # The files behind the pools were hashed while they were drawn from; what is in memory is hashed here.
        hashes = dict(training_set.inputs)
        if paths["plan"] is None:
            hashes["plan"] = pools_hash(planned) if isinstance(planned, tuple) else plan_hash(planned)
        if isinstance(pools, tuple):
            hashes["pools"] = pools_hash(pools)
        arguments: dict[str, object] = {**paths, "budget": budget, "shard_rows": shard_rows}
        # Left out where it is not set, so that other files keep their bytes.
        chosen = {"partial": partial, "tag": tag, "holdout": holdout, "holdout_by": holdout_by}
        chosen |= unscored.whole_mapping.record()
        arguments |= {name: value for name, value in chosen.items() if value}
        made_by = artifacts.made_by(
            arguments, [path for path in paths.values() if path is not None], seed, tables=hashes
        )
        artifacts.save(out / INDEX, "training_set", {**training_set.record(), "made_by": made_by})
        command = {**arguments, "plan": None, "seed": seed}
        defaults: dict[str, object] = {"shard_rows": SHARD_ROWS, "seed": 0}
        save_card(training_set, card.command("materialize", [paths["plan"] or "PLAN"], command, defaults), tag)
        completion.end(out, STEP)
        return training_set


def _path(source: object) -> Path | None:
    return Path(source) if isinstance(source, str | Path) else None


def _plan_or_pools(plan: PlanSource | Iterable[Pool]) -> PlanSource | tuple[Pool, ...]:
    """Return a plan or schedule unchanged, and pools as a tuple, whether they are in memory or in a file."""
    if isinstance(plan, str | Path):
        record = artifacts.load(Path(plan), "plan", "schedule", "pools")
        return plan if "plans" in record or "phases" in record else read_pools(plan)
    if isinstance(plan, Mapping):
        return plan
    # The result of `pools` has a record too, but that holds no plans.
    if isinstance(plan, Recorded) and {"plans", "phases"} & set(plan.record()):
        return plan
    if isinstance(plan, Iterable):
        return read_pools(plan)
    raise SchemaError(f"{type(plan).__name__} is not a plan: give a plan, a schedule, pools, or the path of their file")


def _mixture(planned: PlanSource | tuple[Pool, ...], pools: PoolsSource | None, budget: int | None) -> Mixture:
    if not isinstance(planned, tuple):
        return mixtures.load(planned, budget, pools=None if pools is None else read_pools(pools))
    if pools is not None or budget is not None:
        flag = "--pools" if pools is not None else "--budget"
        raise SchemaError(f"{flag} is for a plan. Pools are drawn whole, every row once: leave it out")
    parts = tuple(Part(pool, round(pool.tokens)) for pool in planned)
    return Mixture(parts, (), None, "all rows of the pools")
