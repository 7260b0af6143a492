"""The rows with the smallest hash(id, seed): the same sample of a stream in any order, in memory of the sample."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import xxhash

from curate.errors import SchemaError
from curate.tables import batches as tables

PENDING = 1 << 14  # rows that may wait, at the least, until the largest hashes are thrown out


def smallest(
    batches: Iterator[pl.DataFrame], count: int, columns: Sequence[str], *, seed: int, by: str = ""
) -> pl.DataFrame:
    """Return ``id`` and ``columns`` of at most ``count`` rows (of each value of the column ``by``), in hash order.

    Rows of one id are told apart by what is in them. At most two and a half samples and ``PENDING`` rows are in memory.
    """
    names = list(dict.fromkeys(("id", *([by] if by else []), *columns)))
    held: list[pl.DataFrame] = []
    limits: dict[str, int] = {}  # group -> largest hash that is held, once it is full
    waiting = 0
    for batch in batches:
        keys = tables.keys(batch["id"], seed)
        groups = batch[by].cast(pl.String).to_list() if by else [""] * batch.height
        most = np.array([limits.get(group, 2**64 - 1) for group in groups], dtype=np.uint64)
        part = batch.select(names).with_columns(pl.Series("key", keys, pl.UInt64)).filter(keys <= most)
        if held and held[0].schema != part.schema:
            odd = next(n for n in names if held[0].schema[n] != part.schema[n])
            raise SchemaError(
                f"{odd} is {held[0].schema[odd]} in one file and {part.schema[odd]} in another: make them alike"
            )
        held.append(part)
        waiting += part.height
        if waiting >= max(count // 4, PENDING):
            held, waiting = [_first(held, names, count, by)], 0
            full = held[0].group_by(pl.col(by) if by else pl.lit("").alias("group")).agg(pl.len(), pl.max("key"))
            limits = {str(group): key for group, rows, key in full.rows() if rows == count}
    return (
        _first(held, names, count, by).select(names) if held else pl.DataFrame(schema=dict.fromkeys(names, pl.String()))
    )


def _first(parts: Sequence[pl.DataFrame], names: Sequence[str], count: int, by: str) -> pl.DataFrame:
    """Return the rows with the smallest keys, of each group, in order."""
    frame = pl.concat(parts)
    light = frame.select("key", "id", *([by] if by else []), tie=pl.Series(_contents(frame, names)))
    order = light.with_row_index("at").sort("key", "id", "tie")  # without the vectors
    order = order.filter(pl.int_range(pl.len()).over(by) < count) if by else order.head(count)
    return frame[order["at"]]


def _contents(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return a hash of each row's values where its id repeats, else 0."""
    found = np.zeros(frame.height, np.uint64)
    again = frame["id"].is_duplicated()
    if again.any():
        rows = frame.filter(again).select(names)
        columns = [c.to_numpy() if isinstance(c.dtype, pl.Array) else c.to_list() for c in rows.iter_columns()]
        found[again.to_numpy()] = [
            xxhash.xxh3_64_intdigest(
                b"".join(v.tobytes() if isinstance(v, np.ndarray) else repr(v).encode() for v in row)
            )
            for row in zip(*columns, strict=True)
        ]
    return found
