"""Write the steps of a run as commands: each writes the same files as its step."""

import shlex
from collections.abc import Iterator, Mapping

from curate.recipe import keys
from curate.recipe.keys import JOBS, MATERIALIZE, POOLS, SCORE, Key
from curate.recipe.steps import RecipeStep

# Flags that take all of their items in one text, separated by commas. Others are repeated. Signatures do not tell.
IN_ONE_TEXT = frozenset({"columns", "join"})
_TABLES = {job.name: table for table, job in JOBS.items()}


def command(step: RecipeStep) -> str:
    """Return the command line that does one step alone."""
    words = ["curate", step.name]
    if step.name == SCORE.name:
        data, scorers = step.inputs
        words += [str(item) for item in _listed(data)]
        words += [word for scorer in _listed(scorers) for word in ("--scorer", scorer)]
    else:
        words += [str(item) for item in step.inputs]
    if step.name == POOLS.name and "kept" in step.options:
        words += ["--kept", str(step.options["kept"])]
    if step.name == MATERIALIZE.name and "pools" in step.options:
        words += ["--pools", str(step.options["pools"])]
    for name, value in step.flags.items():
        if name != "plan":
            words += _flag(keys.keys(_TABLES[step.name])[name], value)
    return shlex.join([*words, "--out", str(step.out)])


def _flag(key: Key, value: object) -> Iterator[str]:
    """Yield the words of one flag. A flag for several items is repeated, unless it takes all of them in one text."""
    flag = f"--{key.name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from [flag] if value else []
    elif isinstance(value, Mapping | list | tuple):
        items = (
            [f"{_quoted(str(name))}={item}" for name, item in value.items()] if isinstance(value, Mapping) else value
        )
        texts = [str(item) for item in items]
        if key.name in IN_ONE_TEXT:
            yield from (flag, ",".join(texts if isinstance(value, Mapping) else map(_quoted, texts)))
        else:
            yield from (word for text in texts for word in (flag, text))
    else:
        # TOML reads 20e9 as a float, which people write without a point.
        yield from (flag, str(int(value) if isinstance(value, float) and value.is_integer() else value))


def _quoted(name: str) -> str:
    """Return a name in the double quotes that the command line needs around some names."""
    return '"' + name.replace('"', '""') + '"' if set(name) & set(',="') else name


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
