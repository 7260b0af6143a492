"""What every pruning rule offers: an order of the rows, quotas of the groups, words, and checks of its options."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Self, TypedDict, Unpack

import numpy as np

from curate.errors import SchemaError
from curate.pruning import balance
from curate.pruning.balance import Balance, Groups
from curate.pruning.budgets.budget import KeepBudget, Unit
from curate.pruning.columns.score_column import ScoreColumn
from curate.pruning.ranking.codes import codes
from curate.pruning.rules._ranked_rows import Codes, RankedRows
from curate.pruning.rules._verdicts import REMOVED_FIRST
from curate.tables import meanings
from curate.tables.meanings import Meaning

DIFFICULTIES: tuple[Meaning, ...] = ("hardness", "easiness")


class Settings(TypedDict, total=False):
    """The settings of a rule beside its budget: see `Rule`."""

    balance: Balance
    meaning: Meaning | None
    trim: float
    temperature: float
    raw: bool
    recall: Mapping[str, float] | None
    seed: int


@dataclass(frozen=True)
class Rule:
    """A pruning rule and its settings; every rule is a class below this one.

    ``budget`` is what is kept; None keeps all that caps leave. ``meaning`` is what a high score means. ``trim`` is the
    share of rows that are removed first, the hardest. ``temperature`` is in standard deviations of the score, or in its
    own units if ``raw``; only the rule ``sample`` uses it.
    """

    budget: KeepBudget | None
    balance: Balance = Balance()
    meaning: Meaning | None = None
    trim: float = 0.0
    temperature: float = 2.0
    raw: bool = False
    recall: Mapping[str, float] | None = None
    seed: int = 0

    name: ClassVar[str]
    # What it keeps, as `curate list rules` prints it.
    summary: ClassVar[str]
    # The options of `curate prune` that only this rule and a few others use, and what they mean.
    options: ClassVar[Mapping[str, str]] = {}
    # The meanings of scores that the rule serves; it serves every score if there are none.
    serves: ClassVar[tuple[Meaning, ...]] = ()
    trims: ClassVar[bool] = True
    # Whether all rows are one group where no balance names groups. Otherwise they are counted by source.
    one_group: ClassVar[bool] = False
    # Whether its quotas are exact numbers, whatever the balance.
    exact: ClassVar[bool] = False

    def __post_init__(self) -> None:
        """Check the settings.

        Raises:
            SchemaError: if one does not fit the rule.
        """
        self.check_budget()
        if self.trim and not self.trims:
            raise SchemaError(
                f"--trim is for the rules hard, easy, auto, stratified and sample, not for {self.name!r}. Leave it out"
            )
        if not 0 <= self.trim < 1:
            raise SchemaError(f"--trim {self.trim:g} must be a share in [0, 1), such as 0.1")
        if self.trim and self.budget is not None and self.budget.unit == "share":
            keep = self.budget.amount
            if keep + self.trim > 1 + 1e-9:
                raise SchemaError(f"--keep {keep:g} and --trim {self.trim:g} are more than all rows. Lower one of them")

    @classmethod
    def of_amounts(cls, amounts: Mapping[Unit, float], **settings: Unpack[Settings]) -> Self:
        """Return the rule that keeps this amount: a share, rows or tokens; all that caps leave if there is none."""
        return cls(next((KeepBudget(amount, unit) for unit, amount in amounts.items()), None), **settings)

    def check_budget(self) -> None:
        """Check that the budget and the balance fit the rule."""
        if self.budget is None and self.balance.column:
            raise SchemaError("--balance shares out a budget. Give --keep, --keep-rows or --keep-tokens too")

    @property
    def harder(self) -> float:
        """Return the factor, 1 or -1, by which scores are multiplied so that they rise with the difficulty."""
        assert self.meaning in DIFFICULTIES, f"a {self.meaning} score has no hard end"
        return 1.0 if self.meaning == "hardness" else -1.0

    @property
    def sign(self) -> float:
        """Return the factor, 1 or -1, by which scores are multiplied so that the rows to keep first sort first."""
        return 1.0

    def remove_first(self, ranked: RankedRows) -> None:
        """Give the verdict `REMOVED_FIRST` to the rows that are not ranked: the hardest rows, which are trimmed."""
        if not self.trim:
            return
        remaining = ranked.column.rows - int(np.floor(self.trim * ranked.column.rows))
        first = 0
        for block in ranked.sort(lambda rows, _: codes(self.harder * rows["score"])).blocks():
            trimmed = block["position"][max(0, remaining - first) :]
            ranked.verdicts[trimmed] = REMOVED_FIRST
            first += len(block)

    def order(self, ranked: RankedRows) -> Codes:
        """Return what turns rows into codes, which put them into the order of the rule."""
        sign = self.sign
        return lambda rows, _: codes(sign * rows["score"])

    def cells(self, ranked: RankedRows) -> "Cells":
        """Return the cells, which have a quota each: the groups."""
        return Cells(len(ranked.column.groups))

    def quotas(self, column: ScoreColumn, counts: "CellCounts", target: int, share: float) -> np.ndarray | None:
        """Return the least or the exact rows or tokens of each cell, (cells,); None without quotas.

        ``target`` is how many rows or tokens are kept, and ``share`` the share of all rows or tokens that are not
        capped.
        """
        return self.group_quotas(column, counts, target, share) if self.balance.column else None

    def group_quotas(self, column: ScoreColumn, counts: "CellCounts", target: int, share: float) -> np.ndarray:
        """Return the least or the exact rows or tokens of each group, (groups,)."""
        groups = Groups(list(column.groups), counts.all, counts.ranked, column.complexity, self.recall)
        return balance.group_rows(self.balance, groups, target, keep=share)

    def options_record(self) -> dict[str, object]:
        """Return the option that says how much is kept, as records of a job hold it."""
        return {} if self.budget is None else dict(self.budget.option())

    def sentence(self, by: str) -> str:
        """Return a sentence that says which rows by the score ``by`` are kept, and what the score means."""
        what = meanings.described(self.meaning) if self.meaning else "a score of no recorded meaning"
        text = self.words(f"{by}, {what}")
        if self.trim:
            hard_end = "highest" if self.harder > 0 else "lowest"
            text += f"; the hardest {100 * self.trim:g} %, the {hard_end} values, are dropped first"
        return text

    def words(self, score: str) -> str:
        """Return which values of a score are kept."""
        return f"{self.name} keeps values from the whole range of {score}"

    def dropped_reason(self, by: str) -> str:
        """Return the reason of a row that is ranked and not kept."""
        return f"{self.name}: {by}"

    def removed_first_reason(self, by: str) -> str:
        """Return the reason of a row that is not ranked."""
        return f"trimmed: {by}"


@dataclass(frozen=True)
class CellCounts:
    """The rows or tokens of each cell, (cells,): those that are ranked, and ``all``, which has those trimmed too."""

    ranked: np.ndarray
    all: np.ndarray


@dataclass(frozen=True)
class Cells:
    """The cells of rows: their groups, or parts of the groups by score. ``count`` is the number of cells."""

    count: int

    def of(self, rows: np.ndarray) -> np.ndarray:
        """Return the number of the cell of each row (n,) of a table."""
        return np.asarray(rows["group"])
