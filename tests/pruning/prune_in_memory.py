"""The ranked decision of `curate prune` with every row in memory, and a few lines to be sure of."""

import math
import statistics
from dataclasses import dataclass
from fractions import Fraction

import numpy as np

from curate.pruning import quotas
from curate.pruning.rules import Rule


@dataclass(frozen=True)
class Scores:
    """Score columns of every row in memory, in shard and row order: (n,) arrays and no text."""

    score: np.ndarray
    key: np.ndarray  # uint64, breaks ties
    group: np.ndarray  # int32 codes into ``groups``
    tokens: np.ndarray
    groups: tuple[str, ...]
    complexity: tuple[float, ...] = ()  # of each group
    values: tuple[list[object], ...] = ()  # of each capped column; None is a value of its own


@dataclass(frozen=True)
class Verdicts:
    """What is decided of each row: (n,) bool arrays; ``capped`` is the number of the cap that drops a row, or -1."""

    keep: np.ndarray
    by_floor: np.ndarray
    removed_first: np.ndarray
    capped: np.ndarray


def decide(column: Scores, rule: Rule, caps=(), hashes=lambda value: value) -> Verdicts:
    """Decide every row.

    ``top`` keeps the highest scores, ``hard`` the highest hardness or lowest easiness, ``easy`` the lowest hardness or
    highest easiness, ``middle`` those nearest the median rank; ``threshold`` keeps score >= ``least``; ``sample`` the
    highest score / temperature + Gumbel noise; ``stratified`` the smallest hashes of each stratum of each group. Ties
    go by hash(id, seed). With a floor every group keeps at least floor * keep of its rows (or tokens), the best of the
    group by the same order, and the other groups give up as many.
    """
    n = len(column.score)
    nothing = np.zeros(n, dtype=bool)
    removed, capped = nothing.copy(), np.full(n, -1)
    if rule.name == "threshold":
        removed = column.score < rule.least
    elif rule.trim:
        ascending = np.lexsort((column.key, -column.score if rule.meaning == "easiness" else column.score))
        removed[ascending[n - int(np.floor(rule.trim * n)) :]] = True
    order = [i for i in _order(column, rule) if not removed[i]]
    in_tokens = rule.budget is not None and rule.budget.unit == "tokens"
    weight = column.tokens if in_tokens else np.ones(n, dtype=int)
    target = None
    if rule.budget is not None:
        target = round(rule.budget.amount * n) if rule.budget.unit == "share" else int(rule.budget.amount)
    for number, (cap, values) in enumerate(zip(caps, column.values, strict=True)):
        before = order
        order = _apply(cap, number, values, order, capped, weight, target, column.tokens, hashes)
        target = filled(weight, before, order, target) if cap.how == "even" else target
    ranked = np.zeros(n, dtype=bool)
    ranked[order] = True
    if target is None:
        return Verdicts(ranked, nothing, removed, capped)
    cell, cells = column.group, len(column.groups)
    if rule.name == "stratified":
        cell, cells = cell * 50 + strata(column.score, ranked), 50 * cells
    each = quotas_of_cells(column, rule, ranked, capped < 0, cell, weight, target, bool(caps))
    plain = mask(n, prefix(order, weight, target))
    if each is None:
        return Verdicts(plain, nothing, removed, capped)
    if rule.balance.how == "recall" and not in_tokens:
        target = sum(each)  # rounded down
    secured = nothing.copy()
    for code in range(cells):
        secured |= mask(n, prefix([i for i in order if cell[i] == code], weight, each[code]))
    rest = [i for i in order if not secured[i]]
    result = secured | mask(n, prefix(rest, weight, target - weight[secured].sum()))
    floors = rule.balance.how == "floor" and rule.name != "stratified"
    return Verdicts(result, (result & ~plain if floors else nothing), removed, capped)


def filled(weight, before, after, target) -> int:
    """Return how much of ``target`` an even cap fills: all of it, but for rows that would cross a part in tokens."""
    return target if sum(weight[i] for i in before) < target else sum(weight[i] for i in after)


def prefix(order, weight, limit) -> list[int]:
    """Return the longest prefix of rows whose weights sum to at most ``limit``."""
    total, taken = 0, []
    for i in order:
        total += weight[i]
        if total > limit:
            break
        taken.append(i)
    return taken


def mask(n: int, positions) -> np.ndarray:
    """Return (n,) whether a position is among these."""
    result = np.zeros(n, dtype=bool)
    result[list(positions)] = True
    return result


def _apply(cap, number, values, order, capped, weight, target, tokens, hashes) -> list[int]:
    """Drop what is more than a cap allows of a value; return the rows that are left, in order."""
    members: dict[object, list[int]] = {}
    for i in order:
        members.setdefault(("row", i) if values[i] is None else values[i], []).append(i)
    weight = {"rows": np.ones(len(tokens), int), "tokens": tokens, "even": weight}[cap.how]
    limit = cap.amount
    kept = [i for rows in members.values() for i in prefix(rows, weight, limit)] if cap.how != "even" else []
    if cap.how == "even":
        limits = sorted({0, *(int(s) for rows in members.values() for s in np.cumsum(weight[rows]))})
        limits += [limit - 1 for limit in limits if limit]
        total = lambda limit: sum(weight[i] for rows in members.values() for i in prefix(rows, weight, limit))  # noqa: E731
        limit = max(limit for limit in limits if total(limit) <= target)
        kept = [i for rows in members.values() for i in prefix(rows, weight, limit)]
        rest, more = target - total(limit), []
        for value in sorted(members, key=hashes):
            more += prefix(members[value], weight, limit + 1)[len(prefix(members[value], weight, limit)) :]
        kept += prefix(more, weight, rest)
    dropped = set(order) - set(kept)
    capped[list(dropped)] = number
    return [i for i in order if i not in dropped]


def strata(score: np.ndarray, offered: np.ndarray) -> np.ndarray:
    """Return (n,) which fiftieth of the range of what is ``offered`` a score lies in."""
    low, high = min(score[offered], default=0.0), max(score[offered], default=0.0)
    if low == high:
        return np.zeros(len(score), dtype=int)
    part = (score / 2 - low / 2) / (high / 2 - low / 2)
    return np.clip(np.floor(part * 50), 0, 49).astype(int)


def quotas_of_cells(column, rule, ranked, uncapped, cell, weight, target, capped) -> list[int] | None:
    """Return how many rows or tokens each cell (a group, or a stratum of a group) keeps at least."""
    if not rule.balance.column and rule.name != "stratified":
        return None
    p = len(column.groups)
    sizes = np.array([weight[uncapped & (column.group == j)].sum() for j in range(p)])
    offered = np.array([weight[ranked & (column.group == j)].sum() for j in range(p)])
    share = rule.budget.amount if rule.budget.unit == "share" and not capped else target / max(1, sizes.sum())
    floors = np.minimum([int(np.floor(rule.balance.floor * share * size)) for size in sizes], offered)
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
    counts = np.array([weight[ranked & (cell == c)].sum() for c in range(50 * p)]).reshape(p, 50)
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
    if rule.name in ("top", "easy", "hard", "threshold"):
        return np.lexsort((column.key, -column.score))
    if rule.name in ("stratified", "random"):
        return np.argsort(column.key, kind="stable")
    if rule.name == "sample":
        noise = -np.log(-np.log(((column.key >> np.uint64(11)).astype(float) + 0.5) / 2.0**53))
        mean, spread = statistics.mean(column.score.tolist()), statistics.pstdev(column.score.tolist())
        z = column.score if rule.raw else (column.score - mean) / (spread or 1.0)
        return np.lexsort((column.key, -(z / rule.temperature + noise)))
    distance = np.empty(len(rank))
    distance[rank] = np.abs(np.arange(len(rank)) - (len(rank) - 1) / 2)
    return np.lexsort((column.key, distance))
