"""The column ``label`` as names of classes, whatever its type.

In: batches with labels. Out: strings, or numbers of learned classes; an error for a null or an unknown label.
"""

import numpy as np
import polars as pl

from curate.errors import SchemaError


def labels(batch: pl.DataFrame, scorer: str) -> pl.Series:
    """Return the labels of a batch as strings.

    Raises:
        SchemaError: if a label is null.
    """
    names = batch["label"].cast(pl.String)
    if names.null_count():
        first = batch["id"][int(names.is_null().arg_max() or 0)]
        raise SchemaError(
            f"{scorer}: label is null in {names.null_count()} rows of a batch, the first with id {first!r}. Label "
            "those rows or remove them"
        )
    return names


def codes(names: pl.Series, classes: np.ndarray, scorer: str) -> np.ndarray:
    """Return the number (n,) int64 of each name among the sorted (c,) ``classes``.

    Raises:
        SchemaError: if a name is not among them.
    """
    # cut to the longest class name for the search only: a longer label must not match the class that it begins with
    wanted = names.to_numpy().astype(classes.dtype if len(classes) else str)
    whole = names.to_list()
    numbers = np.minimum(np.searchsorted(classes, wanted), len(classes) - 1)
    is_class = classes[numbers] == np.array(whole, dtype=str) if whole else np.zeros(0, bool)
    if not is_class.all():
        raise SchemaError(
            f"{scorer}: label {whole[int(np.argmin(is_class))]!r} is not among the {len(classes)} learned classes. "
            "Learn again from data that has it (--restart), or remove those rows"
        )
    return np.asarray(numbers)
