"""Say where the token counts of rows come from, and what to call them.

A count is true if the user's file has it, or a tokenizer made it. Otherwise it is a quarter of the bytes of the text,
which is an estimate, and every text that people read calls it one.
"""

from collections.abc import Iterable, Sequence
from typing import Literal, TypeAlias

from curate.errors import first_few
from curate.pool.pool import Pool

# What the record of a scoring job says: every row of every file has a count in a column of its own; a tokenizer counted
# them (scorer `length` with a tokenizer); or some or all are estimates.
TokenCounts: TypeAlias = Literal["column", "tokenizer", "estimate"]
COLUMN: TokenCounts = "column"
TOKENIZER: TokenCounts = "tokenizer"
ESTIMATE: TokenCounts = "estimate"

HOW_TO_COUNT = "To count them, score with --scorer length:tokenizer=FILE"
TOKENS = "tokens"
ESTIMATED_TOKENS = "tokens (bytes / 4)"


def noun(counts: str) -> str:
    """Return what to call such counts where people read them: ``tokens``, or ``tokens (bytes / 4)``.

    ``counts`` is one of `TokenCounts`; empty, as in records of older versions, where nothing is known.
    """
    return ESTIMATED_TOKENS if counts == ESTIMATE else TOKENS


def together(counts: Iterable[str]) -> str:
    """Return how the rows of several folders are counted together: estimates if any of them has estimates."""
    kinds = set(counts)
    for kind in (ESTIMATE, TOKENIZER, COLUMN):
        if kind in kinds:
            return kind
    return ""


def estimate_lines(pools: Sequence[Pool]) -> tuple[str, ...]:
    """Return a line that names the pools whose tokens are estimates; none if no pool is recorded as such."""
    return lines_on([pool.name for pool in pools if pool.token_counts == ESTIMATE], len(pools))


def lines_on(names: Sequence[str], pools: int) -> tuple[str, ...]:
    """Return a line that says that the tokens of pools with these names, of so many ``pools``, are estimates."""
    if not names:
        return ()
    of_which = "the pools" if len(names) == pools else first_few(names)
    return (
        f"The tokens of {of_which} are estimates: {ESTIMATED_TOKENS}. So are the passes over them. {HOW_TO_COUNT}.",
    )
