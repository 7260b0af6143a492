"""What the members of an open set do, in words: a sentence, and the meaning of every option.

In: a set and a name. Out: text for `curate list`, read from the code and its docstrings.
"""

import ast
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from inspect import Parameter, getdoc, signature
from typing import Literal, get_args, get_origin

from curate.open_sets import ROOT, class_name_of, factory, implementation, names, option_parameters


@dataclass(frozen=True)
class Option:
    """One option of a member: its name, the name of its type, its default and its meaning, all as text.

    ``default`` is None if the option must be given. ``meaning`` is empty if the docstring does not explain the option.
    """

    name: str
    type: str
    default: str | None
    meaning: str = ""


def summary(folder: str, name: str) -> str:
    """Return the first sentence of the docstring of a member's class. Files of curate are not imported for it."""
    if name in names(folder):
        tree, cls = _syntax(folder, name)
        doc = ast.get_docstring(cls or tree)
    else:
        doc = getdoc(implementation(folder, name))
    return first_sentence(doc or "")


def meanings(name: str) -> dict[str, str]:
    """Return the meaning of each score of a scorer, by column, without importing curate's own scorers.

    It is empty if the scorer declares no meanings, adds no score, or has meanings that depend on its options.
    """
    if name in names("scorers"):
        _, cls = _syntax("scorers", name)
        for node in cls.body if cls else ():
            match node:
                case ast.Assign(targets=[ast.Name(id="meanings")], value=value):
                    return dict(ast.literal_eval(value))
        return {}
    declared = getattr(implementation("scorers", name), "meanings", {})
    return dict(declared) if isinstance(declared, dict) else {}


def _syntax(folder: str, name: str) -> tuple[ast.Module, ast.ClassDef | None]:
    """Return the syntax tree of a member's file, and that of its class."""
    tree = ast.parse((ROOT / folder / f"{name}.py").read_text(encoding="utf-8"))
    class_name = class_name_of(name)
    classes = [node for node in tree.body if isinstance(node, ast.ClassDef) and node.name == class_name]
    return tree, classes[0] if classes else None


def first_sentence(doc: str) -> str:
    """Return the first sentence of a docstring on one line."""
    paragraph = " ".join(doc.strip().split("\n\n")[0].split())
    return re.split(r"(?<=[.!?])\s+(?=[A-Z`(])", paragraph)[0]


def options(folder: str, name: str) -> tuple[Option, ...]:
    """Return the options of a member with their defaults.

    A scorer that learns has the options of its ``learn`` function.
    Their meanings are the paragraphs under ``Options:`` in the docstring of ``learn``, or else of the class.
    """
    return _described(_meanings(getdoc(factory(folder, name)) or ""), option_parameters(folder, name))


def options_of(cls: type) -> tuple[Option, ...]:
    """Return the fields of a dataclass of options. Their meanings stand in its docstring and in those of its bases."""
    meanings: dict[str, str] = {}
    for base in reversed(cls.__mro__[:-1]):
        meanings |= _meanings(getdoc(base) or "")
    return _described(meanings, tuple(signature(cls).parameters.values()))


def _described(meanings: Mapping[str, str], parameters: Sequence[Parameter]) -> tuple[Option, ...]:
    return tuple(
        Option(option.name, _type_name(option.annotation), _default(option.default), meanings.get(option.name, ""))
        for option in parameters
    )


def _meanings(doc: str) -> dict[str, str]:
    """Return the meaning of every option that a docstring explains, each on one line.

    An option is a paragraph ``name: meaning (default 3).`` under ``Options:``. A plain default is left out of the
    meaning, because it is known from the code.
    """
    section = re.search(r"^Options:\n((?:(?: {4}.*)?(?:\n|$))+)", doc, re.MULTILINE)
    paragraphs = re.findall(r"^ {4}(\w+): (.*(?:\n {5,}.*)*)", section[1], re.MULTILINE) if section else []
    plain_default = re.compile(r" \(default [^:;()]+\)$")
    return {name: plain_default.sub("", " ".join(text.split()).rstrip(".")) for name, text in paragraphs}


def _type_name(annotation: object) -> str:
    if get_origin(annotation) is Literal:
        return " or ".join(str(choice) for choice in get_args(annotation))
    return annotation.__name__ if isinstance(annotation, type) else str(annotation)


def _default(value: object) -> str | None:
    return None if value is Parameter.empty else repr(value) if isinstance(value, str) else str(value)
