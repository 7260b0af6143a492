"""Logistic regression on embeddings, the cheapest trainer. One example counts as one token."""

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import log_loss

from curate.errors import SchemaError
from curate.pool.pool import Budget
from curate.trainers import check_pools
from curate.trainers._passes import in_passes

Examples = tuple[np.ndarray, np.ndarray]  # (n, d) features, (n,) labels


@dataclass(frozen=True)
class Linear:
    """Trains logistic regression on labelled embeddings.

    ``pools`` and ``evals`` map names to (features (n, d), labels (n,)). ``budget.tokens`` counts examples, and
    ``budget.params`` does not matter. A pool that must give more examples than it has repeats them.

    Options:
        strength: C of scikit-learn, the inverse of the regularisation (default 1).
    """

    pools: Mapping[str, Examples] = field(repr=False)
    evals: Mapping[str, Examples] = field(repr=False)
    strength: float = 1.0

    @property
    def unique(self) -> dict[str, int]:
        """Examples on hand in each pool."""
        return {name: len(labels) for name, (_, labels) in self.pools.items()}

    def train(
        self, weights: Mapping[str, float], budget: Budget, *, seed: int, unique: Mapping[str, float] | None = None
    ) -> dict[str, float]:
        """Return the mean log loss of every eval, in nats per example.

        Raises:
            SchemaError: an unknown pool, or training examples of fewer than two classes.
        """
        check_pools(weights, self.pools)
        # Names in the order of the pools, so that the order of the weights does not change the draws.
        names = [name for name in self.pools if weights.get(name, 0.0) > 0]
        rng = np.random.default_rng(seed)
        counts = rng.multinomial(round(budget.tokens), [weights[n] / sum(weights[m] for m in names) for n in names])
        features, labels = [], []
        for name, count in zip(names, counts.tolist(), strict=True):
            x, y = self.pools[name]
            # Fewer unique examples than one cannot be trained on; a pool has at least one.
            limit = max(1, min(len(y), int((unique or {}).get(name, len(y)))))
            rows = in_passes(rng, limit, count)
            features.append(x[rows])
            labels.append(y[rows])
        x, y = np.concatenate(features), np.concatenate(labels)
        # All classes count, also those that this run never sees: an eval may hold them.
        classes = np.unique(np.concatenate([other for _, other in (*self.pools.values(), *self.evals.values())]))
        if len(np.unique(y)) < 2:
            raise SchemaError(
                f"{len(y)} training examples hold {len(np.unique(y))} class; two are needed: raise --tokens"
            )
        model = LogisticRegression(C=self.strength, max_iter=1000).fit(x, y)
        return {name: self._loss(model, eval_x, eval_y, classes) for name, (eval_x, eval_y) in self.evals.items()}

    @staticmethod
    def _loss(model: LogisticRegression, x: np.ndarray, y: np.ndarray, classes: np.ndarray) -> float:
        # A class that no training example has gets a probability of 1e-3 and not 0, so that the loss stays finite.
        probability = np.full((len(y), len(classes)), 1e-3)
        probability[:, np.searchsorted(classes, model.classes_)] = np.maximum(model.predict_proba(x), 1e-3)
        probability /= probability.sum(axis=1, keepdims=True)
        return float(log_loss(y, probability, labels=classes))
