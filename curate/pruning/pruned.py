"""The result of the job `prune`: what was kept and removed, with what a user should know before going on."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.errors import SchemaError, amount
from curate.pruning import in_memory, removal_table
from curate.pruning.budgets.budget import KeepBudget
from curate.pruning.decisions import POOLS
from curate.pruning.duplicate_check import compare_again
from curate.pruning.make_pools import Pools
from curate.pruning.removal_table import Removal
from curate.pruning.rules import Rule
from curate.storage.completion import LeftOut

if TYPE_CHECKING:
    from curate.charts.chart import Chart
    from curate.pruning.auto_rule import RuleAdvice

LARGEST_SHORTFALL = 0.01  # share of the requested rows that rounding may lose without a warning


@dataclass(frozen=True, repr=False)
class Pruned:
    """What pruning kept and removed.

    ``rule`` is the rule that was applied; None if rows had to meet requirements only. For ``auto`` it is the chosen
    rule, and ``advice`` holds the reasons. ``removal`` counts rows and tokens. ``verified`` is None if no duplicates
    were compared again. ``pools`` is None if no token is kept, or after a dry run, which wrote nothing. ``by`` is the
    score, and ``rule.meaning`` is what a high score means. ``left_out`` is what the scores lack of the data. ``notes``
    are warnings about requirements. ``out`` is None if rows were pruned without an output folder; ``decided`` then
    holds the decisions.
    """

    out: Path | None
    rule: Rule | None
    removal: Removal
    advice: "RuleAdvice | None"
    pools: Pools | None = field(default=None, compare=False)
    verified: pl.DataFrame | None = None
    by: str = ""
    left_out: LeftOut | None = None
    notes: tuple[str, ...] = ()
    dry_run: bool = False
    decided: pl.DataFrame | None = field(default=None, compare=False)

    @property
    def sentence(self) -> str:
        """Return one sentence on what decides: the requirements, which end of the score is kept, and what it means."""
        count = len(self.removal.requirements)
        required = f"every kept row meets {'all ' * (count > 1)}{amount(count, 'requirement')}" if count else ""
        ranked = "" if self.rule is None else self.rule.sentence(self.by)
        return "; ".join(filter(None, (required, ranked)))

    @property
    def by_source(self) -> pl.DataFrame:
        """Return one row for each source: see `table`."""
        return self.removal.by_source

    @property
    def by_label(self) -> pl.DataFrame | None:
        """Return one row for each class; None where there are no classes."""
        return self.removal.by_label

    @property
    def by_reason(self) -> pl.DataFrame:
        """Return one row for each source and reason: source, reason, rows, tokens. Kept rows have the reason kept."""
        return self.removal.by_reason

    @property
    def length_correlation(self) -> float | None:
        """Return Spearman's rank correlation of the score with the tokens of a row; None where one is constant."""
        return self.removal.length_correlation

    @property
    def summary(self) -> str:
        """Return one line on what is kept in all, in rows and in tokens."""
        return removal_table.summary(self.removal)

    @property
    def shift(self) -> str:
        """Return one line on how the sources' shares of tokens change."""
        return removal_table.shift(self.by_source)

    @property
    def warnings(self) -> tuple[str, ...]:
        """Return what a user should know before going on."""
        lines = list(self.left_out.warnings) if self.left_out is not None else []
        lines += self.notes
        lines += removal_table.warnings(self.removal)
        if self.verified is not None and (wrong := compare_again.count_false(self.verified)):
            lines.append(
                f"{wrong} of the {self.verified.height} removed rows that were compared again have no other text that "
                "is as similar as their score says. Score the data again with --scorer duplicates before you use this "
                "result"
            )
        if self.rule is not None and self.rule.balance.how == "recall" and self.rule.budget is not None:
            lines += _shortfall(self.removal.total, self.rule.budget)
        nothing_written = self.dry_run or self.out is None
        if self.pools is None and not (nothing_written and self.removal.total["kept"]):
            reason = "the kept rows have no tokens" if self.removal.total["kept"] else "nothing is kept"
            budget = None if self.rule is None else self.rule.budget
            if not self.removal.total["kept"] and budget is not None and budget.in_tokens:
                reason = f"nothing is kept, since the first row has more tokens than {budget.flag}"
            lines.append(reason if self.dry_run or self.out is None else f"{reason}: there is no {self.out / POOLS}")
        return tuple(lines)

    def table(self) -> pl.DataFrame:
        """Return one row for each source: rows and tokens before and after.

        Columns: source, rows, kept (rows), removed (share of rows), tokens, tokens_kept, tokens_removed (share of
        tokens), and the source's share of all tokens before (``share``) and after (``share_kept``).
        """
        return self.by_source

    def decisions(self) -> pl.DataFrame:
        """Return the decision of every row, in file and row order: id, source, keep (true or false), reason.

        Raises:
            SchemaError: after a dry run with an output folder, which keeps no decisions.
        """
        if self.decided is not None:
            return self.decided
        if self.out is None or self.dry_run:
            raise SchemaError("a dry run only counts rows. Prune without out for decisions that are not written")
        return in_memory.decisions(self.out)

    def record(self) -> dict[str, object]:
        """Return the result as plain values, ready for JSON."""
        record: dict[str, object] = {
            "by_source": self.by_source.to_dicts(),
            "out": None if self.out is None else str(self.out),
        }
        record |= {"rule": None if self.rule is None else self.rule.name, "shift": self.shift}
        record |= {"total": self.removal.total, "sentence": self.sentence, "require": list(self.removal.requirements)}
        record |= {"by": self.by or None, "meaning": None if self.rule is None else self.rule.meaning}
        record |= {"dry_run": self.dry_run, "examples": self.removal.examples.to_dicts()}
        record |= {"by_reason": self.by_reason.to_dicts(), "length_correlation": self.length_correlation}
        record["warnings"] = list(self.warnings)
        record["left_out"] = None if self.left_out is None else self.left_out.record()
        if self.advice is not None:
            record["auto"] = {"choice": self.advice.choice, "why": list(self.advice.lines())}
            record["curve"] = self.advice.table().to_dicts()
        if self.by_label is not None:
            record["by_label"] = self.by_label.to_dicts()
        if self.verified is not None:
            record["verified"] = self.verified.to_dicts()
        return record

    def chart(self) -> "Chart":
        """Return a bar chart of each source's share of tokens before and after pruning."""
        from curate.charts import row_charts

        return row_charts.source_shares(self.by_source)

    def __repr__(self) -> str:
        """Return the rule, the rows kept and where the decisions are."""
        total = self.removal.total
        kept = f"{total['kept']} of {total['rows']} rows kept" + (
            "" if self.out is None or self.dry_run else f" in {self.out}"
        )
        how = [*(["requirements"] if self.removal.requirements else []), *([self.rule.name] if self.rule else [])]
        return f"Pruned by {' and '.join(how)}: {kept}\n{self.summary}\n{self.shift}"

    def _repr_html_(self) -> str:
        advice = self.advice.lines() if self.advice is not None else ()
        notes = (self.sentence, *advice, self.summary, self.shift, *self.warnings)
        return self.by_source._repr_html_() + "".join(f"<p>{note}</p>" for note in notes)


def _shortfall(total: Mapping[str, int], budget: KeepBudget) -> list[str]:
    """Return a warning if rounding the quotas down loses more than 1 % of the rows."""
    # A budget of tokens is filled up after the quotas.
    if budget.in_tokens or total["kept"] >= (1 - LARGEST_SHORTFALL) * (target := budget.target(total["rows"])):
        return []
    return [
        f"--balance label:recall rounds the rows of each class down, so {total['kept']} rows are kept where "
        f"{budget.flag} asks for {target}. Raise {budget.flag}, or balance by label:even"
    ]
