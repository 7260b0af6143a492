"""D2 pruning: difficult rows that are not alike, by messages on a graph of neighbours (Maharana et al. 2024, ICLR)."""

import heapq
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import ClassVar

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.progress import report
from curate.streaming.by_id import check_distinct_ids, look_up
from curate.streaming.vectors.assignment import Assigned, AssignSettings, assign
from curate.streaming.vectors.clusters import ClusterSettings, learn_clusters
from curate.streaming.vectors.nearest import neighbours
from curate.tables.batches import finite, keys
from curate.tables.corpus import Arrays, Corpus, PartRows

# Since format 2, the clusters in which neighbours are sought, beyond 20,000 rows, are learned from another sample.
FORMAT = 2

EXACT_ROWS = 20_000  # up to this many rows, every row is compared with every other; the work grows with their square
CLUSTER_SAMPLE, CLUSTER_ITERATIONS = 50_000, 10  # enough for clusters that serve only to look for neighbours
REPORTED = 1000  # rows between two reports of progress


@dataclass(frozen=True)
class D2:
    """How early D2 selects a row; high is difficult and unlike the rows selected before it.

    ``score.d2`` (float64, in (0, 1]) is 1 - turn / n, where turn (from 0) is when D2 selects the row. The best m rows
    are D2's selection of m rows, for every m: keep high scores. A row that was not learned from scores 0. ``ids`` is
    (n,) uint64, the sorted hash(id, seed) of the rows of a part, ``scores`` (n,) float64.

    Source: Maharana et al. 2024, ICLR, arXiv 2310.07931.
    """

    ids: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, np.uint64))
    scores: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0))
    seed: int = 0
    needs = ()
    part_arrays: ClassVar[tuple[str, ...]] = ("ids", "scores")
    schema = {"score.d2": pl.Float64()}
    meanings = {"score.d2": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays that all parts share: none. Scores are stored with the part that they belong to."""
        return {}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.ids, self.scores, otherwise=0.0)
        return pl.DataFrame({"score.d2": scores}, schema=dict(self.schema))


def learn(
    corpus: Corpus,
    *,
    by: str = "score.prototypes",
    near: int = 10,
    forward: float = 1.0,
    reverse: float = 1.0,
    probes: int = 16,
    seed: int = 0,
    embedding: str = "emb.hashed",
) -> D2:
    """Return the turn at which D2 selects each row.

    Row i starts with x_i = difficulty_i + the sum over its nearest rows j of exp(-forward d_ij) difficulty_j. Then the
    row with the largest x_i is selected and lowers x_j of its neighbours by exp(-reverse d_ij) x_i, until none is left.
    d is the Euclidean distance of unit vectors. Up to 20,000 rows neighbours are exact. Ids must be distinct.

    Neighbours are sought by all workers. Rows are selected one after the other, by the process that learns: that takes
    about 40 CPU-seconds and 800 MB for a million rows with 10 neighbours. Disk is 4 d ``probes`` bytes a row.

    Options:
        by: the column of difficulties, at least 0 (default score.prototypes).
        near: neighbours of a row (default 10).
        forward: decay of the messages that add difficulty, per unit of distance (default 1).
        reverse: decay of the messages that lower it after a selection, per unit of distance (default 1).
        probes: nearest of sqrt(n) clusters in which neighbours are sought, beyond 20,000 rows (default 16).
        seed: seed of the clusters and of ties (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: if there are too few rows, or a difficulty is negative or no number.
    """
    if near < 1 or probes < 1 or min(forward, reverse) < 0:
        raise SchemaError(
            f"d2: near={near} and probes={probes} must be at least 1, forward={forward} and reverse={reverse} at least "
            "0"
        )
    described = list(corpus.map(partial(_difficulties, by, seed), (by,)))
    part_keys = [part["key"] for part in described]
    unsorted = np.concatenate([np.zeros(0, np.uint64), *part_keys])
    if len(unsorted) <= near:
        raise SchemaError(f"d2: near={near} neighbours need more than {near} rows; the data has {len(unsorted)}")
    check_distinct_ids(corpus, "d2", seed, rows=len(unsorted))
    assigned = _assigned(corpus, embedding, len(unsorted), seed)
    # in the order of the keys, ties between rows do not depend on the order of the corpus
    order = np.argsort(unsorted)
    key, difficulty = unsorted[order], np.concatenate([part["difficulty"] for part in described])[order]
    neighbour, distance = np.empty((len(key), near), np.int64), np.empty((len(key), near))
    for result in neighbours(corpus, assigned, embedding, near=near, probes=probes):
        place = np.searchsorted(key, result["key"])
        neighbour[place], distance[place] = np.searchsorted(key, result["neighbour"]), result["distance"]
    turns = selection(difficulty, neighbour, np.exp(-forward * distance), np.exp(-reverse * distance))
    scores = 1.0 - turns / len(turns)
    for number, own in enumerate(map(np.sort, part_keys)):
        corpus.store(number, {"ids": own, "scores": scores[np.searchsorted(key, own)]})
    return D2(seed=seed)


def selection(difficulty: np.ndarray, neighbour: np.ndarray, forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """Return the turn (n,) at which each row is selected; of equal rows the first is selected first.

    ``neighbour`` (n, near) are the neighbours of each row, ``forward`` and ``reverse`` (n, near) the weights of the
    messages, ``difficulty`` (n,) the start.
    """
    start = difficulty + (forward * difficulty[neighbour]).sum(axis=1)
    x, turns = start.tolist(), np.full(len(start), -1, np.int64)
    heap = [(-value, row) for row, value in enumerate(x)]
    heapq.heapify(heap)
    turn = 0
    while heap:
        negative_x, row = heapq.heappop(heap)
        # entries are not removed when x changes: skip one that is selected already, or out of date
        if turns[row] >= 0 or -negative_x != x[row]:
            continue
        turns[row] = turn
        turn += 1
        if turn % REPORTED == 0:
            report("rows put in order", turn, len(turns))
        for other, weight in zip(neighbour[row].tolist(), reverse[row].tolist(), strict=True):
            if turns[other] < 0:
                x[other] += weight * negative_x
                heapq.heappush(heap, (-x[other], other))
    return turns


def _assigned(corpus: Corpus, embedding: str, rows: int, seed: int) -> Assigned:
    """Return clusters in which neighbours are sought: one of all rows, if they are few."""
    if rows <= EXACT_ROWS:
        # any centre has all rows
        width = next(batch for batch in corpus((embedding,)) if batch.height)[embedding].to_numpy().shape[1]
        centres = np.eye(1, width, dtype=np.float32)
    else:
        k = round(rows**0.5)
        settings = ClusterSettings("d2", k, CLUSTER_SAMPLE, CLUSTER_ITERATIONS, "sample", seed, fewer=True)
        centres = learn_clusters(corpus, embedding, settings, rows).centres
    return assign(corpus, centres, AssignSettings(embedding, "d2", seed, 0.0))


def _difficulties(by: str, seed: int, rows: PartRows) -> Arrays:
    """Return the hashed ids and the difficulties of the rows of a part."""
    key, difficulty = [np.zeros(0, np.uint64)], [np.zeros(0)]
    for batch in rows.batches():
        _check_difficulties(batch, by)
        key.append(keys(batch["id"], seed))
        difficulty.append(batch[by].to_numpy().astype(np.float64))
    return {"key": np.concatenate(key), "difficulty": np.concatenate(difficulty)}


def _check_difficulties(batch: pl.DataFrame, by: str) -> None:
    good = finite(batch[by]) & (batch[by] >= 0).fill_null(False).to_numpy()
    if not good.all():
        row = int(good.argmin())
        raise SchemaError(
            f"d2: {by} of id {batch['id'][row]!r} is {batch[by][row]}; a difficulty must be a number of at least 0. "
            "Name another column with by="
        )
