"""Small runs over the sources as a table, read for `select`."""

from collections.abc import Sequence

import numpy as np

from curate.errors import SchemaError, first_few
from curate.runs import run_table
from curate.runs.sources.column_map import WrittenMap
from curate.runs.sources.read_tables import Tables
from curate.selection.purchase import Pilots

LEAST_ERROR = 1e-3  # a run without any error is given this one, so that its logit is finite


def read(
    runs: Tables,
    evaluation: str | None,
    sources: Sequence[str],
    *,
    map: WrittenMap = None,
    source: str | None = None,
) -> Pilots:
    """Read pilots with one loss or accuracy from a run table, a file or a table in memory.

    ``evaluation``: the name behind ``loss.`` or ``metric.``; None if the table has only one. An accuracy a becomes the
    error 1 - a. ``map`` and ``source`` say how the table becomes a run table; see `run_table.read`.

    Raises:
        SchemaError: if the eval is not one column, or a value is not possible.
    """
    # A run table of accuracies has no loss column. Its tokens are examples, of which there may be few.
    table = run_table.read(runs, losses=False, map=map, source=source, counts=False).trained()
    columns = [name for name in table.frame.columns if name.startswith(("loss.", "metric."))]
    chosen = [name for name in columns if evaluation is None or name.partition(".")[2] == evaluation]
    if len(chosen) != 1:
        wrong = (
            f"no loss.{evaluation} or metric.{evaluation}" if not chosen else f"{len(chosen)} evals: choose by --eval"
        )
        raise SchemaError(f"{table.origin} has {wrong}; it has {first_few(columns) or 'none at all'}")
    # A checkpoint is no finished run. All rows that are left have the value, so that the last ones do too.
    table = table.with_values(chosen).finished(())
    values = table.numbers(chosen[0])
    accuracy = chosen[0].startswith("metric.")
    bad = ~((values >= 0) & (values <= 1)) if accuracy else ~((values > 0) & np.isfinite(values))
    if bad.any():
        first = int(bad.argmax())
        expected = "an accuracy lies between 0 and 1" if accuracy else "a loss is finite and positive"
        raise SchemaError(
            f"{table.origin}: {chosen[0]} of run {table.frame['run'][first]!r} is {values[first]}: {expected}"
        )
    error = np.maximum(1 - values, LEAST_ERROR) if accuracy else values
    return Pilots(table.recipes(sources), error, 1.0 if accuracy else 0.0, chosen[0], table.clusters, table.notes)
