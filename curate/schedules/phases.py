"""Mixtures over training: phases from one fraction of the tokens to another, and the passes they add up to."""

from collections.abc import Mapping
from dataclasses import dataclass
from math import isfinite

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pool import baselines, repeats
from curate.pool.pool import Pool

ROUNDING = 1e-9


@dataclass(frozen=True)
class Phase:
    """Training from fraction ``start`` to ``end`` of its tokens at ``weights`` (shares by pool, none where absent)."""

    start: float
    end: float
    weights: Mapping[str, float]


@dataclass(frozen=True)
class Schedule:
    """Phases that follow each other from 0 to 1 over ``tokens`` training tokens drawn from ``pools``."""

    pools: tuple[Pool, ...]
    tokens: float
    phases: tuple[Phase, ...]

    def __post_init__(self) -> None:
        """Check that the phases cover training once and that each has shares that sum to 1."""
        if not (isfinite(self.tokens) and self.tokens > 0):
            raise SchemaError(f"a schedule of {self.tokens:g} tokens: give a positive, finite count")
        if repeated := sorted({name for name in self.names if self.names.count(name) > 1}):
            raise SchemaError(f"two pools are named {repeated[0]!r}: give every pool its own name")
        at = 0.0
        for i, phase in enumerate(self.phases, start=1):
            if phase.start != at or not at < phase.end <= 1:
                raise SchemaError(
                    f"phase {i} runs from {phase.start} to {phase.end} of training, where {at} is reached: "
                    "phases must follow each other from 0 to 1 without gaps"
                )
            total = baselines.total(self.pools, phase.weights, f"phase {i}")
            if abs(total - 1) > ROUNDING:
                raise SchemaError(
                    f"phase {i} has shares that sum to {total!r}: make them sum to 1 with schedules.mixture"
                )
            at = phase.end
        if at != 1:
            raise SchemaError(f"the {len(self.phases)} phases end at {at} of training: the last must end at 1")

    @property
    def names(self) -> list[str]:
        """Pool names, in the order of all (p,) arrays."""
        return [pool.name for pool in self.pools]

    @property
    def bounds(self) -> np.ndarray:
        """(phases + 1,) fractions at which phases start and end."""
        return np.array([0.0, *(phase.end for phase in self.phases)])

    @property
    def shares(self) -> np.ndarray:
        """(phases, p) shares."""
        return np.array([[phase.weights.get(name, 0.0) for name in self.names] for phase in self.phases])

    @property
    def passes(self) -> np.ndarray:
        """(phases + 1, p) passes over each pool by the bounds of the phases; in between they grow linearly."""
        done = np.cumsum(np.diff(self.bounds)[:, None] * self.shares, axis=0) * self.tokens
        return np.vstack([np.zeros(len(self.pools)), done]) / [pool.tokens for pool in self.pools]

    @property
    def weights(self) -> dict[str, float]:
        """Shares of all training tokens: the mean over time."""
        return baselines.named(self.pools, np.diff(self.bounds) @ self.shares)

    @property
    def variance_factor(self) -> float:
        """Mean over time of the variance factor of scalarisation (see ``schedules.Scalarisation``)."""
        each = [baselines.scalarisation(self.pools, shares).variance_factor for shares in self.shares]
        return float(np.diff(self.bounds) @ each)

    def at(self, fraction: float) -> dict[str, float]:
        """Return the shares at a fraction of training; at a switch, those of the phase that starts there."""
        _check_fraction(fraction)
        last = int(np.searchsorted(self.bounds[1:-1], fraction, side="right"))
        return baselines.named(self.pools, self.shares[last])

    def epochs(self, fraction: float = 1.0) -> dict[str, float]:
        """Return the passes over each pool by a fraction of training."""
        _check_fraction(fraction)
        return baselines.named(
            self.pools, np.array([np.interp(fraction, self.bounds, column) for column in self.passes.T])
        )

    def reached(self, passes: float = 1.0) -> dict[str, float | None]:
        """Return the fraction of training at which each pool has been seen ``passes`` times, None for never.

        With 1: where its unique tokens are used up and repeats begin.
        """
        if not passes > 0:
            raise SchemaError(f"{passes:g} passes are reached before training: give a positive number")
        found: dict[str, float | None] = {}
        for name, seen in zip(self.names, self.passes.T, strict=True):
            k = int(np.searchsorted(seen, passes * (1 - ROUNDING)))
            if k == len(seen):
                found[name] = None
                continue
            part = min(1.0, (passes - seen[k - 1]) / (seen[k] - seen[k - 1]))
            found[name] = float(self.bounds[k - 1] + part * (self.bounds[k] - self.bounds[k - 1]))
        return found

    def distance(self, weights: Mapping[str, float]) -> float:
        """Return the part of all tokens (total variation) that would move if training kept to ``weights`` instead."""
        return sum(abs(share - weights.get(name, 0.0)) for name, share in self.weights.items()) / 2

    def steps(self, total: int) -> list[tuple[int, int]]:
        """Return each phase's first step and the step after its last, of ``total``: the nearest to its fractions."""
        edges = [round(float(bound) * total) for bound in self.bounds]
        pairs = list(zip(edges, edges[1:], strict=False))
        for i, (first, end) in enumerate(pairs, start=1):
            if first >= end:
                raise SchemaError(f"phase {i} of {len(pairs)} has no step of {total}: give more steps or fewer phases")
        return pairs

    def table(self) -> pl.DataFrame:
        """Return a row a phase and pool: phase, from, to, pool, share, tokens, passes (both: so far, at its end)."""
        sizes = [pool.tokens for pool in self.pools]
        return pl.DataFrame(
            {
                "phase": i, "from": phase.start, "to": phase.end, "pool": name, "share": share,
                "tokens": passes * size, "passes": passes,
            }
            for i, phase in enumerate(self.phases, start=1)
            for name, size, share, passes in zip(
                self.names, sizes, self.shares[i - 1].tolist(), self.passes[i].tolist(), strict=True
            )
        )  # fmt: skip


def _check_fraction(fraction: float) -> None:
    if not 0 <= fraction <= 1:
        raise SchemaError(f"fraction {fraction:g} of training must lie between 0 and 1")


def warnings(schedule: Schedule, params: float | None = None) -> tuple[str, ...]:
    """Return what to say about pools that are never drawn or repeated too often by a model of ``params`` parameters.

    Harm is that of the whole training (Hernandez et al. 2022, see ``harm``), with the fraction where it begins.
    """
    if params is not None and not 0 < params < np.inf:
        raise SchemaError(f"a model of {params:g} parameters: give a positive, finite count")
    seen, found = schedule.epochs(), []
    if never := [name for name, passes in seen.items() if passes == 0]:
        found.append(f"never drawn: {', '.join(never)}")
    for name, passes in seen.items():
        if params is not None and (said := repeats.warning(passes - 1, params)):
            enters = schedule.reached(repeats.band(params)[0] + 1)[name]
            found.append(f"{name}: {said}; it gets there at {enters:.3g} of training")
        elif said := repeats.spent(passes):
            found.append(f"{name}: {said}")
    return tuple(found)


def to_json(schedule: Schedule) -> dict[str, object]:
    """Return a schedule as the fields of schedule.json, without method and limits.

    ``weights`` are shares of all tokens, ``exhausted`` the fraction of training at which a pool's unique tokens are
    used up (null: never). ``scalarisation``: what each phase would be as loss weights over size-proportional sampling,
    instead of its shares and never on top of them.
    """
    each = [baselines.scalarisation(schedule.pools, shares) for shares in schedule.shares]
    return {
        "tokens": schedule.tokens,
        "phases": [
            {"from": phase.start, "to": phase.end, "weights": dict(zip(schedule.names, row, strict=True))}
            for phase, row in zip(schedule.phases, schedule.shares.tolist(), strict=True)
        ],
        "weights": schedule.weights,
        "epochs": schedule.epochs(),
        "exhausted": schedule.reached(1.0),
        "variance_factor": schedule.variance_factor,
        "scalarisation": [
            {
                "variance_factor": one.variance_factor,
                "loss_weights": dict(zip(schedule.names, one.weights.tolist(), strict=True)),
            }
            for one in each
        ],
    }
