"""The rules of `curate prune` with every score in memory: 24 bytes a row, and a few lines to be sure of."""

from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError
from curate.prune import RULES


@dataclass(frozen=True)
class Scores:
    """Score columns of every row in memory, in shard and row order: (n,) arrays, 24 bytes a row and no text."""

    score: np.ndarray
    key: np.ndarray  # uint64, breaks ties
    group: np.ndarray  # int32 codes into ``groups``
    tokens: np.ndarray
    groups: tuple[str, ...]


def decide(column: Scores, *, rule: str, keep: float, floor: float | None = None) -> tuple[np.ndarray, np.ndarray]:
    """Return (n,) bool keep and (n,) bool "kept by the group floor alone".

    ``hard`` keeps the ``keep`` share with the highest score, ``easy`` the lowest, ``middle`` those nearest the median
    rank; ``threshold`` keeps score >= ``keep``. Ties go by hash(id, seed). With ``floor`` every group keeps at least
    floor * keep of its rows, the best of the group by the same order (Sorscher et al. 2022 use a floor of 0.5), and
    the other groups give up as many.
    """
    if rule not in RULES:
        raise SchemaError(f"unknown rule {rule!r}: choose one of {', '.join(RULES)}")
    n = len(column.score)
    if rule == "threshold":
        return column.score >= keep, np.zeros(n, dtype=bool)
    if not 0 < keep <= 1:
        raise SchemaError(f"--keep {keep:g} must be a share in (0, 1] for rule {rule!r}")
    order = _order(column, rule)
    target = round(keep * n)
    plain = np.zeros(n, dtype=bool)
    plain[order[:target]] = True
    if floor is None:
        return plain, np.zeros(n, dtype=bool)
    if not 0 <= floor <= 1:
        raise SchemaError(f"balance floor {floor:g} must lie in [0, 1]")
    secured = np.zeros(n, dtype=bool)
    ordered_groups = column.group[order]
    for code in range(len(column.groups)):
        members = order[ordered_groups == code]
        secured[members[: int(np.floor(floor * keep * len(members)))]] = True
    rest = order[~secured[order]]
    result = secured.copy()
    result[rest[: max(0, target - int(secured.sum()))]] = True
    return result, result & ~plain


def _order(column: Scores, rule: str) -> np.ndarray:
    """Return row positions, first to keep first; ties by key."""
    rank = np.lexsort((column.key, column.score))
    if rule == "easy":
        return rank
    if rule == "hard":
        return np.lexsort((column.key, -column.score))
    distance = np.empty(len(rank))
    distance[rank] = np.abs(np.arange(len(rank)) - (len(rank) - 1) / 2)
    return np.lexsort((column.key, distance))
