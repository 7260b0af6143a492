"""Real text that every Python installation carries: its own standard library, split by what it is.

Sources: module code, test code, prose (docstrings and the pydoc topics) and tables (the encodings). Docstrings are cut
out of the code, so that held-out prose is not in another pool.
"""

import ast
import io
import sysconfig
import tokenize
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import polars as pl

from curate import tables
from curate.errors import CurateError

DOCUMENT = 4000  # characters; longer files are cut at line ends
SHORTEST = 200  # characters; shorter pieces are not documents
KEEP_BYTES = {"code": 2_400_000, "tests": 2_400_000, "tables": 900_000, "prose": 90_000}
TARGET_BYTES = 65_536  # of prose, held out
SHARD_ROWS = 400
SKIP = {"site-packages", "idlelib", "__pycache__", "lib2to3"}


def write(rows: Path, target: Path, seed: int) -> dict[str, int]:
    """Write Parquet shards ``rows/source=<name>/`` and the held-out prose; return bytes of each source.

    Which documents are taken is decided by hash(id, seed) up to ``KEEP_BYTES`` a source, so that the demo is quick and
    prose scarce.
    """
    library = Path(sysconfig.get_paths()["stdlib"])
    found: dict[str, list[tuple[str, str]]] = {name: [] for name in KEEP_BYTES}
    for path in sorted(library.rglob("*.py")):
        parts = path.relative_to(library).parts
        if SKIP.isdisjoint(parts):
            for source, name, text in _documents(path, "/".join(parts)):
                found[source].append((name, text))
    found["prose"] += _topics()
    sizes = {}
    held: set[str] = set()
    for source, documents in found.items():
        frame = pl.DataFrame(documents, schema=["id", "text"], orient="row").unique("id", keep="first", maintain_order=True)
        frame = frame.with_columns(pl.col("text").str.len_bytes().cast(pl.Int64).alias("tokens"))
        frame = frame[np.argsort(tables.keys(frame["id"], seed), kind="stable").astype(np.int64)]
        if source == "prose":
            head = frame.filter(pl.col("tokens").cum_sum() <= TARGET_BYTES)
            held = set(head["text"])
            tables.write(target / "prose.parquet", [head])
            frame = frame.filter(~pl.col("text").is_in(held))
        frame = frame.filter(pl.col("tokens").cum_sum() <= KEEP_BYTES[source])
        if frame.is_empty():
            raise CurateError(f"no {source} text under {library}: is this a full Python installation?")
        for i, start in enumerate(range(0, frame.height, SHARD_ROWS)):
            tables.write(rows / f"source={source}" / f"{i:04d}.parquet", [frame[start : start + SHARD_ROWS]])
        sizes[source] = int(frame["tokens"].sum())
    return sizes


def _documents(path: Path, name: str) -> Iterator[tuple[str, str, str]]:
    try:
        with tokenize.open(path) as handle:
            text = handle.read()
        tree = ast.parse(text)
    except (SyntaxError, UnicodeDecodeError, ValueError):
        return  # the test suite holds files that are broken on purpose
    source = _source(name)
    code, prose = _without_docstrings(text, tree)
    for i, piece in enumerate(_pieces(code)):
        yield source, f"{name}#{i}", piece
    if source == "code":
        for i, piece in enumerate(_pieces(prose)):
            yield "prose", f"{name}#doc{i}", piece


def _source(name: str) -> str:
    if name.startswith("encodings/") or name == "html/entities.py":
        return "tables"
    folders = name.split("/")
    return "tests" if {"test", "tests"} & set(folders) or folders[-1].startswith("test_") else "code"


def _without_docstrings(text: str, tree: ast.AST) -> tuple[str, str]:
    """Return the code without its docstrings, and the docstrings."""
    lines = text.splitlines(keepends=True)
    documents = []
    for node in ast.walk(tree):
        if isinstance(node, ast.Module | ast.ClassDef | ast.FunctionDef | ast.AsyncFunctionDef) and (
            found := ast.get_docstring(node)
        ):
            first = node.body[0]
            documents.append(found)
            for i in range(first.lineno - 1, first.end_lineno or first.lineno):
                lines[i] = ""
    return "".join(lines), "\n\n".join(documents)


def _pieces(text: str) -> Iterator[str]:
    piece = io.StringIO()
    for line in text.splitlines(keepends=True):
        if piece.tell() and piece.tell() + len(line) > DOCUMENT:
            yield piece.getvalue()
            piece = io.StringIO()
        piece.write(line)
    if len(piece.getvalue().strip()) >= SHORTEST:
        yield piece.getvalue()


def _topics() -> list[tuple[str, str]]:
    from pydoc_data.topics import topics

    return [(f"topic/{name}#{i}", piece) for name, text in sorted(topics.items()) for i, piece in enumerate(_pieces(text))]
