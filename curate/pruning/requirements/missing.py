"""Show NaN in columns as a missing value, as conditions take it.

In: columns. Out: the same with null in the place of NaN, also in the fields of structs.
"""

import polars as pl


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
