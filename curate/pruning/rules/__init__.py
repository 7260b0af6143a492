"""The pruning rules, one class a file: which rows of a score come first, and how many of each group are kept.

In: a column of scores and a rule. Out: a verdict for every row. Files whose names start with "_" are helpers.
May use: `curate.pruning.ranking`, `columns` and `budgets`, `tables`.
"""

from curate.pruning.rules._decide import Decision, decide
from curate.pruning.rules._rule import Rule
from curate.pruning.rules._table import RULES, rule_class
from curate.pruning.rules._verdicts import DROPPED, KEPT, KEPT_BY_FLOOR, REMOVED_FIRST

__all__ = ["DROPPED", "KEPT", "KEPT_BY_FLOOR", "REMOVED_FIRST", "RULES", "Decision", "Rule", "decide", "rule_class"]
