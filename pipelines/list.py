"""List what can be chosen by name: scorers, laws, encoders, exports, trainers, engines and pruning rules.

With a NAME, show what it does, and the meaning and default of each option. A class of your own is
path/to/file.py:ClassName. For scorers, also show what a high score means: better (quality), harder (hardness) or easier
(easiness).

Example: curate list scorers prototypes
"""

from enum import StrEnum
from typing import Annotated

import typer

from pipelines.shared.flags import Json

Kind = StrEnum("Kind", ["scorers", "laws", "encoders", "exports", "trainers", "engines", "rules"])


def main(
    kind: Annotated[Kind, typer.Argument(help="Which set to list.")],
    name: Annotated[str | None, typer.Argument(help="One member, to see its options.")] = None,
    as_json: Json = False,
) -> None:
    """List the members of a set, or the options of one member."""
    import polars as pl

    from curate import member_help, open_sets
    from curate.errors import CurateError
    from curate.fitting.choice.without_formula import OPTIONS
    from pipelines.shared.show import result, table

    if name is None:
        summaries = _summaries(kind)
        columns: dict[str, list[str]] = {"name": list(summaries)}
        record: dict[str, object] = {kind.value: summaries}
        if kind is Kind.scorers:
            meanings = {scorer: member_help.meanings(scorer) for scorer in summaries}
            # A scorer of several scores may have several meanings.
            columns["meaning"] = [", ".join(dict.fromkeys(words.values())) or "-" for words in meanings.values()]
            record["meanings"] = meanings
        frame = pl.DataFrame({**columns, "what it does": list(summaries.values())})
        result(as_json, record, table(frame))
        return
    if kind is Kind.rules:
        summaries = _summaries(kind)
        if name not in summaries:
            raise typer.BadParameter(open_sets.unknown(name, list(summaries), kind="rule"))
        result(as_json, {"name": name, "summary": summaries[name], "options": []}, f"{name}: {summaries[name]}")
        return
    if kind is Kind.laws and name not in OPTIONS and not open_sets.exists("laws", name) and not name.endswith(".py"):
        raise CurateError(open_sets.unknown(name, list(_summaries(kind)), kind="law"))
    if kind is Kind.laws and name in OPTIONS:
        summary, options = _summaries(kind)[name], member_help.options_of(OPTIONS[name])
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


def _meaning(column: str, meaning: str) -> str:
    from curate.tables.meanings import checked, described

    return f"{column} is {described(checked(meaning, column))}"


def _summaries(kind: Kind) -> dict[str, str]:
    """Return the first sentence of every member of a set."""
    from curate import member_help, open_sets

    if kind is Kind.rules:
        from curate.pruning.rules import RULES

        return dict(RULES)
    members = (*open_sets.names(kind.value), *open_sets.installed(kind.value))
    summaries = {member: member_help.summary(kind.value, member) for member in members}
    if kind is Kind.laws:
        # These are fitted and named like laws, but have no formula and no file among the laws.
        from curate.fitting.choice.without_formula import OPTIONS

        summaries |= {name: member_help.first_sentence(cls.__doc__ or "") for name, cls in OPTIONS.items()}
    return summaries
