"""List which rows of which files belong to which pool, with a random key for every row.

In: pools. Out: an index file for each data file.
A pool's filter, score range and decisions are read once. The text is not read where there are score files. Memory is
that of a run of rows, however long a file is. Rows that are held out are in no pool, and are listed by themselves.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.tables import batches, readers, scored
from curate.tables.row_ranges import RowRange
from curate.training_set import tags
from curate.training_set.data_files import DataFile
from curate.training_set.holdout.groups import BUCKETS, GroupRule
from curate.training_set.ordering import pieces
from curate.training_set.ordering.cells import INDEX, index_path
from curate.training_set.ordering.pieces import Run

ROWS, POOLS = "rows", "pools"  # fields of an index: the rows of the file, and the counts of each pool


@dataclass(frozen=True)
class IndexTask:
    """A data file whose rows are to be listed in ``folder``.

    ``tag`` is the column whose values are prepended to the texts, or empty, and ``tokenizer`` counts them. ``groups``
    says how rows are held out together, or is None. ``held`` is a file with the mask (``BUCKETS``,) of the buckets that
    are held out.
    """

    file: DataFile
    folder: Path
    seed: int
    tag: str = ""
    groups: GroupRule | None = None
    held: Path | None = None
    tokenizer: str = ""


@dataclass(frozen=True)
class MarkedRows:
    """A batch of rows: what decides their pools, and what is read of the data beside it.

    ``marks`` has the columns of scores or data, ``keep`` (n,) the decisions, ``has_text`` (n,) whether there is a text
    (None: every row has one), and ``columns`` the values for tags and groups.
    """

    marks: pl.DataFrame
    keep: np.ndarray
    has_text: np.ndarray | None
    columns: pl.DataFrame | None

    def column(self, name: str) -> pl.Series | None:
        """Return the values of a column for tags or groups; None without a name."""
        return self.columns[name] if name and self.columns is not None else None


def write_index(task: IndexTask) -> int:
    """List the rows of each pool in a data file with a random key each, and return the number of the file.

    The key is hash(id, pool, seed). Rows whose text is null are not listed, but counted: see `counts`. The rows that
    are held out are listed behind the last pool, with the number of their first pool as the key.
    """
    file = task.file
    totals = {str(number): [0] * 7 for number, _ in file.pools}
    held_buckets = None if task.held is None else np.load(task.held)
    fields: dict[str, object] = {ROWS: 0, POOLS: totals}
    # A seed of its own for each pool: pools that share rows draw them in different orders. It follows from the name, so
    # other pools in the plan do not change it.
    seeds = {number: int(batches.keys([pool.name], task.seed)[0]) for number, pool in file.pools}

    def listed() -> Iterator[Run]:
        start = 0
        for batch in _marked(file, task):
            marks = batch.marks
            # A negative count would make the planned tokens unreachable, and times that go backwards.
            if (marks["tokens"] < 0).any():
                raise SchemaError(f"{file.files[-1]} has rows with negative tokens. Score the data again")
            tokens = marks["tokens"].to_numpy()
            extra = _tag_tokens(task, batch)
            held = _held(task, batch, held_buckets)
            unlisted = held.copy()
            for position, (number, pool) in enumerate(file.pools):
                members = batch.keep & scored.members(pool, marks)
                total = totals[str(number)]
                if batch.has_text is not None:
                    _count(total, 2, members & ~batch.has_text, tokens)
                    members = members & batch.has_text
                _count(total, 5, members & held, tokens)
                aside = members & unlisted
                unlisted &= ~aside
                members = members & ~held
                for key, mask in ((position, members), (len(file.pools), aside)):
                    rows = np.flatnonzero(mask)
                    listed_rows = np.empty(len(rows), dtype=INDEX)
                    listed_rows["row"], listed_rows["tokens"] = rows + start, tokens[rows] + extra[rows]
                    if key == position:
                        listed_rows["key"] = batches.keys(marks["id"].gather(rows), seeds[number])
                        _count(total, 0, members, tokens + extra)
                        total[4] += int(extra[rows].sum())
                    else:
                        listed_rows["key"] = number
                    if len(rows):
                        yield np.full(len(rows), key), listed_rows
            start += marks.height
            fields[ROWS] = start

    pieces.write(index_path(task.folder, file.number), listed(), len(file.pools) + 1, fields)
    return file.number


def count_groups(task: IndexTask) -> tuple[np.ndarray, np.ndarray]:
    """Return the buckets of groups that a data file has rows of, (b,), and the tokens of these rows, (b,).

    Only rows of some pool that have a text count.
    """
    sizes = np.zeros(BUCKETS, dtype=np.int64)
    for batch in _marked(task.file, task):
        inside = np.zeros(batch.marks.height, dtype=bool)
        for _, pool in task.file.pools:
            inside |= batch.keep & scored.members(pool, batch.marks)
        if batch.has_text is not None:
            inside &= batch.has_text
        np.add.at(sizes, _buckets(task, batch)[inside], batch.marks["tokens"].to_numpy()[inside])
    present = np.flatnonzero(sizes)
    return present, sizes[present]


def _count(total: list[int], place: int, mask: np.ndarray, tokens: np.ndarray) -> None:
    """Add the rows of a mask, and their tokens, to the two counts of a pool that begin at a place."""
    total[place] += int(mask.sum())
    total[place + 1] += int(tokens[mask].sum())


def _tag_tokens(task: IndexTask, batch: MarkedRows) -> np.ndarray:
    """Return the tokens (n,) of the tags of a batch: 0 without tags."""
    values = batch.column(task.tag)
    if values is None:
        return np.zeros(batch.marks.height, dtype=np.int64)
    return tags.tokens(tags.tags(task.tag, values, task.file.data), task.tokenizer)


def _buckets(task: IndexTask, batch: MarkedRows) -> np.ndarray:
    """Return the buckets (n,) of the groups of a batch."""
    assert task.groups is not None
    return task.groups.buckets(task.file.score_folder, batch.marks["id"], batch.column(task.groups.by))


def _held(task: IndexTask, batch: MarkedRows, held: np.ndarray | None) -> np.ndarray:
    """Return a mask (n,) of the rows of a batch that are held out."""
    return np.zeros(batch.marks.height, dtype=bool) if held is None else held[_buckets(task, batch)]


@dataclass(frozen=True)
class PoolRows:
    """The rows of a pool in a data file and their tokens.

    ``tokens`` includes the ``tag_tokens`` of tags, and the other counts do not. Rows whose text is null and rows that
    are held out are counted by themselves.
    """

    rows: int
    tokens: int
    null_rows: int
    null_tokens: int
    tag_tokens: int = 0
    held_rows: int = 0
    held_tokens: int = 0

    @property
    def all_tokens(self) -> int:
        """Return the tokens of all rows without tags: those that pools.json counts."""
        return self.tokens - self.tag_tokens + self.null_tokens + self.held_tokens


def counts(path: Path) -> tuple[int, dict[int, PoolRows]]:
    """Return the rows of an indexed data file, and for each pool what it has of them."""
    fields = pieces.opened(path).fields
    totals = cast(Mapping[str, list[int]], fields[POOLS])
    return cast(int, fields[ROWS]), {int(number): PoolRows(*total) for number, total in totals.items()}


def _marks(file: DataFile) -> Iterator[tuple[pl.DataFrame, pl.Series]]:
    """Yield what decides membership, batch by batch: scores and verdicts where there are scores, else the data."""
    needs = scored.pool_columns(pool for _, pool in file.pools)
    if file.scores is not None:
        yield from scored.kept_batches(RowRange(file.scores), file.kept, needs)
        return
    for batch in batches.batches(file.data, needs, reading=file.reading):
        yield batch, pl.repeat(True, batch.height, eager=True)


def _marked(file: DataFile, task: IndexTask) -> Iterator[MarkedRows]:
    """Yield the batches of `_marks`, with what is read of the data beside them."""
    columns = tuple(dict.fromkeys(filter(None, (task.tag, "" if task.groups is None else task.groups.by))))
    mapping = file.reading.whole_mapping
    view = None if mapping.is_empty else readers.head(file.data, (), mapping).view
    may_lack_text = readers.may_hold_null(file.data, "text", view)
    if not columns and not may_lack_text:
        yield from (MarkedRows(batch, verdict.to_numpy(), None, None) for batch, verdict in _marks(file))
        return
    needs = (*columns, *(("text",) if may_lack_text else ()))
    data = batches.batches(file.data, needs, reading=file.reading, identity=())
    for marks, rows in zip_longest(_marks(file), data):
        if marks is None or rows is None or marks[0].height != rows.height:
            raise SchemaError(f"{file.data.path} has other rows than were scored: score the data again")
        batch, verdict = marks
        has_text = rows["text"].is_not_null().to_numpy() if may_lack_text else None
        yield MarkedRows(batch, verdict.to_numpy(), has_text, rows)
