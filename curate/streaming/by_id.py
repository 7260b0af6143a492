"""Look up what was learned about a row by the hash of its id, whatever the batch.

In: ids, and values in the order of the hashes of ids. Out: the value of each id. If two rows have the same id, an error
names it.
"""

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming import equal_keys
from curate.tables.batches import Stream, keys


def look_up(ids: pl.Series, seed: int, sorted_keys: np.ndarray, values: np.ndarray, *, otherwise: float) -> np.ndarray:
    """Return the value (n,) float64 of each id, or ``otherwise`` for an id that has none.

    ``sorted_keys`` (m,) uint64 are the sorted hash(id, seed) to which the ``values`` (m,) belong.
    """
    result = np.full(len(ids), otherwise)
    if len(sorted_keys):
        wanted = keys(ids, seed)
        positions = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
        present = sorted_keys[positions] == wanted
        result[present] = values[positions[present]]
    return result


def check_distinct(row_keys: np.ndarray, stream: Stream, scorer: str, seed: int) -> None:
    """Stop if two rows share their id: a learned score belongs to an id, so it would belong to both.

    ``row_keys`` (n,) are the hashes of the ids of ``stream`` with ``seed``; they may be on disk. The message names
    ``scorer``.

    Raises:
        SchemaError: with the number of such rows, and an id that occurs twice.
    """
    parts = [rows for rows in equal_keys.repeated(row_keys) if len(rows)]
    if not parts:
        return
    repeated_key, count = row_keys[parts[0][0]], sum(map(len, parts))
    # the stream is read once more, to name the id behind the hash
    for batch in stream(()):
        same = batch["id"].filter(pl.Series(keys(batch["id"], seed) == repeated_key))
        if len(same):
            raise SchemaError(
                f"{scorer}: {count} rows share their id with another row, such as {same[0]!r}. Make the ids distinct, "
                "or drop the id column: file and row number are the id then"
            )
