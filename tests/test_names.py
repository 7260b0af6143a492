"""Names say what a thing is: the words below say nothing, and no variable, parameter or function may have one.

Also: a class name has one meaning in the whole tree.
"""

import ast
from collections import defaultdict
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import curate

ROOT = Path(curate.__file__).parent
PIPELINES = ROOT.parent / "pipelines"
EMPTY = set("found made asked left mine here now given said known one at some got".split())
FILES = sorted([*ROOT.rglob("*.py"), *PIPELINES.rglob("*.py")])
# The code around the package is read as often as the package itself.
BESIDE = sorted(
    path for name in ("tests", "benchmarks", "examples", "fixtures") for path in (ROOT.parent / name).rglob("*.py")
)


def bound(tree: ast.AST) -> Iterator[tuple[int, str]]:
    """Every name that a file gives to something, with its line."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield node.lineno, name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.AsyncFunctionDef(name=name):
                yield node.lineno, name
            case ast.alias(asname=str(name)):
                yield node.lineno, name
            case ast.ExceptHandler(name=str(name)) | ast.MatchAs(name=str(name)) | ast.MatchStar(name=str(name)):
                yield node.lineno, name


# Parsing the thousand files takes seconds, so that each is parsed once.
@cache
def looked_at(path: Path) -> tuple[list[str], list[str]]:
    """The names of a file that say nothing, each with its line, and the names of its classes."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    empty = [f"line {line}: {name}" for line, name in bound(tree) if name.strip("_") in EMPTY]
    return empty, [node.name for node in ast.walk(tree) if isinstance(node, ast.ClassDef)]


def test_names_say_something():
    # One test for all files: a test for each would take longer to report than to run.
    empty = {path.relative_to(ROOT.parent).as_posix(): looked_at(path)[0] for path in [*FILES, *BESIDE]}
    assert FILES and BESIDE
    assert {path: names for path, names in empty.items() if names} == {}


def is_member(path: Path, name: str) -> bool:
    """Whether a class is the member of an open set that its file is named after."""
    return path.parent.name in ("laws", "scorers") and name == "".join(map(str.capitalize, path.stem.split("_")))


def test_a_class_name_has_one_meaning():
    """The file decides the class name of a law and of a scorer, so that both sets may have a `repetition`."""
    places = defaultdict(list)
    for path in FILES:
        for name in looked_at(path)[1]:
            if not is_member(path, name):
                places[name].append(path.relative_to(ROOT.parent).as_posix())
    repeated = {name: where for name, where in places.items() if len(where) > 1}
    assert not repeated
