"""Read the tree of an expression of Polars: which columns it reads, and whether it computes each row by itself.

In: the tree, as Polars writes it in JSON. Out: columns with fields, or what is wrong.
Nodes and functions are accepted by name. One that is not listed, such as one of a later version of Polars, is refused.
"""

import io
import json
from collections.abc import Sequence
from typing import TypeAlias, cast

import polars as pl

Path: TypeAlias = tuple[str, ...]  # the name of a column, and the names of fields within it
Tree: TypeAlias = object  # a dictionary from the kind of a node to its parts, or the name of a node without parts

# The functions to which SQL leads, and that compute a row from the same row. Each name stands below its namespace.
ROW_FUNCTIONS = frozenset(
    "Abs Atan2 Ceil Clip Coalesce Erf Exp FillNull Floor Log Log1p MaxHorizontal MinHorizontal Negate Round Sign "
    "Truncate".split()
)
NAMESPACES = {
    "ArrayExpr": "Contains Dot Get Join Length Max Mean Min Sum",
    "Bitwise": "CountOnes CountZeros",
    "Boolean": "IsBetween IsFinite IsInfinite IsNan IsNotNan IsNotNull IsNull Not",
    "ListExpr": "Contains Get Join Length Max Mean Min Sum",
    "Pow": "Cbrt Generic Sqrt",
    "Sql": "Binary IsIn Round ToFloat",
    "StringExpr": "ConcatHorizontal Contains EndsWith Find LenBytes LenChars Lowercase Normalize PadEnd PadStart "
    "Replace Reverse Slice Split StartsWith StripChars StripCharsEnd StripCharsStart Strptime Titlecase Uppercase",
    "StructExpr": "FieldByName",
    "TemporalExpr": "BaseUtcOffset Century Date Day Hour IsoYear Microsecond Millennium Millisecond Minute Month "
    "Nanosecond OffsetBy OrdinalDay Quarter Second Time TimeStamp ToString TotalSeconds Truncate Week WeekDay Year",
    "Trigonometry": "ArcCos ArcSin ArcTan Cos Cot Degrees Radians Sin Tan",
}
ROW_NAMES = {namespace: frozenset(names.split()) for namespace, names in NAMESPACES.items()}
# Within a list of one row, these concern the elements of that list.
LIST_FUNCTIONS = frozenset({"Reverse", "Unique"})
COMPARISONS = frozenset("Eq EqValidity NotEq NotEqValidity Gt GtEq Lt LtEq And Or Xor LogicalAnd LogicalOr".split())
NO_NUMBERS = frozenset({"Boolean", "StringExpr", "TemporalExpr"})  # functions whose values are never floats
# Why a node is refused, with what to write instead where there is something.
REFUSED_KINDS = {
    "Selector": ("stands for several columns", "Name one column"),
    "Explode": ("makes several rows of one (UNNEST)", ""),
    "SubPlan": ("has a subquery (SELECT)", ""),
}
OTHER_ROWS = (
    "depends on other rows: it has an aggregate such as SUM or COUNT, or another function of several rows",
    "",
)
NO_FORMAT = (
    "guesses the format of a date from other rows",
    "Give the format: DATE(day, '%Y-%m-%d') or STRPTIME(day, '%Y-%m-%d')",
)
ORDERED = frozenset("Eq NotEq Gt GtEq Lt LtEq".split())  # comparisons that give null where one side is null
NULL: Tree = {"Literal": {"Scalar": {"Null": "Null"}}}
WITH_NULL = ("compares with NULL, which is true for no row", "Write IS NULL or IS NOT NULL")
WHOLE_COLUMN = (
    "compares with all values of a column (= ANY)",
    "To look into the list of a row, write ARRAY_CONTAINS(list, value)",
)


def tree_of(expression: pl.Expr) -> Tree:
    """Return the tree of an expression."""
    return cast(Tree, json.loads(expression.meta.serialize(format="json")))


def expression_of(tree: Tree) -> pl.Expr:
    """Return the expression of a tree."""
    return pl.Expr.deserialize(io.StringIO(json.dumps(tree)), format="json")


def paths(node: Tree, fields: Path = ()) -> dict[Path, None]:
    """Return the columns and fields that an expression reads, in the order in which it names them."""
    if isinstance(node, list):
        return {path: None for item in node for path in paths(item)}
    if not isinstance(node, dict):
        return {}
    if isinstance(column := node.get("Column"), str):
        return {(column, *fields): None}
    if isinstance(function := node.get("Function"), dict):
        namespace, name = function_name(function)
        if (namespace, name) == ("StructExpr", "FieldByName"):
            field = function["function"][namespace][name]
            return {path: None for item in function["input"] for path in paths(item, (field, *fields))}
    return {path: None for kind, item in node.items() if kind != "Literal" for path in paths(item)}


def not_of_one_row(node: Tree, *, in_list: bool = False) -> tuple[str, str] | None:
    """Return why an expression does not compute each row by itself, and what to change; None if it does.

    ``in_list`` says that the node computes with the elements of the list of one row.
    """
    if not isinstance(node, dict):
        return None if in_list and node == "Element" else OTHER_ROWS
    ((kind, parts),) = node.items()
    if kind in REFUSED_KINDS:
        return REFUSED_KINDS[kind]
    if kind == "Function" and (problem := _refused_function(parts, in_list=in_list)) is not None:
        return problem
    if kind == "Eval":
        problem = not_of_one_row(parts["evaluation"], in_list=True)
        return OTHER_ROWS if problem is not None or paths(parts["evaluation"]) else not_of_one_row(parts["expr"])
    children = inputs(node)
    if children is None:
        return OTHER_ROWS
    return next((problem for child in children if (problem := not_of_one_row(child, in_list=in_list))), None)


def inputs(node: Tree) -> Sequence[Tree] | None:
    """Return the nodes that a node is computed from; None if its kind is not known."""
    if not isinstance(node, dict):
        return None
    ((kind, parts),) = node.items()
    match kind:
        case "Column" | "Literal":
            return []
        case "BinaryExpr":
            return [parts["left"], parts["right"]]
        case "Ternary":
            return [parts["predicate"], parts["truthy"], parts["falsy"]]
        case "Cast" | "Eval":
            return [parts["expr"]]
        case "Alias":
            return [parts[0]]
        case "Function":
            return list(parts["input"])
    return None


def function_name(function: dict[str, object]) -> tuple[str, str]:
    """Return the namespace of a function and its name in it; the name is empty where there is no namespace."""
    kind = function["function"]
    if not isinstance(kind, dict):
        return str(kind), ""
    ((namespace, name),) = kind.items()
    if namespace not in ROW_NAMES:
        return namespace, ""
    return namespace, name if isinstance(name, str) else next(iter(name), "")


def _refused_function(function: dict[str, object], *, in_list: bool) -> tuple[str, str] | None:
    namespace, name = function_name(function)
    if name not in ROW_NAMES.get(namespace, ()) and namespace not in ROW_FUNCTIONS:
        return None if in_list and namespace in LIST_FUNCTIONS else OTHER_ROWS
    if name == "Strptime" and _format_of_dates(function) is None:
        return NO_FORMAT
    # A column after IN or = ANY is a list of each row, or else all rows of the column. Only its type tells.
    if name == "IsIn" and paths(cast(list[Tree], function["input"])[1]):
        return WHOLE_COLUMN
    return None


def _format_of_dates(function: dict[str, object]) -> object:
    options = cast(dict[str, dict[str, list[dict[str, object]]]], function["function"])["StringExpr"]["Strptime"]
    return options[1].get("format")


def compares_with_null(node: Tree) -> bool:
    """Return whether an expression, or any part of it, compares a value with the word NULL, as in ``x = NULL``."""
    if isinstance(node, list):
        return any(map(compares_with_null, node))
    if not isinstance(node, dict):
        return False
    binary = node.get("BinaryExpr")
    if isinstance(binary, dict) and binary["op"] in ORDERED and NULL in (binary["left"], binary["right"]):
        return True
    return any(map(compares_with_null, node.values()))


def has_subquery(node: Tree) -> bool:
    """Return whether an expression, or any part of it, is a query."""
    if isinstance(node, list):
        return any(map(has_subquery, node))
    return isinstance(node, dict) and ("SubPlan" in node or any(map(has_subquery, node.values())))
