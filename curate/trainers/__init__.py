"""What a pilot run trains: a small model on a mixture of pools, one trainer a file.

In: a mixture, a budget and a seed. Out: the losses of every eval, in nats per token. May use: pool and models.
A trainer holds its data. The file name is its name on the command line.
"""

from collections.abc import Iterable, Mapping
from typing import Protocol

from curate.errors import SchemaError, first_few
from curate.pool.pool import Budget


class Trainer(Protocol):
    """Trains a small model on a mixture of pools. The same arguments give the same losses."""

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Return the loss of every eval in nats per token, by name.

        ``weights`` are shares by pool. ``unique`` limits the tokens on hand of a pool: training repeats them.
        """
        ...


def check_pools(weights: Mapping[str, float], pools: Iterable[str]) -> None:
    """Stop if a mixture names a pool that the trainer does not have.

    Raises:
        SchemaError: with the first such pool, and the pools of the trainer.
    """
    names = list(pools)
    if unknown := sorted(set(weights) - set(names)):
        raise SchemaError(f"no pool {unknown[0]!r} to train on: the trainer has {first_few(names, near=unknown[0])}")
