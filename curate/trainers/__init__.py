"""The contract of a trainer: train a small model on a mixture, return its losses."""

from collections.abc import Mapping
from typing import Protocol

from curate.pools import Budget


class Trainer(Protocol):
    """Holds the data; the same arguments give the same losses."""

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Return eval name -> loss in nats per token. ``unique`` caps the tokens on hand of a pool (repeats follow)."""
        ...
