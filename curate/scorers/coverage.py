"""Coverage of the embedding space, less what others cover too; after ZCore (Griffin et al. 2024, voxel51/zcore)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming.by_id import distinct, found_at
from curate.streaming.scratch import workplace
from curate.streaming.tiles import Tiled, columns, some, tiled
from curate.tables.batches import Stream, keys

LEAST = 1000  # probes of a plane


@dataclass(frozen=True)
class Coverage:
    """``score.coverage``: probes that fall nearest to the row, less its share in what neighbours cover (float64).

    High = it stands for a region that few others do; keep high. In random planes of two coordinates random probes are
    drawn; the row nearest to a probe gains 1, and the ``near`` rows nearest to that one lose 1 / near each, so that
    the scores of all rows sum to 0. ``ids`` is (n,) uint64, sorted hash(id, seed), ``scores`` (n,) float64.
    """

    ids: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.coverage": pl.Float64()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"ids": self.ids, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids; a row that was not there to be learned from scores 0."""
        at, known = found_at(keys(batch["id"], self.seed), self.ids)
        return pl.DataFrame({"score.coverage": np.where(known, self.scores[at], 0.0)}, schema=dict(self.schema))


def learn(
    stream: Stream,
    *,
    planes: int = 100,
    probes: int = 0,
    near: int = 10,
    seed: int = 0,
    embedding: str = "emb.hashed",
    scratch: str = "",
) -> Coverage:
    """Draw ``probes`` in each of ``planes`` (0: a tenth of the rows, at least 1,000).

    A probe's coordinates are triangular: from the least over the median to the largest of the rows. Memory is 150 bytes
    a row, disk 4 d bytes a row, in ``scratch``; ids must be distinct.
    """
    if planes < 1 or probes < 0 or near < 1:
        raise SchemaError(f"coverage: planes={planes} and near={near} must be at least 1, probes={probes} at least 0")
    held: list[np.ndarray] = []

    def vectors() -> Iterator[np.ndarray]:
        for batch in stream((embedding,)):
            held.append(keys(batch["id"], seed))
            yield batch[embedding].to_numpy()

    with workplace(scratch, "coverage") as folder:
        found = tiled(vectors(), Path(folder) / "vectors", f"coverage: {embedding}")
        if found.rows <= near:
            raise SchemaError(f"coverage: near={near} neighbours of a row need more rows; the data has {found.rows}")
        key = distinct(np.concatenate(held), stream, "coverage", seed)
        order, rng = np.argsort(key), np.random.default_rng(seed)
        total, (low, middle, high) = np.zeros(found.rows, np.int64), _spread(found)
        vary = np.flatnonzero((high > low) & np.isfinite(high - low))
        if len(vary) < 2:
            raise SchemaError(
                f"coverage: {len(vary)} of {found.width} coordinates of {embedding} vary over {found.rows} rows; a "
                "plane needs two: are all rows alike?"
            )
        count = probes or max(LEAST, found.rows // 10)
        for _ in range(planes):
            pair = rng.choice(vary, 2, replace=False)
            drawn = rng.triangular(low[pair], np.clip(middle[pair], low[pair], high[pair]), high[pair], (count, 2))
            _probe(some(found, pair.tolist())[:, order].T, drawn, near, total)
    return Coverage(key[order], total / near, seed)


def _spread(found: Tiled) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the least, the median and the largest of each coordinate, (d,) float64 each."""
    parts = [(block.min(axis=1), np.median(block, axis=1), block.max(axis=1)) for _, block in columns(found)]
    low, middle, high = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return low, middle, high


def _probe(plane: np.ndarray, probes: np.ndarray, near: int, total: np.ndarray) -> None:
    """Add to ``total`` (n,), in 1 / near, what the probes (c, 2) give and take in a plane (n, 2)."""
    from scipy.spatial import cKDTree

    tree = cKDTree(plane)
    winner, hits = np.unique(tree.query(probes)[1], return_counts=True)
    around = tree.query(plane[winner], k=near + 1)[1]
    others = around != winner[:, None]
    others[others.all(axis=1), -1] = False  # copies of the winner in its place
    np.add.at(total, winner, hits * near)
    np.subtract.at(total, around[others], np.repeat(hits, near))
