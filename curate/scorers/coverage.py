"""Coverage of the embedding space, after ZCore (Griffin et al. 2024, github.com/voxel51/zcore)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming import tiles
from curate.streaming.by_id import check_distinct, look_up
from curate.streaming.scratch import scratch_folder
from curate.streaming.tiles import Tiles
from curate.tables.batches import Stream, keys

LEAST_PROBES = 1000  # probes of a plane for a small data set, where a tenth of the rows would be few


@dataclass(frozen=True)
class Coverage:
    """How much of the embedding space a row alone covers; high is rare.

    ``score.coverage`` (float64, any sign): random probes are drawn in random planes of two coordinates. The row nearest
    to a probe gains 1, and the ``near`` rows nearest to that row lose 1 / near each; the scores of all rows sum to 0. A
    row that was not learned from scores 0. ``ids`` is (n,) uint64, the sorted hash(id, seed), ``scores`` (n,) float64.

    Source: Griffin et al. 2024, ZCore, github.com/voxel51/zcore.
    """

    ids: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.coverage": pl.Float64()}
    meanings = {"score.coverage": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"ids": self.ids, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.ids, self.scores, otherwise=0.0)
        return pl.DataFrame({"score.coverage": scores}, schema=dict(self.schema))


@dataclass(frozen=True)
class Probing:
    """Random probes: how many planes, probes in each plane (0: by the number of rows), and neighbours that lose."""

    planes: int
    probes: int
    near: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is probed."""
        if self.planes < 1 or self.probes < 0 or self.near < 1:
            raise SchemaError(
                f"coverage: planes={self.planes} and near={self.near} must be at least 1, probes={self.probes} at "
                "least 0"
            )


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
    """Return the coverage of every row, from random probes in random planes.

    A coordinate of a probe has a triangular distribution: from the smallest value of the rows over their median to the
    largest. Memory is 150 bytes a row; disk is 4 d bytes a row. Ids must be distinct.

    Options:
        planes: random planes, each of two coordinates (default 100).
        probes: probes in each plane; 0 is a tenth of the rows, at least 1,000 (default 0).
        near: rows that lose a share when their neighbour gains (default 10).
        seed: seed of the planes and the probes (default 0).
        embedding: the column of vectors (default emb.hashed).
        scratch: folder for the work files (default: the system's temporary folder).

    Raises:
        SchemaError: if there are too few rows, or fewer than two coordinates vary.
    """
    probing = Probing(planes, probes, near, seed)
    key_parts: list[np.ndarray] = []

    def vectors() -> Iterator[np.ndarray]:
        for batch in stream((embedding,)):
            key_parts.append(keys(batch["id"], seed))
            yield batch[embedding].to_numpy()

    with scratch_folder(scratch, "coverage") as folder:
        tiled = tiles.write(vectors(), Path(folder) / "vectors", f"coverage: {embedding}")
        if tiled.rows <= near:
            raise SchemaError(f"coverage: near={near} neighbours need more than {near} rows; the data has {tiled.rows}")
        key = np.concatenate(key_parts)
        check_distinct(key, stream, "coverage", seed)
        # in the order of the keys, ties between rows do not depend on the order of the stream
        order = np.argsort(key)
        total = _total(tiled, order, probing, embedding)
    return Coverage(key[order], total / near, seed)


def _total(tiled: Tiles, order: np.ndarray, probing: Probing, embedding: str) -> np.ndarray:
    """Return the sum of gains and losses (n,) of the rows in ``order``, in units of 1 / near."""
    low, middle, high = _range(tiled)
    vary = np.flatnonzero((high > low) & np.isfinite(high - low))
    if len(vary) < 2:
        raise SchemaError(
            f"coverage: {len(vary)} of {tiled.width} coordinates of {embedding} vary over {tiled.rows} rows; a plane "
            "needs two. Check that the vectors differ"
        )
    probes = probing.probes or max(LEAST_PROBES, tiled.rows // 10)
    rng, total = np.random.default_rng(probing.seed), np.zeros(tiled.rows, np.int64)
    for _ in range(probing.planes):
        pair = rng.choice(vary, 2, replace=False)
        drawn = rng.triangular(low[pair], np.clip(middle[pair], low[pair], high[pair]), high[pair], (probes, 2))
        _probe(tiles.read(tiled, pair.tolist())[:, order].T, drawn, probing.near, total)
    return total


def _range(tiled: Tiles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the smallest value, the median and the largest value of each coordinate, (d,) float64 each."""
    parts = [(block.min(axis=1), np.median(block, axis=1), block.max(axis=1)) for _, block in tiles.blocks(tiled)]
    low, middle, high = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return low, middle, high


def _probe(plane: np.ndarray, probes: np.ndarray, near: int, total: np.ndarray) -> None:
    """Add the gains and losses of the rows in one plane to ``total`` (n,), in units of 1 / near.

    ``plane`` (n, 2) are two coordinates of the rows, ``probes`` (c, 2) random points.
    """
    from scipy.spatial import cKDTree

    tree = cKDTree(plane)
    winner, hits = np.unique(tree.query(probes)[1], return_counts=True)
    around = tree.query(plane[winner], k=near + 1)[1]
    others = around != winner[:, None]
    # where copies of the winner fill all near + 1 places, the winner is not among them: leave out the last copy instead
    others[others.all(axis=1), -1] = False
    np.add.at(total, winner, hits * near)
    np.subtract.at(total, around[others], np.repeat(hits, near))
