"""The rows with the smallest hash(id, seed): the same sample of a stream in any order, in memory of the sample."""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import xxhash

from curate import tables
from curate.errors import SchemaError


def smallest(
    batches: Iterator[pl.DataFrame], count: int, columns: Sequence[str], *, seed: int, by: str = ""
) -> pl.DataFrame:
    """Return ``id`` and ``columns`` of at most ``count`` rows (of each value of the column ``by``), in hash order.

    Rows of one id are told apart by what is in them. Equal lengths of vectors are checked.
    """
    names = list(dict.fromkeys(("id", *([by] if by else []), *columns)))
    held: pl.DataFrame | None = None
    limits: dict[str, int] = {}  # group -> largest hash that is held, once it is full
    for batch in batches:
        keys = tables.keys(batch["id"], seed)
        groups = batch[by].cast(pl.String).to_list() if by else [""] * batch.height
        most = np.array([limits.get(group, 2**64 - 1) for group in groups], dtype=np.uint64)
        part = batch.select(names).with_columns(pl.Series("key", keys, pl.UInt64)).filter(keys <= most)
        part = part.with_columns(pl.Series("tie", _contents(part, names), pl.UInt64))
        if held is None:
            held = part
        elif held.schema != part.schema:
            odd = next(n for n in names if held.schema[n] != part.schema[n])
            raise SchemaError(
                f"{odd} is {held.schema[odd]} in one file and {part.schema[odd]} in another: make them alike"
            )
        elif part.height:
            held = pl.concat([held, part])
        if not part.height:
            continue
        held = held.sort("key", "id", "tie")
        held = held.filter(pl.int_range(pl.len()).over(by) < count) if by else held.head(count)
        full = held.group_by(pl.col(by) if by else pl.lit("").alias("group"), maintain_order=True).agg(
            pl.len(), pl.max("key")
        )
        limits = {str(group): key for group, rows, key in full.rows() if rows == count}
    return pl.DataFrame(schema=dict.fromkeys(names, pl.String())) if held is None else held.select(names)


def _contents(frame: pl.DataFrame, names: Sequence[str]) -> list[int]:
    """Return a hash of each row's values."""
    columns = [
        frame[name].to_numpy() if isinstance(frame[name].dtype, pl.Array) else frame[name].to_list() for name in names
    ]
    return [
        xxhash.xxh3_64_intdigest(b"".join(v.tobytes() if isinstance(v, np.ndarray) else repr(v).encode() for v in row))
        for row in zip(*columns, strict=True)
    ]
