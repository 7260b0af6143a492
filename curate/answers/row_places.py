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

SHOWN_IDS = 3  # of a file, in the message about an id that no row has


@dataclass(frozen=True)
class RowPlace:
    """The place of a row: its score file, and its number there, from 0."""

    id: str
    shard: Shard
    row: int


def row_places(ids: Sequence[str], shards: Sequence[Shard], engine: Engine) -> tuple[RowPlace, ...]:
    """Return the places of rows in the order of ``ids``. Of rows with one id, the first is taken.

    Raises:
        SchemaError: if no row has one of the ids.
    """
    places: dict[str, RowPlace] = {}
    wanted = partial(_places_in_file, tuple(ids))
    files = list(enumerate(shards))
    file_of: dict[str, int] = {}
    for number, rows in counted(engine.run(wanted, files), "score files searched", len(files)):
        for name, row in rows:
            # Files end in any order, so the first file is the one with the smallest number.
            if name not in file_of or number < file_of[name]:
                file_of[name], places[name] = number, RowPlace(name, shards[number], row)
    if missing := [name for name in ids if name not in places]:
        example = next(iter(scored.light_batches(RowRange(shards[0]), (), ("id",))), pl.DataFrame({"id": [""]}))
        raise SchemaError(
            f"no row has the id {missing[0]!r}. The first ids of {shards[0].path} are "
            f"{first_few(example['id'].head(SHOWN_IDS).to_list())}. Look for the id in a *.scores.parquet file"
        )
    return tuple(places[name] for name in ids)


def _places_in_file(ids: Sequence[str], file: tuple[int, Shard]) -> tuple[int, list[tuple[str, int]]]:
    """Return the number of a file, and the ids that it has with the first row of each."""
    number, shard = file
    rows: dict[str, int] = {}
    position = 0
    for batch in scored.light_batches(RowRange(shard), (), ("id",)):
        for row in np.flatnonzero(batch["id"].is_in(ids).to_numpy()).tolist():
            rows.setdefault(str(batch["id"][row]), position + row)
        position += batch.height
    return number, list(rows.items())


def row_at(place: RowPlace, shard: Shard, columns: Sequence[str]) -> pl.DataFrame:
    """Return the identity and the named columns of one row of a file that has the same rows as its score file."""
    return next(iter(batches.batches(shard, columns, start=place.row, size=1))).head(1)
