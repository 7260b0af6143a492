"""Join several tables to one run table. Their columns may differ, and their order does not matter.

A pool that a table does not have got no share in its runs. An eval that it does not have was not measured. Runs of
different tables that share a name are told apart by the name of their table.
"""

import re
from collections.abc import Sequence
from pathlib import PurePath

import polars as pl

from curate.errors import SchemaError, amount, first_few
from curate.runs import number_columns
from curate.runs.sources.named_table import NamedTable
from curate.runs.trainings.training_keys import Checkpoints
from curate.runs.trainings.trainings import trainings
from curate.tables import frames

START = "start"  # a row with this name holds the losses before continued training, as a row with tokens = 0 does
# Rows of one name in two tables are one training if these columns are equal.
TRAINING_COLUMNS = ("params", "seed", "corpus", "weight.", "unique.")
SIGNS = re.compile(r"[^a-z0-9.]")  # that two spellings of one name may differ in
SHOWN = 3  # run names that a note shows
COLUMN_KINDS = {"weight": "pools", "unique": "pools", "loss": "evals", "metric": "metrics"}  # by the prefix of a name


def join(tables: Sequence[NamedTable], checkpoints: Checkpoints = "auto") -> NamedTable:
    """Return all tables as one. A single table is returned as it is. For ``checkpoints`` see ``runs.trainings``.

    Raises:
        SchemaError: two tables with the same content, or a table without pools beside one with pools.
    """
    if len(tables) == 1:
        return tables[0]
    # In the order of their names, so that the order on the command line changes no random draw.
    tables = sorted(tables, key=lambda table: table.origin)
    origins: dict[str, str] = {}
    for table in tables:
        content = frames.content_hash(table.frame)
        if content in origins:
            raise SchemaError(f"{origins[content]} and {table.origin} hold the same rows. Leave one of them out")
        origins[content] = table.origin
    _refuse_missing_pools(tables)
    tables, renamed = _told_apart(_with_trainings(tables, checkpoints))
    frame = pl.concat(_alike([table.frame for table in tables]), how="diagonal_relaxed")
    # A pool whose column is missing got no share; in a row of a table with pools, an empty cell means the same.
    shares = [name for name in frame.columns if name.startswith("weight.")]
    notes = [note for table in tables for note in table.notes]
    notes += [f"{table.origin} has no rows" for table in tables if table.frame.is_empty()]
    notes += [*_missing_columns(tables), *_alike_names(tables), *renamed]
    origin = " + ".join(table.origin for table in tables)
    return NamedTable(
        frame.with_columns(pl.col(shares).fill_null(0.0)) if _all_floats(frame, shares) else frame,
        origin if len(tables) <= SHOWN else f"the {len(tables)} run tables",
        tuple(notes),
    )


def _all_floats(frame: pl.DataFrame, names: Sequence[str]) -> bool:
    return all(frame[name].dtype == pl.Float64 for name in names)


def _pools(table: NamedTable) -> set[str]:
    return {name for name in table.frame.columns if name.startswith("weight.")}


def _with_trainings(tables: Sequence[NamedTable], checkpoints: Checkpoints) -> list[NamedTable]:
    """Return the tables with a column training each, if they say in different ways which rows are of one training.

    In one table the names of runs may say it (RUN@STEP), and in another the spacing of the tokens. Read as one table,
    the first would hide the second.
    """
    if len({_naming(table.frame) for table in tables}) == 1:
        return list(tables)
    named = []
    for table in tables:
        columns = table.frame.columns
        if "training" in columns or not {"run", "tokens"} <= set(columns) or table.frame["tokens"].dtype != pl.Float64:
            named.append(table)
            continue
        frame = table.frame.with_columns(pl.col("run").cast(pl.String).fill_null(""))
        rows = trainings(frame, table.origin, checkpoints)
        pairs = zip(rows.names.tolist(), rows.codes.tolist(), strict=True)
        # Trainings of different seeds may share a name.
        shared = len(set(rows.names.tolist())) < rows.count
        column = pl.Series(
            "training", [f"{name} ({code})" if shared else name for name, code in pairs], dtype=pl.String
        )
        named.append(table.changed(table.frame.with_columns(column), *(f"{table.origin}: {n}" for n in rows.notes)))
    return named


def _naming(frame: pl.DataFrame) -> str:
    """Return how a table says which rows are of one training: a column, the names of runs, or neither."""
    if "training" in frame.columns:
        return "column"
    names = frame["run"].cast(pl.String) if "run" in frame.columns else pl.Series([""])
    return "names" if names.str.contains("@", literal=True).any() else "neither"


def _refuse_missing_pools(tables: Sequence[NamedTable]) -> None:
    """Refuse a table without weights beside one with weights: its runs may have used any of the pools."""
    without = [table.origin for table in tables if not _pools(table)]
    if without and len(without) < len(tables):
        pools = first_few(dict.fromkeys(name for table in tables for name in sorted(_pools(table))))
        raise SchemaError(
            f"{without[0]} has no weight columns, and another table has {pools}. Add the columns of its pools, such as "
            "weight.POOL = 1 for runs on one pool"
        )


def _missing_columns(tables: Sequence[NamedTable]) -> list[str]:
    """Return a note for each kind of column that some tables lack, and what this is taken to mean."""
    meanings = {
        "weight": "its runs used none of these pools",
        "unique": "these pools never run out in its runs",
        "loss": "these evals were not measured in its runs",
        "metric": "these metrics were not measured in its runs",
    }
    notes = []
    for kind, meaning in meanings.items():
        columns = dict.fromkeys(c for table in tables for c in table.frame.columns if c.startswith(f"{kind}."))
        for table in tables:
            if missing := [name for name in columns if name not in table.frame.columns]:
                notes.append(f"{table.origin} has no {first_few(missing)}: {meaning}")
    return notes


def _alike_names(tables: Sequence[NamedTable]) -> list[str]:
    """Return a note on columns of different tables that differ in capital letters or signs alone."""
    spellings: dict[str, dict[str, str]] = {}
    for table in tables:
        for name in table.frame.columns:
            if name.startswith(("weight.", "unique.", "loss.", "metric.")):
                spellings.setdefault(SIGNS.sub("", name.lower()), {}).setdefault(name, table.origin)
    pairs = [list(names.items()) for names in spellings.values() if len(names) > 1]
    if not pairs:
        return []
    (first, origin), (second, other) = pairs[0][:2]
    kind = COLUMN_KINDS[first.partition(".")[0]]
    more = f" ({len(pairs)} such pairs)" if len(pairs) > 1 else ""
    return [
        f"column {first} of {origin} and column {second} of {other} are read as two {kind}, although "
        f"their names differ only in capitals or signs{more}. If they are one, write the name {first} in both tables"
    ]


def _told_apart(tables: Sequence[NamedTable]) -> tuple[list[NamedTable], list[str]]:
    """Return the tables with other names for runs of different trainings that share one, and a note on these."""
    configurations: dict[str, set[str]] = {}
    owners: dict[str, set[str]] = {}
    for table in tables:
        for name, configuration in zip(_trainings(table.frame), _configurations(table.frame), strict=True):
            configurations.setdefault(name, set()).add(configuration)
            owners.setdefault(name, set()).add(table.origin)
    clashing = {name for name, origins in owners.items() if len(origins) > 1 and len(configurations[name]) > 1}
    clashing.discard(START)
    if not clashing:
        return list(tables), []
    labels = _labels(tables)
    # A training keeps its checkpoints: the names of runs and of trainings both get the name of the table in front.
    columns = [name for name in ("run", "training") if any(name in table.frame.columns for table in tables)]
    changed = []
    for table in tables:
        clashes = pl.Series([name in clashing for name in _trainings(table.frame)], dtype=pl.Boolean)
        prefixed = [
            pl.when(clashes)
            .then(pl.lit(f"{labels[table.origin]}:") + pl.col(name).cast(pl.String))
            .otherwise(pl.col(name).cast(pl.String))
            .alias(name)
            for name in columns
            if name in table.frame.columns
        ]
        changed.append(table.changed(table.frame.with_columns(prefixed)))
    note = (
        f"{amount(len(clashing), 'run name')} stand for different trainings in different tables, such as "
        f"{first_few(sorted(clashing)[:SHOWN])}. The name of the table is put before them"
    )
    return changed, [note]


def _trainings(frame: pl.DataFrame) -> list[str]:
    """Return the name of each row's training: the column ``training``, or the part of ``run`` before @."""
    column = "training" if "training" in frame.columns else "run"
    if column not in frame.columns:
        return [""] * frame.height
    return frame[column].cast(pl.String).fill_null("").str.split("@").list.first().to_list()


def _configurations(frame: pl.DataFrame) -> list[str]:
    """Return the size and the mixture of each row as text. A pool without a share counts as absent."""
    names = sorted(name for name in frame.columns if name.startswith(TRAINING_COLUMNS))
    rows = frame.select(names).iter_rows() if names else iter([()] * frame.height)
    return [
        "|".join(
            f"{name}={value}"
            for name, value in zip(names, row, strict=True)
            if value is not None and not (name.startswith("weight.") and value == 0)
        )
        for row in rows
    ]


def _labels(tables: Sequence[NamedTable]) -> dict[str, str]:
    """Return a short name for each table: that of its file, or its whole path if two files have one name."""
    # Two files that were joined on a run id have the name of the first one.
    stems = {table.origin: PurePath(table.origin.partition(" with ")[0]).stem for table in tables}
    names = list(stems.values())
    return {origin: stem if names.count(stem) == 1 else origin for origin, stem in stems.items()}


def _alike(tables: Sequence[pl.DataFrame]) -> list[pl.DataFrame]:
    """Return the frames with columns of one type each: text where one frame has text and another has not."""
    tables = [number_columns.converted(table) for table in tables]
    types: dict[str, set[pl.DataType]] = {}
    for table in tables:
        for name, dtype in table.schema.items():
            if dtype != pl.Null:
                types.setdefault(name, set()).add(dtype)
    mixed = [n for n, kinds in types.items() if len(kinds) > 1 and not all(kind.is_numeric() for kind in kinds)]
    return [
        table.with_columns(pl.col(name).cast(pl.String) for name in mixed if name in table.columns) for table in tables
    ]
