"""The contract of a trainer: train a small model on a mixture, return its losses."""

from collections.abc import Iterable, Mapping
from typing import Protocol

from curate.errors import SchemaError
from curate.pool.pool import Budget


class Trainer(Protocol):
    """Holds the data; the same arguments give the same losses."""

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Return eval name -> loss in nats per token. ``unique`` caps the tokens on hand of a pool (repeats follow)."""
        ...


def check_pools(weights: Mapping[str, float], pools: Iterable[str]) -> None:
    """Refuse a mixture that names a pool which the trainer does not have."""
    known = list(pools)
    if unknown := sorted(set(weights) - set(known)):
        raise SchemaError(f"no pool {unknown[0]!r} to train on: the trainer has {', '.join(known)}")
