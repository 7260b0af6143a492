"""Semantic duplicates: rows with nearly the vector of a row that is kept (SemDeDup; Abbas et al. 2023, 2303.09540).

Unlike the released code, a row is compared with *kept* rows only. In a chain a ~ b ~ c, where c is not like a, only b
is removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.progress import counted
from curate.streaming import kmeans, thinning
from curate.streaming.by_id import check_distinct, look_up
from curate.streaming.clusters import ClusterSettings
from curate.streaming.scratch import Spool, clusters, scratch_folder
from curate.tables.batches import Stream

LARGEST = 4096  # rows of a cluster that is not split again: its rows are compared all with all
ROUNDS = 4  # rounds of splitting large clusters
SAMPLED = 64  # rows for each part from which a split learns its centres
SPLIT_ITERATIONS = 5  # of k-means in a split


@dataclass(frozen=True)
class Semdedup:
    """How different a row's vector is from those of kept rows; high is no near copy.

    ``score.semdedup`` (float64, 0 to 1) is 1 minus the cosine at which the row is removed, and 1 for a row that stays
    at ``epsilon``. Keep high scores: keeping scores >= e, for any e up to ``epsilon``, keeps rows of which no two of a
    cluster have a cosine over 1 - e, and every removed row has a cosine over 1 - e to a kept one. ``removed`` is (m,)
    uint64, the sorted hash(id, seed) of the rows that are removed at ``epsilon``, ``scores`` (m,) float64.

    Source: SemDeDup, Abbas et al. 2023, arXiv 2303.09540.
    """

    removed: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.semdedup": pl.Float64()}
    meanings = {"score.semdedup": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"removed": self.removed, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.removed, self.scores, otherwise=1.0)
        return pl.DataFrame({"score.semdedup": scores}, schema=dict(self.schema))


@dataclass(frozen=True)
class Assignment:
    """The clusters of rows, and the clusters whose border a row is near.

    ``label`` (n,) is the cluster of each row (k for a zero vector, which is like no other) and ``cosine`` (n,) that to
    its centre; row ``rows[i]`` (v,) is near the border of cluster ``near[i]`` (v,).
    """

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
    """Return the rows that are too like a kept row, and the cosine at which each is removed.

    A row is removed if its cosine to a kept row is over 1 - ``epsilon``. Rows are compared inside clusters; a cluster
    of more than 4,096 rows is split. With a threshold below ``epsilon``, some pairs that a border divides may both
    stay. Memory is 50 bytes a row, 30 for each border near a row, 4 k^2 bytes and 150 MB; disk is 4 d + 8 bytes a row.
    Ids must be distinct.

    Options:
        epsilon: largest 1 - cosine of duplicates; higher removes more, 1e-5 only copies (default 0.05).
        order: which row of a cluster is kept first: hard, the one farthest from the centre, or easy, the nearest
            (default hard).
        k: clusters; 0 is the square root of the number of rows, fewer where few rows differ (default 0).
        border: how near to another cluster's border a row must be to be compared with the rows of that cluster too, as
            a share of sqrt(2 epsilon), the distance of two rows that are just duplicates; 1 misses no pair, 0 misses
            all that a border divides (default 0.2).
        sample: rows from which the clusters are learned; 0 is all (default 50000).
        iterations: iterations of k-means (default 10).
        seed: seed of the clusters and of ties (default 0).
        embedding: the column of vectors (default emb.hashed).
        scratch: folder for the work files (default: the system's temporary folder).

    Raises:
        SchemaError: for no rows, fewer rows than clusters, or two rows with one id.
    """
    if not (0 < epsilon < 1 and order in ("hard", "easy") and 0 <= border <= 1 and k >= 0):
        raise SchemaError(
            f"semdedup: epsilon={epsilon} must be between 0 and 1, border={border} in [0, 1], k={k} at least 0, "
            f"order={order} hard or easy"
        )
    # counting the rows is cheap: a stream without columns reads ids only
    free, k = not k, k or round(max(1, sum(batch.height for batch in stream(()))) ** 0.5)
    with scratch_folder(scratch, "semdedup") as folder:
        settings = ClusterSettings("semdedup", k, sample, iterations, "sample", seed, fewer=free)
        spool, learned = clusters(stream, embedding, folder, settings, exact=True)
        key = spool.keys()
        check_distinct(key, stream, "semdedup", seed)
        centres, assignment = split_large(spool, learned.centres, border * (2 * epsilon) ** 0.5)
        levels = removal_levels(spool, key, assignment, len(centres), limit=1 - epsilon, hard=order == "hard")
    gone = np.flatnonzero(levels)
    gone = gone[np.argsort(key[gone])]
    return Semdedup(key[gone], 1.0 - levels[gone], seed)


def split_large(spool: Spool, centres: np.ndarray, reach: float) -> tuple[np.ndarray, Assignment]:
    """Return centres of clusters of at most LARGEST rows, and where the rows are.

    A cluster stays larger if its rows do not differ, or after ROUNDS rounds.
    """
    for _ in range(ROUNDS):
        assignment = assign(spool, centres, reach)
        sizes = np.bincount(assignment.label, minlength=len(centres))[: len(centres)]
        large = np.flatnonzero(sizes > LARGEST)
        parts = [_split(spool, np.flatnonzero(assignment.label == c), int(sizes[c])) for c in large]
        if not any(len(part) > 1 for part in parts):
            break
        centres = np.concatenate([np.delete(centres, large, axis=0), *parts])
    else:
        assignment = assign(spool, centres, reach)
    return centres, assignment


def assign(spool: Spool, centres: np.ndarray, reach: float) -> Assignment:
    """Return the cluster of every row, and the clusters whose border is within ``reach`` of it.

    The border of two clusters is the plane between their centres.
    """
    columns = kmeans.quantise(centres).astype(np.float32).T
    square = kmeans.scale(centres.shape[1]) ** 2  # products of quantised vectors are cosines times this
    gaps = np.sqrt(np.maximum(2 - 2 * centres @ centres.T, 0)) * square
    label, cosine, rows, near, first_row = [], [], [], [], 0
    for x in spool.blocks():
        products = x.astype(np.float32) @ columns
        block_label = products.argmax(axis=1)
        best = products[np.arange(len(x)), block_label]
        nonzero = x.any(axis=1)
        label.append(np.where(nonzero, block_label, len(centres)).astype(np.int32))
        cosine.append(best / np.float32(square))
        if reach > 0:
            # a row is (best - product) / gap away from the plane between its centre and another
            close = best[:, None] - products <= reach * gaps[block_label]
            close[np.arange(len(x)), block_label] = False
            close[~nonzero] = False
            close_row, close_cluster = np.nonzero(close)
            rows.append((first_row + close_row).astype(np.uint32))
            near.append(close_cluster.astype(np.int32))
        first_row += len(x)
    # with reach 0 there are no borders to list
    none = [np.zeros(0, np.int32)]
    return Assignment(*(np.concatenate(part or none) for part in (label, cosine, rows, near)))


def removal_levels(
    spool: Spool, key: np.ndarray, assignment: Assignment, k: int, *, limit: float, hard: bool
) -> np.ndarray:
    """Return the cosine (n,) at which each row is removed (``thinning.thin``), 0 for a row that stays.

    Clusters are thinned one after the other. Rows of earlier clusters near the border that stayed are fixed there.
    """
    label, cosine = assignment.label, assignment.cosine
    order = np.lexsort((key, cosine if hard else -cosine, label))
    edges = np.append(0, np.cumsum(np.bincount(label, minlength=k)))
    visits = np.lexsort((key[assignment.rows], assignment.near))
    visit_edges = np.append(0, np.cumsum(np.bincount(assignment.near, minlength=k)))
    levels = np.zeros(len(key))
    for c in counted(range(k), "clusters compared", k):
        members = order[edges[c] : edges[c + 1]]
        visitors = assignment.rows[visits[visit_edges[c] : visit_edges[c + 1]]]
        visitors = visitors[(label[visitors] < c) & (levels[visitors] == 0)]
        if len(members) and len(members) + len(visitors) > 1:
            levels[members] = thinning.thin(spool.take(members), spool.take(visitors), limit)
    return levels


def _split(spool: Spool, members: np.ndarray, size: int) -> np.ndarray:
    """Return centres that split a cluster that is too large; one centre if its rows do not differ."""
    # twice as many parts as would do, since parts are not equally large
    parts = -(-2 * size // LARGEST)
    key = spool.keys()[members]
    rows = kmeans.quantise(spool.take(members[np.argsort(key)[: SAMPLED * parts]]))
    start = np.unique(rows, axis=0)
    start = kmeans.first_directions(rows, min(parts, int(start.any(axis=1).sum()))) if start.any() else start[:1]

    def summed(centres: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        return kmeans.sums_of_blocks(kmeans.in_blocks(rows[: round(share * len(rows))]), centres)

    return kmeans.learn(summed, start, rows=len(rows), iterations=SPLIT_ITERATIONS).centres
