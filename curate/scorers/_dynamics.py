"""Columns of training dynamics as arrays: what models said of each example, epoch by epoch, and its label."""

from collections.abc import Iterator
from urllib.parse import unquote

import numpy as np
import polars as pl

from curate.errors import SchemaError

FLOOR = 1e-12  # of a probability whose logarithm is taken
SLACK = 1e-2  # that a row of probabilities may miss 1 by: float16 and rounded text do


def columns(epochs: str | int, logits: bool) -> tuple[str, ...]:
    """Return the columns of ``epochs``, "0+1+2", in that order."""
    names = str(epochs).split("+")
    if not all(name.isdigit() for name in names) or len(set(names)) < len(names):
        raise SchemaError(f"epochs={epochs} must be different whole numbers joined by +, such as 0+1+2")
    return tuple(f"{'logits' if logits else 'probs'}.{name}" for name in names)


def probabilities(batch: pl.DataFrame, names: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Yield (n, c) float64 probabilities of each column; those of logits by softmax."""
    for name in names:
        values = matrix(batch, name)
        if name.startswith("logits."):
            values = np.exp(values - values.max(axis=1, keepdims=True))
            yield values / values.sum(axis=1, keepdims=True)
            continue
        total = values.sum(axis=1)
        bad = (np.abs(total - 1) > SLACK) | (values < 0).any(axis=1)
        if bad.any():
            raise SchemaError(
                f"{name} is no probability in {int(bad.sum())} rows of a batch, the first with id "
                f"{batch['id'][int(bad.argmax())]!r} (sum {total[bad.argmax()]:.4g}, least {values[bad].min():.4g}): "
                "give probabilities that sum to 1, or name the column logits.<epoch>"
            )
        yield values


def log_odds(batch: pl.DataFrame, names: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Yield (n, c) float64 logits of each column; of probabilities their logarithms, equal up to a constant a row."""
    logits = tuple(name for name in names if name.startswith("logits."))
    if logits == names:
        yield from (matrix(batch, name) for name in names)
    else:
        yield from (np.log(np.maximum(p, FLOOR)) for p in probabilities(batch, names))


def matrix(batch: pl.DataFrame, name: str, least: int = 2) -> np.ndarray:
    """Return a column of lists, all of one length, as (n, c) float64, finite."""
    column = batch[name]
    if column.null_count():
        raise SchemaError(f"{name} is null in {column.null_count()} rows of a batch{_first(batch, column.is_null())}")
    if not len(column):
        return np.zeros((0, least))
    if isinstance(column.dtype, pl.List):
        lengths = column.list.len()
        if (odd := lengths != lengths.max()).any():
            least, most = (int(n) for n in lengths.unique().sort().gather([0, -1]))
            raise SchemaError(f"{name} has lists of {least} and of {most} numbers{_first(batch, odd)}: make them alike")
    inner = getattr(column.dtype, "inner", None)
    if inner is None or not (inner.is_numeric() or inner == pl.Boolean):
        raise SchemaError(f"{name} is {batch[name].dtype}; it must be a list of numbers, one a class")
    values = np.ascontiguousarray(column.explode().cast(pl.Float64).to_numpy().reshape(len(column), -1))
    if values.shape[1] < least:
        raise SchemaError(f"{name} has {values.shape[1]} numbers a row; it needs at least {least}")
    if not (good := np.isfinite(values).all(axis=1)).all():
        raise SchemaError(
            f"{name} is NaN, infinite or null in {int((~good).sum())} rows of a batch"
            f"{_first(batch, pl.Series(~good))}: mend those rows or remove them"
        )
    return values


def own(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return what (n, c) values say of each row's own class, (n,)."""
    return np.asarray(np.take_along_axis(values, labels[:, None], axis=1)[:, 0])


def margin(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the value of each row's own class minus the largest of the others, (n,)."""
    others = values.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return np.asarray(own(values, labels) - others.max(axis=1))


def correct(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Say in which rows the own class has the largest value; a tie with another class is not right."""
    return np.asarray(margin(values, labels) > 0)


def labels(batch: pl.DataFrame, classes: str, width: int) -> np.ndarray:
    """Return (n,) places of the labels among the ``width`` classes.

    Whole numbers are places, from 0. ``classes``, "cat+dog", names the classes of the columns in their order instead; a
    name with + , or = is written as in a web address.
    """
    column = batch["label"]
    if column.null_count():
        raise SchemaError(f"label is null in {column.null_count()} rows of a batch{_first(batch, column.is_null())}")
    if not len(column):
        return np.zeros(0, np.int64)
    if classes:
        known = [unquote(name) for name in str(classes).split("+")]
        if len(known) != width:
            raise SchemaError(
                f"{len(known)} classes are named ({_some(known)}), the columns have {width}: name all in the columns' "
                "order by classes=a+b+c"
            )
        found = column.cast(pl.String).replace_strict(known, range(width), default=-1, return_dtype=pl.Int64)
        if (missing := found < 0).any():
            raise SchemaError(
                f"label {column.filter(missing)[0]!r} is not among the classes {_some(known)}{_first(batch, missing)}"
            )
        return found.to_numpy()
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise SchemaError(
            f"label is {column.dtype} ({column[0]!r}): say which class each number of the columns is, in order, by "
            "classes=a+b+c"
        )
    values = column.cast(pl.Float64)
    if (outside := (values < 0) | (values >= width) | (values != values.floor())).any():
        raise SchemaError(
            f"label {values.filter(outside)[0]:g} is outside the {width} classes of the columns, 0 to {width - 1}"
            f"{_first(batch, outside)}; if the classes have other names give them in order by classes=a+b+c"
        )
    return values.cast(pl.Int64).to_numpy()


def _first(batch: pl.DataFrame, bad: pl.Series) -> str:
    at = bad.arg_true()
    return f", the first with id {batch['id'][int(at[0])]!r}" if "id" in batch.columns and len(at) else ""


def _some(names: list[str]) -> str:
    return ", ".join(names[:5]) + (f" and {len(names) - 5} more" if len(names) > 5 else "")
