"""Say in one line what is wrong with a command line, and which option, value or job is nearest."""

import ast
import re
from collections.abc import Callable, Iterator, Sequence

from curate.open_sets import nearest
from curate.shown import escaped

QUOTED = re.compile(r"'([^']*)'")


def usage_line(error: Exception, words: Sequence[str], jobs: Sequence[str], source: Callable[[str], ast.Module]) -> str:
    """Return a usage error as one line that ends with where to read more.

    ``words`` are the command line, ``jobs`` are the names of all jobs, and ``source`` returns the syntax tree of one.
    """
    job = next((word for word in words if word in jobs), "")
    command = f"curate {job}".strip()
    message = _message(error, words, job, jobs, source)
    return escaped(f"{message.rstrip('. ')}{'' if message.rstrip().endswith('?') else '.'} See {command} --help")


def _message(
    error: Exception, words: Sequence[str], job: str, jobs: Sequence[str], source: Callable[[str], ast.Module]
) -> str:
    text = " ".join(error.format_message().replace("Value error, ", "").split()).rstrip(".")  # type: ignore[attr-defined]
    options = _options(error) or (list(flags(source(job))) if job else [])
    if hasattr(error, "possibilities") and hasattr(error, "option_name"):
        option = _as_written(str(error.option_name), words)
        others = [f"`curate {other}`" for other in jobs if other != job and option in flags(source(other))]
        if others and job:
            return f"`curate {job}` has no option {option}; it is an option of {', '.join(others[:3])}"
        return f"there is no option {option}{nearest_option(option, options)}"
    if "unexpected extra argument" in text:
        extra = text.partition("(s) (")[2].rstrip(")").split()
        return text + next(filter(None, (nearest_option(word, options) for word in extra)), "")
    if "is not one of" in text:
        value, *choices = QUOTED.findall(text.partition(": ")[2])
        return f"{text}{nearest(value, choices)}"
    return text


def nearest_option(word: str, options: Sequence[str]) -> str:
    """Return ``; did you mean '--keep'?`` for the option that is spelled most like a word, or nothing."""
    # The dashes are left out: they would make short options look alike.
    if len(word.strip("-")) < 3:  # too short to resemble anything
        return ""
    suggestion = nearest(word.strip("-"), [option.strip("-") for option in options])
    return suggestion.replace("'", "'--", 1)


def _options(error: Exception) -> list[str]:
    """Return the options of the job that refused the command line."""
    command = getattr(getattr(error, "ctx", None), "command", None)
    return [option for parameter in getattr(command, "params", ()) for option in parameter.opts if option[:2] == "--"]


def _as_written(option: str, words: Sequence[str]) -> str:
    """Return an unknown option as the user wrote it: ``-keep`` is read as the letters k, e, e and p."""
    if option.startswith("--"):
        return option
    return next((word for word in words if word.startswith(option)), option).partition("=")[0]


def flags(tree: ast.Module) -> Iterator[str]:
    """Yield the options of the job with this syntax tree; the job is not imported."""
    main = next(node for node in tree.body if isinstance(node, ast.FunctionDef) and node.name == "main")
    for parameter in main.args.args:
        yield f"--{parameter.arg.replace('_', '-')}"
    for node in ast.walk(main):
        # Some options have a name of their own, such as "--json" for the parameter `as_json`.
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and re.fullmatch(r"--[a-z-]+", node.value):
            yield node.value
