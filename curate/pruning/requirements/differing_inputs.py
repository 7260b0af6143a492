"""Let a condition read inputs that differ: a column or a field of structs that some of them lack is null in their rows.

In: rows with their inputs, and the columns and fields that conditions read. Out: the rows, with the types of what their
own input lacks and another has.
"""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import reduce
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa

from curate.pruning.requirements import columns
from curate.pruning.requirements.columns import RequiredRows, with_fields
from curate.storage import files
from curate.tables import readers, sql
from curate.tables.columns.arrow_types import plain


def with_lacking(rows: Sequence[RequiredRows], paths: Sequence[sql.Path], scores: Path) -> tuple[RequiredRows, ...]:
    """Return rows with what their own input lacks of these columns of inputs, and fields of them."""
    names = tuple(dict.fromkeys(path[0] for path in paths))
    present = files.each(lambda part: _types(part, names), rows, scores)
    types = {name: reduce(with_fields, [own[name] for own in present if name in own]) for name in names}
    return tuple(_with_lacking(part, own, types, paths) for part, own in zip(rows, present, strict=True))


def _types(part: RequiredRows, names: Sequence[str]) -> dict[str, pl.DataType]:
    """Return the types of those of the named columns that an input has."""
    assert part.data is not None
    present = columns.of_input(part.data, part.reading, names)
    return {name: pl.Series(pa.array([], plain(kind))).dtype for name, kind in present.items() if name in names}


def _with_lacking(
    part: RequiredRows, own: Mapping[str, pl.DataType], types: Mapping[str, pl.DataType], paths: Sequence[sql.Path]
) -> RequiredRows:
    # What no input has is an error elsewhere. An input without rows lacks nothing.
    lacking = [path for path in paths if _has(types, path) and not _has(own, path)]
    if not lacking or readers.head(part.rows.shard).rows == 0:
        return part
    return replace(
        part,
        types={path[0]: types[path[0]] for path in lacking},
        lacking=tuple(dict.fromkeys(".".join(path) for path in lacking)),
    )


def _has(types: Mapping[str, pl.DataType], path: sql.Path) -> bool:
    """Return whether there is such a column or field of structs."""
    if path[0] not in types:
        return False
    if len(path) == 1:
        return True
    kind = types[path[0]]
    return isinstance(kind, pl.Struct) and _has({f.name: cast(pl.DataType, f.dtype) for f in kind.fields}, path[1:])
