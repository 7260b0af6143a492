"""Define a curriculum: phases of training with one mixture each, and the passes over the pools that follow."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pool import baselines
from curate.pool.pool import Pool, check_pools

ROUNDING = 1e-9  # by how much sums of shares, and passes, may miss a whole number


@dataclass(frozen=True)
class Phase:
    """A part of training, from the fraction ``start`` to ``end`` of its tokens, with one mixture.

    ``weights`` maps pools to their shares; a pool that is absent has the share 0.
    """

    start: float
    end: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Curriculum:
    """Phases that follow each other from 0 to 1, over ``tokens`` training tokens drawn from ``pools``.

    Raises:
        SchemaError: if there are gaps between phases, the shares of a phase do not sum to 1, there are no pools or two
            of the same name, or ``tokens`` is not positive and finite.
    """

    pools: tuple[Pool, ...]
    tokens: float
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        """Check that the phases cover training once, and that the shares of each sum to 1."""
        if not (isfinite(self.tokens) and self.tokens > 0):
            raise SchemaError(f"a schedule of {self.tokens:g} tokens: give a positive, finite count")
        check_pools(self.pools, "the schedule")
        end = 0.0
        for i, phase in enumerate(self.phases, start=1):
            # Compared exactly: whoever makes the phases passes the end of one as the start of the next.
            if phase.start != end or not end < phase.end <= 1:
                raise SchemaError(
                    f"phase {i} runs from {phase.start} to {phase.end} of training, but the phases before it end at "
                    f"{end}: phases must follow each other from 0 to 1 without gaps"
                )
            total = baselines.total(self.pools, phase.weights, f"phase {i}")
            if abs(total - 1) > ROUNDING:
                raise SchemaError(
                    f"phase {i} has shares that sum to {total!r}: make them sum to 1 (see `baselines.mixture`)"
                )
            end = phase.end
        if end != 1:
            raise SchemaError(f"the {len(self.phases)} phases end at {end} of training: the last must end at 1")

    @property
    def names(self) -> list[str]:
        """Pool names, in the order of all (p,) arrays."""
        return [pool.name for pool in self.pools]

    @property
    def bounds(self) -> np.ndarray:
        """Fractions of training (phases + 1,) at which phases start and end."""
        return np.array([0.0, *(phase.end for phase in self.phases)])

    @property
    def shares(self) -> np.ndarray:
        """Shares (phases, p)."""
        return np.array([[phase.weights.get(name, 0.0) for name in self.names] for phase in self.phases])

    @property
    def passes(self) -> np.ndarray:
        """Passes over each pool (phases + 1, p) up to each of ``bounds``; in between they grow linearly."""
        done = np.cumsum(np.diff(self.bounds)[:, None] * self.shares, axis=0) * self.tokens
        return np.vstack([np.zeros(len(self.pools)), done]) / [pool.tokens for pool in self.pools]

    @property
    def weights(self) -> dict[str, float]:
        """Shares of all training tokens: the mean over training."""
        return baselines.named(self.pools, np.diff(self.bounds) @ self.shares)

    @property
    def variance_factor(self) -> float:
        """Mean over training of the variance factor of loss weights (see `curate.pool.baselines.Scalarisation`)."""
        each = [baselines.scalarisation(self.pools, shares).variance_factor for shares in self.shares]
        return float(np.diff(self.bounds) @ each)

    def weights_at(self, fraction: float) -> dict[str, float]:
        """Return the shares at a fraction of training. Where two phases meet, these are the shares of the later."""
        _check_fraction(fraction)
        # From the right, so that a fraction at which phases meet belongs to the later one.
        last = int(np.searchsorted(self.bounds[1:-1], fraction, side="right"))
        return baselines.named(self.pools, self.shares[last])

    def epochs(self, fraction: float = 1.0) -> dict[str, float]:
        """Return the passes over each pool up to a fraction of training."""
        _check_fraction(fraction)
        return baselines.named(
            self.pools, np.array([np.interp(fraction, self.bounds, column) for column in self.passes.T])
        )

    def reached(self, passes: float = 1.0) -> dict[str, float | None]:
        """Return the fraction of training at which each pool has been seen ``passes`` times, or None if it never is.

        With ``passes`` 1, all unique tokens have been seen there and repeats begin.

        Raises:
            SchemaError: if ``passes`` is not positive.
        """
        if not passes > 0:
            raise SchemaError(f"passes is {passes:g}. Give a positive number of passes over a pool")
        fractions: dict[str, float | None] = {}
        for name, seen in zip(self.names, self.passes.T, strict=True):
            # A pool that is seen exactly so often at the end must not miss it by a rounding error.
            k = int(np.searchsorted(seen, passes * (1 - ROUNDING)))
            if k == len(seen):
                fractions[name] = None
                continue
            part = min(1.0, (passes - seen[k - 1]) / (seen[k] - seen[k - 1]))
            fractions[name] = float(self.bounds[k - 1] + part * (self.bounds[k] - self.bounds[k - 1]))
        return fractions

    def distance(self, weights: Mapping[str, float]) -> float:
        """Return the total variation distance between ``weights`` and the mean shares of this curriculum.

        It is the part of all training tokens, from 0 to 1, that ``weights`` would draw from other pools.
        """
        return sum(abs(share - weights.get(name, 0.0)) for name, share in self.weights.items()) / 2

    def steps(self, total: int) -> list[tuple[int, int]]:
        """Return, for each phase, its first step and the step after its last, out of ``total`` training steps."""
        edges = [round(float(bound) * total) for bound in self.bounds]
        pairs = list(zip(edges, edges[1:], strict=False))
        for i, (first, end) in enumerate(pairs, start=1):
            if first >= end:
                raise SchemaError(f"phase {i} of {len(pairs)} has no step of {total}: give more steps or fewer phases")
        return pairs

    def table(self) -> pl.DataFrame:
        """Return a table with one row for each phase and pool: phase, from, to, pool, share, tokens, passes.

        Tokens and passes are counted from the start of training to the end of the phase.
        """
        shares, done = self.shares, self.passes
        rows: list[dict[str, object]] = []
        for i, phase in enumerate(self.phases, start=1):
            for k, pool in enumerate(self.pools):
                share, passes = float(shares[i - 1, k]), float(done[i, k])
                row = {"phase": i, "from": phase.start, "to": phase.end, "pool": pool.name, "share": share}
                rows.append(row | {"tokens": passes * pool.tokens, "passes": passes})
        return pl.DataFrame(rows)


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise SchemaError(f"fraction {fraction:g} of training must lie between 0 and 1")
