"""Scores that are known by the hash of an id: found again, whatever the batch."""

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.tables.batches import Stream, keys


def found_at(wanted: np.ndarray, held: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the place (n,) of each hash among the sorted (m,) ``held``, and whether it is there."""
    if not len(held):
        return np.zeros(len(wanted), np.int64), np.zeros(len(wanted), bool)
    at = np.minimum(np.searchsorted(held, wanted), len(held) - 1)
    return at, held[at] == wanted


def distinct(key: np.ndarray, stream: Stream, who: str, seed: int) -> np.ndarray:
    """Return the (n,) hashes of ids; two rows with one id are an error, for a score belongs to an id."""
    order = np.sort(key)
    twice = order[1:][order[1:] == order[:-1]]
    for batch in stream(()) if len(twice) else ():
        same = batch["id"].filter(pl.Series(keys(batch["id"], seed) == twice[0]))
        if len(same):
            raise SchemaError(
                f"{who}: {len(twice)} rows share their id with another, such as {same[0]!r}: make ids distinct, or "
                "leave the id column out (file and row number are the id then)"
            )
    return key
