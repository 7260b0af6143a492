"""Recipes: what a run trains on, as the tensors that a law reads."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from curate.errors import SchemaError

# Published tables print shares with three digits, so the sum of four rounded shares can differ from 1 by .002. The
# small addition includes sums of .998 and 1.002 in spite of rounding errors of floats.
SUM_TOLERANCE = 2e-3 + 1e-9
PERCENT_SUMS = (90.0, 110.0)  # shares whose sum lies here were written in percent
SHOWN = 8  # shares that an error message lists, so that it stays one line


@dataclass(frozen=True)
class Recipes:
    """n ways to train on p pools, as float64 tensors.

    ``weights`` (n, p) are shares of training tokens; each row sums to 1. ``tokens`` (n,) are tokens seen, repeats
    counted. ``params`` (n,) are model parameters. ``unique`` (n, p) are unique tokens on hand, inf where a pool never
    runs out. ``distance`` (n,) is the transport distance of the mixture to the target, if it was measured.
    ``progress`` (n,) is the part of its planned training that a run has done, in (0, 1]; 1 is a finished run. None
    means that all are finished. ``areas`` (n, 2) are the annealing areas S1 and S2 of its learning rates, in units of
    rate x steps; see `runs.trainings.annealing_areas`. None means that they are not known. No law reads them: they tell
    whether the term for unfinished runs suits the schedules.
    ``all_fresh`` tells laws that no recipe repeats a token, so that they need not compute what repeats are worth.
    """

    weights: Tensor
    tokens: Tensor
    params: Tensor
    unique: Tensor
    distance: Tensor | None = None
    progress: Tensor | None = None
    areas: Tensor | None = None
    all_fresh: bool = field(default=False, kw_only=True)

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
        """Unique tokens (n, p) that a run saw of each pool. If a pool never runs out, all its tokens are unique."""
        return torch.minimum(self.seen, self.unique)

    def __len__(self) -> int:
        """Return n, the number of recipes."""
        return int(self.tokens.shape[0])

    @property
    def remaining(self) -> Tensor:
        """The part of its planned training that each run has still to do (n,), in [0, 1); 0 for finished runs."""
        return torch.zeros_like(self.tokens) if self.progress is None else 1 - self.progress

    @property
    def rows(self) -> tuple[Tensor, ...]:
        """The fields as tensors (n, ...), for functions that are mapped over rows; see ``single``."""
        optional = [self.distance, self.progress, self.areas]
        while optional and optional[-1] is None:
            optional.pop()
        # A field that is absent, but followed by a present one, is a tensor without values: functions that are mapped
        # over rows take tensors only.
        absent = self.tokens.new_empty(len(self), 0)
        return (
            self.weights,
            self.tokens,
            self.params,
            self.unique,
            *(absent if field is None else field for field in optional),
        )

    @staticmethod
    def single(row: tuple[Tensor, ...]) -> "Recipes":
        """Return one row of ``rows`` as recipes with n = 1."""
        return Recipes(*(None if field.shape == (0,) else field[None] for field in row))  # type: ignore[arg-type]

    def take(self, rows: np.ndarray | Tensor) -> "Recipes":
        """Return the recipes at these positions, or where a mask is true."""
        index = torch.as_tensor(rows)
        values = {name: getattr(self, name) for name in self.__dataclass_fields__}
        # Absent fields, and what is true of all rows, stay as they are.
        chosen: dict[str, Any] = {name: x[index] for name, x in values.items() if isinstance(x, Tensor)}
        return replace(self, **chosen)


@dataclass(frozen=True)
class Labels:
    """Names for error messages: the table, its n runs and its p pools. Without names, rows and pools are numbered."""

    table: str = ""
    runs: tuple[str, ...] = ()
    pools: tuple[str, ...] = ()

    def row(self, i: int) -> str:
        """Return how to name row ``i``."""
        return f"run {self.runs[i]!r}" if self.runs else f"row {i}"

    def pool(self, i: int) -> str:
        """Return how to name pool ``i``."""
        return self.pools[i] if self.pools else str(i)

    def error(self, message: str) -> SchemaError:
        """Return an error that begins with the name of the table."""
        return SchemaError(f"{self.table}: {message}" if self.table else message)


def recipes(
    weights: Sequence[Sequence[float]] | np.ndarray,
    tokens: Sequence[float] | np.ndarray,
    params: Sequence[float] | np.ndarray,
    unique: Sequence[Sequence[float]] | np.ndarray | None = None,
    *,
    distance: Sequence[float] | np.ndarray | None = None,
    progress: np.ndarray | None = None,
    areas: np.ndarray | None = None,
    labels: Labels = Labels(),
) -> Recipes:
    """Return recipes from numbers, after all checks. Shares are checked here and nowhere later.

    ``labels`` are for error messages. Shares whose sum is within .002 of 1 are rescaled to 1. Without ``unique`` no
    pool ever runs out.

    Raises:
        SchemaError: shares that are negative or do not sum to 1, or a count that is not positive and finite.
    """
    w = np.array(weights, dtype=np.float64, ndmin=2)
    d, n = np.array(tokens, dtype=np.float64, ndmin=1), np.array(params, dtype=np.float64, ndmin=1)
    u = np.full_like(w, np.inf) if unique is None else np.array(unique, dtype=np.float64, ndmin=2)
    _check_counts("tokens", d, labels)
    _check_counts("params", n, labels)
    _check_unique(u, labels)
    _check_shares(w, labels)
    shares, seen, size, on_hand = (torch.from_numpy(x) for x in (w / w.sum(axis=1, keepdims=True), d, n, u))
    optional = (
        None if x is None else torch.tensor(np.asarray(x), dtype=torch.float64) for x in (distance, progress, areas)
    )
    return Recipes(shares, seen, size, on_hand, *optional)


def _check_counts(name: str, values: np.ndarray, labels: Labels) -> None:
    bad = ~(np.isfinite(values) & (values > 0))
    if bad.any():
        i = int(bad.argmax())
        cell = "empty" if np.isnan(values[i]) else f"{values[i]:g}"
        raise labels.error(
            f"{name} of {labels.row(i)} is {cell}: it must be positive and finite; {int(bad.sum())} such rows. Fill it "
            "in, or drop the rows with --where"
        )


def _check_unique(values: np.ndarray, labels: Labels) -> None:
    # Infinity is allowed: such a pool never runs out.
    bad = ~(values > 0)
    if bad.any():
        i, pool = np.argwhere(bad)[0].tolist()
        raise labels.error(
            f"unique.{labels.pool(pool)} of {labels.row(i)} is {values[i, pool]:g}: it must be positive; "
            f"{int(bad.sum())} such values. Leave it empty if the pool never runs out"
        )


def _check_shares(weights: np.ndarray, labels: Labels) -> None:
    bad = ~(np.isfinite(weights) & (weights >= 0))
    if bad.any():
        i, pool = np.argwhere(bad)[0].tolist()
        raise labels.error(
            f"weight.{labels.pool(pool)} of {labels.row(i)} is {weights[i, pool]:g}: a share of training tokens is "
            f"from 0 to 1; {int(bad.any(axis=1).sum())} such rows. Correct it, or drop the rows with --where"
        )
    sums = weights.sum(axis=1)
    wrong = np.abs(sums - 1) > SUM_TOLERANCE
    if wrong.any():
        i = int(wrong.argmax())
        percent = PERCENT_SUMS[0] < sums[i] < PERCENT_SUMS[1]
        remedy = "Divide percents by 100" if percent else "Divide them by their sum, or drop the rows with --where"
        raise labels.error(
            f"the weights of {labels.row(i)}, {_listed(weights[i], labels)}, sum to {sums[i]:.4g}: shares must sum to "
            f"1 (+-{SUM_TOLERANCE:.3g}); {int(wrong.sum())} such rows. {remedy}"
        )


def _listed(shares: np.ndarray, labels: Labels) -> str:
    """Return shares as text on one line, the largest few if there are many."""
    largest = sorted(np.argsort(-shares, kind="stable")[:SHOWN].tolist())
    text = ", ".join(f"{labels.pool(i)} {shares[i]:.4g}" for i in largest)
    return f"{text}, ... ({len(shares)} pools)" if len(shares) > SHOWN else text
