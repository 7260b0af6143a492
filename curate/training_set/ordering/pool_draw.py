"""What is drawn of one pool, the random order of each of its passes, and the time of every copy.

In: counts of rows and tokens, and a random key for each row. Out: records, orders and times.
The copies of a pool form one sequence: all its rows in a random order, all of them again in another order, and a part
of a last pass. The time of a copy, in [0, 1), is the part of the pool's drawn tokens that come before it, plus a random
part of its own. All copies sorted by time are the training set. So at any cut every pool has given its planned share
to within one document, no document repeats before its pool's pass is over, and pools do not alternate in a pattern
that could meet the stride of a data loader. A schedule bends the time of each pool (`bend`).
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

# (from, to, tokens): between these fractions of training a pool gives so many tokens.
Phases = Sequence[tuple[float, float, int]]
BEFORE_END = np.nextafter(1.0, 0.0)  # the largest time


@dataclass(frozen=True)
class PoolDraw:
    """What is drawn of one pool: ``full`` passes over its ``rows``, and ``last`` rows of one more pass.

    ``target`` tokens were planned and ``tokens`` are drawn; ``unique`` are the tokens of one pass. Of the pool's rows,
    ``without_text`` more have a null text and are never drawn, and ``held_rows`` with ``held_tokens`` are held out.
    """

    pool: str
    target: int
    unique: int
    rows: int
    full: int
    last: int
    tokens: int
    without_text: int = 0
    held_rows: int = 0
    held_tokens: int = 0

    @property
    def copies(self) -> int:
        """Return the rows drawn, repeats counted."""
        return self.full * self.rows + self.last

    @property
    def passes(self) -> int:
        """Return the passes begun: every row is drawn this often, or once less."""
        return self.full + (self.last > 0)


def order_keys(keys: np.ndarray, epoch: int) -> np.ndarray:
    """Return uint64 numbers (n,) that sort the rows of a pass. Rows with equal numbers stay in the order of reading."""
    return _mixed(keys, epoch)


def times(order_key: np.ndarray, size: np.ndarray, before: np.ndarray, draw: PoolDraw, phases: Phases) -> np.ndarray:
    """Return the times (m,) of copies in the training, which never fall from one copy to the next.

    Args:
        order_key: what the copies are sorted by in their pass, (m,) uint64.
        size: the tokens of each copy, (m,).
        before: the tokens of the pool's copies that come before each copy, (m,), those of earlier passes included.
        draw: the draw of the pool.
        phases: the phases of a schedule in which the pool is drawn; empty without one.
    """
    # The upper 53 bits of a hash as a float: uniform in [0, 1), another number for each pass.
    part = (_mixed(order_key, 1) >> np.uint64(11)) * 2.0**-53
    return bend(np.minimum((before + part * size) / draw.tokens, BEFORE_END), phases)


def bend(parts: np.ndarray, phases: Phases) -> np.ndarray:
    """Return the fraction of training (m,) at which a schedule has drawn each part of a pool's tokens.

    ``parts`` (m,) lie in [0, 1). Without phases they are returned as they are.
    """
    if not phases:
        return parts
    starts, ends, tokens = np.array(phases, dtype=np.float64).T
    done = np.concatenate([[0.0], np.cumsum(tokens)]) / tokens.sum()
    phase = np.searchsorted(done[1:-1], parts, side="right")
    inside = (parts - done[phase]) / (done[phase + 1] - done[phase])
    result = starts[phase] + inside * (ends - starts)[phase]
    return np.asarray(np.minimum(result, np.nextafter(ends[phase], 0.0)))


def _mixed(keys: np.ndarray, salt: int) -> np.ndarray:
    """Return uint64 hashes (n,) of keys and a small whole number: SplitMix64 (Steele, Lea and Flood 2014)."""
    z = keys + np.uint64((salt + 1) * 0x9E3779B97F4A7C15 & 0xFFFFFFFFFFFFFFFF)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return np.asarray(z ^ (z >> np.uint64(31)))
