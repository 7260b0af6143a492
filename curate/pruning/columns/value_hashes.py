"""Hash the values of capped columns, so that rows with one value are known by one number of 64 bits.

In: a column of rows. Out: the hash of each row's value.
"""

import numpy as np
import polars as pl

from curate.tables import batches

VALUE_SEED = 1  # of the hashes of values; the hashes of ids usually have another seed
# Of the hashes of ids that stand for missing values. With VALUE_SEED an id "0" would have the hash of the value "0".
MISSING_SEED = 2


def hashes(frame: pl.DataFrame, name: str, places: np.ndarray) -> np.ndarray:
    """Return a hash (n,) uint64 of the value of each row; rows without a value all have different ones.

    ``places`` (n,) uint64 tell rows apart that have the same id: they combine the file and the place of the row in it.
    """
    column = frame[name]
    if column.dtype.is_float():
        # NaN is no value, and -0.0 is the value 0.0. NumPy adds 0.0, which Polars leaves out.
        column = pl.Series(name, column.to_numpy() + 0.0, nan_to_null=True)
    result = batches.keys(_as_text(column).fill_null(""), VALUE_SEED)
    if column.null_count():
        missing = column.is_null().to_numpy()
        result[missing] = (batches.keys(frame["id"], MISSING_SEED) + places)[missing]
    return result


def _as_text(column: pl.Series) -> pl.Series:
    """Return the values of a column as text, whole numbers alike in all types of numbers.

    One input may have a column as whole numbers and another as fractions. A carried column has one type.
    """
    if not column.dtype.is_float():
        return column.cast(pl.String)
    value = pl.col("value").cast(pl.Float64)
    # NaN and infinity are no whole numbers, and from 2^53 on Float64 does not tell them apart.
    is_whole = (value == value.floor()) & (value.abs() < 2**53)
    whole = value.cast(pl.Int64, strict=False).cast(pl.String)
    return column.to_frame("value").select(pl.when(is_whole).then(whole).otherwise(value.cast(pl.String)))["value"]
