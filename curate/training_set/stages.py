"""Draw a training set in steps: index the inputs, put the copies in order, write the shards.

In: a drawing job. Out: files. A step that finds its files does nothing, so every step can be resumed.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields, replace
from pathlib import Path
from typing import TypeVar, cast

import numpy as np

from curate.engines import Engine
from curate.errors import SchemaError, first_few
from curate.models import token_counter
from curate.pool.mixture import Part
from curate.pool.pool import to_json
from curate.progress import Progress, counted, reporting
from curate.storage import artifacts, manifest
from curate.storage.files import replacing
from curate.training_set import row_index, shuffle
from curate.training_set.columns import NO_COLUMNS, InputSchema, file_schema, of_text, output_names, unified
from curate.training_set.holdout import groups, held_rows
from curate.training_set.holdout.groups import BUCKETS, GroupRule, Holdout
from curate.training_set.holdout.held_rows import CollectTask
from curate.training_set.ordering import cells, order_copies, windows
from curate.training_set.ordering.cells import Indexed
from curate.training_set.ordering.order_copies import PlannedPool
from curate.training_set.ordering.pool_draw import PoolDraw
from curate.training_set.row_index import DataFile, IndexTask, PoolRows
from curate.training_set.shuffle import GatherTask, ScatterTask
from curate.training_set.tags import TagCounter

MOST_SHARDS = 100_000  # the names of shards have five digits
HELD = "held_rows"  # the field of the recorded draws with the number of rows that are held out
PLACED = "placed"  # an empty file beside the places: they are complete
T = TypeVar("T")
R = TypeVar("R")


@dataclass(frozen=True)
class DrawingJob:
    """The arguments that every step reads: the pools with their tokens, the data files, and where and how to work.

    Pools are numbered in the order of ``parts``, which is that of their names. ``tag`` is the column whose values are
    prepended to the texts, or empty; ``tag_counters`` say how its tokens are counted, by folder of scores. ``holdout``
    is what is held out, or None.
    """

    out: Path
    parts: tuple[Part, ...]
    data_files: tuple[DataFile, ...]
    shard_rows: int
    seed: int
    engine: Engine
    progress: Progress
    tag: str = ""
    holdout: Holdout | None = None
    tag_counters: Mapping[str, TagCounter] = field(default_factory=dict)

    @property
    def folder(self) -> Path:
        """Return the folder for files that one step writes and a later step reads. It is removed at the end."""
        return self.out / manifest.FOLDER / "draw"

    @property
    def record(self) -> Path:
        """Return the path of the file that records the settings and the inputs."""
        return self.out / manifest.FOLDER / "materialize.json"

    @property
    def order(self) -> Path:
        """Return the path of the file that records how many rows of each pool are drawn."""
        return self.out / manifest.FOLDER / "order.json"

    @property
    def files(self) -> list[Path]:
        """Return the paths of all input files."""
        counting = {path for name in self.tag_tokenizers.values() for path in token_counter.files_of(name)}
        return sorted({path for file in self.data_files for path in file.files} | counting)

    @property
    def score_folders(self) -> list[str]:
        """Return the folders of the scores that mark the rows."""
        return sorted({part.pool.scores for part in self.parts if part.pool.scores})

    @property
    def settings(self) -> dict[str, object]:
        """Return all settings on which the result depends, apart from the contents of the input files.

        The keys are the names that error messages use.
        """
        return {
            "seed": self.seed,
            "shard rows": self.shard_rows,
            # Left out where they are not set, so that an older folder is continued.
            **({"tag": self.tag} if self.tag else {}),
            **({"tokenizers of tags": tokenizers} if (tokenizers := self.tag_tokenizers) else {}),
            **({"columns": list(names)} if (names := output_names(self.data_files)) else {}),
            **({"holdout": self.holdout.share, "holdout by": self.holdout.by} if self.holdout else {}),
            **{f"tokens of pool {part.pool.name}": part.tokens for part in self.parts},
            **{f"phases of pool {p.pool.name}": [list(phase) for phase in p.phases] for p in self.parts if p.phases},
            # Whole pools are compared too: a pool with other filters or folders is another job.
            **{f"pool {row['name']}": row for row in to_json([part.pool for part in self.parts])},
        }

    @property
    def tag_tokenizers(self) -> dict[str, str]:
        """The tokenizers that count tags, by folder of scores."""
        return {scores: counter.tokenizer for scores, counter in self.tag_counters.items() if counter.tokenizer}

    def run(self, step: str, function: Callable[[T], int], tasks: Sequence[T], *, total: int) -> None:
        """Run the remaining tasks of a step on the engine; ``total`` counts those done before too."""
        self.progress(step, total - len(tasks), total)
        # The tasks leave files; what they return is only counted.
        for done, _ in enumerate(self.engine.run(function, tasks), start=1):
            self.progress(step, total - len(tasks) + done, total)


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
    rule, held = _held_out(job) if absent else (None, None)
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
    record = {"draws": records, HELD: held_out} if job.holdout else {"draws": records}
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
        _write_held(job, names, columns)


def _columns_of_texts(job: DrawingJob) -> InputSchema:
    """Return the columns of which the texts of the data files are made, in one schema."""
    files = [file for file in job.data_files if of_text(file.reading)]
    if not files:
        return NO_COLUMNS
    # Tasks may end in any order.
    schemas = {schema.path: schema for schema in job.engine.run(file_schema, files)}
    return unified([schemas[str(file.data.path)] for file in files])


def held_files(job: DrawingJob) -> list[Path]:
    """Return the files of the rows that are held out; none where nothing is, or where no draw is planned yet."""
    if job.holdout is None or not job.order.is_file():
        return []
    record = artifacts.load(job.order, "drawn_rows")
    if HELD not in record:
        raise SchemaError(f"{job.order} has no field {HELD!r}: {artifacts.AGAIN}")
    total = cast(int, record[HELD])
    return [job.out / held_rows.FOLDER / shuffle.part_name(i) for i in range(-(-total // job.shard_rows))]


def _write_held(job: DrawingJob, names: tuple[str, ...], columns: InputSchema) -> None:
    """Collect the held-out rows of every data file, and write them to the files of their split."""
    counts = [(file, count) for file in job.data_files if (count := held_rows.rows(job.folder, file))]
    collected = [(held_rows.collected_path(job.folder, file.number), count) for file, count in counts]
    tasks = [
        CollectTask(file, job.folder, names, job.tag, columns)
        for (file, _), (path, _) in zip(counts, collected, strict=True)
        if not path.is_file()
    ]
    job.run("files with held-out rows read", held_rows.collect, tasks, total=len(counts))
    parts = held_rows.files_of(job.out / held_rows.FOLDER, collected, job.shard_rows)
    absent = [part for part in parts if not part.path.is_file()]
    job.run("files of the holdout written", held_rows.write, absent, total=len(parts))


def _held_out(job: DrawingJob) -> tuple[GroupRule | None, Path | None]:
    """Return how rows are grouped for the holdout, and the file with the mask of the buckets that are held out."""
    if job.holdout is None:
        return None, None
    links = []
    # Values of a column make the groups, so that links are not read for them.
    for number, scores in enumerate(job.score_folders if not job.holdout.by else ()):
        if (linked := groups.save_links(Path(scores), job.folder / f"links-{number}.npy")) is not None:
            links.append((scores, linked))
    rule = GroupRule(job.holdout.by, job.seed, tuple(links))
    held = job.folder / "held.npy"
    if not held.is_file():
        tasks = [IndexTask(file, job.folder, job.seed, groups=rule) for file in job.data_files]
        sizes = np.zeros(BUCKETS, dtype=np.int64)
        for done, (buckets, tokens) in enumerate(job.engine.run(row_index.count_groups, tasks), start=1):
            sizes[buckets] += tokens
            job.progress("files with groups counted", done, len(tasks))
        mask = groups.chosen(sizes, job.holdout.share)
        with replacing(held) as temporary, temporary.open("wb") as handle:
            np.save(handle, mask)
    return rule, held


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
