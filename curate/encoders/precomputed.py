"""Vectors that were computed elsewhere, looked up by the id of the row.

In: ids. Out: the vectors of a table.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from curate.errors import CurateError, SchemaError, first_few
from curate.tables import batches, readers
from curate.tables.columns import vectors
from curate.tables.reading import Reading
from curate.tables.shards import shards


@dataclass(frozen=True)
class Precomputed:
    """The vector that a table holds for the id of a row.

    The whole table is held in memory: 4 d bytes a row. An id without a vector is an error.

    Options:
        path: file, folder or glob of tables with a column ``id`` and one ``emb.<name>``, rows in any order (required).
        dtype: type of the numbers of vectors in fixed-size binary: float32 or float16 (default: what the file records).
    """

    path: str = ""
    dtype: str = ""
    column = "id"

    @property
    def width(self) -> int:
        """Length d of the vectors."""
        return int(_table(self.path, self.dtype)[1].shape[1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32 vectors; the texts are ids.

        Raises:
            SchemaError: if an id has no vector.
        """
        row_of, table = _table(self.path, self.dtype)
        if missing := [name for name in texts if name not in row_of]:
            raise SchemaError(
                f"id {missing[0]!r} has no vector in {self.path} ({len(row_of)} ids). Embed it, or leave it out"
            )
        return np.asarray(table[[row_of[name] for name in texts]]) if texts else np.zeros((0, self.width), np.float32)


# a table is kept for the process, outside the encoder, which is sent to every worker
@lru_cache(maxsize=2)
def _table(path: str, dtype: str) -> tuple[Mapping[str, int], np.ndarray]:
    """Return the row of each id and the (m, d) float32 vectors."""
    if not path:
        raise CurateError("encoder precomputed needs a table of ids and vectors. Give path=FILE, a folder or a glob")
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for shard in shards([path]):
        columns = readers.head(shard).columns
        names = [name for name in columns if name.startswith(vectors.PREFIX)]
        if len(names) != 1 or "id" not in columns:
            raise SchemaError(
                f"{shard.path} needs a column id and exactly one emb.<name>; its columns are {first_few(columns)}"
            )
        for batch in batches.batches(shard, names, reading=Reading(dtype=dtype), identity=("id",)):
            ids += batch["id"].to_list()
            parts.append(batch[names[0]].to_numpy().copy())
    if len(widths := sorted({part.shape[1] for part in parts})) != 1:
        raise SchemaError(f"{path} has vectors of {widths} numbers. Embed all rows with one encoder")
    row_of = {name: i for i, name in enumerate(ids)}
    if len(row_of) < len(ids):
        raise SchemaError(f"{path} has {len(ids) - len(row_of)} ids twice. Keep one vector for each id")
    return row_of, np.concatenate(parts)
