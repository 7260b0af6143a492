"""Score every row of a data set with a list of scorers."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, Unpack, cast, overload

import polars as pl
import pyarrow as pa

from curate.engines import LONG_JOB_BYTES, Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.progress import Progress, reporting, silent
from curate.scoring import carried, dependencies, in_memory, preflight, run, specs, table_input
from curate.scoring.inferred_options import inferred
from curate.scoring.learning import learned, learned_scorers, places, prepare_job
from curate.scoring.learning.columns import columns_folder
from curate.scoring.preflight import Preflight
from curate.scoring.reports.result import Scored
from curate.scoring.score_options import FolderOptions, FrameOptions
from curate.scoring.scoring_job import ScoringJob, is_old, recorded, recorded_types, set_aside, stamp
from curate.scoring.tasks import scoring_task
from curate.storage import completion, files, manifest
from curate.storage.files import sweep
from curate.storage.locks import lock
from curate.tables import batches, frames, out_folder
from curate.tables.mapping import options as mapping_options
from curate.tables.reading import BATCH_ROWS, DOCUMENT_BYTES, Reading
from curate.tables.scored import SCORES
from curate.tables.scored_inputs import line_losses
from curate.tables.scored_inputs.line_losses import MAX_BAD
from curate.tables.scored_inputs.scored_rows import SCORE_STEP
from curate.tables.shards import Inputs, Shard
from curate.tables.token_counts import COLUMN, ESTIMATE, TOKENIZER, TOKENS, TokenCounts

Data = frames.Table | Sequence[str | Path]


@overload
def score(data: Data, scorers: str | Sequence[str], out: str | Path, **options: Unpack[FolderOptions]) -> Scored: ...


@overload
def score(
    data: Data, scorers: str | Sequence[str], out: None = None, **options: Unpack[FrameOptions]
) -> pl.DataFrame: ...


def score(
    data: Data,
    scorers: str | Sequence[str],
    out: str | Path | None = None,
    *,
    carry: str | Sequence[str] = (),
    text_column: str = "text",
    columns: str | Mapping[str, str] = "",
    join: str | Sequence[str] = (),
    render: str = "",
    batch_rows: int = BATCH_ROWS,
    document_bytes: int = DOCUMENT_BYTES,
    dtype: str = "",
    max_bad: float = MAX_BAD,
    on_error: Literal["quarantine", "fail"] = "quarantine",
    engine: Engine | None = None,
    restart: bool = False,
    relearn: bool = False,
    cache: bool = True,
    take_over: bool = False,
    progress: Progress = silent,
) -> Scored | pl.DataFrame:
    """Score every row of ``data``, and write one score file for each input file, or return the scores as a frame.

    With ``out``, call it again with the same arguments to continue a job that stopped. Files that were set aside are
    tried again, and new files are scored. ``duplicates`` and ``semdedup`` compare new rows with old rows. Other scorers
    that learn keep what they learned from the old files.

    Without ``out``, nothing stays on disk. The result is a polars frame with one row for each row of the data, in
    order, and the columns of the score files: ``id, source, tokens, label?, score.<name>...``. A file that cannot be
    read is then an error, and what a user should know is a warning of Python. A frame does not record what a high score
    means: `prune` asks for it.

    Args:
        data: files, folders, globs or s3:// addresses, one or several; or a polars, pandas or pyarrow table.
        scorers: names with options, such as ``prototypes:k=64``, in any order: a scorer runs after those whose columns
            it reads. Scorers that learn do so first, on all rows; the output folder keeps what they learned.
        out: the output folder. A table in memory is written to ``OUT/_curate/input/rows.parquet`` first. None: the
            scores are returned as a frame, and ``on_error``, ``restart``, ``relearn``, ``cache`` and ``take_over`` have
            no use.
        carry: columns of the data that are copied into the score files, such as ``conversation``: text, numbers,
            booleans, dates and times. A file without such a column has nulls.
        text_column: the column of texts.
        columns: which columns of the files stand for ``text``, ``id``, ``source``, ``tokens`` and others, as in
            ``id=DocID,source=meta.domain`` or ``{"id": "DocID"}``. The right side is a column, or an SQL expression.
        join: columns of texts that are joined to one text for scoring, separated by an empty line.
        render: ``chat`` if the column of texts holds conversations: lists of messages with role and content. They are
            scored as one text (`curate.tables.mapping.chat`).
        batch_rows: largest number of rows that a scorer receives at a time.
        document_bytes: length of the longest text that is accepted, in bytes.
        dtype: type of vectors in fixed-size binary, ``float32`` or ``float16``; empty: what the files record.
        max_bad: the largest share of the lines of JSON and CSV files that may be set aside because they cannot be read.
            A job that loses more stops at its end; the same call with a larger share then goes on.
        on_error: ``quarantine`` sets a bad file aside with its reason and scores the others; ``fail`` stops.
        engine: where to run; None runs in this process.
        restart: delete the results of earlier calls and start over.
        relearn: let scorers learn again from all files, and score all rows again. The cache of parts is used again.
        cache: keep what scorers computed of each part in ``OUT/_curate/parts``, for a later call with ``relearn``.
        take_over: write even if a job on another machine holds the folder; that job stops.
        progress: is called with three values: what is counted, how many are done, and how many there are.

    Returns:
        With ``out``, the number of rows that this call scored, the warnings, and the files that were set aside. The
        methods of this result return the state of every file, and the scores. Without ``out``, a frame of the scores.

    Raises:
        FolderBusy: if another job writes in ``out``.
        Interrupted: if ``out`` holds results of another job.
        SchemaError: if all files are bad, if one is bad and ``on_error`` is ``fail``, or if too many lines are bad.
    """
    engine = engine or Local()
    names = (scorers,) if isinstance(scorers, str) else tuple(scorers)
    if not names:
        raise SchemaError("no scorers: name one or more, such as length")
    if not 0 <= max_bad <= 1:
        raise SchemaError(f"--max-bad {max_bad:g} must be a share of the lines from 0 to 1, such as {MAX_BAD:g}")
    # Mistyped scorers and options are reported before any file is read.
    specs.check_columns_added(names)
    carried_names = carried.names(carry, [column for name in names for column in dependencies.makes(name)])
    text_column, mapping = mapping_options.mapping(columns, text_column, join, render)
    reading = Reading(text_column, batch_rows, document_bytes, dtype, mapping=mapping)
    if out is None:
        # There is no folder that would tell later which files were set aside.
        on_error = "fail"
    with in_memory.output_folder(out) as folder:
        lock.check_place(folder)
        # The lock is a file in the output folder. Where that folder is an input, nothing may be written there.
        paths = _paths(data)
        listed = _inputs(paths, folder, on_error) if paths else None
        with lock.held(folder, "score", take_over=take_over, progress=progress):
            if listed is None:
                paths = [str(table_input.store(cast(frames.Table, data), folder, restart=restart))]
                listed = _inputs(paths, folder, on_error)
            before = [] if restart or (record := recorded(folder)) is None else cast(list[str], record["scorers"])
            ordered = inferred(dependencies.ordered(names), listed.shards, reading)
            dependencies.check_columns(ordered, listed.shards, reading)
            # A job that names the same scorers in another order continues.
            specs_of_job = tuple(before) if sorted(before) == sorted(ordered) else ordered
            job = ScoringJob(listed.shards, specs_of_job, folder, reading, on_error == "quarantine", carried_names)
            scored = _score(job, paths, listed, engine, max_bad, _Again(restart, relearn), progress)
            if not cache:
                files.remove(folder / manifest.FOLDER / manifest.PARTS)
            return scored if out is not None else in_memory.frame(scored)


@dataclass(frozen=True)
class _Again:
    """What a call does again: everything (``restart``), or learning and scoring (``relearn``)."""

    restart: bool
    relearn: bool


def _score(
    job: ScoringJob,
    paths: Sequence[str],
    listed: Inputs,
    engine: Engine,
    max_bad: float,
    again: _Again,
    progress: Progress,
) -> Scored:
    """Score what is not scored yet, in a folder that this job holds."""
    out, shards = job.out, job.shards
    heads = _inspect(job)
    record = recorded(out)
    # Types of score files that stay as they are.
    types = {} if record is None or again.restart or again.relearn else recorded_types(record)
    job = replace(job, carried=carried.resolve(job.carry, shards, heads.heads, types))
    job = _judging(job, heads)
    todo = _begin(job, again)
    bad = dict(heads.bad)
    record = recorded(out)
    if record is None or not is_old(record):
        # Before scorers learn, which may take hours: so `curate status` can show the job, also if it was killed.
        _record_start(job, paths, todo, heads)
    # One set of workers for all steps: starting them takes seconds.
    long = heads.bytes > LONG_JOB_BYTES
    with engine.session(long=long, folders=(out,), imports=("curate.scoring.worker",)) as session:
        with reporting(progress):
            ready, notes = prepare_job.prepare(job, heads, bad, todo, session, max_bad)
        if record is not None and is_old(record):
            # What scorers learned before is compared by the old record.
            _record_start(job, paths, todo, heads)
        for shard in shards:
            if shard.relative in bad:
                set_aside(out, shard, bad[shard.relative], stamp(shard.path))
        remaining = [shard for shard in shards if shard.relative in todo and shard.relative not in bad]
        rows, failed = run.run(ready, remaining, session, progress)
    aside = dict(sorted({**bad, **failed, **listed.unusable}.items()))
    lost = line_losses.losses(out, [shard for shard in shards if shard.relative not in aside], _rows_of(out))
    lost.check(max_bad, f"Whole files were set aside too: {len(aside)}; see `curate status`" if aside else "")
    # A job that loses too many lines stops above, and is not recorded as ended.
    completion.end(out, SCORE_STEP, set_aside=aside, bad_lines=lost.bad)
    # The score files have these columns now.
    files.remove(columns_folder(out))
    built = learned_scorers.ready(ready.scorers)
    warnings = (*listed.warnings, *heads.warnings, *specs.warnings(built), *lost.warnings())
    count = len(shards) + len(listed.unusable)
    return Scored(out, rows, count, warnings, aside, notes, lost.bad)


def _record_start(job: ScoringJob, paths: Sequence[str], todo: set[str], heads: Preflight) -> None:
    """Record the job. So an interrupted job can be continued, and `curate status` can show it."""
    relative_paths = [shard.relative for shard in job.shards]
    before = completion.read(job.out, SCORE_STEP)
    if todo or before is None or set(before.inputs) != set(relative_paths):
        completion.begin(job.out, SCORE_STEP, relative_paths)
    job.save(paths, _token_counts(job, heads))


def _token_counts(job: ScoringJob, heads: Preflight) -> TokenCounts:
    """Return where the counts of tokens come from."""
    if any(TOKENS in dependencies.makes(spec) for spec in job.specs):
        return TOKENIZER
    # A file of lines without any row has no columns, and nothing to count.
    with_rows = [head for head in heads.heads.values() if head.columns]
    # A column of nulls, such as that of --columns tokens=NULL, counts nothing.
    counted = all(not pa.types.is_null(head.columns.get(TOKENS, pa.null())) for head in with_rows)
    return COLUMN if with_rows and counted else ESTIMATE


def _rows_of(out: Path) -> Callable[[Shard], int]:
    """Return a function that gives the rows of a finished shard."""

    def rows(shard: Shard) -> int:
        entry = manifest.read(out, SCORE_STEP, shard.relative)
        return entry.rows or 0 if entry is not None else 0

    return rows


def _paths(data: Data) -> list[str]:
    """Return the paths to read; none for a table in memory."""
    if isinstance(data, str | Path):
        return [str(data)]
    if not isinstance(data, Sequence):
        return []
    if not data:
        raise SchemaError("no data: name one or more files, folders or globs")
    return [str(item) for item in data]


def _inputs(paths: Sequence[str], out: Path, on_error: str) -> Inputs:
    """List the files to read, and check that no output would be taken for one of them."""
    listed = batches.inputs(paths)
    if listed.unusable and on_error == "fail":
        raise SchemaError(next(iter(listed.unusable.values())))
    out_folder.check(out, paths, [shard.relative + SCORES for shard in listed.shards])
    return listed


def _inspect(job: ScoringJob) -> Preflight:
    """Read the heads of all shards. A bad one is an error, unless it can be set aside and another is good."""
    needs = tuple(specs.columns_read(job.specs))
    used = ("text", *needs, *specs.vectors_read(job.specs), *job.carry)
    heads = preflight.inspect(job.shards, needs, used=used, carry=job.carry, reading=job.reading)
    if heads.bad and (not job.quarantine or not heads.heads):
        # The reason of the first bad shard is a whole message, with the path of the file.
        raise SchemaError(next(iter(heads.bad.values())))
    return heads


def _judging(job: ScoringJob, heads: Preflight) -> ScoringJob:
    """Return the job with the columns that decide whether a line is bad: all that any of its scorers reads.

    So the lines that scorers learn from are those that are scored.
    """
    columns = [*specs.columns_read(job.specs), *specs.vectors_read(job.specs), *job.carry]
    if any(map(scoring_task.is_labelled, heads.heads.values())):
        columns.append(scoring_task.LABEL)
    return replace(job, reading=replace(job.reading, judged=tuple(dict.fromkeys(columns))))


def _begin(job: ScoringJob, again: _Again) -> set[str]:
    """Make the output folder ready; return the names of the shards that are still to score."""
    configuration = job.configuration()
    if again.restart:
        # The records of finished shards are deleted next. A job that reads the folder must see that it is not finished.
        completion.begin(job.out, SCORE_STEP, [shard.relative for shard in job.shards])
    pending = manifest.pending(
        job.out, SCORE_STEP, job.work, configuration, restart=again.restart, same_rows=job.same_rows
    )
    # Nothing is changed before this line: a job that is refused leaves the folder as it was.
    manifest.renew(job.out, SCORE_STEP, configuration)
    sweep(job.out, SCORES)
    sweep(job.out / manifest.FOLDER)
    if again.restart:
        learned.forget(job)
    if again.relearn:
        completion.begin(job.out, SCORE_STEP, [shard.relative for shard in job.shards])
        for shard in job.shards:
            files.remove(manifest.entry_path(job.out, SCORE_STEP, shard.relative))
        files.remove(places.learned_folder(job.out))
        return {shard.relative for shard in job.shards}
    return {name for name, _, _ in pending}
