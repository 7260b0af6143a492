"""Stop a pruning job before it removes nearly all of one source.

In: rows of every source, before and after pruning. Out: nothing, or an error that names the worst source.
A score that happens to follow the source (length, language) can empty it without anyone noticing.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from math import ceil, floor

import polars as pl

from curate.errors import CurateError, amount

MAX_REMOVAL = 0.5  # as the floor of classes in Sorscher et al. 2022 (arXiv 2206.14486): half of an even share is kept


class SourceNearlyGone(CurateError):
    """A source would lose more rows than allowed. ``table`` lists every such source, the worst first."""

    def __init__(self, message: str, table: pl.DataFrame) -> None:
        """Keep the table, so that the command can print it above the message."""
        super().__init__(message)
        self.table = table


@dataclass(frozen=True)
class SourceRows:
    """One source and what pruning would leave of it. Counts are rows."""

    name: str
    rows: int
    kept_rows: int

    @property
    def kept_share(self) -> float:
        """Return the share of its rows that is kept."""
        return self.kept_rows / self.rows

    @property
    def removed_share(self) -> float:
        """Return the share of its rows that is lost."""
        return 1 - self.kept_share


def check_sources(rows: Mapping[str, int], kept_rows: Mapping[str, int], *, keep: float, max_removal: float) -> None:
    """Stop if any source loses far more than the others.

    If all sources were pruned alike, each would keep the share ``keep`` of its rows. Every source must keep at least
    ``1 - max_removal`` of that. For a threshold, which promises no share, ``keep`` is 1.

    Raises:
        SourceNearlyGone: with the worst source, what it would lose, and the options that help.
    """
    # Rounding down lets tiny sources pass: half of 0.3 x 6 rows is 0.9 rows, and nobody is owed a part of a row.
    least_rows = {name: floor((1 - max_removal) * keep * count) for name, count in rows.items()}
    starved = [SourceRows(name, rows[name], kept_rows[name]) for name in rows if kept_rows[name] < least_rows[name]]
    if starved:
        starved.sort(key=lambda source: (source.kept_share, source.name))
        allowed = 1 - (1 - max_removal) * keep
        raise SourceNearlyGone(_message(starved, keep, max_removal, allowed), _table(starved, allowed))


def _message(starved: list[SourceRows], keep: float, max_removal: float, allowed: float) -> str:
    worst = starved[0]
    overall = "" if keep == 1 else f", where {1 - keep:.3g} of all rows are removed"
    more = len(starved) - 1
    others = f" (and {amount(more, 'more source')} {'loses' if more == 1 else 'lose'} too many)" if more else ""
    # Rounded up to three places, so that the value that we recommend is enough.
    enough = ceil((1 - worst.kept_share / keep) * 1000) / 1000
    remedy = "Lower --keep" if keep == 1 else "Use --balance source to keep some of each"
    return (
        f"source {worst.name!r} would lose {worst.removed_share:.3g} of its rows{overall}{others}. "
        f"--max-source-removal {max_removal:g} allows {allowed:.3g}. Nothing was written. {remedy}, or continue with "
        f"--max-source-removal {enough:g}"
    )


def _table(starved: list[SourceRows], allowed: float) -> pl.DataFrame:
    return pl.DataFrame(
        {
            "source": source.name,
            "rows": source.rows,
            "kept": source.kept_rows,
            "removed": source.removed_share,
            "allowed": allowed,
        }
        for source in starved
    )
