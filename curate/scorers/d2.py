"""D2 pruning: difficult rows that are not alike, by messages on a graph of neighbours (Maharana et al. 2024, ICLR)."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import partial
from math import inf, isqrt
from typing import ClassVar

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.processes import usable_memory
from curate.progress import report
from curate.storage.files import text_hash
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
LARGEST = 1e200  # the largest difficulty, so that no sum of messages overflows
REPORTED = 1000  # rows between two reports of progress
# What the process that learns holds of a row (its key, its difficulty, two copies of its value, its turn), and of each
# of its nearest rows (a number and a weight).
ROW_BYTES, EDGE_BYTES = 40, 12


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

    Neighbours are sought by all workers. Rows are selected one after the other, by the process that learns, since each
    selection changes which row is next. That process holds 40 + 12 ``near`` bytes a row. Disk is 4 d ``probes`` bytes a
    row.

    Options:
        by: the column of difficulties, at least 0 (default score.prototypes).
        near: neighbours of a row (default 10).
        forward: decay of the messages that add difficulty, per unit of distance (default 1).
        reverse: decay of the messages that lower it after a selection, per unit of distance (default 1).
        probes: nearest of sqrt(n) clusters in which neighbours are sought, beyond 20,000 rows (default 16).
        seed: seed of the clusters and of ties (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: if there are too few rows, more rows than fit into memory, or a difficulty is negative or no
            number.
    """
    if near < 1 or probes < 1 or not (0 <= forward < inf and 0 <= reverse < inf):
        raise SchemaError(
            f"d2: near={near} and probes={probes} must be at least 1, forward={forward} and reverse={reverse} finite "
            "and at least 0"
        )
    kept = f"difficulties-{text_hash(repr((by, seed)))[:16]}"
    sizes = [len(part["ids"]) for part in corpus.map(partial(_difficulties, by, seed), (by,), keep=kept)]
    if sum(sizes) <= near:
        raise SchemaError(f"d2: near={near} neighbours need more than {near} rows; the data has {sum(sizes)}")
    _check_memory(sum(sizes), near)
    check_distinct_ids(corpus, "d2", seed, rows=sum(sizes), kept=kept)
    assigned = _assigned(corpus, embedding, sum(sizes), seed)
    key, difficulty = _sorted_rows(corpus, kept)
    graph = _graph(
        neighbours(corpus, assigned, embedding, near=near, probes=probes), key, difficulty, near, forward, reverse
    )
    del difficulty
    turns = selection(graph)
    for number, part in enumerate(corpus.kept(kept)):
        ids = np.sort(part["ids"])
        corpus.store(number, {"ids": ids, "scores": 1.0 - turns[np.searchsorted(key, ids)] / len(turns)})
    return D2(seed=seed)


@dataclass(frozen=True)
class MessageGraph:
    """The rows, each with its nearest rows, as whole arrays in one process.

    ``start`` (n,) float64 is the value with which a row begins, ``neighbour`` (n, near) int32 the numbers of its
    nearest rows, and ``reverse`` (n, near) float64 the share of its value by which it lowers each of them. A number of
    2^31 rows or more is int64.
    """

    start: np.ndarray
    neighbour: np.ndarray
    reverse: np.ndarray


def selection(graph: MessageGraph) -> np.ndarray:
    """Return the turn (n,) at which each row is selected; of equal rows the first is selected first.

    Rows are cut into blocks of about sqrt(n) rows. Each block has a bound: no value of its rows is larger. A turn looks
    for the largest value in the block with the largest bound. If the bound was too high, it is lowered to the largest
    value of the block, and the search goes on. So a turn looks at the bounds and at a few blocks, and not at all rows.
    """
    rows = len(graph.start)
    side = isqrt(rows - 1) + 1
    # Rows that do not exist, and rows that are selected, have the value -inf.
    x = np.full(side * -(-rows // side), -np.inf)
    x[:rows] = graph.start
    blocks = x.reshape(-1, side)
    bounds = blocks.max(axis=1)
    turns = np.empty(rows, graph.neighbour.dtype)
    for turn in range(rows):
        while True:
            number = int(bounds.argmax())
            block = blocks[number]
            place = int(block.argmax())
            value = block[place]
            # The bound is exact, so no other block has a larger value.
            if value == bounds[number]:
                break
            bounds[number] = value
        row = number * side + place
        turns[row] = turn
        near = graph.neighbour[row]
        x[near] -= graph.reverse[row] * value
        if value < 0:
            # A row of negative value raises its neighbours, so their bounds must rise too.
            np.maximum.at(bounds, near // side, x[near])
        block[place] = -np.inf
        bounds[number] = block.max()
        if (turn + 1) % REPORTED == 0:
            report("rows put in order", turn + 1, rows)
    return turns


def _sorted_rows(corpus: Corpus, kept: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the keys and the difficulties of all rows, in the order of the keys.

    In that order, ties between rows do not depend on the order of the corpus.
    """
    parts = list(corpus.kept(kept))
    key, difficulty = (np.concatenate([part[name] for part in parts]) for name in ("ids", "difficulty"))
    order = np.argsort(key)
    return key[order], difficulty[order]


def _graph(
    results: Iterable[Arrays], key: np.ndarray, difficulty: np.ndarray, near: int, forward: float, reverse: float
) -> MessageGraph:
    """Return the graph of rows, from their nearest rows. ``forward`` and ``reverse`` are decays of messages."""
    rows = len(key)
    number = np.int32 if rows < 1 << 31 else np.int64
    graph = MessageGraph(np.empty(rows), np.empty((rows, near), number), np.empty((rows, near)))
    for result in results:
        place, neighbour = (np.searchsorted(key, result[name]) for name in ("key", "neighbour"))
        received = np.exp(-forward * result["distance"]) * difficulty[neighbour]
        graph.start[place] = difficulty[place] + received.sum(axis=1)
        graph.neighbour[place] = neighbour
        graph.reverse[place] = np.exp(-reverse * result["distance"])
    return graph


def _check_memory(rows: int, near: int) -> None:
    """Stop if this process cannot hold the graph of the rows, before other work is done.

    Raises:
        SchemaError: with the bytes that are needed, and those that there are.
    """
    needed, memory = rows * (ROW_BYTES + EDGE_BYTES * near), usable_memory()
    if memory is not None and needed > memory:
        raise SchemaError(
            f"d2: one process puts the rows in order. For {rows:,} rows with near={near} it needs "
            f"{needed / 1e9:,.1f} GB of memory, and this machine lets it use {memory / 1e9:,.1f} GB. Lower near, drop "
            "rows first (semdedup or prune), or use a machine with more memory"
        )


def _assigned(corpus: Corpus, embedding: str, rows: int, seed: int) -> Assigned:
    """Return clusters in which neighbours are sought: one of all rows, if they are few."""
    if rows <= EXACT_ROWS:
        # any centre has all rows
        batch = corpus.first_batch((embedding,))
        width = 1 if batch is None else batch[embedding].to_numpy().shape[1]
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
    return {"ids": np.concatenate(key), "difficulty": np.concatenate(difficulty)}


def _check_difficulties(batch: pl.DataFrame, by: str) -> None:
    good = finite(batch[by]) & batch[by].is_between(0, LARGEST).fill_null(False).to_numpy()
    if not good.all():
        row = int(good.argmin())
        raise SchemaError(
            f"d2: {by} of id {batch['id'][row]!r} is {batch[by][row]}; a difficulty must be a number from 0 to "
            f"{LARGEST:g}. Name another column with by="
        )
