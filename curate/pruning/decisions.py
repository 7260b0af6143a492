"""Decide all rows of a score folder under one rule, and write the decisions.

In: a rule and a column of scores. Out: a decision file for each score file, and tables of what was removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from curate.progress import Progress, reporting
from curate.pruning import removal_table
from curate.pruning.columns.score_column import ScoreColumn, ScoreFileRange, ScoreValues
from curate.pruning.removal_table import Removal, Tally, VerdictTally
from curate.pruning.rules import Decision, Rule
from curate.pruning.rules._verdicts import CAPPED, KEPT, KEPT_BY_FLOOR
from curate.storage import files
from curate.streaming import rank_correlation
from curate.streaming.rank_correlation import RankSample
from curate.tables import batches, writer
from curate.tables.scored import DECISIONS

POOLS = "pools.json"
SCHEMA = {"id": pl.String(), "source": pl.String(), "keep": pl.Boolean(), "reason": pl.String()}


@dataclass(frozen=True)
class Decided:
    """The scores, the rule for them, and the verdict of every row."""

    values: ScoreValues
    rule: Rule
    decision: Decision

    @property
    def reasons(self) -> list[str]:
        """Return the words for each verdict, by its number."""
        return list(self.decision.reasons)

    def verdicts(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """Return the verdicts (n,) of a frame that begins at position ``start``."""
        return self.decision.of(frame, start)


def rows_of_sources(column: ScoreColumn, decided: Decided) -> tuple[dict[str, int], dict[str, int]]:
    """Return the rows that no cap drops and the kept rows of every source.

    They come from counts if these are by source, else from reading again.
    """
    decision = decided.decision
    if decided.values.grouping == "source":
        rows = {name: int(decision.group_rows[number]) for name, number in column.groups.items()}
        kept = {name: int(decision.kept_rows[number]) for name, number in column.groups.items()}
    else:
        tally = Tally()
        for part in column.map(partial(_tally_of_range, decided)):
            removal_table.merge(tally, part)
        rows = {name: int(count[0]) for name, count in tally.counts.items()}
        kept = {name: int(count[1]) for name, count in tally.counts.items()}
    # A source of which caps leave nothing has nothing to lose.
    return {name: n for name, n in rows.items() if n}, {name: kept[name] for name, n in rows.items() if n}


def _tally_of_range(decided: Decided, part: ScoreFileRange) -> Tally:
    tally, start = Tally(), part.start
    for frame in decided.values.frames(part, ("id", "source", "tokens")):
        verdict = decided.verdicts(frame, start)
        offered = verdict < CAPPED
        rows = frame.filter(offered)
        removal_table.add(tally, rows["source"], rows["tokens"], _kept(verdict[offered]))
        start += frame.height
    return tally


def write_decisions(column: ScoreColumn, decided: Decided, out: Path, progress: Progress) -> Removal:
    """Write a decision file for each score file; return tables of what was kept and removed."""
    files.sweep(out, DECISIONS)
    # The files of an earlier pruning go first: a job that is stopped half way must not leave a mixture of the two.
    for path in (
        *(out / name for name in (POOLS, removal_table.TABLE, removal_table.PAGE)),
        *files.below(out, DECISIONS),
    ):
        files.remove(path)
    sums = _FileCounts(RankSample(column.rows))
    with reporting(progress):
        for counts in column.map_files(partial(_decide_file, decided, out, column.rows), "decision files written"):
            sums.add(counts)
    labels, by = sums.labels, decided.values.by
    has_classes = 0 < len(labels.counts) <= removal_table.LARGEST_TABLE
    return Removal(
        by=by,
        by_reason=removal_table.reason_table(sums.sources, dict(enumerate(decided.reasons))),
        by_source=removal_table.source_table(sums.sources),
        by_label=removal_table.table(labels, "label") if has_classes else None,
        length_correlation=rank_correlation.spearman(sums.lengths),
        compared_rows=sums.lengths.size,
    )


@dataclass(frozen=True)
class _FileCounts:
    """What is counted of the rows of score files: by source and verdict, by label, and a sample of their lengths."""

    lengths: RankSample
    sources: VerdictTally = field(default_factory=VerdictTally)
    labels: Tally = field(default_factory=Tally)

    @property
    def may_be_classes(self) -> bool:
        """Return whether the labels are few enough so far. With an id in place of a class they are as many as rows."""
        return len(self.labels.counts) <= removal_table.LARGEST_TABLE

    def add(self, other: "_FileCounts") -> None:
        """Add the counts of other files."""
        removal_table.merge(self.sources, other.sources)
        rank_correlation.merge(self.lengths, other.lengths)
        if self.may_be_classes:
            removal_table.merge(self.labels, other.labels)


def _decide_file(decided: Decided, out: Path, rows: int, file: ScoreFileRange) -> _FileCounts:
    """Write the decisions of one score file out of ``rows`` rows in all, and return what is counted of it."""
    counts, words, shard = _FileCounts(RankSample(rows)), pl.Series("reason", decided.reasons), file.rows.shard
    label = ("label",) if "label" in batches.columns(shard) else ()

    def decisions() -> Iterator[pl.DataFrame]:
        # The position runs on from file to file: verdicts near the cuts are stored by position in the whole stream.
        start = file.start
        for frame in decided.values.frames(file, ("id", "source", "tokens"), label):
            verdict = decided.verdicts(frame, start)
            start += frame.height
            keep = _kept(verdict)
            removal_table.add_verdicts(counts.sources, frame["source"], frame["tokens"], verdict)
            scores, tokens = decided.values.scores(frame), frame["tokens"].to_numpy()
            rank_correlation.add(counts.lengths, frame["id"], scores, tokens)
            if label and counts.may_be_classes:
                removal_table.add(counts.labels, frame["label"], frame["tokens"], keep)
            yield frame.select("id", "source").with_columns(pl.Series("keep", keep), words[verdict])

    writer.write_whole(files.inside(out, shard.relative + DECISIONS), decisions(), SCHEMA)
    return counts


def _kept(verdict: np.ndarray) -> np.ndarray:
    return np.asarray((verdict == KEPT) | (verdict == KEPT_BY_FLOOR))
