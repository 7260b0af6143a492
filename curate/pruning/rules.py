"""Which rows a rule keeps: an order of all rows and how many of each group are taken from its start."""

from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pruning import balance, cutoffs, group_cutoffs, quotas, verdicts
from curate.pruning.balance import Balance
from curate.pruning.cutoffs import LIMIT, Batch, Counted, Order, Stream
from curate.pruning.group_cutoffs import Ends
from curate.pruning.score_column import Column, Maker
from curate.pruning.verdicts import DROPPED, KEPT, Verdicts
from curate.tables import batches

# The rules and what each keeps, as `curate list rules` prints them.
RULES: Mapping[str, str] = {
    "hard": "Keep the rows with the highest scores.",
    "easy": "Keep the rows with the lowest scores.",
    "auto": "Keep the hard or the easy end, whichever theory expects to be better for this many rows and dimensions.",
    "middle": "Keep the rows whose scores are nearest to the median.",
    "threshold": "Keep every row whose score is at least the value of --keep.",
    "stratified": "Keep the same number of rows from every band of the score (coverage-centric selection).",
    "sample": "Draw rows at random, with a probability that grows with the score.",
}
TRIMMED = 3  # a verdict: too hard to be believed
LAST = (1 << 64) - 1  # the code of what is trimmed: after every score
NOISE = (-3.7, 37.5)  # Gumbel numbers from 53 random bits lie between


@dataclass(frozen=True)
class Rule:
    """A rule and its settings: ``keep`` a share of rows, or for ``threshold`` the least score.

    ``trim``: the share with the highest scores (the lowest where ``low``) that is dropped before all else.
    ``temperature`` of ``sample`` is in standard deviations of the score, or in its own units where ``raw``; positive
    favours high scores, infinite none.
    """

    name: str
    keep: float
    balance: Balance = Balance()
    trim: float = 0.0
    low: bool = False
    temperature: float = 2.0
    raw: bool = False
    recall: Mapping[str, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Refuse senseless settings."""
        if self.name not in RULES:
            raise SchemaError(f"unknown rule {self.name!r}: choose one of {', '.join(RULES)}")
        if self.name == "threshold":
            if not np.isfinite(self.keep):
                raise SchemaError(f"--keep {self.keep:g} must be a score for rule 'threshold'")
            if self.balance.column:
                raise SchemaError("--rule threshold keeps every score from --keep up: it cannot --balance groups too")
        elif not 0 < self.keep <= 1:
            raise SchemaError(f"--keep {self.keep:g} must be a share in (0, 1] for rule {self.name!r}")
        if self.trim and self.name in ("middle", "threshold"):
            raise SchemaError(f"--trim is for the rules stratified, hard, easy, sample and auto, not for {self.name!r}")
        if not 0 <= self.trim < 1:
            raise SchemaError(f"--trim {self.trim:g} must be a share in [0, 1)")
        if self.keep + self.trim > 1 + 1e-9 and self.trim:
            raise SchemaError(f"--keep {self.keep:g} and --trim {self.trim:g} are more than all rows: lower one")
        if np.isnan(self.temperature) or self.temperature == 0:
            raise SchemaError(
                f"--temperature {self.temperature:g} must be a number other than 0: near 0 sample is hard, inf random"
            )

    @property
    def sign(self) -> float:
        """Of the score, so that what goes first is low."""
        return -1.0 if self.name in ("hard", "sample") else 1.0


@dataclass(frozen=True)
class Decided:
    """The verdicts of all rows: ``of`` a frame at its position; ``kept`` (p,) rows of each group."""

    make: Maker
    verdicts: Verdicts | Ends
    trimmed: tuple[Maker, Verdicts] | None
    kept: np.ndarray

    def of(self, frame: pl.DataFrame, at: int) -> np.ndarray:
        """Return the (n,) verdicts of rows that start at position ``at``; frames have ids."""
        found = self.verdicts.of(self.make(frame, at), at)
        if isinstance(self.verdicts, Ends):
            found = np.where(found, KEPT, DROPPED)
        if self.trimmed is not None:
            make, cut = self.trimmed
            found = np.where(cut.of(make(frame, at), at) == DROPPED, TRIMMED, found)
        return found


def decide(column: Column, rule: Rule) -> Decided:
    """Decide all rows under a rule other than threshold; ``column`` has been looked at with the rule's sign."""
    trimmed = _trim(column, rule) if rule.trim else None
    groups = len(column.groups)
    if rule.name == "stratified":
        make, cells = _stratified(column, rule, trimmed), groups * quotas.STRATA
    else:
        make = _sampled(column, rule) if rule.name == "sample" else column.ranked(rule.sign)
        make, cells = _last(make, trimmed, groups), groups
    stream = column.stream(make, always_ids=rule.name in ("sample", "stratified") or trimmed is not None)
    as_looked = trimmed is None and rule.name in ("hard", "easy", "middle")
    sizes = column.sizes if as_looked else _sizes(stream, cells + 1)[: cells + (trimmed is not None)]
    target = round(rule.keep * column.rows)
    each = _quotas(column, rule, sizes[:cells].reshape(groups, -1), target)
    if each is not None and trimmed is not None:
        each = np.append(each, 0)
    exact = rule.balance.how != "floor" or rule.name == "stratified"
    if exact and each is not None and rule.name != "middle":
        ends = group_cutoffs.firsts(stream, each, sizes, _span(column, rule), seed=rule.seed, limit=LIMIT)
        return Decided(make, ends, trimmed, each[:cells].reshape(groups, -1).sum(axis=1))
    counted = column.counted if as_looked else _counted(column, rule, stream, len(sizes))
    order: Order = "middle" if rule.name == "middle" else "rank"
    found = verdicts.decide(
        stream, counted, order=order, target=target, quotas=None if each is None else each.tolist(), seed=rule.seed,
        limit=LIMIT,
    )  # fmt: skip
    if exact and each is not None:  # a quota is no floor
        found = replace(found, table=np.minimum(found.table, KEPT), own=np.minimum(found.own, KEPT))
    return Decided(make, found, trimmed, found.kept[:groups])


def _sizes(stream: Stream, cells: int) -> np.ndarray:
    """Count the rows of each cell."""
    found = np.zeros(cells, dtype=np.int64)
    for batch in stream(False):
        found += np.bincount(batch.group, minlength=cells)
    return found


def _counted(column: Column, rule: Rule, stream: Stream, cells: int) -> Counted:
    """Count a stream that is not sorted as it was looked at, between quantiles of a sample."""
    most = min(cutoffs.INTERVALS, max(2, cutoffs.CELLS // cells))
    code = cutoffs.codes(rule.sign * column.sample)
    if rule.name == "sample":
        keys = batches.keys([str(i) for i in range(len(column.sample))], rule.seed)
        code = cutoffs.codes(-perturbed(column.sample, keys, column, rule))
    return cutoffs.count(stream, cutoffs.first_edges(code, most), cells, rule.seed)


def _span(column: Column, rule: Rule) -> tuple[int, int]:
    """Return the least and the largest code of the stream of a rule."""
    if rule.name == "stratified":
        return 0, LAST
    ends = np.array([column.low, column.high])
    codes = rule.sign * ends
    if rule.name == "sample":
        z = _scaled(ends, column, rule)
        codes = np.array([-z.max() - NOISE[1], -z.min() - NOISE[0]])
    low, high = np.sort(cutoffs.codes(codes)).tolist()
    return low, high


def _quotas(column: Column, rule: Rule, offered: np.ndarray, target: int) -> np.ndarray | None:
    """Return the least (or the exact) rows of each cell; (p, cells of a group) rows are ``offered``."""
    if target > offered.sum():
        raise SchemaError(f"--keep asks for {target} rows and --trim leaves {offered.sum()}: lower one")
    if rule.name != "stratified" and not rule.balance.column:
        return None
    each = balance.shares(
        rule.balance, list(column.groups), column.sizes, target, keep=rule.keep, offered=offered.sum(axis=1),
        complexity=column.complexity, recall=rule.recall,
    )  # fmt: skip
    if rule.name != "stratified":
        return each
    if rule.balance.how == "floor":  # what a group would get on average without floors, moved as little as they ask
        budget = quotas.strata(offered.sum(axis=0), target)
        expected = (offered * (budget / np.maximum(offered.sum(axis=0), 1))).sum(axis=1)
        each = quotas.quadratic(expected / max(1, target), offered.sum(axis=1), target, least=each)
    return np.concatenate([quotas.strata(sizes, int(n)) for sizes, n in zip(offered, each, strict=True)])


def _trim(column: Column, rule: Rule) -> tuple[Maker, Verdicts]:
    """Find what is left without the highest (or lowest) scores."""
    make = column.ranked(-1.0 if rule.low else 1.0)
    stream, groups = column.stream(make), len(column.groups)
    sample = cutoffs.codes((-1.0 if rule.low else 1.0) * column.sample)
    edges = cutoffs.first_edges(sample, min(cutoffs.INTERVALS, max(2, cutoffs.CELLS // groups)))
    counted = cutoffs.count(stream, edges, groups, rule.seed)
    left = column.rows - int(np.floor(rule.trim * column.rows))
    return make, verdicts.decide(stream, counted, order="rank", target=left, quotas=None, seed=rule.seed, limit=LIMIT)


def _last(make: Maker, trimmed: tuple[Maker, Verdicts] | None, group: int) -> Maker:
    """Let trimmed rows go last, in a group of their own."""
    if trimmed is None:
        return make
    first, cut = trimmed

    def made(frame: pl.DataFrame, at: int) -> Batch:
        batch, gone = make(frame, at), cut.of(first(frame, at), at) == DROPPED
        code = np.where(gone, np.uint64(LAST), batch.code)
        return Batch(code, np.where(gone, group, batch.group), batch.ids)

    return made


def _sampled(column: Column, rule: Rule) -> Maker:
    """Sort by score / temperature + Gumbel noise, the highest first: draws without replacement (Kool et al. 2019)."""

    def make(frame: pl.DataFrame, at: int) -> Batch:
        keys = batches.keys(frame["id"], rule.seed)
        return Batch(
            cutoffs.codes(-perturbed(column.scores(frame), keys, column, rule)), column.group(frame), frame["id"]
        )

    return make


def perturbed(score: np.ndarray, keys: np.ndarray, column: Column, rule: Rule) -> np.ndarray:
    """Return (n,) scores over the temperature plus noise that ``keys`` (n,) uint64 decide."""
    uniform = ((keys >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(_scaled(score, column, rule) - np.log(-np.log(uniform)))


def _scaled(score: np.ndarray, column: Column, rule: Rule) -> np.ndarray:
    """Scores over the temperature; equal scores are 0, and an infinite temperature makes them so."""
    if np.isinf(rule.temperature) or (column.deviation == 0 and not rule.raw):
        return np.zeros(len(score))
    z = score if rule.raw else (score - column.mean) / column.deviation
    return np.asarray(z / rule.temperature)


def _stratified(column: Column, rule: Rule, trimmed: tuple[Maker, Verdicts] | None) -> Maker:
    """Sort by hash of the id alone; the groups are strata of the score within each group."""
    low, high = _range(column, trimmed)

    def make(frame: pl.DataFrame, at: int) -> Batch:
        keys = batches.keys(frame["id"], rule.seed)
        cell = column.group(frame) * quotas.STRATA + quotas.stratum(column.scores(frame), low, high)
        return Batch(keys, cell, frame["id"])

    return _last(make, trimmed, len(column.groups) * quotas.STRATA)


def _range(column: Column, trimmed: tuple[Maker, Verdicts] | None) -> tuple[float, float]:
    """Return the least and largest score of what is not trimmed."""
    if trimmed is None:
        return column.low, column.high
    make, cut = trimmed
    low, high, at = np.inf, -np.inf, 0
    for _, frame in column.frames(("id",)):
        left = column.scores(frame)[cut.of(make(frame, at), at) != DROPPED]
        low, high = min(low, float(left.min(initial=np.inf))), max(high, float(left.max(initial=-np.inf)))
        at += frame.height
    return low, high
