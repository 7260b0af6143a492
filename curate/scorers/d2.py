"""D2 pruning: difficult rows that are not alike, by messages on a graph of neighbours (Maharana et al. 2024, ICLR)."""

import heapq
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming.by_id import distinct, found_at
from curate.streaming.nearest import neighbours
from curate.streaming.scratch import Settings, Spool, clusters, spool, workplace
from curate.tables.batches import Stream, finite, keys

EXACT_ROWS = 20_000  # up to so many every row is compared with every other


@dataclass(frozen=True)
class D2:
    """``score.d2``: 1 - place / n, place the turn (from 0) at which D2 selects the row (float64, in (0, 1]).

    High = selected early: difficult, and unlike what was selected before; keep high: the best m rows are D2's selection
    of m, for every m. ``ids`` is (n,) uint64, sorted hash(id, seed), ``scores`` (n,) float64.
    """

    ids: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.d2": pl.Float64()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"ids": self.ids, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids; a row that was not there to be learned from scores 0."""
        at, known = found_at(keys(batch["id"], self.seed), self.ids)
        return pl.DataFrame({"score.d2": np.where(known, self.scores[at], 0.0)}, schema=dict(self.schema))


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
    """Order all rows: x_i = difficulty (column ``by``, at least 0) + sum over i's ``near`` nearest rows j of
    exp(-forward d_ij) difficulty_j; take the largest x_i, lower its neighbours' x_j by exp(-reverse d_ij) x_i, repeat.

    d is the Euclidean distance of unit vectors. Up to 20,000 rows neighbours are exact; of more they are looked for in
    the ``probes`` nearest of sqrt(n) clusters. Ids must be distinct. Memory is 12 near + 60 bytes a row and 150 MB;
    disk 4 d + 8 bytes a row, in ``scratch``.
    """
    if near < 1 or probes < 1 or min(forward, reverse) < 0:
        raise SchemaError(
            f"d2: near={near}, probes={probes} must be at least 1, forward={forward}, reverse={reverse} at least 0"
        )
    values: list[np.ndarray] = []

    def noted(needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        values.clear()
        for batch in stream((*needs, by)):
            _check(batch, by)
            values.append(batch[by].to_numpy().astype(np.float64))
            yield batch

    with workplace(scratch, "d2") as name:
        spooled = spool(noted, embedding, Path(name), who="d2", seed=seed, exact=True)
        if spooled.rows <= near:
            raise SchemaError(f"d2: near={near} neighbours of a row need more rows; the data has {spooled.rows}")
        key = distinct(spooled.keys(), stream, "d2", seed)
        start, order = np.concatenate(values), np.argsort(key)
        centres = _centres(stream, embedding, Path(name), spooled, seed)
        at, distance = neighbours(spooled, order, centres, near=near, probes=probes)
    places = selection(start[order], at, np.exp(-forward * distance), np.exp(-reverse * distance))
    return D2(key[order], 1.0 - places / len(places), seed)


def selection(start: np.ndarray, at: np.ndarray, forward: np.ndarray, reverse: np.ndarray) -> np.ndarray:
    """Return the turn (n,) of each row; of equals the first goes first.

    ``at`` (n, near) are the neighbours of each row, ``forward`` and ``reverse`` their weights, ``start`` (n,) the
    difficulties.
    """
    x = start + (forward * start[at]).sum(axis=1)
    now, places = x.tolist(), np.full(len(x), -1, np.int64)
    heap = [(-value, row) for row, value in enumerate(now)]
    heapq.heapify(heap)
    turn = 0
    while heap:
        value, row = heapq.heappop(heap)
        if places[row] >= 0 or -value != now[row]:
            continue  # taken, or changed since
        places[row] = turn
        turn += 1
        for other, weight in zip(at[row].tolist(), reverse[row].tolist(), strict=True):
            if places[other] < 0:
                now[other] += weight * value
                heapq.heappush(heap, (-now[other], other))
    return places


def _centres(stream: Stream, embedding: str, folder: Path, spooled: Spool, seed: int) -> np.ndarray | None:
    """Return centres of clusters to look for neighbours in; None where all rows are looked at."""
    if spooled.rows <= EXACT_ROWS:
        return None
    (folder / "clusters").mkdir()
    asked = Settings("d2", round(spooled.rows**0.5), 50_000, 10, "sample", seed, fewer=True)
    return clusters(stream, embedding, folder / "clusters", asked)[1].centres


def _check(batch: pl.DataFrame, by: str) -> None:
    good = finite(batch[by]) & (batch[by] >= 0).fill_null(False).to_numpy()
    if not good.all():
        row = int(good.argmin())
        raise SchemaError(
            f"d2: {by} of id {batch['id'][row]!r} is {batch[by][row]}: a difficulty must be a number of at least 0; "
            "name another column with by="
        )
