"""Count what pruning removes from each source and each class, and warn if it selects mostly by length.

In: batches of decided rows. Out: tables of rows and tokens, and sentences for people.
"""

from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import TypeVar, cast

import numpy as np
import polars as pl

from curate.errors import amount
from curate.pruning.columns.score_column import NO_GROUP
from curate.pruning.rules._verdicts import KEPT, KEPT_BY_FLOOR
from curate.tables.token_counts import TOKENS

LARGEST_TABLE = 10_000  # classes: with more, the label is hardly a class, and no table of classes is made
COUNTS = ("rows", "kept", "tokens", "tokens_kept")
SHOWN_SOURCES = 6  # in the sentence, so that it stays a sentence
KEPT_REASON = "kept"  # the reason of all kept rows, including rows that only a floor keeps
TABLE, PAGE = "removal.parquet", "removal.md"  # the files below the output: for programs and for people
SCHEMA = {"source": pl.String(), "reason": pl.String(), "rows": pl.Int64(), "tokens": pl.Int64()}
# Bounds of (share of tokens kept) / (share of rows kept). Outside them, most kept rows are short, or most are long.
LEAST_RATIO, LARGEST_RATIO = 0.5, 2.0
# The largest absolute Spearman correlation of a score with the tokens of a row. Above it, the score selects mostly by
# length.
LARGEST_CORRELATION = 0.8
# With fewer rows there is no warning: a random score reaches this correlation with a probability of over 2 %.
LEAST_ROWS = 8
LENGTHS = ("tokens", "score.length")  # scores that are meant to follow length
# The largest share of a source that requirements usually remove. The whole cleaning of RefinedWeb, with duplicates,
# removes just under this share of a crawl of the web (Penedo et al. 2023, arXiv 2306.01116, figure 2).
USUAL_LOSS = 0.9


@dataclass(frozen=True)
class Tally:
    """Counts so far by name: rows, kept rows, tokens, kept tokens, (4,) each. `add` changes them."""

    counts: dict[str, np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class VerdictTally:
    """Rows and tokens so far by source and verdict, (2,) each. `add_verdicts` changes them."""

    counts: dict[tuple[str, int], np.ndarray] = field(default_factory=dict)


@dataclass(frozen=True)
class Removal:
    """What pruning kept and removed, in rows and tokens. ``by`` is the score that rows were ranked by; "" without one.

    ``by_reason`` has one row for each source and reason: source, reason, rows, tokens. ``by_source`` and ``by_label``
    are made by `table`; ``by_label`` is None if there are no classes. ``length_correlation`` is Spearman's rank
    correlation of the score with the tokens of a row, over ``compared_rows`` rows. It is None if the score or the
    tokens are constant. ``requirements`` are the conditions that every row had to meet. ``examples`` shows a few
    removed rows of each reason: reason, id, source, values (those that decided), text (its beginning).
    """

    by: str
    by_reason: pl.DataFrame
    by_source: pl.DataFrame
    by_label: pl.DataFrame | None
    length_correlation: float | None
    compared_rows: int
    requirements: tuple[str, ...] = ()
    examples: pl.DataFrame = field(default_factory=pl.DataFrame)
    # What people read for tokens: see `curate.tables.token_counts`.
    tokens_noun: str = TOKENS

    @property
    def by_reason_in_all(self) -> pl.DataFrame:
        """Return one row for each reason, over all sources: reason, rows, tokens.

        Kept rows come first, then the requirements in their order, and then the ranked decision.
        """
        totals = self.by_reason.group_by("reason").agg(pl.col("rows", "tokens").sum())
        order = {reason: place for place, reason in enumerate((KEPT_REASON, *self.requirements))}
        place = pl.col("reason").replace_strict(order, default=len(order), return_dtype=pl.Int64)
        return totals.sort(place, "reason")

    @property
    def total(self) -> dict[str, int]:
        """Return the rows, kept rows, tokens and kept tokens of all sources."""
        return {name: int(self.by_source[name].sum()) for name in COUNTS}


def add(tally: Tally, names: pl.Series, tokens: pl.Series, keep: np.ndarray) -> None:
    """Count a batch of rows by their name; ``keep`` (n,) is bool."""
    # Summed by polars and added to numpy integers: exact for any number of tokens below 2^63.
    frame = pl.DataFrame({"name": names.cast(pl.String).fill_null(NO_GROUP), "tokens": tokens, "keep": keep})
    sums = (pl.len(), pl.col("keep").sum(), pl.col("tokens").sum(), pl.col("tokens").filter("keep").sum())
    columns = [total.cast(pl.Int64).alias(name) for name, total in zip(COUNTS, sums, strict=True)]
    for name, *counts in frame.group_by("name").agg(columns).iter_rows():
        tally.counts[name] = tally.counts.get(name, np.zeros(4, dtype=np.int64)) + np.array(counts)


def add_verdicts(tally: VerdictTally, sources: pl.Series, tokens: pl.Series, verdict: np.ndarray) -> None:
    """Count a batch of rows by source and verdict. ``verdict`` (n,) holds the numbers of verdicts."""
    frame = pl.DataFrame({"source": sources, "tokens": tokens, "verdict": verdict})
    columns = (pl.len().cast(pl.Int64).alias("rows"), pl.col("tokens").sum().cast(pl.Int64))
    for source, number, *counts in frame.group_by("source", "verdict").agg(columns).iter_rows():
        key = (str(source), int(number))
        tally.counts[key] = tally.counts.get(key, np.zeros(2, dtype=np.int64)) + np.array(counts)


TallyOf = TypeVar("TallyOf", Tally, VerdictTally)


def merge(tally: TallyOf, other: TallyOf) -> None:
    """Add the counts of other rows."""
    counts = cast(dict[Hashable, np.ndarray], tally.counts)
    for key, count in other.counts.items():
        counts[key] = counts[key] + count if key in counts else count


def reason_table(tally: VerdictTally, reasons: Mapping[int, str]) -> pl.DataFrame:
    """Return one row for each source and reason, sorted, the kept rows of a source first: see `Removal`.

    ``reasons`` maps each verdict to its words. Kept rows have the reason ``kept``, whether or not a floor kept them.
    """
    words = {**reasons, KEPT: KEPT_REASON, KEPT_BY_FLOOR: KEPT_REASON}
    rows = [
        (source, words[verdict], int(rows), int(tokens)) for (source, verdict), (rows, tokens) in tally.counts.items()
    ]
    frame = pl.DataFrame(rows, schema=SCHEMA, orient="row")
    sums = frame.group_by("source", "reason").agg(pl.col("rows", "tokens").sum())
    return sums.sort("source", pl.col("reason") != KEPT_REASON, "reason")


def source_table(tally: VerdictTally) -> pl.DataFrame:
    """Return one row for each source, as `table` does."""
    sources = Tally()
    for (source, verdict), (rows, tokens) in tally.counts.items():
        keep = verdict in (KEPT, KEPT_BY_FLOOR)
        counts = np.array([rows, rows * keep, tokens, tokens * keep])
        sources.counts[source] = sources.counts.get(source, np.zeros(4, dtype=np.int64)) + counts
    return table(sources, "source")


def table(tally: Tally, kind: str) -> pl.DataFrame:
    """Return one row for each name, in the column ``kind``, sorted.

    Columns: rows, kept (rows), removed (share of rows), tokens, tokens_kept, tokens_removed (share of tokens), and the
    share of all tokens before (``share``) and after (``share_kept``).
    """
    total = np.sum(list(tally.counts.values()), axis=0)
    return pl.DataFrame(
        {
            kind: name,
            "rows": int(rows),
            "kept": int(kept),
            "removed": 1 - float(kept / rows),
            "tokens": int(tokens),
            "tokens_kept": int(tokens_kept),
            "tokens_removed": 1 - float(tokens_kept / tokens) if tokens else 0.0,
            "share": float(tokens / total[2]) if total[2] else 0.0,
            "share_kept": float(tokens_kept / total[3]) if total[3] else 0.0,
        }
        for name, (rows, kept, tokens, tokens_kept) in sorted(tally.counts.items())
    )


def summary(removal: Removal) -> str:
    """Return one line on what is kept in all, in rows and in tokens."""
    rows, kept, tokens, tokens_kept = (removal.total[name] for name in COUNTS)
    of_tokens = f"{tokens_kept:,} of {tokens:,} {removal.tokens_noun}"
    return f"kept {kept:,} of {rows:,} rows ({_percent(kept, rows)}) and {of_tokens} ({_percent(tokens_kept, tokens)})"


def shift(by_source: pl.DataFrame) -> str:
    """Return one line on how the sources' shares of tokens change, the largest change first."""
    changes = by_source.with_columns((pl.col("share_kept") - pl.col("share")).alias("change"))
    changes = changes.sort(pl.col("change").abs(), "source", descending=[True, False])
    shown = changes.select("source", "share", "share_kept").head(SHOWN_SOURCES)
    parts = [f"{name} {before:.3g} -> {after:.3g}" for name, before, after in shown.iter_rows()]
    more = f" and {changes.height - SHOWN_SOURCES} more" if changes.height > SHOWN_SOURCES else ""
    # Half the sum of absolute changes: what one source gives, another receives.
    moved = float(changes["change"].abs().sum()) / 2
    return f"shares of tokens before -> after: {', '.join(parts)}{more} ({moved:.1%} of the mixture moved)"


def warnings(removal: Removal) -> tuple[str, ...]:
    """Return what a user should know: kept rows that are short or long, a score that follows length, lost sources."""
    rows, kept, tokens, tokens_kept = (removal.total[name] for name in COUNTS)
    lines = list(_lost_sources(removal))
    ratio = (tokens_kept / tokens) / (kept / rows) if kept and tokens else 1.0
    if not LEAST_RATIO <= ratio <= LARGEST_RATIO:
        lines.append(
            f"{_percent(kept, rows)} of the rows are kept, but {_percent(tokens_kept, tokens)} of the tokens: most "
            f"kept rows are {'short' if ratio < 1 else 'long'}. Choose another score or rule, or set --keep by the "
            "share of tokens that you want to keep"
            if removal.by
            else f"kept rows are {'short' if ratio < 1 else 'long'}. See whether the requirements select by length"
        )
    r = removal.length_correlation
    enough_rows = removal.compared_rows >= LEAST_ROWS
    if removal.by not in LENGTHS and enough_rows and r is not None and abs(r) > LARGEST_CORRELATION:
        lines.append(
            f"{removal.by} follows length: {'long' if r > 0 else 'short'} rows have high scores (its Spearman "
            f"correlation with tokens is {r:.2f} over {removal.compared_rows:,} rows; the limit is "
            f"{LARGEST_CORRELATION:g} either way). Choose a score that does not depend on length, or --by score.length "
            "if you want to prune by length"
        )
    return tuple(lines)


def _lost_sources(removal: Removal) -> Iterator[str]:
    """Yield a line if the requirements remove nearly all rows of some sources, with what removed most of the first."""
    failed = removal.by_reason.filter(pl.col("reason").is_in(removal.requirements))
    if failed.is_empty():
        return
    rows = failed.group_by("source").agg(pl.col("rows").sum().alias("failed")).join(removal.by_source, on="source")
    share = pl.col("failed") / pl.col("rows")
    lost = rows.filter(share > USUAL_LOSS).sort(share, "source", descending=[True, False])
    if lost.height:
        source, count, total = lost.select("source", "failed", "rows").row(0)
        worst = failed.filter(pl.col("source") == source).sort("rows", "reason", descending=[True, False])
        lost_rows = f"all {count:,} rows" if count == total else f"{count:,} of {total:,} rows"
        others = f" (and over {USUAL_LOSS:.0%} of {amount(lost.height - 1, 'more source')})" if lost.height > 1 else ""
        quoted = "'" + source.replace("'", "''") + "'"  # as SQL writes a text
        yield (
            f"requirements remove {lost_rows} of source {source!r}{others}; {worst['reason'][0]!r} removes "
            f"{worst['rows'][0]:,} of them. Weaken it, or add OR source = {quoted} to it if it is made for other texts"
        )


def _percent(part: int, whole: int) -> str:
    """Return a share in percent, three digits of it."""
    return f"{100 * part / whole:.3g} %" if whole else "0 %"
