"""Cut the data of a scoring job into the parts that scorers learn from, and record them.

In: the tasks of all good shards. Out: parts. Small files are put together, and long files are cut. Where they are cut
depends on the data alone, and never on the number of workers.

Words: a *span* is a range of rows [start, stop) of one input. A *piece* is a span with the columns that were computed
of it. A *bundle* is the tasks of several small inputs, which one worker runs together. A *part* is the rows that a
function of a scorer reads at a time: the pieces of a bundle, or one piece of a long input. (In the file `parts`, a part
is a file with the scores of some rows of a long input. Such files are joined when all are there.)
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypedDict, cast

import polars as pl

from curate.scoring.learning import columns, places, seals
from curate.scoring.learning.small_columns import AnyColumns
from curate.scoring.parts import Span, row_range
from curate.scoring.tasks.scoring_task import LABEL, ScoringTask
from curate.storage import artifacts, files
from curate.storage.files import text_hash
from curate.tables import batches
from curate.tables.reading import BATCH_BYTES, Reading
from curate.tables.row_ranges import RowRange
from curate.tables.scored_inputs import line_losses
from curate.tables.shards import Shard

# Small files are scored together in bundles of up to this size: handing out a task takes a millisecond, and 64 MB take
# seconds to score.
BUNDLE_BYTES = 64 << 20
# A small job is cut into about this many bundles, so that all workers have work. No bundle is cut below the bytes that
# keep a core busy for about a second.
BUNDLES = 16
LEAST_BUNDLE_BYTES = 4 << 20
# The least bytes of a batch that a learner receives. Smaller batches cost more for each row.
LEARNED_BYTES = 1 << 20


@dataclass(frozen=True)
class Piece:
    """Rows [start, stop) of an input, and the columns that were computed of them.

    Until the shard is done, ``computed`` says where the columns lie. Then ``computed`` is None, and the columns lie in
    ``score_file``.
    """

    shard: Shard
    start: int
    stop: int | None
    computed: AnyColumns | None
    score_file: Path

    @property
    def span(self) -> tuple[str, int, int | None]:
        """The name of the input and the range of rows, as the record of parts has them."""
        return self.shard.relative, self.start, self.stop

    @property
    def rows(self) -> RowRange:
        """The rows of the input."""
        return row_range(self.shard, self.start, self.stop)


@dataclass(frozen=True)
class ScoringPart:
    """A part of the data of a job: rows of one or several inputs, with the columns that scorers computed of them.

    ``generation`` is 0 for the files with which the job began. Each time files are added, they have the next number.
    """

    name: str
    pieces: tuple[Piece, ...]
    reading: Reading
    out: Path
    generation: int = 0

    def __str__(self) -> str:
        """Return the first file, which rows of it, and how many other files there are."""
        others = len(self.pieces) - 1
        return f"{self.pieces[0].rows}{f' and {others} more' if others else ''}"

    @property
    def computed(self) -> frozenset[str]:
        """The columns that were computed of all its rows, and are not in score files yet."""
        folders = [piece.computed for piece in self.pieces]
        return frozenset.intersection(*(frozenset(folder.names if folder else ()) for folder in folders))

    def batches(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the column ``id`` and the columns ``needs``, batch by batch. Small files share a batch."""
        wanted = list(dict.fromkeys(("id", *needs)))
        held: list[pl.DataFrame] = []
        size = 0
        for frame in self._small_batches(wanted):
            # Files may have a column in different types, such as labels that are numbers or text.
            if held and held[0].schema != frame.schema:
                yield pl.concat(held)
                held, size = [], 0
            held.append(frame)
            size += int(frame.estimated_size())
            if size >= LEARNED_BYTES:
                yield pl.concat(held) if len(held) > 1 else held[0]
                held, size = [], 0
        if held:
            yield pl.concat(held)

    def _small_batches(self, wanted: Sequence[str]) -> Iterator[pl.DataFrame]:
        for piece in self.pieces:
            for frame in self._piece_batches(piece, wanted):
                yield frame[:, wanted]

    def _piece_batches(self, piece: Piece, wanted: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield columns of a piece: those that were computed before, beside those that are read from the input."""
        reading = line_losses.aligned(self.reading, self.out, piece.shard)
        scores, folder = Shard(piece.score_file, piece.shard.relative), piece.computed
        present = set(batches.columns(scores) if folder is None else folder.names)
        # Learners read labels as the input has them, and score files have them as text.
        computed = [name for name in wanted if name in present and name != LABEL]
        read = [name for name in wanted if name not in computed]
        if read and set(computed) <= set(batches.IDENTITY):
            frames = batches.batches(
                piece.shard, read, reading=reading, identity=computed, size=BATCH_BYTES, start=piece.start
            )
            yield from piece.rows.cut(frames)
            return
        if folder is None:
            frames = piece.rows.cut(batches.batches(scores, computed, start=piece.start))
        else:
            frames = folder.batches(computed, piece.start)
        if not read:
            yield from frames
            return
        others = batches.batches(piece.shard, read, reading=reading, identity=(), size=BATCH_BYTES, start=piece.start)
        yield from columns.beside(frames, others, piece.shard)


def bundles(tasks: Iterable[ScoringTask], sizes: Mapping[str, int]) -> list[tuple[ScoringTask, ...]]:
    """Return tasks in groups that one worker runs together: small files in groups, tasks of long files alone.

    ``sizes`` are the bytes of the inputs by name. The order of tasks is kept.
    """
    listed = list(tasks)
    total = sum(sizes[task.shard.relative] for task in listed if len(task.spans) == 1)
    limit = min(BUNDLE_BYTES, max(LEAST_BUNDLE_BYTES, total // BUNDLES))
    result: list[list[ScoringTask]] = []
    held = 0
    for task in listed:
        size = limit if len(task.spans) > 1 else sizes[task.shard.relative]
        if not result or held + size > limit:
            result.append([])
            held = 0
        result[-1].append(task)
        held += size
    return [tuple(group) for group in result]


def cut(
    tasks: Sequence[ScoringTask],
    digests: Mapping[str, str],
    sizes: Mapping[str, int],
    out: Path,
    *,
    fresh: bool,
    alone: Collection[str] = (),
) -> list[ScoringPart]:
    """Return the parts of the data. ``tasks`` are all tasks of the good shards, in the order of shards.

    ``digests`` and ``sizes`` are the hashes of the rows and the bytes of the shards. Rows that are recorded as a part
    stay in that part. If some of its rows are gone, the others form new parts of the same generation. New rows form
    parts of the next generation. The generation is always 0 if no shard is scored yet (``fresh``). A small shard that
    is named in ``alone`` shares no part with others.
    """
    by_span = {_piece(task).span: task for task in tasks}
    parts: list[ScoringPart] = []
    generations: dict[tuple[object, ...], int] = {}
    for entry in _recorded(out):
        spans = entry["pieces"]
        generation = 0 if fresh else entry["generation"]
        present = [span for span in spans if span in by_span]
        if len(present) == len(spans) and (len(spans) == 1 or not any(span[0] in alone for span in spans)):
            parts.append(_part([by_span.pop(span) for span in spans], digests, generation))
        generations |= dict.fromkeys(present, generation)
    following = 0 if fresh else 1 + max(generations.values(), default=-1)
    remaining: dict[int, list[ScoringTask]] = {}
    for span, task in by_span.items():
        remaining.setdefault(generations.get(span, following), []).append(task)
    for generation, group in sorted(remaining.items()):
        together = [task for task in group if task.shard.relative not in alone]
        single = [(task,) for task in group if task.shard.relative in alone]
        parts += [_part(bundle, digests, generation) for bundle in (*bundles(together, sizes), *single)]
    return parts


def record(parts: Sequence[ScoringPart], out: Path) -> None:
    """Record the parts, so that the rows of each stay together when files are added."""
    entries = [{"generation": part.generation, "pieces": [piece.span for piece in part.pieces]} for part in parts]
    artifacts.save(places.corpus_record(out), "corpus", seals.sealed({"parts": entries}))


def recorded_spans(out: Path) -> dict[str, tuple[Span, ...]]:
    """Return the ranges of rows into which the shards of earlier jobs were cut, by the name of the shard.

    A file that is written again with the same rows, in other row groups, must be cut in the same way as before.
    """
    spans: dict[str, list[Span]] = {}
    for entry in _recorded(out):
        for name, start, stop in entry["pieces"]:
            spans.setdefault(name, []).append((start, stop))
    return {name: tuple(sorted(ranges, key=lambda span: span[0])) for name, ranges in spans.items()}


def column_task(part: ScoringPart, piece: Piece, *, quarantine: bool) -> ScoringTask:
    """Return the task that computes further columns of a piece. With ``quarantine``, a bad file is no error."""
    return ScoringTask(
        piece.shard,
        piece.score_file,
        part.out,
        (),
        part.reading,
        files.stamp(piece.shard.path),
        piece.start,
        piece.stop,
        columns=piece.computed,
        part=part.name,
        quarantine=quarantine,
    )


class _Entry(TypedDict):
    generation: int
    pieces: list[tuple[str, int, int | None]]


def _recorded(out: Path) -> list[_Entry]:
    path = places.corpus_record(out)
    if not files.exists(path):
        return []
    record = artifacts.load(path, "corpus")
    seals.check(path, record)
    entries = cast(list[_Entry], record["parts"])
    # JSON has lists for tuples.
    return [{**entry, "pieces": [(name, start, stop) for name, start, stop in entry["pieces"]]} for entry in entries]


def _piece(task: ScoringTask) -> Piece:
    return Piece(task.shard, task.start, task.stop, task.columns, task.output)


def _part(group: Sequence[ScoringTask], digests: Mapping[str, str], generation: int) -> ScoringPart:
    pieces = tuple(map(_piece, group))
    # The name changes with the rows, and not when a file is only touched.
    name = text_hash(repr([(*piece.span, digests[piece.shard.relative]) for piece in pieces]))
    return ScoringPart(name, pieces, replace(group[0].reading, bad_lines=None), group[0].out, generation)
