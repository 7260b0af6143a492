"""A byte-level transformer small enough to train dozens of times on two cores; real losses for pilots and demos."""

from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional

from curate.errors import SchemaError
from curate.models.tiny_transformer import Transformer, load, width_for
from curate.pool.pool import Budget
from curate.trainers import check_pools

EVAL_BATCH = 64  # sequences


@dataclass(frozen=True)
class Tiny:
    """Decoder-only transformer, pre-norm, rotary positions, tied to no library but torch; AdamW, cosine to zero.

    ``pools`` and ``evals`` map names to uint8 arrays of text. ``context`` bytes a sequence, ``batch`` sequences a step.
    A pool's sequences are dealt without replacement until all were seen, then reshuffled: epochs are real passes.
    One numerical thread: the same seed gives the same loss. ``start``: a file that ``save`` wrote, from which training
    continues with a new optimizer and the learning rate warmed again (continual pretraining); empty: from nothing.
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
        """Bytes on hand in each pool."""
        return {name: len(data) for name, data in self.pools.items()}

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Train on ``budget.tokens`` bytes and return the mean loss per byte of every eval."""
        return self.losses(self.trained(weights, budget, seed=seed, unique=unique))

    def trained(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> Transformer:
        """Train on ``budget.tokens`` bytes and return the model."""
        with one_thread(), torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            model = Transformer(width_for(budget.params, self.layers), self.layers, self.context)
            if self.start:
                load(model, Path(self.start))
            self._fit(model, self._sequences(weights, budget, seed, unique or {}))
            return model

    def losses(self, model: Transformer) -> dict[str, float]:
        """Return the mean loss per byte of every eval."""
        with one_thread():
            return {name: self._evaluate(model, data) for name, data in self.evals.items()}

    def _sequences(
        self, weights: Mapping[str, float], budget: Budget, seed: int, unique: Mapping[str, float]
    ) -> Tensor:
        """(m, context + 1) uint8 sequences in training order, shares exact to one sequence."""
        check_pools(weights, self.pools)
        total = max(self.batch, round(budget.tokens / self.context))
        names = [name for name in self.pools if weights.get(name, 0.0) > 0]
        counts = largest_remainder(np.array([weights[name] for name in names]), total)
        rng = np.random.default_rng(seed)
        parts = []
        for name, count in zip(names, counts.tolist(), strict=True):
            data = self.pools[name][: int(unique.get(name, len(self.pools[name])))]
            starts = np.arange(0, len(data) - self.context, self.context)
            if len(starts) == 0:
                raise SchemaError(f"pool {name!r} has {len(data)} bytes, under one sequence of {self.context + 1}")
            passes = [rng.permutation(starts) for _ in range(-(-count // len(starts)))]
            at = np.concatenate(passes)[:count] if passes else np.zeros(0, dtype=np.int64)
            # Spread every pool evenly over the run, so that passes are in order and the mixture is steady.
            parts.append((np.arange(count) + rng.random(count)) / max(1, count))
            parts.append(data[at[:, None] + np.arange(self.context + 1)])
        order = np.argsort(np.concatenate(parts[0::2]), kind="stable")
        return torch.from_numpy(np.concatenate(parts[1::2])[order])

    def _fit(self, model: Transformer, sequences: Tensor) -> None:
        steps = -(-len(sequences) // self.batch)
        optimizer = torch.optim.AdamW(model.parameters(), lr=self.rate, betas=(0.9, 0.95), weight_decay=0.1, fused=True)
        warm = max(1, min(50, steps // 10))
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
        starts = np.arange(0, len(data) - self.context, self.context)
        if len(starts) == 0:
            raise SchemaError(
                f"an eval of {len(data)} bytes is under one sequence of {self.context + 1}: give more text"
            )
        windows = torch.from_numpy(data[starts[:, None] + np.arange(self.context + 1)])
        total = 0.0
        with torch.no_grad():
            for i in range(0, len(windows), EVAL_BATCH):
                part = windows[i : i + EVAL_BATCH].long()
                logits = model(part[:, :-1]).flatten(0, 1)
                total += float(functional.cross_entropy(logits, part[:, 1:].flatten(), reduction="sum"))
        return total / (len(starts) * self.context)


@contextmanager
def one_thread() -> Iterator[None]:
    """Run torch on one thread, for sums in one order."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


def largest_remainder(shares: np.ndarray, total: int) -> np.ndarray:
    """(p,) integers that sum to ``total`` and differ from shares * total by less than 1 (Hamilton's method)."""
    exact = shares / shares.sum() * total
    counts = np.floor(exact).astype(np.int64)
    counts[np.argsort(counts - exact, kind="stable")[: total - int(counts.sum())]] += 1
    return np.asarray(counts)
