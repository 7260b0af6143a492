"""What a worker does: a range of one shard's rows through all scorers, into the score file or into parts of it.

Pure and idempotent: a task that is run twice, on any machine, writes the same bytes.
"""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import accumulate, pairwise
from pathlib import Path

import polars as pl
import pyarrow as pa

from curate.errors import CurateError, SchemaError
from curate.scorers import Scorer
from curate.storage import files, s3
from curate.tables import batches as tables
from curate.tables import readers, writer
from curate.tables.shards import Shard

TASK_ROWS = 1 << 17  # whole row groups that make a task
PART_ROWS = 1 << 15  # rows that a killed job may have to score again
LABEL = "label"
SMALL_BYTES = 1 << 20  # of a file of lines that is scored in one go: parts would double the files to write


@dataclass(frozen=True)
class Task:
    """Rows [start, stop) of a shard (stop None: its end) through all scorers; ``parts``: where, if not all of it."""

    shard: Shard
    output: Path
    scorers: tuple[Scorer, ...]
    text_column: str
    batch_rows: int
    document_bytes: int
    digest: str | None = None  # of the input, where it is known
    stamp: str = ""
    start: int = 0
    stop: int | None = None
    parts: Path | None = None
    spans: tuple[tuple[int, int | None], ...] = ((0, None),)
    quarantine: bool = False
    also: tuple[str, ...] = ()  # columns that ``check_task`` reads too
    label: bool = False  # the score file carries the input's class label


@dataclass(frozen=True)
class Outcome:
    """What became of a task: rows scored now, the input's content hash, whether the score file is in place.

    Or the ``reason`` why its shard is bad.
    """

    shard: str
    rows: int
    digest: str
    whole: bool = False
    reason: str | None = None


def spans(found: readers.Head) -> tuple[tuple[int, int | None], ...]:
    """Cut a shard at its row groups into ranges of rows for tasks; one range where it does not say how many it has."""
    if found.groups is None:
        return ((0, None),)
    edges = [0]
    for at in accumulate(rows for rows, _ in found.groups):
        if at - edges[-1] >= TASK_ROWS:
            edges.append(at)
    if found.rows and found.rows > edges[-1]:
        edges.append(found.rows)
    return tuple(pairwise(edges))


def is_long(shard: Shard, found: readers.Head) -> bool:
    """Say whether a shard is scored in parts; one that does not say how many rows it has, by its size."""
    return files.size(shard.path) > SMALL_BYTES if found.rows is None else found.rows > PART_ROWS


def labelled(found: readers.Head) -> bool:
    """Say whether a shard has labels of classes: text, whole numbers or booleans; a measured number is no class."""
    kind = found.columns.get(LABEL)
    if kind is not None and pa.types.is_dictionary(kind):
        kind = kind.value_type
    named = (pa.types.is_string, pa.types.is_large_string, pa.types.is_string_view, pa.types.is_integer)
    return kind is not None and (pa.types.is_boolean(kind) or any(one(kind) for one in named))


def schema(scorers: Sequence[Scorer], *, label: bool = False) -> dict[str, pl.DataType]:
    """Return the columns of a score file."""
    result = dict(tables.IDENTITY) | ({LABEL: pl.String()} if label else {})
    for scorer in scorers:
        result |= scorer.schema
    return result


def score_task(scorers: tuple[Scorer, ...], bare: Task) -> Outcome:
    """Score the rows of a task that comes without its scorers; join the parts when they are all there."""
    task = replace(bare, scorers=scorers)
    return _judged(task, _whole if task.parts is None else _in_parts)


def _judged(task: Task, work: Callable[[Task], tuple[int, bool]]) -> Outcome:
    """Do the work; what is wrong with the shard is an error, or the reason in the outcome."""
    name, path = task.shard.relative, task.shard.path
    try:
        stamp = task.stamp or files.stamp(path)
        digest = task.digest or files.content_hash(path)
        rows, whole = work(task)
        if files.stamp(path) != stamp and files.content_hash(path) != digest:
            raise SchemaError(f"{path} changed while it was read: leave it alone and score again")
        return Outcome(name, rows, digest, whole)
    except SchemaError as error:
        reason = str(error)
    except OSError as error:
        if (trouble := s3.trouble(error, path)) is not None:
            raise trouble from None
        reason = f"{path} cannot be read: {error.strerror or error}. Put it back or mend it, or score without it"
    except CurateError:  # the output, not the shard
        raise
    except Exception as error:
        if not task.quarantine:
            raise
        reason = f"{path}: {type(error).__name__}: {' '.join(str(error).split())[:300]}"
    if work is not _check:  # whoever reads the folder must not find scores of a shard that is not done
        files.remove(task.output)
    if not task.quarantine:
        raise SchemaError(reason)
    return Outcome(name, 0, "", reason=reason)


def check_task(task: Task) -> Outcome:
    """Hash a shard that is to be learned from; where bad shards can be set aside, read it all to see if it is one."""
    if not task.quarantine:
        return Outcome(task.shard.relative, 0, files.content_hash(task.shard.path))
    return _judged(task, _check)


def _check(task: Task) -> tuple[int, bool]:
    return sum(frame.height for frame in scored(task, 0, None)), False


def _whole(task: Task) -> tuple[int, bool]:
    return writer.write_whole(task.output, scored(task, 0, None), schema(task.scorers, label=task.label)), True


def _in_parts(task: Task) -> tuple[int, bool]:
    """Write the parts of a task that are missing; return the rows scored now and whether the shard is complete."""
    folder, known, written = task.parts or Path(), schema(task.scorers, label=task.label), 0
    _, at, ended = _parts(folder, task.start, task.stop)
    batches = scored(task, at, task.stop)
    while not ended:
        rows = writer.write_part(_part(folder, at), _until(batches, PART_ROWS), known)
        at, written = at + rows, written + rows
        ended = rows < PART_ROWS if task.stop is None else at == task.stop
        if not ended and rows < PART_ROWS:
            raise SchemaError(f"{task.shard.path} ends at row {at}, not at {task.stop}: it is damaged, or it changed")
    if (parts := complete(folder, task.spans)) is not None:
        writer.join(task.output, parts, known)
    return written, parts is not None


def complete(folder: Path, spans: Sequence[tuple[int, int | None]]) -> list[Path] | None:
    """Return the parts of a shard in order, if they are all there."""
    found: list[Path] = []
    for start, stop in reversed(spans):  # the last is done last: until then one look is enough
        parts, _, ended = _parts(folder, start, stop)
        if not ended:
            return None
        found = parts + found
    return found


def _parts(folder: Path, start: int, stop: int | None) -> tuple[list[Path], int, bool]:
    """Return the parts of rows [start, stop) that follow each other, where they end, and whether that is the end."""
    found: list[Path] = []
    at, rows = start, PART_ROWS
    while not (ended := rows < PART_ROWS if stop is None else at == stop) and files.exists(_part(folder, at)):
        found.append(_part(folder, at))
        at += (rows := writer.part_rows(found[-1]))
    return found, at, ended


def _part(folder: Path, start: int) -> Path:
    return folder / f"{start:012d}.arrow"


def _until(batches: Iterator[pl.DataFrame], rows: int) -> Iterator[pl.DataFrame]:
    """Yield batches until they have ``rows`` rows."""
    count = 0
    for batch in batches:
        yield batch
        if (count := count + batch.height) >= rows:
            return


def scored(task: Task, start: int, stop: int | None) -> Iterator[pl.DataFrame]:
    """Yield scores of the rows [start, stop) batch by batch; where a batch ends depends on the rows alone."""
    label = (LABEL,) if task.label else ()
    needs, added = (*inputs(task.scorers), *task.also, *label), [n for scorer in task.scorers for n in scorer.schema]
    found = tables.batches(
        task.shard,
        needs,
        rows=task.batch_rows,
        text_column=task.text_column,
        size=tables.BATCH_BYTES,
        start=start,
        document_bytes=task.document_bytes,
    )
    at = start
    for batch in found:
        here = batch if stop is None else batch.head(stop - at)
        at += here.height
        yield apply(task.scorers, here).select(*tables.IDENTITY, *(pl.col(n).cast(pl.String) for n in label), *added)
        if at == stop:
            return


def apply(scorers: Sequence[Scorer], batch: pl.DataFrame) -> pl.DataFrame:
    """Add the columns of every scorer, each seeing those of the earlier ones; check that all are finite."""
    for scorer in scorers:
        batch = batch.hstack(scorer(batch))
        for name in scorer.schema:
            good = tables.finite(batch[name])
            if not good.all():
                what, row = "score" if name.startswith("score.") else "vector", batch["id"][int(good.argmin())]
                raise SchemaError(
                    f"{name} is not a finite number in {int((~good).sum())} rows, the first with id {row!r}: "
                    f"fix its input, or leave out the scorer that makes this {what}"
                )
    return batch


def inputs(scorers: Sequence[Scorer]) -> tuple[str, ...]:
    """Return the columns that must come from the file: needed, and not made by an earlier scorer."""
    made: set[str] = set()
    needed: dict[str, None] = {}
    for scorer in scorers:
        needed |= {n: None for n in scorer.needs if n not in made and n not in tables.IDENTITY}
        made |= set(scorer.schema)
    return tuple(needed)
