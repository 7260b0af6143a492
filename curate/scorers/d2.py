"""D2 pruning: difficult rows that are not alike, by messages on a graph of neighbours (Maharana et al. 2024, ICLR)."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.progress import report
from curate.streaming.by_id import check_distinct, look_up
from curate.streaming.scratch import Spool, clusters, scratch_folder, write_spool
from curate.streaming.vectors.clusters import ClusterSettings
from curate.streaming.vectors.nearest import neighbours
from curate.tables.batches import Stream, finite

EXACT_ROWS = 20_000  # up to so many rows every row is compared with every other; the work grows with their square
CLUSTER_SAMPLE, CLUSTER_ITERATIONS = 50_000, 10  # enough for clusters that serve only to look for neighbours
REPORTED = 1000  # rows between two reports of progress


@dataclass(frozen=True)
class D2:
    """How early D2 selects a row; high is difficult and unlike the rows selected before it.

    ``score.d2`` (float64, in (0, 1]) is 1 - turn / n, where turn (from 0) is when D2 selects the row. The best m rows
    are D2's selection of m rows, for every m: keep high scores. A row that was not learned from scores 0. ``ids`` is
    (n,) uint64, the sorted hash(id, seed), ``scores`` (n,) float64.

    Source: Maharana et al. 2024, ICLR, arXiv 2310.07931.
    """

    ids: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.d2": pl.Float64()}
    meanings = {"score.d2": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"ids": self.ids, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.ids, self.scores, otherwise=0.0)
        return pl.DataFrame({"score.d2": scores}, schema=dict(self.schema))


def learn(
    stream: Stream,
    *,
    by: str = "score.prototypes",
    near: int = 10,
    forward: float = 1.0,
    reverse: float = 1.0,
    probes: int = 16,
    seed: int = 0,
    embedding: str = "emb.hashed",
    scratch: str = "",
) -> D2:
    """Return the turn at which D2 selects each row.

    Row i starts with x_i = difficulty_i + the sum over its nearest rows j of exp(-forward d_ij) difficulty_j. Then the
    row with the largest x_i is selected and lowers x_j of its neighbours by exp(-reverse d_ij) x_i, until none is left.
    d is the Euclidean distance of unit vectors. Up to 20,000 rows neighbours are exact. Memory is 12 near + 60 bytes a
    row and 150 MB; disk is 4 d + 8 bytes a row. Ids must be distinct.

    Options:
        by: the column of difficulties, at least 0 (default score.prototypes).
        near: neighbours of a row (default 10).
        forward: decay of the messages that add difficulty, per unit of distance (default 1).
        reverse: decay of the messages that lower it after a selection, per unit of distance (default 1).
        probes: nearest of sqrt(n) clusters in which neighbours are sought, beyond 20,000 rows (default 16).
        seed: seed of the clusters and of ties (default 0).
        embedding: the column of vectors (default emb.hashed).
        scratch: folder for the work files (default: the system's temporary folder).

    Raises:
        SchemaError: if there are too few rows, or a difficulty is negative or no number.
    """
    if near < 1 or probes < 1 or min(forward, reverse) < 0:
        raise SchemaError(
            f"d2: near={near} and probes={probes} must be at least 1, forward={forward} and reverse={reverse} at least "
            "0"
        )
    values: list[np.ndarray] = []

    def with_difficulties(needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Note the difficulties while the vectors are written, so that the data is read once."""
        values.clear()
        for batch in stream((*needs, by)):
            _check_difficulties(batch, by)
            values.append(batch[by].to_numpy().astype(np.float64))
            yield batch

    with scratch_folder(scratch, "d2") as folder:
        spool = write_spool(with_difficulties, embedding, folder, scorer="d2", seed=seed, exact=True)
        if spool.rows <= near:
            raise SchemaError(f"d2: near={near} neighbours need more than {near} rows; the data has {spool.rows}")
        key = spool.keys()
        check_distinct(key, stream, "d2", seed)
        difficulty, order = np.concatenate(values), np.argsort(key)
        centres = _centres(stream, embedding, folder, spool, seed)
        neighbour, distance = neighbours(spool, order, centres, near=near, probes=probes)
    turns = selection(difficulty[order], neighbour, np.exp(-forward * distance), np.exp(-reverse * distance))
    return D2(key[order], 1.0 - turns / len(turns), seed)


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


def _centres(stream: Stream, embedding: str, folder: Path, spool: Spool, seed: int) -> np.ndarray | None:
    """Return centres of clusters in which neighbours are sought; None if every row is compared with every other."""
    if spool.rows <= EXACT_ROWS:
        return None
    (folder / "clusters").mkdir()
    k = round(spool.rows**0.5)
    settings = ClusterSettings("d2", k, CLUSTER_SAMPLE, CLUSTER_ITERATIONS, "sample", seed, fewer=True)
    return clusters(stream, embedding, folder / "clusters", settings)[1].centres


def _check_difficulties(batch: pl.DataFrame, by: str) -> None:
    good = finite(batch[by]) & (batch[by] >= 0).fill_null(False).to_numpy()
    if not good.all():
        row = int(good.argmin())
        raise SchemaError(
            f"d2: {by} of id {batch['id'][row]!r} is {batch[by][row]}; a difficulty must be a number of at least 0. "
            "Name another column with by="
        )
