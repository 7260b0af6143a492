"""Decide which rows a rule keeps.

In: a rule and a column of scores. Out: a verdict for every row, returned batch by batch. A rule is an order of all
rows, and the number of rows of each group that are taken from the start of this order.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from functools import partial

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pruning import balance, quotas
from curate.pruning.balance import Balance, Groups
from curate.pruning.columns.score_column import BatchMaker, ScoreColumn, ScoreFileRange, ScoreValues
from curate.pruning.ranking import group_cutoffs, histograms, verdicts
from curate.pruning.ranking.cutoffs import SORTED_ROWS, Ranking
from curate.pruning.ranking.group_cutoffs import GroupEnds
from curate.pruning.ranking.histograms import BatchStream, CodedBatch, Histogram, PartBatches
from curate.pruning.ranking.verdicts import DROPPED, KEPT, Verdicts
from curate.tables import batches
from curate.tables.meanings import Meaning

# The rules and what each keeps, as `curate list rules` prints them.
RULES: Mapping[str, str] = {
    "top": "Keep the best rows of a quality score: those with the highest scores.",
    "hard": "Keep the hardest rows: the highest of a hardness score, the lowest of an easiness score.",
    "easy": "Keep the easiest rows: the lowest of a hardness score, the highest of an easiness score.",
    "auto": "Keep the hard or the easy end, whichever theory expects to be better for this many rows and dimensions.",
    "middle": "Keep the rows whose scores are nearest to the median.",
    "threshold": "Keep every row whose score is at least the value of --keep.",
    "stratified": "Keep the same number of rows from every band of the score (coverage-centric selection).",
    "sample": "Draw rows at random, with a probability that grows with the score, whatever the score means.",
}
DIFFICULTIES: tuple[Meaning, ...] = ("hardness", "easiness")
ENDS = ("hard", "easy")  # rules that keep one end of a difficulty score
TRIMMED = 3  # a verdict beside DROPPED, KEPT and KEPT_BY_FLOOR: too hard to be believed
# Gumbel noise from 53 random bits lies between -ln(ln(2^54)) = -3.62 and 54 ln 2 = 37.43.
NOISE_LOW, NOISE_HIGH = -3.7, 37.5


@dataclass(frozen=True)
class Rule:
    """A pruning rule and its settings.

    ``keep`` is the share of rows to keep; for the rule ``threshold`` it is the lowest score kept. ``meaning`` is what
    a high score means. The rules ``hard`` and ``easy``, and trimming, need a hardness or easiness score. ``trim`` is
    the share of rows that are dropped first, the hardest. ``temperature`` is for the rule ``sample``. It is in standard
    deviations of the score, or in its own units if ``raw``. Positive values favour high scores, and infinity favours
    none.
    """

    name: str
    keep: float
    balance: Balance = Balance()
    meaning: Meaning | None = None
    trim: float = 0.0
    temperature: float = 2.0
    raw: bool = False
    recall: Mapping[str, float] | None = None
    seed: int = 0

    def __post_init__(self) -> None:
        """Check the settings."""
        if self.name not in RULES:
            raise SchemaError(f"--rule {self.name!r} is not known. Choose one of {', '.join(RULES)}")
        if self.name == "threshold":
            if not np.isfinite(self.keep):
                raise SchemaError(
                    f"--keep {self.keep:g} must be a score: with --rule threshold it is the lowest that is kept"
                )
            if self.balance.column:
                raise SchemaError(
                    "--rule threshold keeps every score from --keep up and cannot balance groups. Leave out --balance"
                )
        elif not 0 < self.keep <= 1:
            raise SchemaError(
                f"--keep {self.keep:g} must be a share of the rows in (0, 1], such as 0.3. Only --rule threshold takes "
                "a score"
            )
        if self.trim and self.name in ("top", "middle", "threshold"):
            raise SchemaError(
                f"--trim is for the rules hard, easy, auto, stratified and sample, not for {self.name!r}. Leave it out"
            )
        if not 0 <= self.trim < 1:
            raise SchemaError(f"--trim {self.trim:g} must be a share in [0, 1), such as 0.1")
        if self.keep + self.trim > 1 + 1e-9 and self.trim:
            raise SchemaError(
                f"--keep {self.keep:g} and --trim {self.trim:g} are more than all rows. Lower one of them"
            )
        if np.isnan(self.temperature) or self.temperature == 0:
            raise SchemaError(
                f"--temperature {self.temperature:g} must be a number other than 0. Near 0, sample keeps the highest "
                "scores; at inf it draws at random"
            )

    @property
    def sign(self) -> float:
        """Return the factor, 1 or -1, by which scores are multiplied so that the rows to keep first sort first."""
        if self.name in ENDS:
            return -self.harder if self.name == "hard" else self.harder
        return -1.0 if self.name in ("top", "sample") else 1.0

    @property
    def harder(self) -> float:
        """Return the factor, 1 or -1, by which scores are multiplied so that they rise with the difficulty."""
        assert self.meaning in DIFFICULTIES, f"a {self.meaning} score has no hard end"
        return 1.0 if self.meaning == "hardness" else -1.0


@dataclass(frozen=True)
class Trim:
    """The rows that are trimmed: those that ``others``, a selection of all other rows, drops."""

    make: BatchMaker
    others: Verdicts

    def of(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """Return whether each row (n,) of a frame is trimmed. The frame begins at position ``start`` of the column."""
        return np.asarray(self.others.of(self.make(frame, start), start) == DROPPED)


@dataclass(frozen=True)
class Decision:
    """The verdicts of all rows. ``kept_rows`` (groups,) is the number of rows kept of each group."""

    make: BatchMaker
    verdicts: Verdicts | GroupEnds
    trim: Trim | None
    kept_rows: np.ndarray

    def of(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """Return the verdicts (n,) of a frame with ids. The frame begins at position ``start`` of the column."""
        verdict = self.verdicts.of(self.make(frame, start), start)
        if isinstance(self.verdicts, GroupEnds):
            verdict = np.where(verdict, KEPT, DROPPED)
        return verdict if self.trim is None else np.where(self.trim.of(frame, start), TRIMMED, verdict)


def decide(column: ScoreColumn, rule: Rule) -> Decision:
    """Decide which rows a rule other than ``threshold`` keeps. ``column`` was read with the sign of the rule.

    Raises:
        SchemaError: if more rows are to be kept than remain after trimming, or the quotas of groups cannot be met.
    """
    trim = _trim(column, rule) if rule.trim else None
    groups = len(column.groups)
    # A cell is what has its own quota: a group, or for ``stratified`` one stratum of a group.
    if rule.name == "stratified":
        make, cells = _stratified(column, rule, trim), groups * quotas.STRATA
    else:
        make = Sampled(column.values, rule) if rule.name == "sample" else column.ranked(rule.sign)
        make, cells = _trimmed_last(make, trim, groups), groups
    stream = column.stream(make, always_ids=rule.name in ("sample", "stratified") or trim is not None)
    # Where the order is that of the first reading, its counts are used again.
    as_read = trim is None and rule.name in ("top", *ENDS, "middle")
    sizes = column.sizes if as_read else _sizes(stream, cells + 1)[: cells + (trim is not None)]
    target = round(rule.keep * column.rows)
    rows_each = _quotas(column, rule, sizes[:cells].reshape(groups, -1), target)
    if rows_each is not None and trim is not None:
        rows_each = np.append(rows_each, 0)
    exact = rule.balance.how != "floor" or rule.name == "stratified"
    if exact and rows_each is not None:
        # Quotas by recall are rounded down, so they may sum to fewer rows than --keep asks for.
        target = int(rows_each.sum())
    if exact and rows_each is not None and rule.name != "middle":
        ranking = Ranking(stream, rule.seed, sorted_rows=SORTED_ROWS)
        ends = group_cutoffs.group_ends(ranking, rows_each, sizes, _span(column, rule))
        return Decision(make, ends, trim, rows_each[:cells].reshape(groups, -1).sum(axis=1))
    histogram = column.histogram if as_read else _histogram(column, rule, stream, len(sizes))
    ranking = Ranking(stream, rule.seed, "middle" if rule.name == "middle" else "rank", SORTED_ROWS)
    floors = None if rows_each is None else rows_each.tolist()
    verdict = verdicts.decide(ranking, histogram, target=target, quotas=floors)
    if exact and rows_each is not None:  # an exact quota is not a floor, so no row is kept "by its floor"
        table, single = np.minimum(verdict.table, KEPT), np.minimum(verdict.single, KEPT)
        verdict = replace(verdict, table=table, single=single)
    return Decision(make, verdict, trim, verdict.kept_rows[:groups])


def _sizes(stream: BatchStream[ScoreFileRange], cells: int) -> np.ndarray:
    """Count the rows of each cell."""
    return np.asarray(sum(stream.map(partial(_sizes_of_part, cells))))


def _sizes_of_part(cells: int, batches: PartBatches, _start: int) -> np.ndarray:
    sizes = np.zeros(cells, dtype=np.int64)
    for batch in batches(False):
        sizes += np.bincount(batch.group, minlength=cells)
    return sizes


def _histogram(column: ScoreColumn, rule: Rule, stream: BatchStream[ScoreFileRange], cells: int) -> Histogram:
    """Count a stream whose order is not that of the first reading."""
    codes = histograms.codes(rule.sign * column.sample)
    if rule.name == "sample":
        keys = batches.keys([str(i) for i in range(len(column.sample))], rule.seed)
        codes = histograms.codes(-perturbed(column.sample, keys, column.values, rule))
    return histograms.first_count(stream, codes, cells, rule.seed)


def _span(column: ScoreColumn, rule: Rule) -> tuple[int, int]:
    """Return the least and the largest code in the stream of a rule."""
    if rule.name == "stratified":
        return 0, histograms.LARGEST
    ends = np.array([column.values.low, column.values.high])
    values = rule.sign * ends
    if rule.name == "sample":
        z = _scaled(ends, column.values, rule)
        values = np.array([-z.max() - NOISE_HIGH, -z.min() - NOISE_LOW])
    low, high = np.sort(histograms.codes(values)).tolist()
    return low, high


def _quotas(column: ScoreColumn, rule: Rule, offered: np.ndarray, target: int) -> np.ndarray | None:
    """Return the least or the exact rows of each cell; ``offered`` (groups, cells of a group) are not trimmed."""
    if target > offered.sum():
        raise SchemaError(f"--keep asks for {target} rows, and --trim leaves {offered.sum()}. Lower one of them")
    if rule.name != "stratified" and not rule.balance.column:
        return None
    groups = Groups(list(column.groups), column.sizes, offered.sum(axis=1), column.complexity, rule.recall)
    rows_each = balance.group_rows(rule.balance, groups, target, keep=rule.keep)
    if rule.name != "stratified":
        return rows_each
    if rule.balance.how == "floor":
        # Without floors, strata would give each group this many rows on average; floors move that as little as needed.
        budget = quotas.strata(offered.sum(axis=0), target)
        expected = (offered * (budget / np.maximum(offered.sum(axis=0), 1))).sum(axis=1)
        rows_each = quotas.quadratic(expected / max(1, target), groups.offered, target, least=rows_each)
    return np.concatenate([quotas.strata(sizes, int(n)) for sizes, n in zip(offered, rows_each, strict=True)])


def _trim(column: ScoreColumn, rule: Rule) -> Trim:
    """Find the hardest rows."""
    sign = rule.harder
    make = column.ranked(sign)
    stream, groups = column.stream(make), len(column.groups)
    histogram = histograms.first_count(stream, histograms.codes(sign * column.sample), groups, rule.seed)
    remaining_rows = column.rows - int(np.floor(rule.trim * column.rows))
    ranking = Ranking(stream, rule.seed, sorted_rows=SORTED_ROWS)
    return Trim(make, verdicts.decide(ranking, histogram, target=remaining_rows))


def _trimmed_last(make: BatchMaker, trim: Trim | None, group: int) -> BatchMaker:
    """Make batches in which trimmed rows sort last, in a group of their own."""
    if trim is None:
        return make

    return TrimmedLast(make, trim, group)


@dataclass(frozen=True)
class TrimmedLast:
    """Makes batches as ``make`` does, but trimmed rows sort last, in the group ``group``."""

    make: BatchMaker
    trim: Trim
    group: int

    def __call__(self, frame: pl.DataFrame, start: int) -> CodedBatch:
        """Make a batch."""
        batch, trimmed = self.make(frame, start), self.trim.of(frame, start)
        # The largest code sorts after every score.
        code = np.where(trimmed, np.uint64(histograms.LARGEST), batch.code)
        return CodedBatch(code, np.where(trimmed, self.group, batch.group), batch.ids)


@dataclass(frozen=True)
class Sampled:
    """Makes batches that sort by score / temperature plus Gumbel noise, the highest first.

    The first n rows are then n draws without replacement, by the softmax of score / temperature (Kool et al. 2019).
    """

    values: ScoreValues
    rule: Rule

    def __call__(self, frame: pl.DataFrame, start: int) -> CodedBatch:
        """Make a batch."""
        keys = batches.keys(frame["id"], self.rule.seed)
        noisy = perturbed(self.values.scores(frame), keys, self.values, self.rule)
        return CodedBatch(histograms.codes(-noisy), self.values.group(frame), frame["id"])


def perturbed(score: np.ndarray, keys: np.ndarray, values: ScoreValues, rule: Rule) -> np.ndarray:
    """Return score / temperature plus Gumbel noise, (n,), where the noise follows from ``keys`` (n,) uint64."""
    uniform = ((keys >> np.uint64(11)).astype(np.float64) + 0.5) * 2.0**-53
    return np.asarray(_scaled(score, values, rule) - np.log(-np.log(uniform)))


def _scaled(score: np.ndarray, values: ScoreValues, rule: Rule) -> np.ndarray:
    """Return score / temperature, (n,): 0 where all scores are equal or the temperature is infinite."""
    if np.isinf(rule.temperature) or (values.deviation == 0 and not rule.raw):
        return np.zeros(len(score))
    z = score if rule.raw else (score - values.mean) / values.deviation
    return np.asarray(z / rule.temperature)


@dataclass(frozen=True)
class Stratified:
    """Makes batches that sort by the hash of the id alone; the groups are the strata of the score within each group.

    Strata divide the range from ``low`` to ``high``.
    """

    values: ScoreValues
    seed: int
    low: float
    high: float

    def __call__(self, frame: pl.DataFrame, start: int) -> CodedBatch:
        """Make a batch."""
        keys = batches.keys(frame["id"], self.seed)
        stratum = quotas.stratum(self.values.scores(frame), self.low, self.high)
        return CodedBatch(keys, self.values.group(frame) * quotas.STRATA + stratum, frame["id"])


def _stratified(column: ScoreColumn, rule: Rule, trim: Trim | None) -> BatchMaker:
    make = Stratified(column.values, rule.seed, *_remaining_range(column, trim))
    return _trimmed_last(make, trim, len(column.groups) * quotas.STRATA)


def _remaining_range(column: ScoreColumn, trim: Trim | None) -> tuple[float, float]:
    """Return the least and the largest score that is not trimmed."""
    if trim is None:
        return column.values.low, column.values.high
    lows, highs = zip(*column.map(partial(_bounds_of_range, column.values, trim)), strict=True)
    return min(lows), max(highs)


def _bounds_of_range(values: ScoreValues, trim: Trim, part: ScoreFileRange) -> tuple[float, float]:
    low, high, start = np.inf, -np.inf, part.start
    for frame in values.frames(part, ("id",)):
        scores = values.scores(frame)[~trim.of(frame, start)]
        low, high = min(low, float(scores.min(initial=np.inf))), max(high, float(scores.max(initial=-np.inf)))
        start += frame.height
    return low, high
