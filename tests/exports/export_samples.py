"""Mixtures to export, and parsers that several readers share."""

import ast
import json
import re

import pytest

from curate import open_sets
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Pool

LINE = re.compile(r'^#   (\d+) \S+ (".*?(?<!\\)(?:\\\\)*")', re.MULTILINE)


def export(spec):
    return open_sets.build("exports", spec)


def mixture(tokens, names=None, paths=None, left_out=()):
    """Parts with those ``tokens`` (a list of counts)."""
    names = names or [f"p{i}" for i in range(len(tokens))]
    paths = paths or [(f"data/{i}",) for i in range(len(tokens))]
    parts = tuple(
        Part(Pool(name, 1e9 * (1 + i), 10**6), count, where)
        for i, (name, count, where) in enumerate(zip(names, tokens, paths, strict=True))
    )
    return Mixture(parts, tuple(left_out), 1e9, "plan 0 of plan.json: a test", seed=7)


def header_tokens(text):
    """Tokens by pool, as the comment lines at the top of a file list them."""
    return {json.loads(name): int(count) for count, name in LINE.findall(text)}


def yaml_of(text):
    return pytest.importorskip("yaml", reason="install the dev extra").safe_load(text)


def blended(items):
    """Rows of a flat list of weight, path, weight, path ..."""
    assert len(items) % 2 == 0
    return [(None, float(w), p) for w, p in zip(items[::2], items[1::2], strict=True)]


def assigned(text):
    """Literals that a Python module assigns; nothing is run."""
    body = ast.parse(text).body
    return {n.targets[0].id: ast.literal_eval(n.value) for n in body if isinstance(n, ast.Assign)}


def located(row):
    """The path in a row of a Python module."""
    return row["path"] if row["data_files"] is None else row["data_files"][0]
