"""Designs of pilot runs: which mixtures, token counts and amounts of unique data a few dozen trainings should have."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError
from curate.pool import baselines
from curate.pool.pool import Budget, Pool

DESIGNS = ("dirichlet", "simplex", "optimal")
LEVELS = 4  # token counts, a factor of 2 apart, of which the largest is that of the budget
# The parts of a pool's unique tokens that a run has on hand. With fewer of them the tokens repeat as often as in a run
# 4 or 16 times longer, so that short runs show the effect of repetition (simulated epoching).
SHARES_OF_UNIQUE = (1.0, 0.25, 0.0625)
SPARSE = 0.3  # Dirichlet concentration whose draws lie near corners and edges
CANDIDATES = 20  # Dirichlet candidates for every run of an optimal design
PRIOR_VARIANCE = 1e3  # of the coefficients of the optimal design's law: so large that the prior decides nothing


@dataclass(frozen=True)
class PlannedRun:
    """One training to do: a mixture, a budget, the unique tokens on hand of each pool, and a seed.

    ``run`` is its name. ``weights`` and ``unique`` are by pool.
    """

    run: str
    weights: Mapping[str, float]
    budget: Budget
    unique: Mapping[str, float]
    seed: int


def design(
    pools: Sequence[Pool], runs: int, largest: Budget, *, kind: str = "dirichlet", seed: int = 0
) -> tuple[PlannedRun, ...]:
    """Return ``runs`` trainings that vary the mixture, the token count and the unique tokens on hand.

    There are four token counts, a factor of 2 apart, the largest that of ``largest``. ``kind`` chooses the mixtures.
    ``dirichlet`` begins with the three fixed baselines; then come random draws near a corner (of each pool in turn),
    spread out, and around the temperature baseline. ``simplex`` takes the centroid, the corners and the midpoints of
    the edges (a Scheffe lattice), and repeats them over token counts. ``optimal`` chooses, out of 20 x ``runs``
    Dirichlet candidates, the subset that tells most about a log-linear law (D-optimality, greedy). It suits few runs
    and many pools.

    Raises:
        SchemaError: an unknown design, or fewer than one run.
    """
    if kind not in DESIGNS:
        raise SchemaError(f"unknown design {kind!r}: choose one of {', '.join(DESIGNS)}")
    if runs < 1:
        raise SchemaError(f"--runs {runs} must be at least 1")
    rng = np.random.default_rng(seed)
    count = CANDIDATES * runs if kind == "optimal" else runs
    weights = _lattice(len(pools), count) if kind == "simplex" else _mixtures(pools, count, rng)
    tokens = largest.tokens / 2.0 ** rng.permutation(np.arange(count) % LEVELS)
    shares = rng.choice(SHARES_OF_UNIQUE, size=(count, len(pools)))
    unique = np.maximum(1.0, np.floor(shares * np.array([pool.tokens for pool in pools])))
    chosen = _most_informative(weights, tokens, unique, runs) if kind == "optimal" else range(count)
    names = [pool.name for pool in pools]
    return tuple(
        PlannedRun(
            run=f"{kind}-{i:04d}",
            weights=dict(zip(names, weights[row].tolist(), strict=True)),
            budget=Budget(float(tokens[row]), largest.params),
            unique=dict(zip(names, unique[row].tolist(), strict=True)),
            seed=seed + i,
        )
        for i, row in enumerate(chosen)
    )


def _mixtures(pools: Sequence[Pool], count: int, rng: np.random.Generator) -> np.ndarray:
    fixed = baselines.fixed(pools)
    p = len(pools)
    around = p * fixed["temperature"]
    rows = list(fixed.values())
    corner = 0
    while len(rows) < count:
        row = rng.dirichlet([np.full(p, SPARSE), np.ones(p), around][len(rows) % 3])
        if len(rows) % 3 == 0:
            # Each pool in turn gets the largest share: plans often end at corners, and chance may leave one out.
            largest, main = int(row.argmax()), corner % p
            row[[largest, main]] = row[[main, largest]]
            corner += 1
        rows.append(row)
    return np.stack(rows[:count])


def _lattice(p: int, count: int) -> np.ndarray:
    corners = np.eye(p)
    edges = [(corners[i] + corners[j]) / 2 for i in range(p) for j in range(i)]
    points = np.array([np.full(p, 1 / p), *corners, *edges])
    return points[np.arange(count) % len(points)]


def _most_informative(weights: np.ndarray, tokens: np.ndarray, unique: np.ndarray, runs: int) -> np.ndarray:
    """Return (runs,) rows that greedily maximise the determinant of the information matrix."""
    scale = np.log(tokens / tokens.max())[:, None]
    repeats = np.log(np.maximum(weights * tokens[:, None] / unique, 1.0))
    features = np.hstack([weights, scale * weights, weights * repeats])
    inverse = np.eye(features.shape[1]) * PRIOR_VARIANCE
    remaining: list[int] = list(range(len(features)))
    chosen = []
    for _ in range(runs):
        x = features[remaining]
        # The determinant grows most with the row of the largest variance of prediction x' inverse x.
        best = remaining.pop(int(np.argmax(np.einsum("ij,jk,ik->i", x, inverse, x))))
        chosen.append(best)
        # Sherman-Morrison: the inverse after adding the row, without inverting again.
        direction = inverse @ features[best]
        inverse -= np.outer(direction, direction) / (1 + features[best] @ direction)
    return np.array(chosen)
