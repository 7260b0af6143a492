"""What a row is worth to a target: calibrated dual potentials of optimal transport (LAVA; Just et al. 2023).

arXiv 2305.00054 has the potentials of the sampled rows. Here the c-transform carries them to every row.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.tables import batches as tables
from curate.tables.batches import Stream
from curate.tables.sample import smallest_hashes

SOLVER_STEPS = 10**7  # of the network simplex, 100 times POT's default: the prices must be those of the optimum


@dataclass(frozen=True)
class TransportValue:
    """How much a row brings the data nearer to a target; high is nearer.

    ``score.transport_value`` (float64, any sign) is the mean potential minus the row's own, min_j C(x, y_j) - g_j: the
    first-order fall of the transport cost for each unit of mass. C is half the squared distance of vectors, in units of
    the target's spread. Keep high scores. ``points`` (q, d) and ``prices`` (q,) are the target's vectors y_j and
    potentials g_j; ``scale`` (2,) holds the spread and the mean potential.

    Source: LAVA, Just et al. 2023, arXiv 2305.00054.
    """

    points: np.ndarray = field(repr=False)
    prices: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.transport_value": pl.Float64()}
    meanings = {"score.transport_value": "quality"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (self.embedding,)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"points": self.points, "prices": self.prices, "scale": self.scale}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        x = batch[self.embedding].to_numpy()
        if len(x) and x.shape[1] != self.points.shape[1]:
            raise SchemaError(
                f"transport_value: {self.embedding} has vectors of {x.shape[1]} numbers, the target's have "
                f"{self.points.shape[1]}. Use one encoder for both"
            )
        potentials = _potentials(x, self.points, self.prices, float(self.scale[0])) if len(x) else np.zeros(0)
        return pl.DataFrame({"score.transport_value": float(self.scale[1]) - potentials}, schema=dict(self.schema))


def learn(
    stream: Stream, *, target: str = "", sample: int = 1000, seed: int = 0, embedding: str = "emb.hashed"
) -> TransportValue:
    """Return the potentials of the exact transport between a sample of the data and one of the target.

    Options:
        target: file, folder or glob of rows like those that are wanted; without one, half of the sampled rows is the
            target of the other half, and what is unlike the rest scores low (default: none).
        sample: rows of each side, those with the smallest hash(id, seed); the cost grows with its cube: 0.3 CPU-seconds
            at 1,000 (default 1000).
        seed: seed of the samples (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: for fewer than two rows a side, vectors of different lengths, a target without spread, or a
            transport problem that the solver does not finish.
    """
    rows = _sampled_vectors(stream((embedding,)), sample if target else 2 * sample, seed, embedding)
    if target:
        shards = tables.shards([target])
        target_batches = (batch for shard in shards for batch in tables.batches(shard, (embedding,)))
        goal = _sampled_vectors(target_batches, sample, seed, embedding)
    else:
        # rows are in the order of their hashes, so every second row makes a random half
        rows, goal = rows[::2], rows[1::2]
    for what, x in (("the data", rows), ("the target", goal)):
        if len(x) < 2:
            raise SchemaError(f"transport_value: {what} has {len(x)} rows to learn from. Give at least 2, better 100")
    if rows.shape[1] != goal.shape[1]:
        raise SchemaError(
            f"transport_value: {embedding} has {rows.shape[1]} numbers in the data and {goal.shape[1]} in the target. "
            "Use one encoder for both"
        )
    spread = float(((goal - goal.mean(axis=0)) ** 2).sum(axis=1).mean())
    if spread == 0:
        raise SchemaError(f"transport_value: all {len(goal)} target vectors are equal. Give a target that varies")
    prices = _prices(rows, goal, spread, sample)
    mean = float(_potentials(rows, goal, prices, spread).mean())
    return TransportValue(goal, prices, np.array([spread, mean]), embedding)


def _prices(rows: np.ndarray, goal: np.ndarray, spread: float, sample: int) -> np.ndarray:
    """Return the dual potentials (q,) of the target in the exact transport between two even samples."""
    import ot  # type: ignore[import-untyped]  # takes 2.5 to 6 s: imported only where it is used

    even = [np.full(len(x), 1 / len(x)) for x in (rows, goal)]
    _, log = ot.emd2(*even, _costs(rows, goal, spread), numItermax=SOLVER_STEPS, log=True)
    if log["warning"] is not None:
        raise SchemaError(f"transport_value: {len(rows)} x {len(goal)} points: {log['warning']}. Lower sample={sample}")
    return np.asarray(log["v"], dtype=np.float64)


def _potentials(x: np.ndarray, points: np.ndarray, prices: np.ndarray, spread: float) -> np.ndarray:
    """Return the c-transform (n,) of the prices at x."""
    return np.asarray((_costs(x, points, spread) - prices).min(axis=1))


def _costs(x: np.ndarray, y: np.ndarray, spread: float) -> np.ndarray:
    a, b = x.astype(np.float64), y.astype(np.float64)
    # half of ||a - b||^2, by the binomial formula: no (n, q, d) array
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0) / (2 * spread))


def _sampled_vectors(batches: Iterator[pl.DataFrame], count: int, seed: int, column: str) -> np.ndarray:
    """Return the vectors (at most count, d) of the rows with the smallest hash(id, seed), in that order."""
    rows = smallest_hashes(batches, count, (column,), seed=seed)
    return rows[column].to_numpy().copy() if rows.height else np.zeros((0, 1), np.float32)
