"""Columns of training dynamics as arrays: what models predicted of each row, epoch by epoch, and the row's label.

In: batches with columns ``probs.<epoch>``, ``logits.<epoch>`` and ``label``. Out: arrays, checked.
"""

from collections.abc import Iterator
from urllib.parse import unquote

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.tables.columns.class_names import class_numbers

FLOOR = 1e-12  # a probability below it counts as this, so that its logarithm is finite
SLACK = 1e-2  # how far the sum of a row of probabilities may be from 1: float16 and rounded text come this far


def columns(epochs: str | int, logits: bool) -> tuple[str, ...]:
    """Return the columns of ``epochs``, such as "0+1+2", in that order.

    Raises:
        SchemaError: if ``epochs`` is not different whole numbers joined by +.
    """
    names = str(epochs).split("+")
    if not all(name.isdigit() for name in names) or len(set(names)) < len(names):
        raise SchemaError(f"epochs={epochs} must be different whole numbers joined by +, such as epochs=0+1+2")
    return tuple(f"{'logits' if logits else 'probs'}.{name}" for name in names)


def probabilities(batch: pl.DataFrame, names: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Yield (n, c) float64 probabilities of each column; logits are turned into them by softmax.

    Raises:
        SchemaError: if a row of probabilities is negative or does not sum to 1.
    """
    for name in names:
        values = matrix(batch, name)
        if name.startswith("logits."):
            # subtracting the maximum changes nothing but keeps the exponentials finite
            values = np.exp(values - values.max(axis=1, keepdims=True))
            yield values / values.sum(axis=1, keepdims=True)
            continue
        total = values.sum(axis=1)
        bad = (np.abs(total - 1) > SLACK) | (values < 0).any(axis=1)
        if bad.any():
            raise SchemaError(
                f"{name} holds no probabilities in {int(bad.sum())} rows of a batch, the first with id "
                f"{batch['id'][int(bad.argmax())]!r} (sum {total[bad.argmax()]:.4g}, smallest {values[bad].min():.4g})"
                ". Give probabilities that sum to 1, or name the column logits.<epoch>"
            )
        yield values


def log_odds(batch: pl.DataFrame, names: tuple[str, ...]) -> Iterator[np.ndarray]:
    """Yield (n, c) float64 logits of each column; probabilities give theirs up to a constant in each row."""
    logits = tuple(name for name in names if name.startswith("logits."))
    if logits == names:
        yield from (matrix(batch, name) for name in names)
    else:
        yield from (np.log(np.maximum(p, FLOOR)) for p in probabilities(batch, names))


def matrix(batch: pl.DataFrame, name: str, least: int = 2) -> np.ndarray:
    """Return a column of lists of equal length as (n, c) float64, c at least ``least``.

    Raises:
        SchemaError: for nulls, lists of different lengths, values that are no numbers, NaN and infinity.
    """
    column = batch[name]
    if column.null_count():
        raise SchemaError(f"{name} is null in {column.null_count()} rows of a batch{_first(batch, column.is_null())}")
    if not len(column):
        return np.zeros((0, least))
    if isinstance(column.dtype, pl.List):
        lengths = column.list.len()
        if (odd := lengths != lengths.max()).any():
            shortest, longest = (int(n) for n in lengths.unique().sort().gather([0, -1]))
            raise SchemaError(
                f"{name} has lists of {shortest} and of {longest} numbers{_first(batch, odd)}. Make all equally long"
            )
    inner = getattr(column.dtype, "inner", None)
    if inner is None or not (inner.is_numeric() or inner == pl.Boolean):
        raise SchemaError(f"{name} is {batch[name].dtype}. It must be a list of numbers, one for each class")
    values = np.ascontiguousarray(column.explode().cast(pl.Float64).to_numpy().reshape(len(column), -1))
    if values.shape[1] < least:
        raise SchemaError(f"{name} has {values.shape[1]} numbers in each row; it needs at least {least}")
    if not (good := np.isfinite(values).all(axis=1)).all():
        raise SchemaError(
            f"{name} is NaN, infinite or null in {int((~good).sum())} rows of a batch"
            f"{_first(batch, pl.Series(~good))}. Correct those rows or remove them"
        )
    return values


def of_label(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the value (n,) of each row's own class, from (n, c) values."""
    return np.asarray(np.take_along_axis(values, labels[:, None], axis=1)[:, 0])


def margin(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return the value of each row's own class minus the largest of the others, (n,)."""
    others = values.copy()
    np.put_along_axis(others, labels[:, None], -np.inf, axis=1)
    return np.asarray(of_label(values, labels) - others.max(axis=1))


def correct(values: np.ndarray, labels: np.ndarray) -> np.ndarray:
    """Return in which rows (n,) the own class has the largest value; a tie is wrong."""
    return np.asarray(margin(values, labels) > 0)


def labels(batch: pl.DataFrame, classes: str, width: int) -> np.ndarray:
    """Return the class number (n,) of each label, from 0 to ``width`` - 1.

    Labels that are whole numbers are class numbers. Otherwise ``classes``, such as "cat+dog", names the classes of the
    columns in their order; in a name, the signs + , and = are written as in a web address (%2B, %2C, %3D). Names that
    are fewer than the columns, and all whole numbers, are class numbers too: "0" and "2" of 3 classes.

    Raises:
        SchemaError: for a null label, one that is not among the classes, or names that do not match ``width``.
    """
    column = batch["label"]
    if column.null_count():
        raise SchemaError(f"label is null in {column.null_count()} rows of a batch{_first(batch, column.is_null())}")
    if not len(column):
        return np.zeros(0, np.int64)
    if classes:
        number_of = _numbers_of_names([unquote(name) for name in str(classes).split("+")], width)
        return _numbers_of_labels(batch, number_of)
    if not (column.dtype.is_numeric() or column.dtype == pl.Boolean):
        raise SchemaError(
            f"label is {column.dtype}, such as {column[0]!r}. Name the classes in the order of the columns: "
            "classes=a+b+c"
        )
    values = column.cast(pl.Float64)
    if (outside := ~((values >= 0) & (values < width) & (values == values.floor()))).any():
        raise SchemaError(
            f"label {values.filter(outside)[0]:g} is outside the {width} classes of the columns, 0 to {width - 1}"
            f"{_first(batch, outside)}. If the classes have other names, give them in order: classes=a+b+c"
        )
    return values.cast(pl.Int64).to_numpy()


def _numbers_of_names(names: list[str], width: int) -> dict[str, int]:
    """Return the class number of each name: its place, or the number that it spells."""
    if len(names) == width:
        return {name: place for place, name in enumerate(names)}
    numbers = class_numbers(names)
    if numbers is not None and max(numbers.values()) < width:
        return numbers
    raise SchemaError(
        f"label has {len(names)} classes ({first_few(names)}) and the columns have {width}. Name all {width} in the "
        "order of the columns: classes=a+b+c"
    )


def _numbers_of_labels(batch: pl.DataFrame, number_of: dict[str, int]) -> np.ndarray:
    column = batch["label"]
    numbers = column.cast(pl.String).replace_strict(
        list(number_of), list(number_of.values()), default=-1, return_dtype=pl.Int64
    )
    if (missing := numbers < 0).any():
        raise SchemaError(
            f"label {column.filter(missing)[0]!r} is not among the classes {first_few(list(number_of))}"
            f"{_first(batch, missing)}"
        )
    return numbers.to_numpy()


def _first(batch: pl.DataFrame, bad: pl.Series) -> str:
    places = bad.arg_true()
    return f", the first with id {batch['id'][int(places[0])]!r}" if "id" in batch.columns and len(places) else ""
