"""Coverage of the embedding space, after ZCore (Griffin et al. 2024, arXiv 2411.15349).

The score is a mean over random planes of two coordinates, and the gain of a row varies much from plane to plane. So the
planes are split into two independent halves, and planes are added until both halves choose nearly the same rows.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import combinations, cycle, islice, repeat

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.progress import report
from curate.streaming import tiles
from curate.streaming.by_id import check_distinct, look_up
from curate.streaming.scratch import scratch_folder
from curate.streaming.tiles import Tiles
from curate.tables.batches import Stream, keys

# 2: planes are added until two halves agree, rows that are equal in a plane share gains and losses, and a score of 1 is
# an even share of the probes
FORMAT = 2
LEAST_PROBES = 500  # in a plane; for small data sets a tenth of the rows would be too few
FIRST_PLANES = 100  # planes before the halves are first compared
# These two bound the cost: about 2 CPU-minutes up to 1,000,000 rows (benchmarks/scorers/coverage.py).
MOST_PLANES = 5000
MOST_ROWS = 10**8  # planes times rows
TOP = 0.2  # the halves are compared by their highest scores, this share of the rows
AGREED = 0.9  # share of these rows that the halves must have in common
GOLDEN = (5**0.5 - 1) / 2  # multiples of the golden ratio, modulo 1, fill [0, 1) most evenly

Plane = tuple[int, np.ndarray]  # the half to which a plane belongs, and its two coordinates


@dataclass(frozen=True)
class Coverage:
    """How much of the embedding space a row alone covers; high is rare.

    ``score.coverage`` (float64, any sign): probes are drawn in random planes of two coordinates. The row nearest to a
    probe gains 1, and the ``near`` rows nearest to that row lose 1 / near each. The sum is divided by probes / n, the
    gain of a row if all rows gained equally. The scores of all rows sum to 0. A row that was not in the learned data
    scores 0. ``ids`` (n,) are the sorted hash(id, seed), uint64, and ``scores`` is (n,) float64. ``halves`` (3,) holds
    the agreement of the two halves, the number of planes, and the probes in each plane. The agreement is the share of
    the fifth of rows with the highest scores that both halves have in common (0.2 by chance).

    It differs from ZCore in five ways. (1) ZCore draws a new plane for each probe. Here a plane has many probes, evenly
    spread. (2) ZCore measures distances in a plane as the sum of two differences. Here they are Euclidean. (3) In ZCore
    the 1,000 nearest rows share the loss in proportion to 1 / distance^4. Here ``near`` rows lose equally. (4) If rows
    are equal in a plane, in ZCore one of them gains and one of its copies loses 1. Here such rows share gains and
    losses evenly. (5) ZCore starts from uniform random scores and scales the result to 0 to 1. Here neither is done.

    Source: Griffin et al. 2024, arXiv 2411.15349, github.com/voxel51/zcore.
    """

    ids: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    halves: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.coverage": pl.Float64()}
    meanings = {"score.coverage": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"ids": self.ids, "scores": self.scores, "halves": self.halves}

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a line that says how far the two halves agree."""
        agreement, planes, probes = self.halves.tolist()
        line = (
            f"coverage: {planes:,.0f} planes with {probes:,.0f} probes each, in two independent halves. The halves "
            f"share {agreement:.0%} of the {TOP:.0%} of rows with the highest scores; by chance they would share "
            f"{TOP:.0%}"
        )
        if agreement < AGREED:
            line += f". Much of this score is chance: set planes above {planes:.0f}, or use another score"
        return (line,)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.ids, self.scores, otherwise=0.0)
        return pl.DataFrame({"score.coverage": scores}, schema=dict(self.schema))


@dataclass(frozen=True)
class Probing:
    """How to probe: the number of ``planes`` and the number of ``probes`` in each plane.

    0 ``planes`` means that planes are added until the halves agree. 0 ``probes`` means a default for the number of
    rows. When a row gains, its ``near`` nearest rows lose.
    """

    planes: int
    probes: int
    near: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is probed."""
        if self.planes < 0 or self.planes == 1 or self.probes < 0 or self.near < 1:
            raise SchemaError(
                f"coverage: planes={self.planes} must be 0 or at least 2, probes={self.probes} at least 0, "
                f"near={self.near} at least 1"
            )

    def in_plane(self, rows: int) -> int:
        """Return the number of probes in each plane."""
        return self.probes or max(LEAST_PROBES, rows // 10)

    def most_planes(self, rows: int) -> int:
        """Return the largest number of planes."""
        return self.planes or max(FIRST_PLANES, min(MOST_PLANES, MOST_ROWS // rows))


def learn(
    stream: Stream,
    *,
    planes: int = 0,
    probes: int = 0,
    near: int = 10,
    seed: int = 0,
    embedding: str = "emb.hashed",
    scratch: str = "",
) -> Coverage:
    """Return the coverage of every row, from probes in planes of two coordinates.

    Each coordinate of a probe has a triangular distribution: its limits are the smallest and largest value of the rows,
    and its mode is their median. If there are few pairs of coordinates, both halves use all pairs, with different
    probes. Otherwise the halves use different planes. A note says how far the halves agree. Memory is 200 bytes a row;
    disk is 4 d bytes a row. Ids must be distinct.

    Options:
        planes: number of planes of two coordinates. 0 adds planes until two independent halves share 90 % of the fifth
            of rows with the highest scores. It uses at least 100 and at most 5,000 planes, and planes times rows is at
            most 100,000,000. If all pairs of coordinates are used, each is used equally often (default 0).
        probes: probes in each plane; 0 is a tenth of the rows, at least 500 (default 0).
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
        tiled = tiles.write(vectors(), folder / "vectors", f"coverage: {embedding}")
        if tiled.rows <= near:
            raise SchemaError(f"coverage: near={near} neighbours need more than {near} rows; the data has {tiled.rows}")
        key = np.concatenate(key_parts)
        check_distinct(key, stream, "coverage", seed)
        # in the order of the keys, ties between rows do not depend on the order of the stream
        order = np.argsort(key)
        scores, halves = _probed(tiled, order, probing, embedding)
    return Coverage(key[order], scores, halves, seed)


def _probed(tiled: Tiles, order: np.ndarray, probing: Probing, embedding: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (n,) of the rows in ``order``, and what ``Coverage.halves`` holds."""
    low, middle, high = _range(tiled)
    vary = np.flatnonzero((high > low) & np.isfinite(high - low))
    if len(vary) < 2:
        raise SchemaError(
            f"coverage: {len(vary)} of {tiled.width} coordinates of {embedding} vary over {tiled.rows} rows; a plane "
            "needs two. Check that the vectors differ"
        )
    rng, probes = np.random.default_rng(probing.seed), probing.in_plane(tiled.rows)
    gains, planes, agreement = np.zeros((2, tiled.rows)), 0, 0.0
    for planes_of_round in _rounds(vary, probing.most_planes(tiled.rows), rng):
        for half, pair in planes_of_round:
            drawn = _triangular(_even_points(probes, rng), low[pair], middle[pair], high[pair])
            gains[half] += _gains(tiles.read(tiled, pair.tolist())[:, order].T, drawn, probing.near)
            planes += 1
            report("planes probed, at most", planes, probing.most_planes(tiled.rows))
        agreement = _agreement(*gains)
        if agreement >= AGREED and not probing.planes:
            break
    # divided by an even share of the probes, so that scores do not grow with the number of probes
    return gains.sum(axis=0) * tiled.rows / (planes * probes), np.array([agreement, planes, probes], np.float64)


def _rounds(vary: np.ndarray, most: int, rng: np.random.Generator) -> Iterator[list[Plane]]:
    """Yield planes of the coordinates ``vary``, at most ``most`` in all; the halves are compared after each round.

    If there are few pairs of coordinates, every round has each pair once for each half, so the choice of planes adds no
    noise. Otherwise planes go to the two halves alternately, and each round doubles the number of planes.
    """
    if (size := len(vary) * (len(vary) - 1)) <= most:
        every = [(half, np.array(pair)) for pair in combinations(vary.tolist(), 2) for half in (0, 1)]
        yield from repeat(every, most // size)
        return
    planes = zip(cycle((0, 1)), _random_pairs(vary, rng), strict=False)
    count = 0
    while count < most:
        size = min(max(count, FIRST_PLANES), most - count)
        yield list(islice(planes, size))
        count += size


def _random_pairs(vary: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield pairs of different coordinates without end; each coordinate comes once before any comes again."""
    while True:
        mixed = rng.permutation(vary)
        yield from (mixed[i : i + 2] for i in range(0, len(mixed) - 1, 2))


def _agreement(first: np.ndarray, second: np.ndarray) -> float:
    """Return the share of the rows with the highest TOP of scores (n,) that two sets of scores have in common."""
    count = max(1, round(TOP * len(first)))
    best, others = (np.argsort(-scores, kind="stable")[:count] for scores in (first, second))
    return len(np.intersect1d(best, others)) / count


def _even_points(count: int, rng: np.random.Generator) -> np.ndarray:
    """Return (count, 2) points that fill the unit square evenly: a lattice, shifted by a random vector."""
    steps = np.arange(count)
    return np.asarray((np.stack([steps / count, steps * GOLDEN], axis=1) + rng.random(2)) % 1.0)


def _triangular(u: np.ndarray, low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the quantiles ``u`` (c, 2) of triangular distributions from ``low`` over ``middle`` to ``high`` (2,)."""
    width = high - low
    rise, fall = np.clip(middle - low, 0, width), np.clip(high - middle, 0, width)
    return np.asarray(
        np.where(u < rise / width, low + np.sqrt(u * width * rise), high - np.sqrt((1 - u) * width * fall))
    )


def _range(tiled: Tiles) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return the smallest value, the median and the largest value of each coordinate, (d,) float64 each."""
    parts = [(block.min(axis=1), np.median(block, axis=1), block.max(axis=1)) for _, block in tiles.blocks(tiled)]
    low, middle, high = (np.concatenate(part).astype(np.float64) for part in zip(*parts, strict=True))
    return low, middle, high


def _gains(plane: np.ndarray, probes: np.ndarray, near: int) -> np.ndarray:
    """Return the gains less the losses (n,) of the rows in one plane.

    ``plane`` (n, 2) are two coordinates of the rows, and ``probes`` (c, 2) are points. Rows that are equal in the plane
    share gains and losses evenly. This is the mean over random choices among them.
    """
    from scipy.spatial import cKDTree

    # Two float32 numbers are one uint64, which sorts ten times faster; adding 0 turns -0 into 0.
    cells = np.ascontiguousarray(plane + np.float32(0)).view(np.uint64).ravel()
    _, first, point_of, rows = np.unique(cells, return_index=True, return_inverse=True, return_counts=True)
    points = plane[first]
    tree = cKDTree(points)
    hits = np.bincount(tree.query(probes)[1], minlength=len(points)).astype(np.float64)
    winner = np.flatnonzero(hits)
    around = tree.query(points[winner], k=np.arange(1, min(near + 1, len(points)) + 1))[1]
    others = rows[around] - (around == winner[:, None])
    # a row loses if it is among the ``near`` rows that are nearest to a winner
    losers = np.clip(near - (np.cumsum(others, axis=1) - others), 0, others)
    lost = np.bincount(around.ravel(), (losers * hits[winner, None] / near).ravel(), minlength=len(points))
    return np.asarray(((hits - lost) / rows)[point_of])
