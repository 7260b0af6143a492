"""List what can be chosen by name: scorers, laws, encoders, exports, trainers, engines and pruning rules.

With a NAME, show what it does, and the meaning and default of each option. A class of your own is
path/to/file.py:ClassName. For scorers, also show what a high score means: better (quality), harder (hardness) or easier
(easiness). The list of laws ends with the curves that `curate fit --law` fits too.

Example: curate list scorers prototypes
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Annotated

import typer

from pipelines.shared.flags import Json

Kind = StrEnum("Kind", ["scorers", "laws", "encoders", "exports", "trainers", "engines", "rules"])
# Stands above the curves in the list of laws.
CURVES = (
    "These curves are also given to --law, one at a time. They are not laws over recipes, but over training steps, "
    "losses or the size of pruned data."
)


def main(
    kind: Annotated[Kind, typer.Argument(help="Which set to list.")],
    name: Annotated[str | None, typer.Argument(help="One member, to see its options.")] = None,
    as_json: Json = False,
) -> None:
    """List the members of a set, or the options of one member."""
    import polars as pl

    from curate import member_help, open_sets
    from curate.errors import CurateError
    from pipelines.shared.show import result, table

    if name is None:
        _list_all(kind, as_json)
        return
    if kind is Kind.rules:
        summaries = _summaries(kind)
        if name not in summaries:
            raise typer.BadParameter(open_sets.unknown(name, list(summaries), kind="rule"))
        _show_rule(name, as_json)
        return
    others = {**_without_formula(), **_curves()} if kind is Kind.laws else {}
    if kind is Kind.laws and name not in others and not open_sets.exists("laws", name) and not name.endswith(".py"):
        raise CurateError(open_sets.unknown(name, [*_summaries(kind), *_curves()], kind="law"))
    if name in others:
        summary = member_help.first_sentence(others[name].__doc__ or "")
        options = member_help.options_of(others[name])
    else:
        summary, options = member_help.summary(kind.value, name), member_help.options(kind.value, name)
    rows = [
        {"option": o.name, "type": o.type, "default": o.default or "(required)", "meaning": o.meaning} for o in options
    ]
    shown = table(pl.DataFrame(rows)) if rows else "It has no options."
    declared = member_help.meanings(name) if kind is Kind.scorers else {}
    lines = [f"{name}: {summary}", *(_meaning(column, meaning) for column, meaning in declared.items()), "", shown]
    record = {"name": name, "summary": summary, "options": rows}
    result(as_json, record | ({"meanings": declared} if declared else {}), "\n".join(lines))


def _list_all(kind: Kind, as_json: bool) -> None:
    """Show the name and the first sentence of every member of a set."""
    import polars as pl

    from curate import member_help
    from pipelines.shared.show import result, table

    summaries = _summaries(kind)
    columns: dict[str, list[str]] = {"name": list(summaries)}
    record: dict[str, object] = {kind.value: summaries}
    if kind is Kind.scorers:
        meanings = {scorer: member_help.meanings(scorer) for scorer in summaries}
        # A scorer of several scores may have several meanings.
        columns["meaning"] = [", ".join(dict.fromkeys(words.values())) or "-" for words in meanings.values()]
        record["meanings"] = meanings
    shown = table(pl.DataFrame({**columns, "what it does": list(summaries.values())}))
    if kind is Kind.laws:
        record["curves"] = curves = _first_sentences(_curves())
        curve_table = table(pl.DataFrame({"name": list(curves), "what it does": list(curves.values())}))
        shown += f"\n\n{CURVES}\n{curve_table}"
    result(as_json, record, shown)


def _show_rule(name: str, as_json: bool) -> None:
    """Show what a pruning rule keeps, which scores it serves, and the options of `curate prune` that are its own."""
    import polars as pl

    from curate.pruning.rules import RULES
    from pipelines.shared.show import result, table

    rule = RULES[name]
    serves = f"It needs a {' or '.join(rule.serves)} score." if rule.serves else "It takes any score."
    rows = [{"option": option, "meaning": meaning} for option, meaning in rule.options.items()]
    shown = table(pl.DataFrame(rows)) if rows else "It has no options of its own."
    record = {"name": name, "summary": rule.summary, "serves": list(rule.serves), "options": rows}
    result(as_json, record, f"{name}: {rule.summary}\n{serves}\n\n{shown}")


def _meaning(column: str, meaning: str) -> str:
    from curate.tables.meanings import checked, described

    return f"{column} is {described(checked(meaning, column))}"


def _summaries(kind: Kind) -> dict[str, str]:
    """Return the first sentence of every member of a set."""
    from curate import member_help, open_sets

    if kind is Kind.rules:
        from curate.pruning.rules import RULES

        return {name: rule.summary for name, rule in RULES.items()}
    members = (*open_sets.names(kind.value), *open_sets.installed(kind.value))
    summaries = {member: member_help.summary(kind.value, member) for member in members}
    if kind is Kind.laws:
        summaries |= _first_sentences(_without_formula())
    return summaries


def _without_formula() -> Mapping[str, type]:
    """Return the options of what is fitted and named like laws, but has no formula and no file among the laws."""
    from curate.fitting.choice.without_formula import OPTIONS

    return OPTIONS


def _curves() -> Mapping[str, type]:
    """Return the options of the curves, which `curate fit --law` fits too."""
    from curate.fitting.curves.curve_options import OPTIONS

    return OPTIONS


def _first_sentences(classes: Mapping[str, type]) -> dict[str, str]:
    from curate import member_help

    return {name: member_help.first_sentence(cls.__doc__ or "") for name, cls in classes.items()}
