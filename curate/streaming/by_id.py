"""Look up what was learned about a row by the hash of its id, whatever the batch.

In: hashes of ids. Out: positions in a sorted array, or an error that names an id which two rows share.
"""

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.tables.batches import Stream, keys


def find_keys(wanted: np.ndarray, sorted_keys: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return where each (n,) hash stands among the (m,) ``sorted_keys``, and whether it is there.

    The position of a hash that is not there is valid, but means nothing.
    """
    if not len(sorted_keys):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    positions = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
    return positions, sorted_keys[positions] == wanted


def check_distinct(row_keys: np.ndarray, stream: Stream, scorer: str, seed: int) -> None:
    """Stop if two rows share their id: a learned score belongs to an id, so it would belong to both.

    ``row_keys`` are the (n,) hashes of the ids of ``stream`` under ``seed``; ``scorer`` is named in the message.

    Raises:
        SchemaError: with the number of such rows, and an id that occurs twice.
    """
    order = np.sort(row_keys)
    same = np.zeros(len(order) + 1, bool)
    same[1:-1] = order[1:] == order[:-1]
    repeated = order[same[1:] | same[:-1]]
    if len(repeated):
        refuse_repeated_id(int(repeated[0]), len(repeated), stream, scorer, seed)


def refuse_repeated_id(repeated_key: int, count: int, stream: Stream, scorer: str, seed: int) -> None:
    """Stop with an error about ``count`` rows that share their ids; read the stream to name one of the ids."""
    for batch in stream(()):
        same = batch["id"].filter(pl.Series(keys(batch["id"], seed) == np.uint64(repeated_key)))
        if len(same):
            raise SchemaError(
                f"{scorer}: {count} rows share their id with another row, such as {same[0]!r}. Make the ids distinct, "
                "or drop the id column: file and row number are the id then"
            )
