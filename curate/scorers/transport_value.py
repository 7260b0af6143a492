"""What a sample is worth to a target: calibrated dual potentials of optimal transport (LAVA; Just et al. 2023,
arXiv 2305.00054), carried to every row by the c-transform."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.tables import batches as tables
from curate.tables.batches import Stream


@dataclass(frozen=True)
class TransportValue:
    """``score.transport_value``: mean potential minus the row's own, min_j C(x, y_j) - g_j (float64; any sign).

    High = more of it brings the data nearer to the target: the first-order fall of the transport cost per unit of mass.
    C is half the squared distance of vectors, in units of the target's spread. ``points`` (q, d) and ``prices`` (q,)
    are the target's, ``scale`` (2,): that spread and the mean potential. ``embedding`` names the column read.
    """

    points: np.ndarray = field(repr=False)
    prices: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    embedding: str = "emb.hashed"
    schema = {"score.transport_value": pl.Float64()}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns it reads."""
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
                f"{self.embedding} has vectors of {x.shape[1]} numbers, the target's have {self.points.shape[1]}: "
                "use one encoder for both"
            )
        mine = _potentials(x, self.points, self.prices, float(self.scale[0])) if len(x) else np.zeros(0)
        return pl.DataFrame({"score.transport_value": float(self.scale[1]) - mine}, schema=dict(self.schema))


def learn(
    stream: Stream, *, target: str = "", sample: int = 1000, seed: int = 0, embedding: str = "emb.hashed"
) -> TransportValue:
    """Solve exact transport between at most ``sample`` rows of the data and of ``target`` (a file, folder or glob).

    Without a target half of the sampled rows is the target of the others: what is unlike the rest then scores low. Rows
    are those with the smallest hash(id, seed). Cost grows with ``sample`` cubed: .3 CPU-s at 1,000.
    """
    import ot  # type: ignore[import-untyped]  # 2.5 to 6 s: only where it is used

    rows = _smallest(stream((embedding,)), sample if target else 2 * sample, seed, embedding)
    if target:
        shards = tables.shards([target])
        goal = _smallest((b for s in shards for b in tables.batches(s, (embedding,))), sample, seed, embedding)
    else:
        rows, goal = rows[::2], rows[1::2]
    for what, x in (("the data", rows), ("the target", goal)):
        if len(x) < 2:
            raise SchemaError(f"transport_value: {what} has {len(x)} rows to learn from: give at least 2, better 100")
    if rows.shape[1] != goal.shape[1]:
        raise SchemaError(
            f"transport_value: {embedding} has {rows.shape[1]} numbers in the data and {goal.shape[1]} in the target: "
            "use one encoder for both"
        )
    spread = float(((goal - goal.mean(axis=0)) ** 2).sum(axis=1).mean())
    if spread == 0:
        raise SchemaError(f"transport_value: all {len(goal)} target vectors are alike: give a target that varies")
    costs = _costs(rows, goal, spread)
    even = [np.full(len(x), 1 / len(x)) for x in (rows, goal)]
    _, log = ot.emd2(*even, costs, numItermax=10**7, log=True)
    if log["warning"] is not None:
        raise SchemaError(f"transport_value: {len(rows)} x {len(goal)} points: {log['warning']}. Lower sample={sample}")
    prices = np.asarray(log["v"], dtype=np.float64)
    mean = float(_potentials(rows, goal, prices, spread).mean())
    return TransportValue(goal, prices, np.array([spread, mean]), embedding)


def _potentials(x: np.ndarray, points: np.ndarray, prices: np.ndarray, spread: float) -> np.ndarray:
    return np.asarray((_costs(x, points, spread) - prices).min(axis=1))


def _costs(x: np.ndarray, y: np.ndarray, spread: float) -> np.ndarray:
    a, b = x.astype(np.float64), y.astype(np.float64)
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0) / (2 * spread))


def _smallest(batches: Iterator[pl.DataFrame], count: int, seed: int, column: str) -> np.ndarray:
    """(at most count, d) vectors of the rows with the smallest hash of id and seed, in that order."""
    held: pl.DataFrame | None = None
    for batch in batches:
        part = batch.select("id", column).with_columns(pl.Series("key", tables.keys(batch["id"], seed), pl.UInt64))
        if held is not None and held.schema != part.schema:
            raise SchemaError(
                f"transport_value: {column} is {held.schema[column]} and {part.schema[column]}: embed again"
            )
        held = (part if held is None else pl.concat([held, part])).sort("key", "id").head(count)
    return np.zeros((0, 1), np.float32) if held is None else held[column].to_numpy().copy()
