"""Draw a planned training set from its pools into shards, so that an interrupted job can be continued.

In: a mixture in whole tokens. Out: shards with exact counts, in which the planned mixture holds at all times.
Every pool gives its planned tokens in whole documents: full passes over its rows, then a part of one more
(`ordering`). What is done is files: an index for each input, the places of its copies, a spill, then the shards. The
file ``_curate/materialize.json`` records the job that they belong to. Another job is refused with what differs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from shutil import rmtree
from typing import TYPE_CHECKING

import polars as pl
import pyarrow.parquet as pq

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError, amount, first_few
from curate.pool.mixture import Mixture
from curate.pool.pool import Pool
from curate.progress import Progress, silent
from curate.storage import completion, s3
from curate.storage.files import sweep
from curate.streaming import near_duplicates
from curate.tables import batches, out_folder, scored
from curate.tables.data_set import card
from curate.tables.reading import Reading
from curate.tables.token_counts import ESTIMATED_TOKENS, TOKENS
from curate.tables.writer import SHARD_ROWS
from curate.training_set import data_files as files_of_pools
from curate.training_set import job_record, shuffle, stages, tags
from curate.training_set.columns import output_names
from curate.training_set.data_files import DataFile
from curate.training_set.drawing_job import DrawingJob
from curate.training_set.holdout import held_rows, steps
from curate.training_set.holdout.groups import Holdout
from curate.training_set.ordering.pool_draw import PoolDraw

if TYPE_CHECKING:
    from curate.charts.chart import Chart


STEP = "materialize"  # the name of this job in its records


@dataclass(frozen=True, repr=False)
class TrainingSet:
    """The training set in the folder ``out``.

    ``planned`` are the tokens that were planned, and ``left_out`` the pools from which the plan draws nothing.
    ``draws`` say what was drawn of each pool, in the order of names. ``shards`` are (file, rows, tokens). ``inputs``
    are the content hashes of the files that were read. ``warnings`` say what the scores of the pools lack of the data.
    ``holdout`` is the share that was to be held out, or None; ``held`` are (file, rows, tokens) of the files of the
    holdout. ``columns`` are those of the inputs that texts are made of. ``tag_notes`` say why the tokens of tags are
    estimates.
    """

    out: Path
    planned: int
    left_out: tuple[str, ...]
    draws: tuple[PoolDraw, ...]
    shards: tuple[tuple[str, int, int], ...]
    inputs: Mapping[str, str] = field(compare=False)
    warnings: tuple[str, ...] = field(default=(), compare=False)
    # What people read for tokens: see `curate.tables.token_counts`.
    tokens_noun: str = field(default=TOKENS, compare=False)
    holdout: Holdout | None = None
    held: tuple[tuple[str, int, int], ...] = ()
    columns: tuple[str, ...] = ()
    tag_notes: tuple[str, ...] = ()

    def table(self) -> pl.DataFrame:
        """Return one row for each pool: pool, planned, tokens and rows (drawn), unique_tokens, unique_rows, passes.

        With a holdout, held_tokens and held_rows too: those of the pool that are held out.
        """
        return pl.DataFrame(
            {
                "pool": draw.pool,
                "planned": draw.target,
                "tokens": draw.tokens,
                "rows": draw.copies,
                "unique_tokens": draw.unique,
                "unique_rows": draw.rows,
                "passes": draw.tokens / draw.unique,
                **({"held_tokens": draw.held_tokens, "held_rows": draw.held_rows} if self.holdout else {}),
            }
            for draw in self.draws
        )

    @property
    def notes(self) -> tuple[str, ...]:
        """Return one line for each pool that has rows without a text, and why tokens of tags are estimates."""
        return self.tag_notes + tuple(
            f"{draw.without_text} rows of pool {draw.pool!r} are not drawn, because their text is null"
            for draw in self.draws
            if draw.without_text
        )

    def record(self) -> dict[str, object]:
        """Return the result as plain values, ready for JSON: the contents of index.json without its origin."""
        return {
            "planned": self.planned,
            "left_out": list(self.left_out),
            "pools": self.table().to_dicts(),
            "shards": [{"file": file, "rows": rows, "tokens": tokens} for file, rows, tokens in self.shards],
            **({"holdout": self._holdout_record(self.holdout)} if self.holdout else {}),
            **({"notes": list(self.notes)} if self.notes else {}),
        }

    def _holdout_record(self, holdout: Holdout) -> dict[str, object]:
        files = [{"file": file, "rows": rows, "tokens": tokens} for file, rows, tokens in self.held]
        return {"share": holdout.share, "by": holdout.by, "files": files}

    def chart(self) -> "Chart":
        """Return a bar chart of the tokens drawn from each pool, beside its unique tokens."""
        from curate.charts import row_charts

        return row_charts.drawn_passes(self.table())

    def __repr__(self) -> str:
        """Return the rows and tokens drawn, and where they are."""
        rows, tokens = sum(draw.copies for draw in self.draws), sum(draw.tokens for draw in self.draws)
        return (
            f"TrainingSet of {rows:,} rows and {tokens:,} tokens in {amount(len(self.shards), 'shard')} in {self.out}"
        )

    def _repr_html_(self) -> str:
        return f"{self.table()._repr_html_()}<p>{len(self.shards)} shards in {self.out}</p>"


def draw(
    mixture: Mixture,
    out: Path,
    *,
    shard_rows: int = SHARD_ROWS,
    seed: int = 0,
    engine: Engine | None = None,
    restart: bool = False,
    partial: bool = False,
    progress: Progress = silent,
    tag: str = "",
    holdout: Holdout | None = None,
    unscored: Reading = batches.READING,
) -> TrainingSet:
    """Write ``out/part-00000.parquet`` and so on, of ``shard_rows`` rows each.

    Columns: ``id, source, text, tokens, pool, epoch``; ``epoch`` counts the passes over a pool from 0. Columns
    that texts were rendered or joined from follow as they came. Pools may share rows, and each draws its own. The bytes
    follow from rows and arguments alone, however many workers there are and however the files are called or cut (rows
    with equal ids go by file and row). The same call continues a job that was interrupted.

    Values of the column ``tag`` are prepended to the texts, and their tokens count. ``holdout`` sets rows aside in
    ``out/holdout/data``; pools are drawn from the others. ``unscored`` says how the files of pools without scores are
    read.

    The folder is recorded as begun; who writes index.json records its end. ``partial``: scores may be of a job that has
    not ended.

    Raises:
        Unfinished: if the job that scored or pruned a pool has not ended.
        SchemaError: if pools do not match the files they name, or ``out`` lies among these.
        Interrupted: if ``out`` holds another training set, or inputs change while they are read.
    """
    if shard_rows < 1:
        raise SchemaError(f"--shard-rows {shard_rows} must be at least 1")
    # By name, so that the order of pools in a file does not change a byte.
    parts = tuple(sorted(mixture.parts, key=lambda part: part.pool.name))
    pools = [part.pool for part in parts]
    check_apart(out, pools)
    if holdout is not None:
        holdout.check()
    data_files = files_of_pools.data_files(pools, partial=partial, unscored=unscored)
    for file in data_files if tag else ():
        tags.check(file.data, file.reading)
    counters = {name: tags.counter(name) for name in sorted({f.score_folder for f in data_files})} if tag else {}
    # One set of workers for all steps: starting them takes seconds.
    with (engine or Local()).session(folders=(out,)) as session:
        job = DrawingJob(out, parts, data_files, shard_rows, seed, session, progress, tag, holdout, counters)
        sweep(out)
        _begin(job, restart=restart, partial=partial)
        draws = stages.planned(job)
        # Where all shards are written, nothing is read again.
        lacks_held = not all(path.is_file() for path in steps.held_files(job))
        if draws is None or stages.missing(job, draws) or lacks_held:
            _record_begin(job, partial)
            draws, first_blocks = stages.put_in_order(job)
            stages.write(job, draws, first_blocks)
            # The inputs were read several times: what was written is right only if they stayed the same.
            if changed := job_record.changes(job.record, job.settings, job.files):
                raise Interrupted(f"while {out} was written, {job_record.listed(changed)}. Use --restart to start over")
    rmtree(job.folder, ignore_errors=True)
    shards = tuple(_shard(out, name) for name, _, _ in stages.spans(job, draws))
    folders = sorted({Path(pool.scores) for pool in pools if pool.scores})
    warnings = tuple(line for scores in folders for line in scored.left_out(scores).warnings)
    warnings += _unlinked(folders, pools, holdout)
    held = tuple(_shard(out, path.relative_to(out).as_posix()) for path in steps.held_files(job))
    hashes, noun = job_record.hashes(job.record), _tokens_noun(pools, data_files)
    names = output_names(data_files)
    tag_notes = tuple(
        f"the tokens of the tags of {scores} are estimates (bytes / 4): {counter.reason}"
        for scores, counter in counters.items()
        if counter.reason
    )
    return TrainingSet(
        *(out, mixture.tokens, mixture.left_out, draws, shards, hashes, warnings, noun, holdout, held, names, tag_notes)
    )


def _tokens_noun(pools: Sequence[Pool], data_files: Sequence[DataFile]) -> str:
    """Return what people read for the tokens of the rows. One file whose tokens nobody counted makes them estimates."""
    unscored = (file for file in data_files if file.scores is None)
    if any("tokens" not in batches.columns(file.data, file.reading) for file in unscored):
        return ESTIMATED_TOKENS
    return scored.tokens_noun_of(pools)


def _unlinked(folders: Sequence[Path], pools: Sequence[Pool], holdout: Holdout | None) -> tuple[str, ...]:
    """Return a warning if copies of held-out rows may be in the training set."""
    if holdout is None or holdout.by:
        return ()
    without = [str(folder) for folder in folders if not near_duplicates.has_links(folder)]
    without += [pool.name for pool in pools if not pool.scores]
    if not without:
        return ()
    return (
        f"no duplicates are known of {first_few(without)}, so the training set may have copies of held-out rows. "
        "Score the data with --scorer duplicates first, or give --holdout-by COLUMN",
    )


def _shard(out: Path, name: str) -> tuple[str, int, int]:
    footer = pq.read_metadata(out / name)
    return name, footer.num_rows, int(footer.metadata[b"tokens"])


def check_apart(out: Path, pools: Sequence[Pool]) -> None:
    """Check that the output would not be read as input, and that all of it is on disk."""
    if out.exists() and not out.is_dir():
        raise SchemaError(f"--out {out} is a file, and a training set is a folder of shards. Give another --out")
    for pool in pools:
        for item in [*pool.where, *filter(None, (pool.scores, pool.kept))]:
            if remote := next((p for p in (out, Path(item)) if s3.remote(p)), None):
                raise SchemaError(f"{remote}: training sets are drawn from disk to disk. Copy the pools to disk first")
            # Of a recursive glob, everything below the folder in front of it is input.
            top = Path(item.split("**")[0])
            if top.is_dir() and out.resolve().is_relative_to(top.resolve()):
                raise SchemaError(
                    f"--out {out} lies in {item}, which pool {pool.name!r} is read from. Give another --out"
                )
        out_folder.check(out, pool.where, [shuffle.part_name(0)])


def _record_begin(job: DrawingJob, partial: bool) -> None:
    completion.begin(job.out, STEP, sorted(str(file.data.path) for file in job.data_files), partial=partial)


def _begin(job: DrawingJob, *, restart: bool, partial: bool) -> None:
    """Make the output ready for this job: as the job left it, or empty. Shards exist only where ``order.json`` does."""
    parts = sorted(job.out.glob("part-*.parquet"))
    if not job.record.is_file() and parts:
        raise Interrupted(f"{parts[0]} was not made by `curate materialize`. Give another --out")
    if job.record.is_file() and not restart:
        changes = job_record.changes(job.record, job.settings, job.files)
        if changes and job.order.is_file():
            raise Interrupted(
                f"{job.out} holds another training set: {job_record.listed(changes)}. Use --restart to start over, or "
                "another --out"
            )
        if not changes:
            return
    _record_begin(job, partial)
    # The shards go before the record is written: a job that is killed here must not claim shards of another.
    for path in (*parts, job.out / "index.json", job.out / card.CARD, job.order):
        path.unlink(missing_ok=True)
    rmtree(job.out / held_rows.SPLIT, ignore_errors=True)
    rmtree(job.folder, ignore_errors=True)
    job_record.save(job.record, job.settings, job.files, job.engine)
