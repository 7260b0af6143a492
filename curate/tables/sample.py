"""A sample of a stream: the rows whose ids have the smallest hashes.

In: batches, in any order. Out: the same rows for any order of the rows; memory is that of the sample.
"""

from collections.abc import Iterator, Sequence

import numpy as np
import polars as pl
import xxhash

from curate.errors import SchemaError
from curate.tables import batches as tables

PENDING = 1 << 14  # rows that may wait, at the least, before the largest hashes are thrown out


def smallest_hashes(
    batches: Iterator[pl.DataFrame], count: int, columns: Sequence[str], *, seed: int, by: str = ""
) -> pl.DataFrame:
    """Return ``id`` and ``columns`` of the ``count`` rows with the smallest hash(id, seed), in the order of the hashes.

    With ``by`` it is ``count`` rows of each value of that column. A stream with fewer rows is returned whole. Rows with
    one id are told apart by their contents. Memory is at most two and a half samples and ``PENDING`` rows.

    Raises:
        SchemaError: if a column has different types in different batches.
    """
    names = list(dict.fromkeys(("id", *([by] if by else []), *columns)))
    parts: list[pl.DataFrame] = []
    limits: dict[str, int] = {}  # group -> its largest hash in ``parts``, as soon as the group is full
    waiting = 0
    for batch in batches:
        keys = tables.keys(batch["id"], seed)
        groups = batch[by].cast(pl.String).to_list() if by else [""] * batch.height
        largest = np.array([limits.get(group, 2**64 - 1) for group in groups], dtype=np.uint64)
        part = batch.select(names).with_columns(pl.Series("key", keys, pl.UInt64)).filter(keys <= largest)
        _check_types(parts[:1], part, names)
        parts.append(part)
        waiting += part.height
        # sorting costs most: let a quarter of a sample come together before the next sort
        if waiting >= max(count // 4, PENDING):
            parts, waiting = [_first_rows(parts, names, count, by)], 0
            full = parts[0].group_by(pl.col(by) if by else pl.lit("").alias("group")).agg(pl.len(), pl.max("key"))
            limits = {str(group): key for group, rows, key in full.rows() if rows == count}
    if not parts:
        return pl.DataFrame(schema=dict.fromkeys(names, pl.String()))
    return _first_rows(parts, names, count, by).select(names)


def _check_types(before: Sequence[pl.DataFrame], part: pl.DataFrame, names: Sequence[str]) -> None:
    for frame in before:
        for name in names:
            if frame.schema[name] != part.schema[name]:
                raise SchemaError(
                    f"column {name!r} is {frame.schema[name]} in some rows and {part.schema[name]} in others. "
                    "Give it one type in all rows of all files"
                )


def _first_rows(parts: Sequence[pl.DataFrame], names: Sequence[str], count: int, by: str) -> pl.DataFrame:
    """Return the rows with the smallest keys, of each group, in order."""
    frame = pl.concat(parts)
    # sort a light table of positions, so that vectors and texts are moved only once
    light = frame.select("key", "id", *([by] if by else []), tie=pl.Series(_content_hashes(frame, names)))
    order = light.with_row_index("position").sort("key", "id", "tie")
    order = order.filter(pl.int_range(pl.len()).over(by) < count) if by else order.head(count)
    return frame[order["position"]]


def _content_hashes(frame: pl.DataFrame, names: Sequence[str]) -> np.ndarray:
    """Return a hash of each row's values if its id repeats, else 0: only repeated ids need one to be told apart."""
    hashes = np.zeros(frame.height, np.uint64)
    again = frame["id"].is_duplicated()
    if again.any():
        rows = frame.filter(again).select(names)
        columns = [c.to_numpy() if isinstance(c.dtype, pl.Array) else c.to_list() for c in rows.iter_columns()]
        hashes[again.to_numpy()] = [
            xxhash.xxh3_64_intdigest(
                b"".join(v.tobytes() if isinstance(v, np.ndarray) else repr(v).encode() for v in row)
            )
            for row in zip(*columns, strict=True)
        ]
    return hashes
