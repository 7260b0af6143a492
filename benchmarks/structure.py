"""Measure the shape of the code: files, imports between rooms, names that say nothing, comments, seconds to import.

``python benchmarks/structure.py [OTHER]`` prints one table for this checkout, beside the checkout OTHER if it is given
(for example a git worktree of an older commit). The flat modules of an old checkout count as one room each.
"""

import argparse
import ast
import os
import subprocess
import sys
import time
import tokenize
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from statistics import median

EMPTY = set("found made asked left mine here now given said known one at some got".split())
IMPORTS = 7  # of which the median is taken


def files(root: Path, *folders: str) -> list[Path]:
    return sorted(path for folder in folders for path in (root / folder).rglob("*.py"))


def bound(tree: ast.AST) -> Iterator[str]:
    """The names that a piece of code gives to things."""
    for node in ast.walk(tree):
        match node:
            case ast.Name(id=name, ctx=ast.Store()) | ast.Attribute(attr=name, ctx=ast.Store()):
                yield name
            case ast.arg(arg=name) | ast.FunctionDef(name=name) | ast.alias(asname=str(name)):
                yield name


def functions(root: Path) -> tuple[int, int]:
    """The number of functions, and of those that bind a name that says nothing."""
    every = [
        node
        for path in files(root, "curate", "pipelines")
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8")))
        if isinstance(node, ast.FunctionDef)
    ]
    return len(every), sum(any(name.strip("_") in EMPTY for name in bound(node)) for node in every)


def room_edges(root: Path) -> int:
    """The number of pairs (room, another room that it imports)."""
    edges = set()
    for path in files(root, "curate"):
        room = path.relative_to(root / "curate").parts[0].removesuffix(".py")
        if room == "__init__":  # it names what is public, and is no room
            continue
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.ImportFrom) and (node.module or "").split(".")[0] == "curate":
                parts = (node.module or "").split(".")
                targets = [parts[1]] if len(parts) > 1 else [alias.name for alias in node.names]
                edges |= {(room, target) for target in targets if target not in (room, "__version__")}
    return len(edges)


def comments(root: Path) -> tuple[int, int]:
    """The lines that hold a comment, and all lines that are not blank."""
    commented = lines = 0
    for path in files(root, "curate", "pipelines"):
        with tokenize.open(path) as handle:
            marks = {
                token.start[0]
                for token in tokenize.generate_tokens(handle.readline)
                if token.type == tokenize.COMMENT and not token.string.startswith(("# fmt", "# noqa", "# type"))
            }
        commented += len(marks)
        lines += sum(bool(line.strip()) for line in path.read_text(encoding="utf-8").splitlines())
    return commented, lines


def seconds(root: Path, code: str) -> float:
    times = []
    for _ in range(IMPORTS):
        start = time.perf_counter()
        subprocess.run([sys.executable, "-c", code], check=True, env=os.environ | {"PYTHONPATH": str(root)}, cwd=root)
        times.append(time.perf_counter() - start)
    return median(times)


def tests(root: Path) -> int:
    command = [sys.executable, "-m", "pytest", "--collect-only", "-q", "-p", "no:cacheprovider"]
    environment = os.environ | {"PYTHONPATH": str(root)}
    done = subprocess.run(command, capture_output=True, text=True, cwd=root, env=environment)
    listed = [line for line in done.stdout.splitlines() if line.startswith("tests/")]
    return sum(int(line.rpartition(": ")[2]) if "::" not in line else 1 for line in listed)


def measured(root: Path) -> dict[str, str]:
    folders = Counter(path.parent for path in files(root, "curate") if path.name != "__init__.py")
    largest, count = folders.most_common(1)[0]
    total, empty = functions(root)
    commented, lines = comments(root)
    text = "\n".join(path.read_text(encoding="utf-8") for path in files(root, "curate", "pipelines"))
    return {
        "folders with Python files in curate": str(len(folders)),
        "files at the root of curate": str(folders[root / "curate"]),
        "largest folder": f"{largest.relative_to(root)}: {count}",
        "imports between rooms (pairs)": str(room_edges(root)),
        "functions": str(total),
        "functions with a name that says nothing": f"{empty} ({empty / total:.0%})",
        "lines with a comment": f"{commented} ({commented / lines:.1%})",
        "`fmt: skip` and `noqa`": f"{text.count('fmt: skip')} and {text.count('noqa')}",
        "seconds of `import curate` beyond Python's start": f"{seconds(root, 'import curate') - seconds(root, ''):.3f}",
        "tests collected": str(tests(root)),
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("other", nargs="?", type=Path, help="another checkout to compare with")
    other = parser.parse_args().other
    roots = {"this checkout": Path(__file__).resolve().parent.parent} | ({str(other): other.resolve()} if other else {})
    columns = {name: measured(root) for name, root in roots.items()}
    print("| | " + " | ".join(columns) + " |\n|---|" + "---|" * len(columns))
    for row in next(iter(columns.values())):
        print(f"| {row} | " + " | ".join(column[row] for column in columns.values()) + " |")


if __name__ == "__main__":
    main()
