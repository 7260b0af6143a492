"""Read inputs, scores and decisions of the same rows side by side."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import chain, zip_longest
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import Interrupted, SchemaError, amount
from curate.pool.pool import Pool
from curate.storage import artifacts, completion, files, job_record, manifest, s3
from curate.storage.completion import LeftOut, Unfinished
from curate.storage.job_record import JobRecord
from curate.tables import batches, readers
from curate.tables import token_counts as counts_of_tokens
from curate.tables.batches import Reading, Shard
from curate.tables.mapping import column_mapping
from curate.tables.reading import DOCUMENT_BYTES
from curate.tables.row_ranges import RowRange
from curate.tables.scored_inputs import line_losses, scored_rows
from curate.tables.scored_inputs.scored_rows import SCORE_STEP

SCORES = ".scores.parquet"
DECISIONS = ".keep.parquet"
PRUNE_STEP = "prune"  # the name of the job `prune` in its records
LIGHT_ROWS = 1 << 15  # of a batch with a few columns of numbers: larger batches cost less
ScoreRange = tuple[float | None, float | None]  # half-open [low, high); None means no bound


def score_files(scores: Path, *, partial: bool = False) -> tuple[Shard, ...]:
    """Return the score files of a job that has ended, as shards with the relative paths of their inputs.

    With ``partial``, files that are not scored yet are left out; `left_out` names them.

    Raises:
        Unfinished: if not all inputs are scored.
        SchemaError: if there are no score files.
    """
    paths = [p for p in files.below(scores, SCORES) if manifest.FOLDER not in p.relative_to(scores).parts]
    if not paths:
        begun = completion.read(scores, SCORE_STEP)
        if begun is not None and not begun.ended and (state := _state(scores, set())) is not None:
            raise Unfinished(_unfinished_message(scores, state))
        raise SchemaError(f"no *{SCORES} under {scores}: run `curate score DATA --scorer NAME --out {scores}` first")
    shards = [Shard(p, p.relative_to(scores).as_posix().removesuffix(SCORES)) for p in paths]
    state = _state(scores, {shard.relative for shard in shards})
    if state is not None:
        if not partial and (state.unfinished or not state.ended):
            raise Unfinished(_unfinished_message(scores, state))
        # A score file of no input of the job, or one without an entry, may be of an earlier job.
        shards = [shard for shard in shards if shard.relative in state.done]
        if not shards:
            raise Unfinished(_unfinished_message(scores, state))
    return tuple(sorted(shards, key=lambda s: s.relative))


@dataclass(frozen=True)
class _State:
    """What is done of a scoring job: the names of its inputs by their state, and whether the job came to its end."""

    done: set[str]
    unfinished: list[str]
    set_aside: dict[str, str]
    bad_lines: Mapping[str, int]
    ended: bool


def _state(scores: Path, present: set[str]) -> _State | None:
    """Return the state of a scoring job whose score files ``present`` exist; None where nothing records it."""
    record = completion.read(scores, SCORE_STEP)
    entries = manifest.finished(scores, SCORE_STEP)
    if record is not None:
        names = set(record.inputs)
    else:
        # A folder of an older version is judged by its inputs, as long as they are in their places.
        try:
            names = {shard.relative for shard in inputs(scores)} if entries else set()
        except (SchemaError, Interrupted):
            names = set()
        if not names:
            return None
    done = names & entries & present
    aside = {name: why for name, why in manifest.quarantined_all(scores, SCORE_STEP).items() if name in names - done}
    unfinished = sorted(names - done - set(aside))
    ended = record.ended if record is not None else not unfinished
    # The record names bad lines only at the end, but the rows of a part lack them too.
    bad_lines = record.bad_lines if record is not None and ended else line_losses.counts(scores, done)
    return _State(done, unfinished, aside, bad_lines, ended)


def _unfinished_message(scores: Path, state: _State) -> str:
    total, place = len(state.done) + len(state.unfinished) + len(state.set_aside), s3.shown(scores)
    aside = f", {len(state.set_aside)} set aside" if state.set_aside else ""
    rest = f", {len(state.unfinished)} not" if state.unfinished else ", but the job did not come to its end"
    message = f"{place} is not finished: {len(state.done)} of {amount(total, 'file')} scored{rest}{aside}. "
    message += f"Run the same `curate score ... --out {place}` again"
    return message + (
        ". Or give --partial to `curate prune`, `pools` or `materialize` to use what is scored" if state.done else ""
    )


def left_out(scores: Path) -> LeftOut:
    """Return what is in the data of a score folder but not in its score files."""
    paths = (path.relative_to(scores) for path in files.below(scores, SCORES))
    present = {path.as_posix().removesuffix(SCORES) for path in paths if manifest.FOLDER not in path.parts}
    state = _state(scores, present)
    if state is None:
        return LeftOut(scores)
    total = len(state.done) + len(state.unfinished) + len(state.set_aside)
    return LeftOut(scores, total, state.set_aside, state.bad_lines, state.unfinished)


def record_path(scores: Path) -> Path:
    """Return the path of the record of the job that made a score folder."""
    return scores / manifest.FOLDER / "score.json"


def job(scores: Path) -> dict[str, object]:
    """Return the arguments that a score folder was made with: data, text_column, batch_rows, scorers, formats.

    Raises:
        Interrupted: if the folder was not made by `curate score`.
    """
    path = record_path(scores)
    if not files.exists(path):
        raise Interrupted(f"{scores} has no {manifest.FOLDER}/score.json: it was not made by `curate score`")
    return artifacts.load(path, "score_job")


def reading(scores: Path) -> Reading:
    """Return how the job that made a score folder read its inputs."""
    record = job(scores)
    # Records of older versions do not have the size.
    document_bytes = cast(int, record.get("document_bytes", DOCUMENT_BYTES))
    return Reading(
        text_column=str(record["text_column"]), document_bytes=document_bytes, mapping=column_mapping.recorded(record)
    )


def token_counts(scores: Path) -> str:
    """Return where the counts in the column ``tokens`` of a score folder come from: see `tables.token_counts`.

    Empty if there is no record, or it does not say, as those of older versions do not.
    """
    return str(job(scores).get("tokens", "")) if files.exists(record_path(scores)) else ""


def tokens_noun_of(pools: Iterable[Pool]) -> str:
    """Return what people read for the tokens of pools. For pools that do not say it, the folders of scores do."""
    recorded = (
        pool.token_counts or (token_counts(Path(pool.scores)) if pool.scores is not None else "") for pool in pools
    )
    return counts_of_tokens.noun(counts_of_tokens.together(recorded))


def tokens_noun(folders: Iterable[str | Path | None]) -> str:
    """Return what people read for the tokens of rows of several score folders: see `token_counts.noun`.

    None stands for data without scores, whose counts are not recorded.
    """
    places = {str(folder) for folder in folders if folder is not None}
    return counts_of_tokens.noun(counts_of_tokens.together(token_counts(Path(place)) for place in sorted(places)))


def inputs(scores: Path) -> tuple[Shard, ...]:
    """Return the input files that a score folder was made from, as they are now, scored or not."""
    # Files whose names cannot be used were set aside, and have no scores.
    return batches.inputs(cast(list[str], job(scores)["data"])).shards


def with_inputs(
    scores: Path, data: Sequence[Shard], *, remedy: str = "score the data again", partial: bool = False
) -> list[tuple[Shard, Shard]]:
    """Return each score file under a score folder with the file of ``data`` whose rows it scores.

    ``partial`` is as for `score_files`.

    Raises:
        SchemaError: if an input was moved, or does not have the rows any more that were scored. The message about a
            moved input says to move it back, or ends with the ``remedy``.
    """
    by_name = {shard.relative: shard for shard in data}
    shards = score_files(scores, partial=partial)
    if moved := next((shard for shard in shards if shard.relative not in by_name), None):
        raise SchemaError(f"{moved.path} has no input {moved.relative} any more. Move it back, or {remedy}")
    pairs = [(shard, by_name[shard.relative]) for shard in shards]
    _check_rows(scores)
    scored_rows.check(scores, [data for _, data in pairs], reading(scores))
    return pairs


def check_inputs(scores: Path) -> None:
    """Check that the inputs of a score folder, as far as they are in their places, have the rows that were scored.

    Raises:
        SchemaError: if one changed since, or a score file did.
    """
    _check_rows(scores)
    try:
        data = inputs(scores)
    except SchemaError:
        return  # all inputs are gone: who reads them later says so
    scored_rows.check(scores, data, reading(scores))


def _check_rows(scores: Path) -> None:
    """Check that the score files of finished inputs have the rows that were written.

    Raises:
        SchemaError: if one has more or fewer.
    """

    def problem(name: str) -> str:
        entry, path = manifest.entry_path(scores, SCORE_STEP, name), scores / (name + SCORES)
        return _rows_differ(entry, files.stamp(entry), path, files.stamp(path)) if files.exists(path) else ""

    if problems := [
        text for text in files.each(problem, sorted(manifest.finished(scores, SCORE_STEP)), scores) if text
    ]:
        more = f" So were {len(problems) - 1} more files." if len(problems) > 1 else ""
        raise SchemaError(
            f"{problems[0]}: the file was changed since it was scored.{more} Delete it, and run the same `curate "
            f"score ... --out {s3.shown(scores)}` again"
        )


# A job that reads pools asks for the same files once for each pool. The stamps are arguments, so that an answer is used
# again only as long as neither file changed.
@lru_cache(maxsize=1 << 16)
def _rows_differ(entry_path: Path, _entry_stamp: str, path: Path, _stamp: str) -> str:
    entry = manifest.read_entry(entry_path)
    if entry is None or entry.rows is None or (rows := readers.head(Shard(path, entry.shard)).rows) == entry.rows:
        return ""
    return f"{s3.shown(path)} has {rows} rows, and {entry.rows} were scored"


def decisions_path(kept: Path) -> Path:
    """Return the path of the file that records the score files of which a folder holds the decisions."""
    return kept / manifest.FOLDER / "prune.json"


def save_decided(kept: Path, shards: Sequence[Shard], arguments: Mapping[str, object], engine: Engine) -> None:
    """Record the arguments of a pruning, and its score files with their content hashes; the engine hashes them."""
    relative = {str(shard.path): shard.relative for shard in shards}
    stamped = engine.run(job_record.input_file, [shard.path for shard in shards])
    decided = dict(sorted(((relative[name], file) for name, file in stamped), key=lambda pair: pair[0]))
    artifacts.save(decisions_path(kept), "job", JobRecord(arguments, decided).to_json())


def check_decisions(scores: Path, kept: Path) -> None:
    """Check that a folder of decisions is finished, and was made from the score files as they are now.

    A folder of an older version has no record of its score files; only the ids of its rows are compared, when it is
    read.

    Raises:
        Unfinished: if the job `prune` has not ended.
        SchemaError: if the data were scored again since.
    """
    completion.require(kept, PRUNE_STEP)
    if not files.exists(decisions_path(kept)):
        return
    decided = job_record.from_json(artifacts.load(decisions_path(kept), "job")).inputs
    for name, file in decided.items():
        path = scores / (name + SCORES)
        if not files.exists(path) or (files.stamp(path) != file.stamp and files.content_hash(path) != file.hash):
            raise SchemaError(
                f"{s3.shown(path)} {'changed' if files.exists(path) else 'is gone'} since {s3.shown(kept)} was decided "
                f"from it: the data were scored again. Run the same `curate prune ... --out {s3.shown(kept)}` again"
            )


def kept_batches(rows: RowRange, kept: Path | None, needs: Sequence[str]) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield the batches of some rows of a score file, each with a mask of the kept rows.

    The mask is (n,) booleans. Without decisions (``kept`` is None) all rows are kept.

    Raises:
        SchemaError: if the decisions are missing, or were made from other scores.
    """
    shard = rows.shard
    scores = rows.cut(batches.batches(shard, needs, start=rows.first))
    if kept is None:
        yield from ((batch, pl.Series([True] * batch.height)) for batch in scores)
        return
    decision = Shard(kept / (shard.relative + DECISIONS), shard.relative)
    if not files.exists(decision.path):
        raise SchemaError(f"no decisions for {shard.relative} in {kept}: run `curate prune` with --out {kept} first")
    # Both files have the same rows in the same order, so that no join is needed; the ids prove it.
    verdicts = rows.cut(batches.batches(decision, ("keep",), start=rows.first))
    for batch, verdict in zip_longest(scores, verdicts):
        if batch is None or verdict is None or not batch["id"].equals(verdict["id"]):
            raise SchemaError(f"{decision.path} was made from other scores than {shard.path}: run `curate prune` again")
        if verdict["keep"].dtype != pl.Boolean or verdict["keep"].null_count():
            raise SchemaError(f"{decision.path}: keep is not true or false in every row. Run `curate prune` again")
        yield batch, verdict["keep"]


def light_batches(rows: RowRange, columns: Sequence[str], identity: Sequence[str]) -> Iterator[pl.DataFrame]:
    """Yield a few columns of rows of a score file and the columns ``identity``, many rows at a time."""
    reading = Reading(batch_rows=LIGHT_ROWS)
    yield from rows.cut(batches.batches(rows.shard, columns, reading=reading, identity=identity, start=rows.first))


def check_numbers(batch: pl.DataFrame, by: str, shard: Shard) -> None:
    """Raise SchemaError if a column does not hold numbers."""
    if not (batch[by].dtype.is_float() or batch[by].dtype.is_integer()):
        raise SchemaError(
            f"--by {by}: {shard.path} has it as {batch[by].dtype}, which is not a score. Name a column such as "
            "score.length"
        )


def check_finite(batch: pl.DataFrame, by: str, shard: Shard) -> None:
    """Raise SchemaError if a score is not a number or not finite. The message has the id of the first such row."""
    check_numbers(batch, by, shard)
    bad = ~batches.finite(batch[by])
    if bad.any():
        first = batch["id"][int(bad.argmax())]
        raise SchemaError(
            f"{shard.path}: {by} is NaN, infinite or null in {bad.sum()} rows, the first with id {first!r}. "
            "Score again, or repair the column"
        )


def inside(values: np.ndarray, limits: ScoreRange) -> np.ndarray:
    """Return an (n,) mask of the values in [low, high)."""
    low, high = limits
    lowest, highest = -np.inf if low is None else low, np.inf if high is None else high
    return np.asarray((values >= lowest) & (values < highest))


def pool_columns(pools: Iterable[Pool]) -> tuple[str, ...]:
    """Return the columns that decide which rows belong to pools, without the identity columns."""
    names = chain.from_iterable([*(pool.filter or {}), *(pool.score or {})] for pool in pools)
    # Identity columns are read in any case.
    return tuple(name for name in dict.fromkeys(names) if name not in batches.IDENTITY)


def members(pool: Pool, batch: pl.DataFrame) -> np.ndarray:
    """Return an (n,) mask of the rows that the filter and the score range of a pool select."""
    mask = np.ones(batch.height, dtype=bool)
    for column, value in (pool.filter or {}).items():
        # Filters hold text, whatever the type of the column. A missing value belongs to no pool.
        mask &= (batch[column].cast(pl.String) == value).fill_null(False).to_numpy()
    for column, limits in (pool.score or {}).items():
        mask &= inside(batch[column].to_numpy(), limits)
    return mask


def pool_batches(pool: Pool, needs: Sequence[str], unscored: Reading = batches.READING) -> Iterator[pl.DataFrame]:
    """Yield the rows of a pool, with ``id, source, tokens`` and ``needs``, in file and row order.

    The files of a pool with scores are read as they were scored, and those of another one as ``unscored`` says.
    """
    if pool.scores is None:
        for shard in batches.shards(pool.where):
            # Columns to filter by must be read, though the caller did not ask for them.
            for batch in batches.batches(shard, (*needs, *pool_columns([pool])), reading=unscored):
                yield batch.filter(members(pool, batch)) if pool.filter or pool.score else batch
        return
    scores = Path(pool.scores)
    if pool.kept:
        check_decisions(scores, Path(pool.kept))
    for shard, source in with_inputs(scores, batches.inputs(pool.where).shards):
        data = batches.batches(source, needs, reading=line_losses.aligned(reading(scores), scores, source))
        marks = kept_batches(RowRange(shard), Path(pool.kept) if pool.kept else None, pool_columns([pool]))
        for batch, marked in zip_longest(data, marks):
            if batch is None or marked is None or batch.height != marked[0].height:
                raise SchemaError(f"{source.path} has other rows than {shard.path}: score the data again")
            mark, verdict = marked
            # A tokenizer may have counted the tokens since; the input holds an estimate then.
            yield batch.with_columns(mark["tokens"]).filter(verdict.to_numpy() & members(pool, mark))
