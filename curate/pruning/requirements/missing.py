"""Make NaN a missing value, in the columns that a condition reads and in what it computes from them.

In: columns, and a condition over them. Out: the same with null in the place of NaN. Polars sorts NaN above all numbers,
so that a row whose value could not be computed would meet every minimum.
"""

import io
import json

import polars as pl

# Functions whose value is NaN for some numbers: 0 / 0, the remainder by 0, the root and the logarithm of -1, and so on.
MAY_GIVE_NAN = frozenset(("Div", "Rem", "Sqrt", "Generic", "Log", "Log1p", "Trigonometry"))


def columns(frame: pl.DataFrame) -> pl.DataFrame:
    """Return a table with null in the place of NaN, also in the fields of structs."""
    before = frame.get_columns()
    after = [_series(column) for column in before]
    return frame if all(new is old for new, old in zip(after, before, strict=True)) else pl.DataFrame(after)


def _series(column: pl.Series) -> pl.Series:
    if column.dtype.is_float():
        return column.fill_nan(None) if column.is_nan().any() else column
    if not isinstance(column.dtype, pl.Struct) or not column.dtype.fields:
        return column
    fields = column.struct.unnest()
    if (cleaned := columns(fields)) is fields:
        return column
    return cleaned.select(pl.when(column.is_not_null()).then(pl.struct(pl.all())).alias(column.name))[column.name]


def computed(condition: pl.Expr) -> pl.Expr:
    """Return a condition in which functions give null where they would give NaN."""
    tree = json.loads(condition.meta.serialize(format="json"))
    if (filled := _node(tree)) == tree:
        return condition
    return pl.Expr.deserialize(io.StringIO(json.dumps(filled)), format="json")


def _node(node: object) -> object:
    """Return a node of an expression; the result of a function that may give NaN is wrapped by `fill_nan`."""
    if isinstance(node, list):
        return [_node(item) for item in node]
    if not isinstance(node, dict):
        return node
    inner = {kind: _node(value) for kind, value in node.items()}
    function = inner["Function"] if set(inner) == {"Function"} else None
    if not (isinstance(function, dict) and _may_give_nan(function.get("function"))):
        return inner
    return _filled(inner)


def _filled(inner: object) -> object:
    template = json.dumps(json.loads(pl.col("\0").fill_nan(None).meta.serialize(format="json")))
    return json.loads(template.replace(json.dumps({"Column": "\0"}), json.dumps(inner)))


def _may_give_nan(kind: object) -> bool:
    """Return whether a function, by its name or the tree of its options, may give NaN."""
    if isinstance(kind, dict):
        return any(name in MAY_GIVE_NAN or _may_give_nan(value) for name, value in kind.items())
    return kind in MAY_GIVE_NAN
