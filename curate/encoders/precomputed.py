"""Vectors that were computed elsewhere: a table of ids and vectors, looked up by the id of the row."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from curate.errors import CurateError, SchemaError
from curate.tables import readers, vectors
from curate.tables.shards import shards


@dataclass(frozen=True)
class Precomputed:
    """The vector of the row's id in ``path``: files with a column ``id`` and one ``emb.<name>``, in any order.

    An id without a vector is an error. The whole table is held in memory: 4 d bytes a row.
    """

    path: str = ""
    column = "id"

    @property
    def width(self) -> int:
        """Dimension d of the vectors."""
        return int(_table(self.path)[1].shape[1])

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Return (n, width) float32; the texts are ids."""
        rows, found = _table(self.path)
        if missing := [one for one in texts if one not in rows]:
            raise SchemaError(
                f"id {missing[0]!r} has no vector in {self.path} ({len(rows)} ids): embed it, or leave it out"
            )
        return np.asarray(found[[rows[one] for one in texts]]) if texts else np.zeros((0, self.width), np.float32)


@lru_cache(maxsize=2)
def _table(path: str) -> tuple[Mapping[str, int], np.ndarray]:
    """Return the row of each id and the (m, d) float32 vectors."""
    if not path:
        raise CurateError("encoder precomputed needs a table of ids and vectors: give path=FILE, a folder or a glob")
    ids: list[str] = []
    parts: list[np.ndarray] = []
    for shard in shards([path]):
        names = [name for name in readers.head(shard).columns if name.startswith(vectors.PREFIX)]
        if len(names) != 1 or "id" not in readers.head(shard).columns:
            raise SchemaError(f"{shard.path} needs a column id and one emb.<name>; it has {', '.join(names) or 'none'}")
        for batch in readers.read(shard, ["id", names[0]], 4096):
            ids += map(str, batch.column("id").to_pylist())
            parts.append(vectors.from_arrow(names[0], batch.column(names[0]), shard.path).to_numpy().copy())
    if len({part.shape[1] for part in parts}) != 1:
        raise SchemaError(
            f"{path} has vectors of {sorted({part.shape[1] for part in parts})} numbers: one length is needed"
        )
    rows = {one: i for i, one in enumerate(ids)}
    if len(rows) < len(ids):
        raise SchemaError(f"{path} has {len(ids) - len(rows)} ids twice: which vector is meant?")
    return rows, np.concatenate(parts)
