"""Find mistakes in [prune], [pools] and [materialize] before rows are scored, which may take hours.

In: the scorers of a recipe and the options of its later steps. Out: nothing, or what is wrong, with the key. What only
the scores can show, such as a source that would lose too much, the step itself reports.
"""

import re
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import fields, replace
from typing import cast

from curate import open_sets
from curate.errors import CurateError, SchemaError, first_few
from curate.open_sets import nearest
from curate.pruning import rule_options
from curate.pruning.requirements import requirement
from curate.pruning.rule_options import RuleOptions
from curate.pruning.rules import RULES
from curate.scoring import specs
from curate.tables import batches, meanings, readers
from curate.tables.mapping.options import NAMED
from curate.tables.meanings import Declaration
from curate.tables.sql.spelling import PREFIXES
from curate.training_set.holdout import groups

# Columns that the data may have by its mapping, whatever they are called in its files.
MAPPED = NAMED


class WrongKey(Exception):
    """The value of a key cannot be used. ``key`` is empty where no single key is wrong."""

    def __init__(self, key: str, message: str) -> None:
        """Hold the key and the message."""
        super().__init__(message)
        self.key = key


def check_scores(options: Mapping[str, object], scorers: Sequence[str]) -> None:
    """Check the score of `prune` or `pools` against the columns that the scorers add.

    Raises:
        WrongKey: if an option names a score that no scorer adds.
    """
    declared = _declared(scorers)
    if declared is None:
        return
    by = options.get("by")
    if isinstance(by, str) and by.startswith("score.") and by not in declared:
        raise WrongKey("by", _no_score("by", by, declared))


def check_requirements(options: Mapping[str, object], scorers: Sequence[str], data: Sequence[str]) -> None:
    """Check the conditions of `prune` or `pools` against the columns of the data and those that the scorers add.

    Raises:
        WrongKey: if one is no condition on one row, or names a column that there will not be.
    """
    texts = cast(Sequence[str], options.get("require") or ())
    declared, columns = _declared(scorers), _columns_of_data(data)
    named = (*sorted(columns), *(declared or ()))
    with _key_of_option(options, "require"):
        requirement.check(texts, named)
    for text in texts:
        parsed = requirement.expression(text, named)
        # A column of lines may first appear late.
        shown = sorted({*named, *batches.IDENTITY, *_columns_of_data(data, parsed.columns)})
        present = {*shown, *MAPPED}
        for path in parsed.paths:
            if path[0] in present:
                continue
            if path[0].startswith(PREFIXES) and declared is not None:
                raise WrongKey("require", _no_score("require", path[0], declared))
            if not path[0].startswith(PREFIXES) and columns:
                raise WrongKey("require", str(parsed.written.no_column(".".join(path), shown)))


def check_options(options: Mapping[str, object]) -> None:
    """Check the options of `prune` as far as they tell by themselves: budgets, caps and the balance.

    Raises:
        WrongKey: if one cannot be read, or two of them contradict each other.
    """
    with _key_of_option(options):
        rule = _rule_options(options)
        if rule_options.is_ranked(rule, required=bool(options.get("require"))):
            rule_options.check(rule)


def check_training_set(options: Mapping[str, object], data: Sequence[str]) -> None:
    """Check what `materialize` holds out and prepends, against the columns of the data.

    Raises:
        WrongKey: if the share that is held out cannot be, or a column does not exist.
    """
    with _key_of_option(options):
        groups.holdout(cast(float | None, options.get("holdout")), str(options.get("holdout_by") or ""))
    for key in ("tag", "holdout_by"):
        name = str(options.get(key) or "")
        columns = _columns_of_data(data, [name]) if name else set()
        if columns and name not in columns | set(MAPPED):
            shown = first_few(sorted(columns), near=name)
            guess = nearest(name, (*columns, *MAPPED)) or "."
            raise WrongKey(key, f"{key} = {name!r} is no column of the data{guess} There are {shown}")


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
    # A rule that serves every score names no meanings. An unknown rule is refused below.
    served = RULES[rule].serves if rule in RULES else ()
    if served and declaration.meaning not in served:
        raise WrongKey(
            "rule",
            f"rule = {rule!r} does not serve {by}, {meanings.described(declaration.meaning)}. It serves a score of "
            f"{' or '.join(served)}. If the score means something else, say so: "
            f'meaning = {{ {by.removeprefix("score.")} = "{served[0]}" }}',
        )
    with _key_of_option(options):
        rule_options.read_rule(replace(_rule_options(options), rule=rule), declaration)


@contextmanager
def _key_of_option(options: Mapping[str, object], key: str = "") -> Iterator[None]:
    """Turn the error of a job into that of a key: ``key``, or the first option that its message names."""
    try:
        yield
    except SchemaError as error:
        flags = [flag.replace("-", "_") for flag in re.findall(r"--([a-z][a-z-]*)", str(error))]
        raise WrongKey(key or next((flag for flag in flags if flag in options), ""), str(error)) from None


def _rule_options(options: Mapping[str, object]) -> RuleOptions:
    """Return the options of a rule; the keys of the recipe have their types already."""
    values = {field.name: options[field.name] for field in fields(RuleOptions) if field.name in options}
    texts: dict[str, object] = {name: str(values[name]) for name in ("trim", "temperature") if name in values}
    return RuleOptions(**{**values, **texts})  # type: ignore[arg-type]


def _no_score(key: str, name: str, declared: Mapping[str, object]) -> str:
    message = f"{key} reads {name!r}, and no [[score]] of the recipe adds it{nearest(name, tuple(declared)) or '.'}"
    return f"{message} The scores: {first_few(declared, near=name)}"


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


def _columns_of_data(data: Sequence[str], names: Sequence[str] = ()) -> set[str]:
    """Return the columns of the first file of the data; none if it cannot be read, which the first step will say.

    Of ``names``, those are among them that any line of the file has.
    """
    try:
        return set(readers.head(batches.inputs(data).shards[0], names).columns)
    except (CurateError, OSError):
        return set()
