"""Draw a training set in steps: index the inputs, put the copies in order, write the shards.

In: a drawing job. Out: files. A step that finds its files does nothing, so every step can be resumed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, fields, replace
from typing import TypeVar, cast

import numpy as np

from curate.errors import SchemaError, first_few
from curate.pool.mixture import Part
from curate.progress import counted, reporting
from curate.storage import artifacts
from curate.training_set import row_index, shuffle
from curate.training_set.columns import NO_COLUMNS, InputSchema, file_schema, of_text, unified
from curate.training_set.drawing_job import DrawingJob
from curate.training_set.holdout import held_rows, steps
from curate.training_set.ordering import cells, order_copies, windows
from curate.training_set.ordering.cells import Indexed
from curate.training_set.ordering.order_copies import PlannedPool
from curate.training_set.ordering.pool_draw import PoolDraw
from curate.training_set.row_index import IndexTask, PoolRows
from curate.training_set.shuffle import GatherTask, ScatterTask

MOST_SHARDS = 100_000  # the names of shards have five digits
PLACED = "placed"  # an empty file beside the places: they are complete
T = TypeVar("T")
R = TypeVar("R")


def planned(job: DrawingJob) -> tuple[PoolDraw, ...] | None:
    """Return the draws that an earlier call planned, or None if there are none. They are in the order of pool names."""
    if not job.order.is_file():
        return None
    rows = cast(Mapping[str, Mapping[str, int]], artifacts.load(job.order, "drawn_rows")["draws"])
    names = [item.name for item in fields(PoolDraw) if item.name != "pool"]
    # A record of an older version lacks the counts that came later, and that of a newer one may have more.
    counts_of = {pool: {name: counts[name] for name in names if name in counts} for pool, counts in rows.items()}
    return tuple(PoolDraw(pool, **counts) for pool, counts in sorted(counts_of.items()))


def spans(job: DrawingJob, draws: Sequence[PoolDraw]) -> list[tuple[str, int, int]]:
    """Return each shard as its name and the range [start, end) of places that it holds."""
    rows = sum(draw.copies for draw in draws)
    starts = range(0, rows, job.shard_rows)
    return [(shuffle.part_name(i), start, min(start + job.shard_rows, rows)) for i, start in enumerate(starts)]


def missing(job: DrawingJob, draws: Sequence[PoolDraw]) -> list[GatherTask]:
    """Return the tasks that write the shards which do not exist yet."""
    parts = spans(job, draws)
    return [
        GatherTask(number, job.out / name, job.folder, start, end, len(parts))
        for number, (name, start, end) in enumerate(parts)
        if not (job.out / name).is_file()
    ]


def put_in_order(job: DrawingJob) -> tuple[tuple[PoolDraw, ...], np.ndarray]:
    """Index every data file, plan every draw and place every copy.

    Returns the draws, and for each data file the number of its first block of rows, (files + 1,).
    """
    pools = tuple(number for number, _ in enumerate(job.parts))
    absent = [file for file in job.data_files if not cells.index_path(job.folder, file.number).is_file()]
    rule, held = steps.chosen_groups(job) if absent else (None, None)
    tasks = [
        IndexTask(file, job.folder, job.seed, job.tag, rule, held, job.tag_tokenizers.get(file.score_folder, ""))
        for file in absent
    ]
    job.run("files counted", row_index.write_index, tasks, total=len(job.data_files))
    counts = [row_index.counts(cells.index_path(job.folder, file.number)) for file in job.data_files]
    first_blocks = windows.blocks([rows for rows, _ in counts])
    draws = planned(job)
    # A finished job removed its places. If one of its shards is lost, they are made again, and are the same.
    if draws is not None and _placed(job):
        return draws, first_blocks
    owned = [
        {n: rows for n, rows in of_pools.items() if rows.rows or rows.null_rows or rows.held_rows}
        for _, of_pools in counts
    ]
    wanted = [_planned_pool(job.parts[number], number, owned) for number in pools]
    files = [
        Indexed(file.number, job.folder, tuple(number for number, _ in file.pools))
        for file in job.data_files
        if any(rows.rows for rows in owned[file.number].values())
    ]

    def run(step: str, function: Callable[[T], R], tasks: Sequence[T]) -> Iterator[R]:
        return counted(job.engine.run(function, tasks), step, len(tasks))

    with reporting(job.progress):
        ordered = order_copies.put_in_order(job.folder, wanted, files, first_blocks, run, cells.CELL_ROWS)
    draws = tuple(
        replace(
            draw,
            target=part.tokens,
            without_text=sum(rows[n].null_rows for rows in owned if n in rows),
            held_rows=sum(rows[n].held_rows for rows in owned if n in rows),
            held_tokens=sum(rows[n].held_tokens for rows in owned if n in rows),
        )
        for n, (draw, part) in enumerate(zip(ordered, job.parts, strict=True))
    )
    _check_shards(job, draws)
    records = {draw.pool: {k: v for k, v in asdict(draw).items() if k != "pool"} for draw in draws}
    # Written last: where this file is, the places are complete.
    held_out = sum(held_rows.rows(job.folder, file) for file in job.data_files) if job.holdout else 0
    record = {"draws": records, steps.HELD: held_out} if job.holdout else {"draws": records}
    artifacts.save(job.order, "drawn_rows", record)
    for path in (*job.folder.glob("*.split"), *job.folder.glob("*.cell")):
        path.unlink()
    (job.folder / PLACED).touch()
    return draws, first_blocks


def write(job: DrawingJob, draws: Sequence[PoolDraw], first_blocks: np.ndarray) -> None:
    """Write the copies of every data file to temporary files, and gather them into the missing shards."""
    shards = len(spans(job, draws))
    columns = _columns_of_texts(job)
    names, edges = tuple(part.pool.name for part in job.parts), first_blocks.tolist()
    spills = [
        ScatterTask(
            *(file, job.folder, names, (edges[file.number], edges[file.number + 1]), job.shard_rows, shards, job.tag),
            columns,
        )
        for file in job.data_files
        if not shuffle.spill_path(job.folder, file.number).is_file()
    ]
    job.run("files sorted into parts", shuffle.scatter, spills, total=len(job.data_files))
    job.run("shards written", shuffle.gather, missing(job, draws), total=shards)
    if job.holdout is not None:
        steps.write_held(job, names, columns)


def _columns_of_texts(job: DrawingJob) -> InputSchema:
    """Return the columns of which the texts of the data files are made, in one schema."""
    files = [file for file in job.data_files if of_text(file.reading)]
    if not files:
        return NO_COLUMNS
    # Tasks may end in any order.
    schemas = {schema.path: schema for schema in job.engine.run(file_schema, files)}
    return unified([schemas[str(file.data.path)] for file in files])


def _placed(job: DrawingJob) -> bool:
    return (job.folder / PLACED).is_file()


def _planned_pool(part: Part, number: int, owned: Sequence[Mapping[int, PoolRows]]) -> PlannedPool:
    """Return what is to be drawn of a pool, after checking that it has the tokens that its pools.json says."""
    pool, target = part.pool, part.tokens
    counts = {file: rows[number] for file, rows in enumerate(owned) if number in rows}
    rows, unique = sum(count.rows for count in counts.values()), sum(count.tokens for count in counts.values())
    null_rows = sum(count.null_rows for count in counts.values())
    held = sum(count.held_rows for count in counts.values())
    if not rows and held:
        raise SchemaError(
            f"all {held} rows of pool {pool.name!r} that have a text are held out, and the plan draws {target} tokens "
            "from it. Use a smaller --holdout, another --holdout-by, or another --seed"
        )
    if not rows:
        what = f"no rows with text (all {null_rows} texts are null)" if null_rows else "no rows"
        raise SchemaError(
            f"pool {pool.name!r} has {what} in {first_few(pool.where)}, and the plan draws {target} tokens from it. "
            "Make its pools.json again with `curate pools`"
        )
    # The plan's shares were computed from these counts: if they changed, the plan is for other data.
    if (total := sum(count.all_tokens for count in counts.values())) != round(pool.tokens):
        raise SchemaError(
            f"pool {pool.name!r} has {total} unique tokens on disk in {rows + null_rows + held} rows, but its "
            f"pools.json says {pool.tokens:.15g} in {pool.examples or '?'}. Run `curate pools` and `curate plan` again"
        )
    if not unique:
        raise SchemaError(
            f"pool {pool.name!r} has tokens only in rows whose text is null. Write the texts, or leave the pool out"
        )
    files = tuple(file for file, count in counts.items() if count.rows)
    # One pass stays one pass: no row is repeated in the place of those without text.
    return PlannedPool(pool.name, unique if target == total else target, rows, unique, part.phases, files)


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
