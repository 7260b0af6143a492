"""Put scorers in the order in which they run: a scorer runs after those whose columns it reads.

In: names of scorers with options. Out: the same names in that order. The order in which a user names scorers changes
neither their cost nor their scores.
"""

from collections.abc import Mapping, Sequence
from graphlib import CycleError, TopologicalSorter

import polars as pl
import pyarrow as pa

from curate import open_sets
from curate.errors import SchemaError
from curate.scorers import Scorer
from curate.scoring import renamed
from curate.scoring import specs as scorer_specs
from curate.scoring.inferred_options import accepted
from curate.tables import batches, readers
from curate.tables.reading import Reading
from curate.tables.shards import Shard

# How the names of columns that scorers add begin. An option whose value begins like this names a column.
ADDED_COLUMNS = ("score.", "cluster.", "emb.", "logits.", "probs.")


def ordered(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the scorers in the order in which they run. Those that do not depend on each other keep their order.

    Raises:
        SchemaError: if two scorers read each other's columns.
    """
    earlier = {position: _providers(position, specs) for position in range(len(specs))}
    try:
        list(TopologicalSorter(earlier).static_order())
    except CycleError as error:
        names = " and ".join(dict.fromkeys(specs[position] for position in error.args[1]))
        raise SchemaError(f"scorers {names} read each other's columns. Leave one out") from None
    result: list[int] = []
    while len(result) < len(specs):
        # The first scorer that has no place yet, while all scorers whose columns it reads have one.
        result.append(next(p for p in range(len(specs)) if p not in result and earlier[p] <= set(result)))
    return tuple(specs[position] for position in result)


def independent(specs: Sequence[str]) -> tuple[str, ...]:
    """Return the scorers that need no learning: neither their own, nor that of a scorer whose columns they read."""
    late: list[str] = []
    for spec in specs:
        if scorer_specs.learns(spec) or depends(spec, late):
            late.append(spec)
    return tuple(spec for spec in specs if spec not in late)


def with_providers(spec: str, specs: Sequence[str]) -> tuple[str, ...]:
    """Return a scorer with those whose columns it reads, and with those that these read, in the order of ``specs``."""
    needed, size = {spec}, 0
    while len(needed) > size:
        size = len(needed)
        needed |= {other for other in specs if any(depends(reader, [other]) for reader in needed)}
    return tuple(other for other in specs if other in needed)


def prepared(specs: Sequence[str]) -> tuple[Scorer, ...]:
    """Return the scorers that compute columns for scorers that learn. Score files do not have these columns."""
    result: dict[tuple[str, ...], Scorer] = {}
    for spec in filter(scorer_specs.learns, specs):
        name, options = open_sets.parse(spec)
        prepares = getattr(open_sets.module("scorers", name), "prepares", None)
        # Two scorers may read the same columns.
        result |= {tuple(item.schema): item for item in (prepares(options) if prepares else ())}
    return tuple(result.values())


def depends(spec: str, others: Sequence[str]) -> bool:
    """Return whether a scorer reads a column that one of the others makes, or results that it keeps."""
    wanted = reads(spec)
    results_of = getattr(open_sets.module("scorers", open_sets.parse(spec)[0]), "READS_RESULTS_OF", "")
    if any(open_sets.parse(other)[0] == results_of for other in others):
        return True
    starts = tuple(column for column in wanted if column.endswith("."))
    added = {column for other in others if other != spec for column in makes(other)}
    return any(column in wanted or column.startswith(starts) for column in added)


def reads(spec: str) -> set[str]:
    """Return the columns that a scorer reads, as far as this is known before it has learned.

    A name that ends with a dot stands for all columns that begin with it.
    """
    name, options = open_sets.parse(spec)
    described = renamed.described(spec) if scorer_specs.learns(spec) else scorer_specs.build(spec)
    needs = getattr(described, "needs", ())
    choices = {**accepted(spec), **options}
    named = {str(value) for value in choices.values() if str(value).startswith(ADDED_COLUMNS)}
    if "epochs" in choices and not {"epochs", "logits"} <= options.keys():
        # Which epochs are read is filled in later, from the columns that there are.
        return {*named, "logits.", "probs."}
    epochs = str(choices.get("epochs", "")).split("+") if "epochs" in choices else []
    kind = "logits" if choices.get("logits") else "probs"
    return {*(needs if isinstance(needs, tuple) else ()), *named, *(f"{kind}.{epoch}" for epoch in epochs)}


def makes(spec: str) -> set[str]:
    """Return the columns that a scorer makes, as far as this is known before it has learned."""
    name, options = open_sets.parse(spec)
    module = open_sets.module("scorers", name)
    described = renamed.described(spec) if scorer_specs.learns(spec) else scorer_specs.build(spec)
    schema = getattr(described, "schema", {})
    columns = set(schema if isinstance(schema, Mapping) else ())
    return columns | set(module.makes(options) if hasattr(module, "makes") else ())


def check_columns(specs: Sequence[str], shards: Sequence[Shard], reading: Reading) -> None:
    """Check the columns that expressions read against those of the data and of the scorers of the job.

    Only scorers with a method ``check_columns`` are checked here. If a column is missing from some files only, these
    files are set aside later.

    Raises:
        SchemaError: if no file has a column that a scorer reads, or the scorer cannot work with its type.
    """
    scorers = [scorer_specs.build(spec) for spec in specs if not scorer_specs.learns(spec)]
    checks = [check for scorer in scorers if (check := getattr(scorer, "check_columns", None))]
    added = {column: kind for scorer in scorers for column, kind in scorer.schema.items()}
    # Only the name is known of a column that a scorer makes after it has learned. Most are scores.
    added = {column: pl.Float64() for spec in specs for column in makes(spec)} | added
    for check in checks:
        problem: SchemaError | None = None
        # Most jobs have files with the same columns, so that one head is enough.
        for shard in shards:
            try:
                columns = _column_types(shard, reading)
            except (SchemaError, OSError):
                continue  # preflight names the files that cannot be read
            try:
                check({**columns, **batches.IDENTITY, **added})
            except SchemaError as error:
                problem = problem or error
            else:
                problem = None
                break
        if problem is not None:
            raise problem


def _column_types(shard: Shard, reading: Reading) -> dict[str, pl.DataType]:
    """Return the columns of a file as scorers see them, with their types."""
    columns = readers.head(shard, (), reading.whole_mapping).columns
    return dict(pl.DataFrame(pl.from_arrow(pa.schema(columns.items()).empty_table())).schema)


def _providers(position: int, specs: Sequence[str]) -> set[int]:
    return {other for other in range(len(specs)) if other != position and depends(specs[position], [specs[other]])}
