"""Find mistakes in [prune] and [pools] before rows are scored, which may take hours.

In: the scorers of a recipe and the options of its later steps. Out: nothing, or what is wrong, with the key. What only
the scores can show, such as a source that would lose too much, the step itself reports.
"""

import re
from collections.abc import Mapping, Sequence
from dataclasses import fields, replace
from typing import cast

from curate import open_sets
from curate.errors import CurateError, SchemaError, first_few
from curate.open_sets import nearest
from curate.pruning import rule_options
from curate.pruning.rule_options import RuleOptions
from curate.pruning.rules import RULES
from curate.scoring import specs
from curate.tables import batches, meanings
from curate.tables.meanings import Declaration


class WrongKey(Exception):
    """The value of a key cannot be used. ``key`` is empty where no single key is wrong."""

    def __init__(self, key: str, message: str) -> None:
        """Hold the key and the message."""
        super().__init__(message)
        self.key = key


def check_scores(options: Mapping[str, object], scorers: Sequence[str], data: Sequence[str]) -> None:
    """Check the options of `prune` or `pools` against the columns that the scorers add.

    Raises:
        WrongKey: if an option names a score that no scorer adds.
    """
    declared = _declared(scorers)
    if declared is None:
        return
    by, conditions = options.get("by"), options.get("require") or ()
    used = [("by", by)] if isinstance(by, str) and by.startswith("score.") else []
    used += [("require", name) for text in cast(Sequence[str], conditions) for name in _scores_in(text)]
    for key, name in used:
        # A requirement may also read the columns of the data.
        if name in declared or (key == "require" and name in _columns_of_data(data)):
            continue
        message = f"{key} reads {name!r}, and no [[score]] of the recipe adds it{nearest(name, declared) or '.'}"
        raise WrongKey(key, f"{message} The scores: {first_few(declared, near=name)}")


def check_rule(options: Mapping[str, object], scorers: Sequence[str]) -> None:
    """Check the rule of `prune` against the meaning of the score, as far as the scorers declare it.

    Raises:
        WrongKey: if an option of the rule cannot be read, or the rule does not suit the score.
    """
    by, declared = options.get("by"), _declared(scorers)
    if not isinstance(by, str) or declared is None or (declaration := declared.get(by)) is None:
        return
    for name, word in cast(Mapping[str, str], options.get("meaning") or {}).items():
        if by in (name, f"score.{name}"):
            declaration = replace(declaration, meaning=meanings.checked(word, f"meaning {name}"))
    if declaration.meaning is None:
        return
    rule = str(options.get("rule") or ("top" if declaration.meaning == "quality" else ""))
    if not rule:
        raise WrongKey(
            "by",
            f"{by} is {meanings.described(declaration.meaning)}, which has no default rule. Add "
            'rule = "hard", "easy" or "auto", or another rule',
        )
    values = {field.name: options[field.name] for field in fields(RuleOptions) if field.name in options}
    # A rule that serves every score names no meanings. An unknown rule is refused below.
    served = RULES[rule].serves if rule in RULES else ()
    if served and declaration.meaning not in served:
        raise WrongKey(
            "rule",
            f"rule = {rule!r} does not serve {by}, {meanings.described(declaration.meaning)}. It serves a score of "
            f"{' or '.join(served)}. If the score means something else, say so: "
            f'meaning = {{ {by.removeprefix("score.")} = "{served[0]}" }}',
        )
    texts: dict[str, object] = {name: str(values[name]) for name in ("trim", "temperature") if name in values}
    try:
        rule_options.read_rule(_rule_options({**values, **texts, "rule": rule}), declaration)
    except SchemaError as error:
        raise WrongKey(next((key for key in options if f"--{key}" in str(error)), ""), str(error)) from None


def _rule_options(values: Mapping[str, object]) -> RuleOptions:
    """Return the options of a rule; the keys of the recipe have their types already."""
    return RuleOptions(**values)  # type: ignore[arg-type]


def _declared(scorers: Sequence[str]) -> dict[str, Declaration] | None:
    """Return what scorers declare of the score columns that they add.

    None if the columns of one are known only when it has learned.
    """
    declared: dict[str, Declaration] = {}
    for scorer in scorers:
        name, options = open_sets.parse(scorer)
        implementation = open_sets.implementation("scorers", name)
        described = implementation if specs.learns(scorer) else specs.build(scorer)
        schema = getattr(described, "schema", None)
        if not isinstance(schema, Mapping) or ("name" in options and specs.learns(scorer)):
            return None
        meanings_of = specs.declarations([described])
        declared |= {column: meanings_of.get(column, Declaration()) for column in schema}
    return declared


def _scores_in(condition: str) -> list[str]:
    """Return the score columns that a condition in SQL names."""
    return re.findall(r"(?<![\w.])score\.\w+", re.sub(r"'[^']*'", "''", condition))


def _columns_of_data(data: Sequence[str]) -> set[str]:
    """Return the columns of the first file of the data; none if it cannot be read, which the first step will say."""
    try:
        return set(batches.columns(batches.inputs(data).shards[0]))
    except (CurateError, OSError):
        return set()
