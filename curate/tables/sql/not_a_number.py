"""Compute an expression so that NaN counts as null, wherever it arises.

In: an expression of Polars. Out: the same in steps, after each of which NaN becomes null.
Polars sorts NaN above all numbers, so that ``0 / 0 > 5`` would be true, and ``NOT`` of a comparison with it as well.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import polars as pl

from curate.tables.sql import nodes
from curate.tables.sql.nodes import Tree

STEP = "\0step"  # how the names of the columns of steps begin: no column of a file has such a name


@dataclass(frozen=True)
class Steps:
    """An expression as a list of steps and the expression of their results. Step i makes the column STEP + i."""

    steps: tuple[pl.Expr, ...]
    result: pl.Expr

    def values(self, frame: pl.DataFrame) -> pl.Series:
        """Return the values (n,) of the expression in a table of n rows, which has no other columns than it reads."""
        frame = _filled(frame, frame.columns)
        for number, step in enumerate(self.steps):
            name = f"{STEP}{number}"
            frame = _filled(frame.with_columns(step.alias(name)), [name])
        return frame.select(self.result.alias("value"))["value"]


def steps(expression: pl.Expr) -> Steps:
    """Return an expression as steps: one for each function, sum and conversion whose values may be NaN."""
    trees: list[Tree] = []
    result = _cut(nodes.tree_of(expression), trees)
    # An expression that only compares columns is left as it is.
    if not trees:
        return Steps((), expression)
    return Steps(tuple(map(nodes.expression_of, trees)), nodes.expression_of(result))


def _filled(frame: pl.DataFrame, names: Sequence[str]) -> pl.DataFrame:
    """Return a table with null in place of NaN in these columns."""
    columns = [frame[name] for name in names if frame[name].dtype.is_float()]
    return frame.with_columns(column.fill_nan(None) for column in columns if column.is_nan().any())


def _cut(node: Tree, steps: list[Tree]) -> Tree:
    """Return a node in which columns of steps replace the parts that may be NaN."""
    if not isinstance(node, dict):
        return node
    ((kind, parts),) = node.items()
    match kind:
        case "BinaryExpr":
            node = {kind: {**parts, "left": _cut(parts["left"], steps), "right": _cut(parts["right"], steps)}}
        case "Ternary":
            node = {kind: {name: _cut(part, steps) for name, part in parts.items()}}
        case "Cast":
            node = {kind: {**parts, "expr": _cut(parts["expr"], steps)}}
        case "Function":
            node = {kind: {**parts, "input": [_cut(part, steps) for part in parts["input"]]}}
        case _:
            return node
    if not _may_be_nan(kind, parts):
        return node
    # BETWEEN and NULLIF have the same value twice.
    if node not in steps:
        steps.append(node)
    return {"Column": f"{STEP}{steps.index(node)}"}


def _may_be_nan(kind: str, parts: dict[str, object]) -> bool:
    """Return whether the values of a node may be NaN although no value that it is computed from is."""
    if kind == "Function":
        namespace, name = nodes.function_name(parts)
        return namespace not in nodes.NO_NUMBERS and name != "IsIn"
    return kind == "Cast" or (kind == "BinaryExpr" and parts["op"] not in nodes.COMPARISONS)
