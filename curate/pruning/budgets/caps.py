"""Read `--cap`, and drop the rows that are more than a cap allows of one value of a column.

In: the text of the option, and the rows of each value in the order of a rule. Out: positions of rows that are dropped.
A value is known by a hash of 64 bits, so that millions of values take no memory: rows are sorted by this hash on disk.
Of 1e8 distinct values, two have the same hash with a probability of 3e-4.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pyarrow as pa

from curate import written_numbers
from curate.errors import SchemaError
from curate.pruning.ranking.external_sort import ExternalSort
from curate.pruning.ranking.prefixes import sums_of_segments
from curate.tables import batches
from curate.tables.shards import Shard

FORMS = "COLUMN=ROWS, COLUMN=TOKENStokens or COLUMN=even, as in conversation=1, source=2e9tokens or domain=even"
CAP = "cap: "  # begins the reason of a row that a cap drops
TOKENS = "tokens"  # ends a number of tokens
# Limits that one reading of the rows tells apart. If no group has more rows than this, one reading finds the limit.
BINS = 1 << 16


@dataclass(frozen=True)
class Cap:
    """At most ``amount`` rows or tokens of each value of ``column``; ``even``: as many as the budget allows."""

    text: str
    column: str
    how: Literal["rows", "tokens", "even"]
    amount: int = 0

    @property
    def reason(self) -> str:
        """Return the reason of a row that the cap drops."""
        return f"{CAP}{self.text}"


def parse(texts: Sequence[str]) -> tuple[Cap, ...]:
    """Read the values of ``--cap``.

    Raises:
        SchemaError: if one has none of the forms in `FORMS`, two cap the same column, or an even cap is not the last.
    """
    caps = tuple(_parsed(text) for text in texts)
    columns = [cap.column for cap in caps]
    if twice := next((name for name in columns if columns.count(name) > 1), None):
        raise SchemaError(f"--cap is given twice for the column {twice!r}. Leave one of them out")
    if even := next((cap for cap in caps[:-1] if cap.how == "even"), None):
        raise SchemaError(
            f"--cap {even.text} shares out the budget among what the other caps leave, and --cap {caps[-1].text} comes "
            f"after it. Give --cap {even.text} last, and no other even cap"
        )
    return caps


def _parsed(text: str) -> Cap:
    # The name of a column may hold "=", but what follows it cannot.
    column, equals, rest = text.rpartition("=")
    if not (column and equals and rest):
        raise SchemaError(f"--cap {text!r} is not known. Write {FORMS}")
    if rest == "even":
        return Cap(text, column, "even")
    number = rest.removesuffix(TOKENS)
    try:
        amount = written_numbers.number(number)
    except ValueError:
        raise SchemaError(f"--cap {text!r}: {number!r} is not a number. Write {FORMS}") from None
    if not (amount >= 1 and np.isfinite(amount) and amount % 1 == 0):
        raise SchemaError(f"--cap {text!r}: {number} must be a whole number of at least 1")
    return Cap(text, column, "tokens" if rest.endswith(TOKENS) else "rows", int(amount))


def check_columns(caps: Sequence[Cap], shards: Sequence[Shard]) -> None:
    """Check that the values of capped columns of score files can be compared.

    Columns that score files lack are those of the inputs: see `capped_inputs`.

    Raises:
        SchemaError: if a column holds vectors or records.
    """
    for cap in caps:
        for shard in shards if cap.column not in batches.IDENTITY else ():
            columns = batches.columns(shard)
            if cap.column not in columns:
                continue
            if pa.types.is_nested(columns[cap.column]) or pa.types.is_fixed_size_binary(columns[cap.column]):
                raise SchemaError(
                    f"--cap {cap.text}: {shard.path} has {cap.column} as {columns[cap.column]}, which has no single "
                    "value a row. Name a column of text or numbers"
                )


def dropped(rows: ExternalSort, limit: int) -> Iterator[np.ndarray]:
    """Yield the positions of the rows that a cap drops; ``rows`` come by cell, and the best of a cell first.

    Of each cell the longest prefix is kept whose weights sum to at most ``limit``.
    """
    for block, sums in _running_sums(rows):
        yield block["position"][sums > limit]


def even_level(rows: ExternalSort, budget: int) -> tuple[int, int]:
    """Return the even limit of all cells: the largest at which what they keep is within ``budget``.

    Also returns how much of the budget is left at this limit. A cell keeps its longest prefix within the limit, as in
    `dropped`: the rows whose running sum is within it. So what all cells keep at a limit is the weight of such rows,
    and one reading of the rows tells `BINS` limits apart.
    """
    high, total = 0, 0
    for block, sums in _running_sums(rows):
        high, total = max(high, int(sums.max())), total + int(block["weight"].sum())
    if total <= budget:
        return high, budget - total
    # At `low` the cells keep `kept`, which is within the budget; at `high` they keep more than the budget.
    low, kept = 0, 0
    while high - low > 1:
        step = -(-(high - low) // BINS)
        weights = np.zeros(BINS, np.int64)
        for block, sums in _running_sums(rows):
            inside = (sums > low) & (sums <= high)
            np.add.at(weights, (sums[inside] - low - 1) // step, block["weight"][inside])
        totals = kept + np.cumsum(weights)
        fitting = int(np.searchsorted(totals, budget, side="right"))
        kept = int(totals[fitting - 1]) if fitting else kept
        low, high = low + fitting * step, min(high, low + (fitting + 1) * step)
    return low, budget - kept


def dropped_evenly(rows: ExternalSort, level: int, rest: int) -> Iterator[np.ndarray]:
    """Yield the positions of rows that are more than their cell's even part; see `even_level`.

    Cells whose next row lies just above the limit take it, in the order of their hashes, as long as the ``rest`` of the
    budget lasts.
    """
    for block, sums in _running_sums(rows):
        over = sums > level
        next_rows = np.flatnonzero(sums == level + 1)
        weight = np.cumsum(block["weight"][next_rows])
        fitting = next_rows[weight <= rest]
        if len(fitting):
            over[fitting] = False
            rest -= int(weight[len(fitting) - 1])
        # Nothing is taken after the first row that does not fit.
        rest = rest if len(fitting) == len(next_rows) else 0
        yield block["position"][over]


def _running_sums(rows: ExternalSort) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield blocks, and the sum of weights of each row's cell up to and with the row, (m,)."""
    last_cell, last_sum = None, 0
    for block in rows.blocks():
        sums, first = sums_of_segments(block["cell"], block["weight"])
        if last_cell is not None and block["cell"][0] == last_cell:
            end = first[1] if len(first) > 1 else len(block)
            sums[:end] += last_sum
        last_cell, last_sum = block["cell"][-1], int(sums[-1])
        yield block, sums
