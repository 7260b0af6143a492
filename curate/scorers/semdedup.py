"""Semantic duplicates: rows with nearly the vector of a row that is kept (SemDeDup; Abbas et al. 2023, 2303.09540).

Unlike the released code a row is compared with rows that are *kept* only, so that in a chain a ~ b ~ c, where c is not
like a, only b goes.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming import kmeans, thinning
from curate.streaming.by_id import distinct, found_at
from curate.streaming.scratch import Settings, Spool, clusters, workplace
from curate.tables.batches import Stream, keys

LARGEST = 4096  # rows of a cluster that is not split again
ROUNDS = 4  # of splitting
SAMPLED = 64  # rows a part that a split learns from


@dataclass(frozen=True)
class Semdedup:
    """``score.semdedup``: 1 - the cosine at which the row goes (float64, in [0, 1]); 1 where it stays.

    High = unlike every row that is kept; keep high: 1 for rows that stay at ``epsilon``, 0 for a copy. Keeping scores
    >= e, for any e up to the ``epsilon`` of learning, keeps rows of which no two of a cluster have a cosine over 1 - e,
    and every row that goes has one over 1 - e with a row that is kept. ``removed`` is (m,) uint64, the sorted
    hash(id, seed) of the rows that go at ``epsilon``, ``scores`` (m,) float64.
    """

    removed: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.semdedup": pl.Float64()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"removed": self.removed, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        at, known = found_at(keys(batch["id"], self.seed), self.removed)
        scores = np.where(known, self.scores[at], 1.0) if len(self.removed) else np.ones(batch.height)
        return pl.DataFrame({"score.semdedup": scores}, schema=dict(self.schema))


@dataclass(frozen=True)
class Places:
    """Where rows are: the cluster (n,) of each (k of a zero vector, which is like no other) and its cosine to the
    centre, and (v,) pairs of a row and a cluster whose border it is near."""

    label: np.ndarray
    cosine: np.ndarray
    rows: np.ndarray
    near: np.ndarray


def learn(
    stream: Stream,
    *,
    epsilon: float = 0.05,
    order: str = "hard",
    k: int = 0,
    border: float = 0.2,
    sample: int = 50_000,
    iterations: int = 10,
    seed: int = 0,
    embedding: str = "emb.hashed",
    scratch: str = "",
) -> Semdedup:
    """Find the rows with a cosine over 1 - ``epsilon`` to a row that is kept; higher removes more, 1e-5 only copies.

    Rows are compared inside k clusters (0: the square root of the number of rows, fewer where few rows differ), learned
    on about ``sample`` rows; one of more than 4,096 is split again. In a cluster the row farthest from the centre is
    kept first (``order=hard``) or the nearest (``easy``). A row within ``border`` x sqrt(2 epsilon), the distance of
    rows that are just alike, of another cluster's border is compared with the rows of that too: 1 misses no pair, 0 all
    that a border divides. With a smaller e than ``epsilon`` some pairs that a border divides may both stay. Ids must be
    distinct. Memory is 50 bytes a row, 30 for each border near a row, 4 k^2 bytes and 150 MB; disk 4 d + 8 bytes a row,
    in ``scratch``.
    """
    if not (0 < epsilon < 1 and order in ("hard", "easy") and 0 <= border <= 1 and k >= 0):
        raise SchemaError(
            f"semdedup: epsilon={epsilon} must be between 0 and 1, border={border} in [0, 1], k={k} at least 0, "
            f"order={order} hard or easy"
        )
    free, k = not k, k or round(max(1, sum(batch.height for batch in stream(()))) ** 0.5)
    with workplace(scratch, "semdedup") as folder:
        asked = Settings("semdedup", k, sample, iterations, "sample", seed, fewer=free)
        spooled, learned = clusters(stream, embedding, Path(folder), asked, exact=True)
        key = distinct(spooled.keys(), stream, "semdedup", seed)
        centres, places = settled(spooled, learned.centres, border * (2 * epsilon) ** 0.5)
        levels = compared(spooled, key, places, len(centres), limit=1 - epsilon, hard=order == "hard")
    gone = np.flatnonzero(levels)
    gone = gone[np.argsort(key[gone])]
    return Semdedup(key[gone], 1.0 - levels[gone], seed)


def settled(spooled: Spool, centres: np.ndarray, reach: float) -> tuple[np.ndarray, Places]:
    """Return centres of clusters of at most LARGEST rows, as far as rows differ, and where the rows are."""
    for _ in range(ROUNDS):
        places = placed(spooled, centres, reach)
        sizes = np.bincount(places.label, minlength=len(centres))[: len(centres)]
        large = np.flatnonzero(sizes > LARGEST)
        parts = [_split(spooled, np.flatnonzero(places.label == c), int(sizes[c])) for c in large]
        if not any(len(part) > 1 for part in parts):
            break
        centres = np.concatenate([np.delete(centres, large, axis=0), *parts])
    else:
        places = placed(spooled, centres, reach)
    return centres, places


def placed(spooled: Spool, centres: np.ndarray, reach: float) -> Places:
    """Assign every row; the border of two clusters is the plane between their centres."""
    goal = kmeans.whole(centres).astype(np.float32)
    gaps = np.sqrt(np.maximum(2 - 2 * centres @ centres.T, 0)) * kmeans.scale(centres.shape[1]) ** 2
    label, cosine, rows, near, at = [], [], [], [], 0
    for x in spooled.blocks():
        products = x.astype(np.float32) @ goal.T
        mine = products.argmax(axis=1)
        best = products[np.arange(len(x)), mine]
        some = x.any(axis=1)
        label.append(np.where(some, mine, len(centres)).astype(np.int32))
        cosine.append(best / np.float32(kmeans.scale(centres.shape[1]) ** 2))
        if reach > 0:
            close = best[:, None] - products <= reach * gaps[mine]
            close[np.arange(len(x)), mine] = False
            close[~some] = False
            one, two = np.nonzero(close)
            rows.append((at + one).astype(np.uint32))
            near.append(two.astype(np.int32))
        at += len(x)
    none = [np.zeros(0, np.int32)]
    return Places(*(np.concatenate(part or none) for part in (label, cosine, rows, near)))


def compared(spooled: Spool, key: np.ndarray, places: Places, k: int, *, limit: float, hard: bool) -> np.ndarray:
    """Return the level (n,) of each row (``thinning.thin``), cluster after cluster; those before are the others."""
    order = np.lexsort((key, places.cosine if hard else -places.cosine, places.label))
    edges = np.append(0, np.cumsum(np.bincount(places.label, minlength=k)))
    visits = np.lexsort((key[places.rows], places.near))
    doors = np.append(0, np.cumsum(np.bincount(places.near, minlength=k)))
    levels = np.zeros(len(key))
    for c in range(k):
        mine = order[edges[c] : edges[c + 1]]
        guests = places.rows[visits[doors[c] : doors[c + 1]]]
        guests = guests[(places.label[guests] < c) & (levels[guests] == 0)]
        if len(mine) and len(mine) + len(guests) > 1:
            levels[mine] = thinning.thin(spooled.take(mine), spooled.take(guests), limit)
    return levels


def _split(spooled: Spool, members: np.ndarray, size: int) -> np.ndarray:
    """Return the centres of the parts of a cluster that is too large; one where its rows do not differ."""
    parts = -(-2 * size // LARGEST)
    key = spooled.keys()[members]
    some = kmeans.whole(spooled.take(members[np.argsort(key)[: SAMPLED * parts]]))
    start = np.unique(some, axis=0)
    start = kmeans.sampled(some, min(parts, int(start.any(axis=1).sum()))) if start.any() else start[:1]

    def blocks(share: float) -> Iterator[np.ndarray]:
        yield from (some[at : at + kmeans.BLOCK] for at in range(0, len(some), kmeans.BLOCK))

    return kmeans.learn(blocks, start, rows=len(some), iterations=5).centres
