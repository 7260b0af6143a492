"""The rule `threshold`."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Self, Unpack

import numpy as np

from curate.errors import SchemaError
from curate.pruning.budgets.budget import Unit
from curate.pruning.rules._ranked_rows import RankedRows
from curate.pruning.rules._rule import Rule, Settings
from curate.pruning.rules._verdicts import REMOVED_FIRST


@dataclass(frozen=True)
class Threshold(Rule):
    """Keep every row whose score is at least ``least``."""

    least: float = 0.0

    name = "threshold"
    summary = "Keep every row whose score is at least the value of --keep."
    options = {"--keep": "the lowest score that is kept"}
    trims = False

    @classmethod
    def of_amounts(cls, amounts: Mapping[Unit, float], **settings: Unpack[Settings]) -> Self:
        """Return the rule that keeps scores from --keep up."""
        if "share" not in amounts:
            raise SchemaError(
                "--rule threshold needs --keep, the lowest score that is kept. For a number of rows or tokens, use "
                "another rule together with --require 'SCORE >= X'"
            )
        return cls(None, least=amounts["share"], **settings)

    def check_budget(self) -> None:
        """Check the least score. How many rows reach it follows from the data, so that there are no quotas."""
        if not np.isfinite(self.least):
            raise SchemaError(
                f"--keep {self.least:g} must be a score: with --rule threshold it is the lowest that is kept"
            )
        if self.balance.column:
            raise SchemaError(
                "--rule threshold keeps every score from --keep up and cannot balance groups. Leave out --balance"
            )

    @property
    def sign(self) -> float:
        """Return -1: a cap keeps the highest scores."""
        return -1.0

    def remove_first(self, ranked: RankedRows) -> None:
        """Remove the rows below the least score. What is left is kept, as far as caps allow it."""
        for positions, rows in ranked.chunks():
            ranked.verdicts[positions[rows["score"] < self.least]] = REMOVED_FIRST

    def options_record(self) -> dict[str, object]:
        """Return --keep, the least score."""
        return {"keep": self.least}

    def words(self, score: str) -> str:
        """Return which values of a score are kept."""
        return f"threshold keeps values of at least {self.least:g} of {score}"

    def removed_first_reason(self, by: str) -> str:
        """Return the reason of a row below the least score."""
        return self.dropped_reason(by)
