"""The rule `auto`."""

from dataclasses import dataclass, fields
from typing import Literal

from curate.pruning.rules._rule import DIFFICULTIES, Rule
from curate.pruning.rules.easy import Easy
from curate.pruning.rules.hard import Hard


@dataclass(frozen=True)
class Auto(Rule):
    """Keep the hard or the easy end. `rule_options.choose` replaces this rule by `hard` or `easy`."""

    name = "auto"
    summary = "Keep the hard or the easy end, whichever theory expects to be better for this many rows and dimensions."
    options = {
        "--dimension": "the intrinsic dimension of the data; it is estimated if you do not give it",
        "--embedding": "the column of vectors in the score files to estimate the dimension from",
    }
    serves = DIFFICULTIES

    def chosen(self, end: Literal["hard", "easy"]) -> Rule:
        """Return the rule that keeps this end, with the same settings."""
        settings = {field.name: getattr(self, field.name) for field in fields(self)}
        return Hard(**settings) if end == "hard" else Easy(**settings)
