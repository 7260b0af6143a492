"""Train a transformer over bytes that is small enough to be trained dozens of times on two cores."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate import numerical_threads
from curate.errors import SchemaError
from curate.models.tiny_transformer import Transformer, load, width_for
from curate.pool.pool import Budget
from curate.pool.rounding import round_to_sum
from curate.trainers import check_pools
from curate.trainers._passes import in_passes

EVAL_BATCH = 64  # sequences of an eval that are scored at once; it does not change the loss


@dataclass(frozen=True)
class Tiny:
    """Trains a decoder-only transformer on bytes, with AdamW and a cosine learning rate that ends at zero.

    ``pools`` and ``evals`` map names to uint8 arrays of text. The sequences of a pool are drawn without replacement
    until all were seen, and are then shuffled again, so that epochs are real passes. Training runs on one numerical
    thread, so that the same seed gives the same loss.

    With ``start``, training continues from a saved model, with a new optimizer and a new warm-up of the learning rate
    (continual pretraining).

    Options:
        context: bytes of a sequence (default 64).
        batch: sequences of a step (default 8).
        rate: the highest learning rate (default 0.006).
        layers: layers of the transformer (default 2).
        start: file of `curate.models.tiny_transformer.save` to continue from; if empty, training starts from random
            weights (default empty).
    """

    pools: Mapping[str, np.ndarray] = field(repr=False)
    evals: Mapping[str, np.ndarray] = field(repr=False)
    context: int = 64
    batch: int = 8
    rate: float = 6e-3
    layers: int = 2
    start: str = ""

    @property
    def unique(self) -> dict[str, int]:
        """The number of bytes that each pool holds."""
        return {name: len(data) for name, data in self.pools.items()}

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Train on ``budget.tokens`` bytes and return the mean loss per byte of every eval, in nats.

        Raises:
            SchemaError: an unknown pool, or a pool or an eval that is shorter than one sequence.
        """
        return self.losses(self.trained(weights, budget, seed=seed, unique=unique))

    def trained(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> Transformer:
        """Train on ``budget.tokens`` bytes and return the model."""
        # The random state of the caller is put back afterwards: nothing in curate seeds globally.
        with numerical_threads.single(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Transformer(width_for(budget.params, self.layers), self.layers, self.context)
            if self.start:
                load(model, Path(self.start))
            self._fit(model, self._sequences(weights, budget, seed, unique or {}))
            return model

    def losses(self, model: Transformer) -> dict[str, float]:
        """Return the mean loss per byte of every eval, in nats."""
        with numerical_threads.single():
            return {name: self._evaluate(model, data) for name, data in self.evals.items()}

    def _sequences(
        self, weights: Mapping[str, float], budget: Budget, seed: int, unique: Mapping[str, float]
    ) -> Tensor:
        """Return m training sequences in order, (m, context + 1) bytes. Shares are exact to one sequence."""
        check_pools(weights, self.pools)
        # At least one step, however small the budget.
        total = max(self.batch, round(budget.tokens / self.context))
        names = [name for name in self.pools if weights.get(name, 0.0) > 0]
        shares = np.array([weights[name] for name in names])
        # Parts in floats, not exact ones as in `apportion`: an exact tie may break another way, and the sequences that
        # a seed stands for would change.
        counts = round_to_sum(shares / shares.sum() * total, total)
        rng = np.random.default_rng(seed)
        parts = []
        for name, count in zip(names, counts, strict=True):
            data = self.pools[name][: int(unique.get(name, len(self.pools[name])))]
            starts = self._starts(data, f"pool {name!r}")
            first_bytes = starts[in_passes(rng, len(starts), count)]
            # Spread every pool evenly over the run, so that passes are in order and the mixture is steady.
            parts.append((np.arange(count) + rng.random(count)) / max(1, count))
            parts.append(data[first_bytes[:, None] + np.arange(self.context + 1)])
        # Every other part holds the times, and the ones between them the sequences.
        order = np.argsort(np.concatenate(parts[0::2]), kind="stable")
        return torch.from_numpy(np.concatenate(parts[1::2])[order])

    def _starts(self, data: np.ndarray, what: str) -> np.ndarray:
        """Return the position of the first byte of every sequence. ``what`` names ``data`` in the error if it has
        none."""
        # Sequences do not overlap; the byte after each is the target of its last one.
        starts = np.arange(0, len(data) - self.context, self.context)
        if len(starts) == 0:
            raise SchemaError(
                f"{what} has {len(data)} bytes, less than one sequence of {self.context + 1}: give more text"
            )
        return starts

    def _fit(self, model: Transformer, sequences: Tensor) -> None:
        steps = -(-len(sequences) // self.batch)
        # Settings that are usual for small language models.
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        warm = max(1, min(50, steps // 10))  # steps over which the learning rate rises: a tenth, at most 50
        for step in range(steps):
            part = sequences[step * self.batch : (step + 1) * self.batch].long()
            scale = (
                (step + 1) / warm if step < warm else 0.5 * (1 + np.cos(np.pi * (step - warm) / max(1, steps - warm)))
            )
            for group in optimizer.param_groups:
                group["lr"] = self.rate * scale
            loss = functional.cross_entropy(model(part[:, :-1]).flatten(0, 1), part[:, 1:].flatten())
            optimizer.zero_grad(set_to_none=True)
            loss.backward()  # type: ignore[no-untyped-call]
            nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            optimizer.step()

    def _evaluate(self, model: Transformer, data: np.ndarray) -> float:
        starts = self._starts(data, "an eval")
        windows = torch.from_numpy(data[starts[:, None] + np.arange(self.context + 1)])
        total = 0.0
        with torch.no_grad():
            for i in range(0, len(windows), EVAL_BATCH):
                part = windows[i : i + EVAL_BATCH].long()
                logits = model(part[:, :-1]).flatten(0, 1)
                total += float(functional.cross_entropy(logits, part[:, 1:].flatten(), reduction="sum"))
        return total / (len(starts) * self.context)
