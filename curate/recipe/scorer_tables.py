"""Turn the tables ``[[score]]`` of a recipe into scorers as the command line names them: ``dsir:target=a.jsonl``.

In: a table with the key ``scorer`` and the options of that scorer. Out: one text. Lists become ``a+b``.
"""

from collections.abc import Mapping
from pathlib import Path

from curate import open_sets
from curate.recipe.paths import beside_if_there, scorer_name

TAKES_THE_REST = "sql"  # an option whose value may hold commas, since it comes last


class WrongScorerOption(Exception):
    """An option of a scorer cannot be used. ``key`` is the option."""

    def __init__(self, key: str, message: str) -> None:
        """Hold the key and the message."""
        super().__init__(message)
        self.key = key


def spec(table: Mapping[str, object], base: Path) -> str:
    """Return the scorer of one table as ``NAME:key=value,...``.

    Raises:
        WrongScorerOption: if ``scorer`` is missing or no text, or the value of an option cannot be written.
        CurateError: if there is no such scorer, or it has no such option.
    """
    written = table.get("scorer")
    if not isinstance(written, str) or not written:
        what = "scorer must be a text in quotes" if "scorer" in table else "[[score]] needs the key 'scorer'"
        raise WrongScorerOption("scorer" if "scorer" in table else "", f'{what}, such as scorer = "length"')
    # An option without a value is refused here.
    open_sets.parse(written)
    own = open_sets.OWN_CLASS.fullmatch(written)
    name, rest = (own["name"], own["options"] or "") if own else _halves(written)
    options = {
        key: _value(key, value, base) for key, value in (item.partition("=")[::2] for item in _items(rest)) if key
    }
    for key, value in table.items():
        if key == "scorer":
            continue
        option = key.replace("-", "_")
        if option in options:
            raise WrongScorerOption(key, f"{key} stands in the text of `scorer` too: write it once")
        options[option] = _value(key, value, base)
    # The rest of the text is the value of this option.
    ordered = sorted(options.items(), key=lambda item: item[0] == TAKES_THE_REST)
    text = ",".join(f"{key}={value}" for key, value in ordered)
    return f"{scorer_name(base, name)}:{text}" if text else scorer_name(base, name)


def _halves(written: str) -> tuple[str, str]:
    name, _, rest = written.partition(":")
    return name, rest


def _items(rest: str) -> list[str]:
    """Return the items ``key=value`` of a text; the value of ``sql=`` takes the rest."""
    before, sql, expression = rest.partition(f"{TAKES_THE_REST}=")
    if sql and (not before or before.endswith(",")):
        return [*filter(None, before.split(",")), f"{sql}{expression}"]
    return list(filter(None, rest.split(",")))


def _value(key: str, value: object, base: Path) -> str:
    """Return the value of an option as text."""
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, int | float):
        return repr(value)
    if isinstance(value, list | tuple) and value and all(isinstance(item, str | int | float) for item in value):
        return "+".join(_value(key, item, base) for item in value)
    if not isinstance(value, str):
        raise WrongScorerOption(key, f"{key} must be a text, a number, true or false, or a list of these")
    if key == TAKES_THE_REST:
        return value
    if "," in value:
        raise WrongScorerOption(
            key, f'the value of {key} holds a comma, which ends an option. Write a list: ["a", "b"]'
        )
    return "+".join(beside_if_there(base, part) for part in value.split("+"))
