"""The table of the rules."""

from collections.abc import Mapping

from curate.errors import SchemaError
from curate.pruning.rules._rule import Rule
from curate.pruning.rules.auto import Auto
from curate.pruning.rules.easy import Easy
from curate.pruning.rules.hard import Hard
from curate.pruning.rules.middle import Middle
from curate.pruning.rules.sample import Sample
from curate.pruning.rules.stratified import Stratified
from curate.pruning.rules.threshold import Threshold
from curate.pruning.rules.top import Top

# In the order in which `curate list rules` prints them.
RULES: Mapping[str, type[Rule]] = {
    rule.name: rule for rule in (Top, Hard, Easy, Auto, Middle, Threshold, Stratified, Sample)
}


def rule_class(name: str) -> type[Rule]:
    """Return the class of a rule.

    Raises:
        SchemaError: if there is no such rule.
    """
    if name not in RULES:
        raise SchemaError(f"--rule {name!r} is not known. Choose one of {', '.join(RULES)}")
    return RULES[name]
