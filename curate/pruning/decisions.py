"""Decide all rows of a score folder under one rule, and write the decisions.

In: a rule and a column of scores. Out: a decision file for each score file, and tables of what was removed.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import polars as pl

from curate.progress import Progress
from curate.pruning import removal_table
from curate.pruning.ranking.verdicts import DROPPED, KEPT, KEPT_BY_FLOOR
from curate.pruning.removal_table import Removal, Tally, VerdictTally
from curate.pruning.rules import TRIMMED, Decision, Rule
from curate.pruning.score_column import ScoreColumn
from curate.storage import files
from curate.streaming import rank_correlation
from curate.streaming.rank_correlation import RankSample
from curate.tables import batches, writer
from curate.tables.scored import DECISIONS
from curate.tables.shards import Shard

POOLS = "pools.json"
SCHEMA = {"id": pl.String(), "source": pl.String(), "keep": pl.Boolean(), "reason": pl.String()}


@dataclass(frozen=True)
class DecidedColumn:
    """A column of scores and the rule for it; ``decision`` is None for ``threshold``, which needs no counts."""

    column: ScoreColumn
    rule: Rule
    decision: Decision | None

    def verdicts(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """Return the verdicts (n,) of a frame that begins at position ``start``."""
        if self.decision is None:
            return np.where(self.column.scores(frame) >= self.rule.keep, KEPT, DROPPED)
        return self.decision.of(frame, start)


def rows_of_sources(decided: DecidedColumn) -> tuple[dict[str, int], dict[str, int]]:
    """Return the rows and the kept rows of every source, from counts if these are by source, else by reading again."""
    column, decision = decided.column, decided.decision
    if decision is not None and column.grouping == "source":
        rows = {name: int(column.sizes[number]) for name, number in column.groups.items()}
        return rows, {name: int(decision.kept_rows[number]) for name, number in column.groups.items()}
    tally, start = Tally(), 0
    for _, frame in column.frames(("id", "source", "tokens")):
        keep = _kept(decided.verdicts(frame, start))
        removal_table.add(tally, frame["source"], frame["tokens"], keep)
        start += frame.height
    counts = tally.counts.items()
    return {name: int(count[0]) for name, count in counts}, {name: int(count[1]) for name, count in counts}


def write_decisions(decided: DecidedColumn, out: Path, progress: Progress) -> Removal:
    """Write a decision file for each score file; return tables of what was kept and removed."""
    column, rule, by = decided.column, decided.rule, decided.column.by
    files.sweep(out, DECISIONS)
    # The files of an earlier pruning go first: a job that is stopped half way must not leave a mixture of the two.
    for path in (
        *(out / name for name in (POOLS, removal_table.TABLE, removal_table.PAGE)),
        *files.below(out, DECISIONS),
    ):
        files.remove(path)
    sources, labels, lengths = VerdictTally(), Tally(), RankSample(column.rows)
    reasons = {DROPPED: f"{rule.name}: {by}", KEPT: "kept", TRIMMED: f"trimmed: {by}"}
    reasons[KEPT_BY_FLOOR] = f"kept: floor of its {rule.balance.kind}"
    words, start = pl.Series("reason", [reasons[verdict] for verdict in range(len(reasons))]), 0

    def decisions(shard: Shard) -> Iterator[pl.DataFrame]:
        nonlocal start
        label = ("label",) if "label" in batches.columns(shard) else ()
        # The position runs on from file to file: verdicts near the cuts are stored by position in the whole stream.
        for _, frame in replace(column, shards=(shard,)).frames(("id", "source", "tokens"), label):
            verdict = decided.verdicts(frame, start)
            start += frame.height
            keep = _kept(verdict)
            removal_table.add_verdicts(sources, frame["source"], frame["tokens"], verdict)
            rank_correlation.add(lengths, frame["id"], column.scores(frame), frame["tokens"].to_numpy())
            # With an id in place of a class the table would grow with the rows.
            if label and len(labels.counts) <= removal_table.LARGEST_TABLE:
                removal_table.add(labels, frame["label"], frame["tokens"], keep)
            yield frame.select("id", "source").with_columns(pl.Series("keep", keep), words[verdict])

    for done, shard in enumerate(column.shards, start=1):
        writer.write_whole(files.inside(out, shard.relative + DECISIONS), decisions(shard), SCHEMA)
        progress("decision files written", done, len(column.shards))
    has_classes = 0 < len(labels.counts) <= removal_table.LARGEST_TABLE
    return Removal(
        by=by,
        by_reason=removal_table.reason_table(sources, reasons),
        by_source=removal_table.source_table(sources),
        by_label=removal_table.table(labels, "label") if has_classes else None,
        length_correlation=rank_correlation.spearman(lengths),
        compared_rows=lengths.size,
    )


def _kept(verdict: np.ndarray) -> np.ndarray:
    return np.asarray((verdict == KEPT) | (verdict == KEPT_BY_FLOOR))
