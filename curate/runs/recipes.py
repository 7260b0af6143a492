"""Recipes: what a run trains on, as the tensors that a law reads."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError
from curate.pool.baselines import TOLERANCE

SHOWN = 8  # shares that an error message lists, so that it stays one line


@dataclass(frozen=True)
class Recipes:
    """n ways to train on p pools, as float64 tensors.

    ``weights`` (n, p) are shares of training tokens; each row sums to 1. ``tokens`` (n,) are tokens seen, repeats
    counted. ``params`` (n,) are model parameters. ``unique`` (n, p) are unique tokens on hand, inf where a pool never
    runs out. ``distance`` (n,) is the transport distance of the mixture to the target, if it was measured.
    """

    weights: Tensor
    tokens: Tensor
    params: Tensor
    unique: Tensor
    distance: Tensor | None = None

    @property
    def seen(self) -> Tensor:
        """Tokens seen of each pool (n, p), repeats counted."""
        return self.weights * self.tokens[..., None]

    @property
    def epochs(self) -> Tensor:
        """Passes over each pool (n, p): tokens seen over unique tokens."""
        return self.seen / self.unique

    @property
    def fresh(self) -> Tensor:
        """Unique tokens seen of each pool (n, p): all tokens seen where a pool never runs out."""
        return torch.minimum(self.seen, self.unique)

    def __len__(self) -> int:
        """Return n, the number of recipes."""
        return int(self.tokens.shape[0])

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """The fields as tensors (n, ...), for functions that are mapped over rows; see ``single``."""
        fields = (self.weights, self.tokens, self.params, self.unique)
        return fields if self.distance is None else (*fields, self.distance)

    @staticmethod
    def single(row: tuple[Tensor, ...]) -> "Recipes":
        """Return one row of ``rows`` as recipes with n = 1."""
        return Recipes(*(field[None] for field in row))

    def take(self, rows: np.ndarray | Tensor) -> "Recipes":
        """Return the recipes at these positions, or where a mask is true."""
        index = torch.as_tensor(rows)
        distance = None if self.distance is None else self.distance[index]
        return Recipes(self.weights[index], self.tokens[index], self.params[index], self.unique[index], distance)


def recipes(
    weights: Sequence[Sequence[float]] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    params: Sequence[float] | np.ndarray,
    unique: Sequence[Sequence[float]] | np.ndarray | None = None,
    *,
    distance: Sequence[float] | np.ndarray | None = None,
    names: Sequence[str] | None = None,
) -> Recipes:
    """Return recipes from numbers, after all checks. Shares are checked here and nowhere later.

    ``names`` (n,) are run names for error messages. Shares whose sum is within 1e-3 of 1 are rescaled to 1. Without
    ``unique`` no pool ever runs out.

    Raises:
        SchemaError: shares that are negative or do not sum to 1, or a count that is not positive and finite.
    """
    w = np.array(weights, dtype=np.float64, ndmin=2)
    d, n = np.array(tokens, dtype=np.float64, ndmin=1), np.array(params, dtype=np.float64, ndmin=1)
    u = np.full_like(w, np.inf) if unique is None else np.array(unique, dtype=np.float64, ndmin=2)
    label = list(names) if names is not None else [f"row {i}" for i in range(len(w))]
    sums = w.sum(axis=1)
    wrong = ~np.isfinite(w).all(axis=1) | (w < 0).any(axis=1) | (np.abs(sums - 1) > TOLERANCE)
    if wrong.any():
        i = int(wrong.argmax())
        raise SchemaError(
            f"{label[i]}: weights {_listed(w[i])} sum to {sums[i]:.4g}; "
            f"shares must be >= 0 and sum to 1 (+-{TOLERANCE:g}). {int(wrong.sum())} such rows"
        )
    for what, values in (("tokens", d), ("params", n), ("unique tokens", u)):
        limited = values is not u  # unique tokens may be inf, where a pool never runs out
        bad = np.isnan(values) | (values <= 0) | (np.isinf(values) & limited)
        if bad.any():
            i = int(np.argwhere(bad)[0][0])
            must = "positive and finite" if limited else "positive"
            listed = _listed(np.atleast_1d(values[i]))
            raise SchemaError(f"{label[i]}: {what} must be {must}, got {listed}: {int(bad.sum())} such values")
    shares, seen, size, on_hand = (torch.from_numpy(x) for x in (w / sums[:, None], d, n, u))
    far = None if distance is None else torch.tensor(np.asarray(distance), dtype=torch.float64)
    return Recipes(shares, seen, size, on_hand, far)


def _listed(values: np.ndarray) -> str:
    """Return numbers as text on one line, the first few if there are many."""
    shown = ", ".join(f"{value:.4g}" for value in values[:SHOWN].tolist())
    return f"[{shown}, ... ({len(values)} pools)]" if len(values) > SHOWN else f"[{shown}]"
