"""Put the rows of a run table in an order that depends on their content alone.

In: runs. Out: the same runs in order. Sums in another order differ in their last digits, and a bootstrap draws rows by
their position, so that a fit of the same runs in another order would give other numbers.
"""

from dataclasses import replace

import numpy as np
import polars as pl

from curate.runs.runs import Runs

# Cells of these types have no order of their own: lists, structs and objects.
UNORDERED = (pl.List, pl.Array, pl.Struct, pl.Object)


def by_content(runs: Runs) -> Runs:
    """Return the runs ordered by name, then by tokens, then by all other columns in the order of their names."""
    first = [name for name in ("run", "tokens") if name in runs.frame.columns]
    names = [*first, *sorted(set(runs.frame.columns) - set(first))]
    keys = [
        # Categories are ordered by their position in the file, and their texts are not.
        pl.col(name).cast(pl.String) if isinstance(runs.frame.schema[name], pl.Categorical | pl.Enum) else pl.col(name)
        for name in names
        if not isinstance(runs.frame.schema[name], UNORDERED)
    ]
    rows = np.asarray(runs.frame.select(pl.arg_sort_by(keys, maintain_order=True)).to_series())
    part = None if runs.table_trainings is None else runs.table_trainings.take(rows)
    return replace(runs, frame=runs.frame[rows], table_trainings=part)
