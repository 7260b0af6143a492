"""Recipes: ways to train, as the tensors a law reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError

SHOWN = 8  # shares in a message
SIMPLEX_TOLERANCE = 1e-3  # published tables print shares to three digits


@dataclass(frozen=True)
class Recipes:
    """n ways to train on p pools; float64 tensors.

    ``weights`` (n, p): shares of training tokens, rows sum to 1. ``tokens`` (n,): tokens seen, repeats counted.
    ``params`` (n,): model parameters. ``unique`` (n, p): unique tokens on hand, inf where not limiting. ``distance``
    (n,): transport distance of the mixture to the target, where it was measured.
    """

    weights: Tensor
    tokens: Tensor
    params: Tensor
    unique: Tensor
    distance: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """(n, p) tokens seen of each pool, repeats counted."""
        return self.weights * self.tokens[..., None]

    @property
    def epochs(self) -> Tensor:
        """(n, p) passes over each pool: seen / unique."""
        return self.seen / self.unique

    def __len__(self) -> int:
        """Return n."""
        return int(self.tokens.shape[0])

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """The fields as tensors (n, ...), for functions that are mapped over rows; ``one`` is the inverse."""
        fields = (self.weights, self.tokens, self.params, self.unique)
        return fields if self.distance is None else (*fields, self.distance)

    @staticmethod
    def one(row: tuple[Tensor, ...]) -> "Recipes":
        """Return one row of ``rows`` as a Recipes of n = 1."""
        return Recipes(*(field[None] for field in row))

    def take(self, rows: np.ndarray | Tensor) -> "Recipes":
        """Return the recipes at positions (or where a mask is true)."""
        at = torch.as_tensor(rows)
        distance = None if self.distance is None else self.distance[at]
        return Recipes(self.weights[at], self.tokens[at], self.params[at], self.unique[at], distance)


def recipes(
    weights: Sequence[Sequence[float]] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    params: Sequence[float] | np.ndarray,
    unique: Sequence[Sequence[float]] | np.ndarray | None = None,
    *,
    distance: Sequence[float] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Recipes:
    """Check and convert to tensors: the door at which shares are checked to lie on the simplex.

    ``names`` (n,) are run names for the error messages. Rows within 1e-3 of sum 1 are rescaled to it.
    """
    w = np.array(weights, dtype=np.float64, ndmin=2)
    d, n = np.array(tokens, dtype=np.float64, ndmin=1), np.array(params, dtype=np.float64, ndmin=1)
    u = np.full_like(w, np.inf) if unique is None else np.array(unique, dtype=np.float64, ndmin=2)
    label = list(names) if names is not None else [f"row {i}" for i in range(len(w))]
    sums = w.sum(axis=1)
    wrong = ~np.isfinite(w).all(axis=1) | (w < 0).any(axis=1) | (np.abs(sums - 1) > SIMPLEX_TOLERANCE)
    if wrong.any():
        i = int(wrong.argmax())
        raise SchemaError(
            f"{label[i]}: weights {_listed(w[i])} sum to {sums[i]:.4g}; "
            f"shares must be >= 0 and sum to 1 (+-{SIMPLEX_TOLERANCE:g}). {int(wrong.sum())} such rows"
        )
    for what, values in (("tokens", d), ("params", n), ("unique tokens", u)):
        limited = values is not u  # unique tokens may be inf: not limiting
        bad = np.isnan(values) | (values <= 0) | (np.isinf(values) & limited)
        if bad.any():
            i = int(np.argwhere(bad)[0][0])
            must = "positive and finite" if limited else "positive"
            got = _listed(np.atleast_1d(values[i]))
            raise SchemaError(f"{label[i]}: {what} must be {must}, got {got}: {int(bad.sum())} such values")
    shares, seen, size, on_hand = (torch.from_numpy(x) for x in (w / sums[:, None], d, n, u))
    far = None if distance is None else torch.tensor(np.asarray(distance), dtype=torch.float64)
    return Recipes(shares, seen, size, on_hand, far)


def _listed(values: np.ndarray) -> str:
    """Return numbers on one line, the first few of many."""
    shown = ", ".join(f"{value:.4g}" for value in values[:SHOWN].tolist())
    return f"[{shown}, ... ({len(values)} pools)]" if len(values) > SHOWN else f"[{shown}]"
