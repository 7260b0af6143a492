"""Decide all rows of a score folder, and write the decisions.

In: requirements and a ranked decision. Out: a decision file for each score file, and counts of what was removed.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.progress import counted
from curate.pruning import removal_table
from curate.pruning.budgets.caps import Cap
from curate.pruning.columns.score_column import ScoreColumn, ScoreFileRange, ScoreValues
from curate.pruning.eligible import ELIGIBLE, Eligible
from curate.pruning.removal_report.examples import ExamplePlaces
from curate.pruning.removal_table import Removal, Tally, VerdictTally
from curate.pruning.rules import Decision, Rule
from curate.pruning.rules._verdicts import CAPPED, DROPPED, KEPT, KEPT_BY_FLOOR
from curate.storage import files
from curate.streaming import rank_correlation
from curate.streaming.rank_correlation import RankSample
from curate.tables import batches, scored, writer
from curate.tables.row_ranges import RowRange
from curate.tables.scored import DECISIONS
from curate.tables.shards import Shard

POOLS = "pools.json"
# Without a ranked decision only the verdict KEPT is used. The numbers of the others stay reserved, so that the numbers
# of requirements begin at the same place in all jobs.
UNRANKED_REASONS = ["kept" if verdict == KEPT else "" for verdict in range(max(DROPPED, KEPT, KEPT_BY_FLOOR) + 1)]
SCHEMA = {"id": pl.String(), "source": pl.String(), "keep": pl.Boolean(), "reason": pl.String()}


@dataclass(frozen=True)
class Decided:
    """The scores, the rule for them, and the verdict of every ranked row."""

    values: ScoreValues
    rule: Rule
    decision: Decision
    caps: tuple[Cap, ...] = ()

    @property
    def reasons(self) -> list[str]:
        """Return the words for each verdict, by its number."""
        return list(self.decision.reasons)

    @property
    def deciding_columns(self) -> dict[int, Sequence[str]]:
        """Return the columns that decided, by the number of the verdict."""
        by = (self.values.by,) if self.values.by else ()
        deciding: dict[int, Sequence[str]] = dict.fromkeys(range(len(self.reasons)), by)
        return deciding | {CAPPED + number: (cap.column,) for number, cap in enumerate(self.caps)}

    def verdicts(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """Return the verdicts (n,) of a frame of ranked rows that begins at position ``start``."""
        return self.decision.of(frame, start)


@dataclass(frozen=True)
class Fate:
    """How every row is decided: by the requirements first, and those that meet all of them by the ranked decision.

    ``columns`` are the columns that each of the ``requirements`` reads. Either part may be missing: ``eligible`` is
    None without requirements, and ``ranked`` without a ranked decision, where all remaining rows are kept.
    """

    requirements: tuple[str, ...] = ()
    columns: tuple[tuple[str, ...], ...] = ()
    eligible: Eligible | None = None
    ranked: Decided | None = None

    @property
    def by(self) -> str:
        """Return the score of the ranked decision; "" without one."""
        return "" if self.ranked is None else self.ranked.values.by

    @property
    def ranked_reasons(self) -> list[str]:
        """Return the words for each verdict of the ranked decision, by its number."""
        return UNRANKED_REASONS if self.ranked is None else self.ranked.reasons

    @property
    def reasons(self) -> list[str]:
        """Return the words for each verdict, by its number: those of the requirements come last."""
        return [*self.ranked_reasons, *self.requirements]

    @property
    def deciding_columns(self) -> dict[int, Sequence[str]]:
        """Return the columns that decided, by the number of the verdict."""
        ranked = {} if self.ranked is None else self.ranked.deciding_columns
        return ranked | dict(enumerate(self.columns, start=len(self.ranked_reasons)))

    def verdicts(self, frame: pl.DataFrame, codes: np.ndarray | None, start: int) -> np.ndarray:
        """Return the verdicts (n,) of a frame.

        ``codes`` (n,) are the codes of its rows, None without requirements. ``start`` is the position of its first row
        among the rows that meet all requirements.
        """
        if codes is None:
            return self._ranked(frame, start)
        verdicts = len(self.ranked_reasons) - 1 + codes.astype(np.int64)
        remaining = codes == ELIGIBLE
        if remaining.any():
            verdicts[remaining] = self._ranked(frame.filter(pl.Series(remaining)), start)
        return verdicts

    def _ranked(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        return np.full(frame.height, KEPT) if self.ranked is None else self.ranked.verdicts(frame, start)


def rows_of_sources(
    column: ScoreColumn, decided: Decided, eligible: Eligible | None
) -> tuple[dict[str, int], dict[str, int]]:
    """Return the ranked rows that no cap drops and the kept rows of every source.

    They come from counts if these are by source, else from reading again.
    """
    decision = decided.decision
    if decided.values.grouping == "source":
        rows = {name: int(decision.group_rows[number]) for name, number in column.groups.items()}
        kept = {name: int(decision.kept_rows[number]) for name, number in column.groups.items()}
    else:
        tally = Tally()
        for part in column.map(partial(_tally_of_range, decided, eligible)):
            removal_table.merge(tally, part)
        rows = {name: int(count[0]) for name, count in tally.counts.items()}
        kept = {name: int(count[1]) for name, count in tally.counts.items()}
    # A source without rows that caps leave has nothing to lose.
    return {name: n for name, n in rows.items() if n}, {name: kept[name] for name, n in rows.items() if n}


def _tally_of_range(decided: Decided, eligible: Eligible | None, part: ScoreFileRange) -> Tally:
    tally, start, row = Tally(), part.start, 0
    mask = None if eligible is None else eligible.mask(part.rows)
    for whole in decided.values.frames(part, ("id", "source", "tokens")):
        frame = whole if mask is None else whole.filter(pl.Series(mask[row : row + whole.height]))
        row += whole.height
        verdict = decided.verdicts(frame, start)
        offered = verdict < CAPPED
        rows = frame.filter(pl.Series(offered))
        removal_table.add(tally, rows["source"], rows["tokens"], _kept(verdict[offered]))
        start += frame.height
    return tally


def remove_earlier(out: Path) -> None:
    """Remove the decisions and tables of an earlier pruning.

    They go before anything is written: a job that is stopped half way must not leave a mixture of the two.
    """
    files.sweep(out, DECISIONS)
    tables = (out / name for name in (POOLS, removal_table.TABLE, removal_table.PAGE))
    for path in (*tables, *files.below(out, DECISIONS)):
        files.remove(path)


def score_file_starts(shards: Sequence[Shard]) -> tuple[ScoreFileRange, ...]:
    """Return the score files as `decide_files` takes them where no decision needs the positions of rows."""
    return tuple(ScoreFileRange(RowRange(shard), number) for number, shard in enumerate(shards))


def decide_files(
    score_files: Sequence[ScoreFileRange], fate: Fate, ranked_rows: int, out: Path | None, engine: Engine
) -> "FileCounts":
    """Decide all rows, and write a decision file below ``out`` for each score file; None writes nothing.

    ``score_files`` come with the position of their first row among the ``ranked_rows`` rows that are ranked.
    """
    sums = FileCounts(RankSample(ranked_rows))
    words = "score files decided" if out is None else "decision files written"
    function = partial(_decide_file, fate, out, ranked_rows)
    for counts in counted(engine.run(function, score_files), words, len(score_files)):
        sums.add(counts)
    return sums


def removal(counts: "FileCounts", fate: Fate, examples: pl.DataFrame) -> Removal:
    """Return the tables of what is kept and removed."""
    labels, lengths = counts.labels, counts.lengths
    has_classes = 0 < len(labels.counts) <= removal_table.LARGEST_TABLE
    return Removal(
        by=fate.by,
        by_reason=removal_table.reason_table(counts.sources, dict(enumerate(fate.reasons))),
        by_source=removal_table.source_table(counts.sources),
        by_label=removal_table.table(labels, "label") if has_classes else None,
        length_correlation=rank_correlation.spearman(lengths),
        compared_rows=lengths.size,
        requirements=fate.requirements,
        examples=examples,
    )


@dataclass(frozen=True)
class FileCounts:
    """What is counted of the rows of score files: by source and verdict, by label, a sample of lengths, and examples.

    ``lengths`` are those of the ranked rows. ``places`` are where examples of removed rows stand.
    """

    lengths: RankSample
    places: ExamplePlaces = field(default_factory=ExamplePlaces)
    sources: VerdictTally = field(default_factory=VerdictTally)
    labels: Tally = field(default_factory=Tally)

    @property
    def may_be_classes(self) -> bool:
        """Return whether the labels are few enough so far. With an id in place of a class they are as many as rows."""
        return len(self.labels.counts) <= removal_table.LARGEST_TABLE

    def add(self, other: "FileCounts") -> None:
        """Add the counts of other files."""
        removal_table.merge(self.sources, other.sources)
        rank_correlation.merge(self.lengths, other.lengths)
        self.places.merge(other.places.table)
        if self.may_be_classes:
            removal_table.merge(self.labels, other.labels)


def _decide_file(fate: Fate, out: Path | None, ranked_rows: int, file: ScoreFileRange) -> FileCounts:
    """Write the decisions of one score file, and return what is counted of it."""
    counts = FileCounts(RankSample(ranked_rows))
    if out is None:
        for _ in _decided_frames(fate, counts, file):
            pass
    else:
        path = files.inside(out, file.rows.shard.relative + DECISIONS)
        writer.write_whole(path, _decided_frames(fate, counts, file), SCHEMA)
    return counts


def _decided_frames(fate: Fate, counts: FileCounts, file: ScoreFileRange) -> Iterator[pl.DataFrame]:
    """Yield the decisions of one score file, batch by batch, and count them."""
    shard, words = file.rows.shard, pl.Series("reason", fate.reasons)
    label = ("label",) if "label" in batches.columns(shard) else ()
    grouping = "" if fate.ranked is None else fate.ranked.values.grouping
    columns = tuple(dict.fromkeys(name for name in (fate.by, grouping, *label) if name))
    codes = None if fate.eligible is None else fate.eligible.codes(file.rows)
    # The position runs on from file to file: verdicts near the cuts are stored by position in the whole stream.
    start, row = file.start, 0
    for frame in scored.light_batches(file.rows, columns, ("id", "source", "tokens")):
        codes_of_frame = None if codes is None else codes[row : row + frame.height]
        verdict = fate.verdicts(frame, codes_of_frame, start)
        keep = _kept(verdict)
        removal_table.add_verdicts(counts.sources, frame["source"], frame["tokens"], verdict)
        counts.places.add(frame, np.where(keep, -1, verdict.astype(np.int64)), row, file.number)
        ranked = frame if codes_of_frame is None else frame.filter(pl.Series(codes_of_frame == ELIGIBLE))
        if fate.ranked is not None:
            scores, tokens = fate.ranked.values.scores(ranked), ranked["tokens"].to_numpy()
            rank_correlation.add(counts.lengths, ranked["id"], scores, tokens)
        if label and counts.may_be_classes:
            removal_table.add(counts.labels, frame["label"], frame["tokens"], keep)
        start, row = start + ranked.height, row + frame.height
        yield frame.select("id", "source").with_columns(pl.Series("keep", keep), words[verdict])


def _kept(verdict: np.ndarray) -> np.ndarray:
    return np.asarray((verdict == KEPT) | (verdict == KEPT_BY_FLOOR))
