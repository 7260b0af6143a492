"""Real text that every Python installation carries: its own standard library, split by what it is.

Sources: module code, test code, prose (docstrings and the pydoc topics) and tables (the encodings). Docstrings are cut
out of the code, so that held-out prose is not in another pool.
"""

import ast
import io
import sysconfig
import tokenize
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import numpy as np
import polars as pl

from curate.errors import CurateError
from curate.tables import batches

DOCUMENT = 2000  # characters; longer files are cut at line ends
SHORTEST = 200  # characters; shorter pieces are not documents
KEEP_BYTES = {"code": 2_400_000, "tests": 2_400_000, "tables": 900_000, "prose": 90_000}
TARGET_BYTES = 65_536  # of prose, held out
SHARD_ROWS = 400
SKIP = {"site-packages", "idlelib", "pydoc_data", "lib2to3"}


def write(rows: Path, target: Path, seed: int, *, scale: float = 1.0) -> dict[str, int]:
    """Write Parquet shards ``rows/source=<name>/`` and the held-out prose; return bytes of each source.

    Files are visited in the order of hash(path, seed) until every source has its ``KEEP_BYTES`` times ``scale``: the
    demo is quick and prose scarce.
    """
    keep = {source: scale * size for source, size in KEEP_BYTES.items()}
    documents_of = _gather(Path(sysconfig.get_paths()["stdlib"]), keep, seed)
    sizes = {}
    for source, documents in documents_of.items():
        frame = pl.DataFrame(documents, schema=["id", "text"], orient="row").unique(
            "text", keep="first", maintain_order=True
        )
        frame = frame.with_columns(pl.col("text").str.len_bytes().cast(pl.Int64).alias("tokens"))
        if source == "prose":
            frame = frame[_order(frame["id"], seed)]
            held_out = pl.col("tokens").cum_sum() <= scale * TARGET_BYTES
            batches.write(target / "prose.parquet", [frame.filter(held_out)])
            frame = frame.filter(~held_out)
        frame = frame.filter(pl.col("tokens").cum_sum() <= keep[source])
        if frame.is_empty():
            raise CurateError(f"no {source} text in the standard library: is this a full Python installation?")
        for i, start in enumerate(range(0, frame.height, SHARD_ROWS)):
            batches.write(rows / f"source={source}" / f"{i:04d}.parquet", [frame[start : start + SHARD_ROWS]])
        sizes[source] = int(frame["tokens"].sum())
    return sizes


def _order(names: Sequence[str] | pl.Series, seed: int) -> list[int]:
    return [int(i) for i in np.argsort(batches.keys(names, seed), kind="stable")]


def _gather(library: Path, keep: Mapping[str, float], seed: int) -> dict[str, list[tuple[str, str]]]:
    """Return (id, text) documents of each source."""
    documents: dict[str, list[tuple[str, str]]] = {name: [] for name in KEEP_BYTES}
    documents["prose"] = _topics()
    sizes = dict.fromkeys(KEEP_BYTES, 0)
    names = sorted(p.relative_to(library).as_posix() for p in library.rglob("*.py"))
    names = [name for name in names if SKIP.isdisjoint(name.split("/"))]
    for name in (names[i] for i in _order(names, seed)):
        if sizes[_source(name)] >= keep[_source(name)]:
            continue
        for source, key, text in _documents(library / name, name):
            documents[source].append((key, text))
            sizes[source] += len(text.encode())
    return documents


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
            docstring := ast.get_docstring(node)
        ):
            first = node.body[0]
            documents.append(docstring)
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

    return [
        (f"topic/{name}#{i}", piece) for name, text in sorted(topics.items()) for i, piece in enumerate(_pieces(text))
    ]
