"""Count what pruning removes from each source and each class.

In: batches of decided rows. Out: one table row for each source or class, and one sentence on how the mixture moved.
"""

from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.pruning.score_column import NO_GROUP

LARGEST_TABLE = 10_000  # classes: with more, the label is hardly a class, and no table of classes is made
COUNTS = ("rows", "kept", "tokens", "tokens_kept")
SHOWN_SOURCES = 6  # in the sentence, so that it stays a sentence


@dataclass(frozen=True)
class Tally:
    """Counts so far by name: rows, kept rows, tokens, kept tokens, (4,) each. `add` changes them."""

    counts: dict[str, np.ndarray] = field(default_factory=dict)


def add(tally: Tally, names: pl.Series, tokens: pl.Series, keep: np.ndarray) -> None:
    """Count a batch of rows by their name; ``keep`` (n,) is bool."""
    frame = pl.DataFrame({"name": names.cast(pl.String).fill_null(NO_GROUP), "tokens": tokens, "keep": keep})
    sums = (pl.len(), pl.col("keep").sum(), pl.col("tokens").sum(), pl.col("tokens").filter("keep").sum())
    columns = [total.cast(pl.Int64).alias(name) for name, total in zip(COUNTS, sums, strict=True)]
    for name, *counts in frame.group_by("name").agg(columns).iter_rows():
        tally.counts[name] = tally.counts.get(name, np.zeros(4, dtype=np.int64)) + np.array(counts)


def table(tally: Tally, kind: str) -> pl.DataFrame:
    """Return one row for each name, in the column ``kind``, sorted.

    Columns: rows, kept (rows), removed (share of rows), tokens, tokens_kept, and the share of all tokens before
    (``share``) and after (``share_kept``).
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
            "share": float(tokens / total[2]) if total[2] else 0.0,
            "share_kept": float(tokens_kept / total[3]) if total[3] else 0.0,
        }
        for name, (rows, kept, tokens, tokens_kept) in sorted(tally.counts.items())
    )


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
