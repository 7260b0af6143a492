"""The rules of `curate prune` with every score in memory, and a few lines to be sure of."""

import math
import statistics
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from curate.pruning import quotas
from curate.pruning.rules import Rule


@dataclass(frozen=True)
class Scores:
    """Score columns of every row in memory, in shard and row order: (n,) arrays, 24 bytes a row and no text."""

    score: np.ndarray
    key: np.ndarray  # uint64, breaks ties
    group: np.ndarray  # int32 codes into ``groups``
    tokens: np.ndarray
    groups: tuple[str, ...]
    complexity: tuple[float, ...] = ()  # of each group


def decide(column: Scores, rule: Rule) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return (n,) bool keep, (n,) bool "kept by the group floor alone", (n,) bool trimmed.

    ``top`` keeps the ``keep`` share with the highest score, ``hard`` with the highest hardness or lowest easiness,
    ``easy`` with the lowest hardness or highest easiness, ``middle`` those nearest the median rank; ``threshold`` keeps
    score >= ``keep``; ``sample`` the highest score / temperature + Gumbel noise; ``stratified`` the smallest hashes of
    each stratum of each group. Ties go by hash(id, seed). With a floor every group keeps at least floor * keep of its
    rows, the best of the group by the same order (Sorscher et al. 2022 use a floor of 0.5), and the other groups give
    up as many.
    """
    n = len(column.score)
    nothing = np.zeros(n, dtype=bool)
    if rule.name == "threshold":
        return column.score >= rule.keep, nothing, nothing
    trimmed = nothing.copy()
    ascending = np.lexsort((column.key, -column.score if rule.meaning == "easiness" else column.score))
    trimmed[ascending[n - int(np.floor(rule.trim * n)) :]] = True
    target = round(rule.keep * n)
    cell, cells = column.group, len(column.groups)
    if rule.name == "stratified":
        cell, cells = cell * 50 + strata(column.score, ~trimmed), 50 * cells
    order = _order(column, rule)
    order = np.concatenate([order[~trimmed[order]], order[trimmed[order]]])
    each = rows_of_cells(column, rule, trimmed, cell, target)
    if each is not None and rule.balance.how == "recall":
        target = sum(each)  # rounded down
    plain = nothing.copy()
    plain[order[:target]] = True
    if each is None:
        return plain, nothing, trimmed
    secured = nothing.copy()
    for code in range(cells):
        members = [i for i in order if cell[i] == code and not trimmed[i]]
        secured[members[: each[code]]] = True
    rest = order[~secured[order]]
    result = secured.copy()
    result[rest[: max(0, target - int(secured.sum()))]] = True
    floors = rule.balance.how == "floor" and rule.name != "stratified"
    return result, (result & ~plain if floors else nothing), trimmed


def strata(score: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """Return (n,) which fiftieth of the range of what is ``offered`` a score lies in."""
    low, high = score[offered].min(), score[offered].max()
    if low == high:
        return np.zeros(len(score), dtype=int)
    part = (score / 2 - low / 2) / (high / 2 - low / 2)
    return np.clip(np.floor(part * 50), 0, 49).astype(int)


def rows_of_cells(column: Scores, rule: Rule, trimmed: np.ndarray, cell: np.ndarray, target: int) -> list[int] | None:
    """Return how many rows each cell (a group, or a stratum of a group) keeps at least."""
    if not rule.balance.column and rule.name != "stratified":
        return None
    p = len(column.groups)
    sizes = np.bincount(column.group, minlength=p)
    offered = np.bincount(column.group[~trimmed], minlength=p)
    floors = np.minimum([int(np.floor(rule.balance.floor * rule.keep * size)) for size in sizes], offered)
    if rule.balance.how == "even":
        groups = quotas.even(offered, target)
    elif rule.balance.how == "recall":
        groups = by_recall([1 - rule.recall[name] for name in column.groups], offered.tolist(), target)
    elif rule.balance.how == "dbp":
        shares = quotas.softmax(np.array(column.complexity), rule.balance.temperature)
        groups = quotas.quadratic(shares, offered, target, least=rule.balance.least)
    else:
        groups = floors
    if rule.name != "stratified":
        return groups.tolist()
    counts = np.bincount(cell[~trimmed], minlength=50 * p).reshape(p, 50)
    if rule.balance.how == "floor":
        whole = counts.sum(axis=0)
        budget = quotas.strata(whole, target)
        expected = sum(counts[:, s] * budget[s] / whole[s] for s in range(50) if whole[s])
        groups = quotas.quadratic(expected / max(1, target), offered, target, least=floors)
    return [n for j in range(p) for n in quotas.strata(counts[j], int(groups[j])).tolist()]


def by_recall(missed: list[float], sizes: list[int], total: int) -> np.ndarray:
    """Return the rows of each class as DRoP shares them out, one class at a time."""
    weights = [Fraction(m).limit_denominator(1000) for m in missed]
    counts = [math.floor(total * w / sum(weights)) for w in weights]
    excess = 0
    while any(n > size for n, size in zip(counts, sizes, strict=True)):
        for j, size in enumerate(sizes):
            if counts[j] > size:
                excess, counts[j], weights[j] = excess + counts[j] - size, size, Fraction(0)
        if not any(weights):
            break
        extra = [math.floor(excess * w / sum(weights)) for w in weights]
        counts, excess = [n + more for n, more in zip(counts, extra, strict=True)], excess - sum(extra)
    return np.array(counts)


def _order(column: Scores, rule: Rule) -> np.ndarray:
    """Return row positions, first to keep first; ties by key."""
    rank = np.lexsort((column.key, column.score))
    if (rule.name, rule.meaning) in (("easy", "hardness"), ("hard", "easiness")):
        return rank
    if rule.name in ("top", "easy", "hard"):
        return np.lexsort((column.key, -column.score))
    if rule.name == "stratified":
        return np.argsort(column.key, kind="stable")
    if rule.name == "sample":
        noise = -np.log(-np.log(((column.key >> np.uint64(11)).astype(float) + 0.5) / 2.0**53))
        mean, spread = statistics.mean(column.score.tolist()), statistics.pstdev(column.score.tolist())
        z = column.score if rule.raw else (column.score - mean) / (spread or 1.0)
        return np.lexsort((column.key, -(z / rule.temperature + noise)))
    distance = np.empty(len(rank))
    distance[rank] = np.abs(np.arange(len(rank)) - (len(rank) - 1) / 2)
    return np.lexsort((column.key, distance))
