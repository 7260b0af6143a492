"""Write the steps of a run as commands: each writes the same files as its step."""

import shlex
from collections.abc import Iterator, Mapping

from curate.recipe.keys import MATERIALIZE, POOLS, SCORE
from curate.recipe.steps import RecipeStep


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
            words += _flag(name, value)
    return shlex.join([*words, "--out", str(step.out)])


def _flag(name: str, value: object) -> Iterator[str]:
    """Yield the words of one flag; a flag that is given once for each item of a list or table is repeated."""
    flag = f"--{name.replace('_', '-')}"
    if isinstance(value, bool):
        yield from [flag] if value else []
    elif isinstance(value, Mapping):
        for key, item in value.items():
            yield from (flag, f"{_quoted(str(key))}={item}")
    elif isinstance(value, list | tuple):
        for item in value:
            yield from (flag, str(item))
    else:
        yield from (flag, str(value))


def _quoted(name: str) -> str:
    """Return a name in the double quotes that the command line needs around some names."""
    return f'"{name}"' if set(name) & set(',="') else name


def _listed(value: object) -> list[str]:
    return [str(item) for item in value] if isinstance(value, list | tuple) else [str(value)]
