"""Divide numbers as floats.

In: the tree of an expression of Polars. Out: the same, in which both sides of every `/` are floats.
Polars reads 2.5 in SQL as a decimal number. It rounds a quotient with decimals to a few places (`errors / 3000000.0` of
whole numbers to 6). A decimal divided by 0 stops the job, where whole numbers and floats give infinity.
"""

from typing import cast

from curate.tables.sql.nodes import Tree

DIVISION: Tree = {"Sql": {"Binary": "Div"}}
TO_FLOAT: Tree = {"Sql": "ToFloat"}  # leaves what is no number as it is


def with_floats(node: Tree) -> Tree:
    """Return a node in which both sides of every division are floats."""
    if isinstance(node, list):
        return [with_floats(item) for item in node]
    if not isinstance(node, dict):
        return node
    result = {name: with_floats(part) for name, part in node.items()}
    if result.get("function") == DIVISION:
        sides = cast(list[Tree], result["input"])
        result["input"] = [{"Function": {"input": [side], "function": TO_FLOAT}} for side in sides]
    return result
