"""Decide which rows a rule keeps.

In: a column of scores, a rule, and caps. Out: a verdict for every ranked row.

Rows are removed first that the rule does not rank; then those that a cap drops; the budget is filled from the others,
in the order of the rule. Where groups have quotas, each group first keeps its longest prefix within its quota. What is
then left of the budget is filled from the other rows, in the order of the rule, up to the row that would cross it.
"""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.pruning.budgets import caps as capping
from curate.pruning.budgets.budget import KeepBudget
from curate.pruning.budgets.caps import Cap
from curate.pruning.columns.row_table import VALUE
from curate.pruning.columns.score_column import ScoreColumn
from curate.pruning.ranking.external_sort import ExternalSort, chunk_rows
from curate.pruning.ranking.prefixes import Prefixes
from curate.pruning.rules._ranked_rows import Codes, RankedRows
from curate.pruning.rules._rule import CellCounts, Cells, Rule
from curate.pruning.rules._verdicts import CAPPED, DROPPED, KEPT, KEPT_BY_FLOOR, REMOVED_FIRST, VerdictFile


@dataclass(frozen=True)
class Decision:
    """The verdicts of all ranked rows, in the order of the files.

    ``group_rows`` (groups,) are the rows of each group that no cap drops, and ``kept_rows`` (groups,) those kept.
    ``share`` is the share of these rows that the budget asks for, 1 without a budget. ``reasons`` has the words for
    each verdict.
    """

    verdicts: VerdictFile
    group_rows: np.ndarray
    kept_rows: np.ndarray
    share: float
    reasons: tuple[str, ...]

    def of(self, frame: pl.DataFrame, start: int) -> np.ndarray:
        """Return the verdicts (n,) of a frame of ranked rows that begins at position ``start``."""
        return self.verdicts.of(frame, start)


def decide(column: ScoreColumn, rule: Rule, caps: Sequence[Cap] = (), *, required: bool = False) -> Decision:
    """Decide which rows a rule keeps. ``column`` was read with the columns of the caps.

    ``required`` says that the rows are those that meet requirements; messages then say so.

    Raises:
        SchemaError: if the budget is more than the rows or tokens that are left for it, or the quotas of groups cannot
            be met.
    """
    file = VerdictFile(column.folder / "verdicts")
    verdicts = file.create(column.rows)
    ranked = RankedRows(column, verdicts)
    rule.remove_first(ranked)
    codes = rule.order(ranked)
    target = 0 if rule.budget is None else rule.budget.target(column.rows)
    for number, cap in enumerate(caps):
        if cap.how == "even":
            target = _apply_even_cap(ranked, rule.budget, codes, number, cap, target)
        else:
            _apply_cap(ranked, codes, number, cap)
    if rule.budget is None:
        verdicts[verdicts == DROPPED] = KEPT
    else:
        limits = {"--require": required, "--trim": bool(rule.trim), "--cap": any(cap.how != "even" for cap in caps)}
        counted = [flag for flag, limits_rows in limits.items() if limits_rows]
        _fill(ranked, rule, rule.budget, target, codes, counted)
    groups = len(column.groups)
    group_rows, kept_rows = np.zeros((2, groups), np.int64)
    for start, rows in column.table.chunks(chunk_rows(column.rows)):
        verdict = verdicts[start : start + len(rows)]
        group_rows += np.bincount(rows["group"][verdict < CAPPED], minlength=groups)
        kept = (verdict == KEPT) | (verdict == KEPT_BY_FLOOR)
        kept_rows += np.bincount(rows["group"][kept], minlength=groups)
    by = column.values.by
    reasons = (
        rule.dropped_reason(by),
        "kept",
        f"kept: floor of its {rule.balance.kind}",
        rule.removed_first_reason(by),
        *(cap.reason for cap in caps),
    )
    share = 1.0 if rule.budget is None else _guard_share(rule.budget, group_rows, kept_rows)
    verdicts.flush()
    return Decision(file, group_rows, kept_rows, share, reasons)


def _guard_share(budget: KeepBudget, group_rows: np.ndarray, kept_rows: np.ndarray) -> float:
    """Return the share of rows that every source would keep if all were pruned alike."""
    return budget.amount if budget.unit == "share" else float(kept_rows.sum() / max(1, group_rows.sum()))


def _apply_cap(ranked: RankedRows, codes: Codes, number: int, cap: Cap) -> None:
    """Give the verdict of a cap to the ranked rows that it drops."""
    rows = _rows_by_value(ranked, codes, number, in_tokens=cap.how == "tokens")
    _drop(ranked, number, capping.dropped(rows, cap.amount))


def _apply_even_cap(
    ranked: RankedRows, budget: KeepBudget | None, codes: Codes, number: int, cap: Cap, target: int
) -> int:
    """Give the verdict of an even cap to the ranked rows that it drops; return how much of the budget it fills.

    The part of a value ends before the row that would cross it, as a budget in tokens does. So an even cap may fill a
    few tokens less than the budget, ``target``.
    """
    if budget is None:
        raise SchemaError(f"--cap {cap.text} shares out a budget evenly. Give --keep, --keep-rows or --keep-tokens too")
    available = ranked.weight(budget)
    rows = _rows_by_value(ranked, codes, number, in_tokens=budget.in_tokens)
    _drop(ranked, number, capping.dropped_evenly(rows, *capping.even_level(rows, target)))
    return target if available < target else ranked.weight(budget)


def _rows_by_value(ranked: RankedRows, codes: Codes, number: int, *, in_tokens: bool) -> ExternalSort:
    """Return the ranked rows, to be sorted by the value of a capped column.

    Rows with one value come in the order of the rule.
    """
    weights = (lambda tokens: tokens) if in_tokens else None
    value = f"{VALUE}{number}"
    return ranked.sort(codes, weights=weights, cells=lambda rows: np.asarray(rows[value]), by_cell=True)


def _drop(ranked: RankedRows, number: int, dropped: Iterable[np.ndarray]) -> None:
    """Give the verdict of a cap to rows. A sort reads all its rows before its first block: it sees no such verdict."""
    for positions in dropped:
        ranked.verdicts[positions] = CAPPED + number


def _fill(ranked: RankedRows, rule: Rule, budget: KeepBudget, target: int, codes: Codes, limits: Sequence[str]) -> None:
    """Keep rows up to ``target`` rows or tokens. ``limits`` are the options that removed rows before."""
    column, cells = ranked.column, rule.cells(ranked)
    counts = _counts(ranked, budget, cells)
    available = int(counts.ranked.sum())
    if target > available:
        raise SchemaError(_more_than_there_is(budget, target, available, limits))
    total = int(counts.all.sum())
    share = budget.share(total) if "--cap" not in limits else target / max(1, total)
    quotas = rule.quotas(column, counts, target, share)
    rows = ranked.sort(codes, weights=budget.weights, cells=cells.of if quotas is not None else None)
    kept: np.ndarray = np.memmap(column.folder / "kept", np.uint8, mode="w+", shape=(column.rows,))
    exact = quotas is not None and (rule.exact or rule.balance.how != "floor")
    if quotas is not None:
        secured = _keep_prefixes(rows, Prefixes(quotas), kept)
        if exact and not budget.in_tokens:
            # Quotas by recall are rounded down, so they may sum to fewer rows than the budget; no others fill it.
            target = secured
        if secured < target or budget.in_tokens:
            _keep_prefixes(rows, Prefixes(np.array([target - secured])), kept, others_only=True)
    else:
        _keep_prefixes(rows, Prefixes(np.array([target])), kept)
    if quotas is not None and not exact:
        _mark_floors(rows, target, kept)
    for start in range(0, column.rows, chunk_rows(column.rows)):
        part = slice(start, start + chunk_rows(column.rows))
        ranked.verdicts[part] = np.where(kept[part] > 0, kept[part], ranked.verdicts[part])


def _counts(ranked: RankedRows, budget: KeepBudget, cells: Cells) -> CellCounts:
    """Count the rows or tokens of each cell."""
    counts = np.zeros((2, cells.count), np.int64)
    for start, rows in ranked.column.table.chunks(chunk_rows(ranked.column.rows)):
        verdict = ranked.verdicts[start : start + len(rows)]
        cell, weights = cells.of(rows), budget.weights(rows["tokens"])
        for count, counted in zip(counts, (verdict == DROPPED, verdict <= REMOVED_FIRST), strict=True):
            np.add.at(count, cell[counted], weights[counted])
    return CellCounts(*counts)


def _keep_prefixes(rows: ExternalSort, prefixes: Prefixes, kept: np.ndarray, *, others_only: bool = False) -> int:
    """Mark the rows within the quotas as `KEPT` in ``kept`` (rows,); return what they weigh.

    With ``others_only`` rows that are marked already are passed over, and the others form one cell.
    """
    weight = 0
    for block in rows.blocks():
        if others_only:
            block = block.compress(kept[block["position"]] != KEPT)
        cell = block["cell"] if len(prefixes.quotas) > 1 else np.zeros(len(block), np.uint64)
        taken = block.compress(prefixes.take(cell, block["weight"]))
        kept[taken["position"]] = KEPT
        weight += int(taken["weight"].sum())
        if prefixes.finished:
            break
    return weight


def _mark_floors(rows: ExternalSort, target: int, kept: np.ndarray) -> None:
    """Mark the kept rows as `KEPT_BY_FLOOR` that would not be kept without floors."""
    prefixes = Prefixes(np.array([target]))
    for block in rows.blocks():
        passed_over = block["position"][~prefixes.take(np.zeros(len(block), np.uint64), block["weight"])]
        kept[passed_over] = np.where(kept[passed_over] == KEPT, KEPT_BY_FLOOR, kept[passed_over])


def _more_than_there_is(budget: KeepBudget, target: int, available: int, limits: Sequence[str]) -> str:
    """Return the message about a budget that is more than what is left for it."""
    request = f"{budget.flag} asks for {target} {budget.things}, and"
    if not limits:
        return f"{request} there are {available}. Lower {budget.flag}"
    leave = "leaves" if len(limits) == 1 else "leave"
    remedies = {"--require": "weaken a --require", "--trim": "lower --trim", "--cap": "raise a --cap"}
    changes = [f"lower {budget.flag}", *(remedies[flag] for flag in limits)]
    return f"{request} {' and '.join(limits)} {leave} {available}. Either {' or '.join(changes)}"
