"""The column ``label`` as names, whatever its type: every row must have one."""

import numpy as np
import polars as pl

from curate.errors import SchemaError


def labels(batch: pl.DataFrame, who: str) -> pl.Series:
    """Return the labels of a batch as strings; a null is an error."""
    names = batch["label"].cast(pl.String)
    if names.null_count():
        first = batch["id"][int(names.is_null().arg_max() or 0)]
        raise SchemaError(
            f"{who}: label is null in {names.null_count()} rows of a batch, the first with id {first!r}: label those "
            "rows or leave them out"
        )
    return names


def codes(names: pl.Series, classes: np.ndarray, who: str) -> np.ndarray:
    """Return the place (n,) int64 of each name among the sorted (c,) ``classes``; an unknown one is an error."""
    wanted = names.to_numpy().astype(classes.dtype if len(classes) else str)
    full = names.to_list()
    at = np.minimum(np.searchsorted(classes, wanted), len(classes) - 1)
    known = classes[at] == np.array(full, dtype=str) if full else np.zeros(0, bool)
    if not known.all():
        raise SchemaError(
            f"{who}: label {full[int(np.argmin(known))]!r} was not among the {len(classes)} learned: "
            "learn from data that has it (--restart), or leave those rows out"
        )
    return np.asarray(at)
