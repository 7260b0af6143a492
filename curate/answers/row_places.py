"""Find rows by their ids in the score files of a folder.

In: ids, and score files. Out: the place of each row.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.errors import SchemaError, first_few
from curate.progress import counted
from curate.tables import batches, scored
from curate.tables.row_ranges import RowRange
from curate.tables.shards import Shard

SHOWN_ROWS = 20  # of one id: ids may repeat, by mistake in every row
SHOWN_IDS = 3  # of a file, in the message about an id that no row has


@dataclass(frozen=True)
class RowPlace:
    """The place of a row: its score file, and its number there, from 0.

    ``rows_with_id`` is how many rows have its id.
    """

    id: str
    shard: Shard
    row: int
    rows_with_id: int = 1


def row_places(ids: Sequence[str], shards: Sequence[Shard], engine: Engine) -> tuple[RowPlace, ...]:
    """Return the places of rows in the order of ``ids``; of rows with one id, the first `SHOWN_ROWS`.

    Raises:
        SchemaError: if no row has one of the ids.
    """
    wanted = partial(_places_in_file, tuple(ids))
    files = list(enumerate(shards))
    counts = dict.fromkeys(ids, 0)
    rows_of: dict[str, list[tuple[int, int]]] = {name: [] for name in ids}
    for number, rows_by_id in counted(engine.run(wanted, files), "score files searched", len(files)):
        for name, (count, rows) in rows_by_id.items():
            counts[name] += count
            rows_of[name] += [(number, row) for row in rows]
    if missing := [name for name in ids if not counts[name]]:
        example = next(iter(scored.light_batches(RowRange(shards[0]), (), ("id",))), pl.DataFrame({"id": [""]}))
        raise SchemaError(
            f"no row has the id {missing[0]!r}. The first ids of {shards[0].path} are "
            f"{first_few(example['id'].head(SHOWN_IDS).to_list())}. Look for the id in a *.scores.parquet file"
        )
    # Files end in any order.
    return tuple(
        RowPlace(name, shards[number], row, counts[name])
        for name in ids
        for number, row in sorted(rows_of[name])[:SHOWN_ROWS]
    )


def _places_in_file(ids: Sequence[str], file: tuple[int, Shard]) -> tuple[int, dict[str, tuple[int, list[int]]]]:
    """Return the number of a file, and for each id in it the number of rows and the first of them."""
    number, shard = file
    rows: dict[str, tuple[int, list[int]]] = {}
    position = 0
    for batch in scored.light_batches(RowRange(shard), (), ("id",)):
        for row in np.flatnonzero(batch["id"].is_in(ids).to_numpy()).tolist():
            count, first = rows.get(name := str(batch["id"][row]), (0, []))
            rows[name] = count + 1, first + [position + row] * (count < SHOWN_ROWS)
        position += batch.height
    return number, rows


def row_at(place: RowPlace, shard: Shard, columns: Sequence[str]) -> pl.DataFrame:
    """Return the identity and the named columns of one row of a file that has the same rows as its score file."""
    return next(iter(batches.batches(shard, columns, start=place.row, size=1))).head(1)
