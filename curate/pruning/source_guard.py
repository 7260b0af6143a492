"""What pruning removed of every source and class, and a guard against a source that is nearly gone."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import CurateError
from curate.pruning.score_column import NONE

LIMIT = 0.5
MOST = 10_000  # classes that a table has
COUNTS = ("rows", "kept", "tokens", "tokens_kept")


class TooMuch(CurateError):
    """A source would lose more than it may; ``table`` has a row for each such source."""

    def __init__(self, message: str, table: pl.DataFrame) -> None:
        """Keep the table."""
        super().__init__(message)
        self.table = table


@dataclass(frozen=True)
class Tally:
    """Counts so far, (rows, kept, tokens, tokens kept) by name; ``add`` works on it."""

    found: dict[str, np.ndarray] = field(default_factory=dict)


def add(tally: Tally, names: pl.Series, tokens: pl.Series, keep: np.ndarray) -> None:
    """Count a batch of rows."""
    frame = pl.DataFrame({"name": names.cast(pl.String).fill_null(NONE), "tokens": tokens, "keep": keep})
    sums = (pl.len(), pl.col("keep").sum(), pl.col("tokens").sum(), pl.col("tokens").filter("keep").sum())
    named = [one.cast(pl.Int64).alias(name) for name, one in zip(COUNTS, sums, strict=True)]
    for name, *counts in frame.group_by("name").agg(named).iter_rows():
        tally.found[name] = tally.found.get(name, np.zeros(4, dtype=np.int64)) + np.array(counts)


def table(tally: Tally, what: str) -> pl.DataFrame:
    """Return one row a name: rows, kept, removed (share of rows), tokens and tokens kept, each one's share of them."""
    total = np.sum(list(tally.found.values()), axis=0)
    return pl.DataFrame(
        {
            what: name,
            "rows": int(n),
            "kept": int(kept),
            "removed": 1 - float(kept / n),
            "tokens": int(tokens),
            "tokens_kept": int(left),
            "share": float(tokens / total[2]) if total[2] else 0.0,
            "share_kept": float(left / total[3]) if total[3] else 0.0,
        }
        for name, (n, kept, tokens, left) in sorted(tally.found.items())
    )


def guard(sizes: Mapping[str, int], kept: Mapping[str, int], *, asked: float, limit: float) -> None:
    """Stop if a source keeps less than 1 - ``limit`` of what it would if all sources were pruned alike.

    ``asked`` is the share of rows that the rule is told to keep: 1 for a threshold. Sources so small that a whole row
    is not due to them are let pass, as a floor of 1 - ``limit`` would.
    """
    left = {name: kept[name] / size for name, size in sizes.items()}
    due = {name: int(np.floor((1 - limit) * asked * size)) for name, size in sizes.items()}
    worst = sorted((name for name in sizes if kept[name] < due[name]), key=lambda name: (left[name], name))
    if not worst:
        return
    most = 1 - (1 - limit) * asked
    found = pl.DataFrame(
        {"source": n, "rows": sizes[n], "kept": kept[n], "removed": 1 - left[n], "allowed": most} for n in worst
    )
    share = "" if asked == 1 else f" where {1 - asked:.3g} of all are to go"
    others = f" (and {len(worst) - 1} more sources too many)" if len(worst) > 1 else ""
    enough = np.ceil((1 - left[worst[0]] / asked) * 1000) / 1000
    remedy = "Lower --keep" if asked == 1 else "Give --balance source to keep a floor of each"
    raise TooMuch(
        f"source {worst[0]!r} would lose {1 - left[worst[0]]:.3g} of its rows{share}{others}; --max-source-removal "
        f"{limit:g} allows {most:.3g}. Nothing was written. {remedy}, or go on with --max-source-removal {enough:g}",
        found,
    )


def shift(by_source: pl.DataFrame) -> str:
    """Say in one line how the sources' shares of tokens change, the most changed first."""
    moved = by_source.with_columns((pl.col("share_kept") - pl.col("share")).alias("change"))
    moved = moved.sort(pl.col("change").abs(), "source", descending=[True, False])
    parts = [f"{n} {a:.3g} -> {b:.3g}" for n, a, b in moved.select("source", "share", "share_kept").head(6).iter_rows()]
    more = f" and {moved.height - 6} more" if moved.height > 6 else ""
    apart = float(moved["change"].abs().sum()) / 2
    return f"shares of tokens before -> after: {', '.join(parts)}{more} ({apart:.1%} of the mixture moved)"
