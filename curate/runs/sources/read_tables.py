"""Read the tables that a user names, and return them as one frame with the columns of a run table."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeAlias, cast

from curate.errors import SchemaError
from curate.open_sets import nearest
from curate.runs import number_columns, table_file
from curate.runs.sources import column_map, count_units, joined_tables, paired_files, share_units, wandb_export
from curate.runs.sources.column_map import ColumnMap
from curate.runs.sources.named_table import NamedTable
from curate.runs.trainings.training_keys import Checkpoints
from curate.tables import file_format, frames
from curate.tables.frames import Table

Tables: TypeAlias = Table | Sequence[Table]
MEMORY = "the run table"  # how errors name a table in memory
# The programs whose tables are read; see `wandb_export` and `paired_files`.
PROGRAMS = ("wandb", "regmix", "swarm")


def listed(tables: Tables) -> list[Table]:
    """Return the tables that an argument names: one or several. A folder stands for the tables in it."""
    # Text is a sequence too. A table in memory may be one, but lists and tuples are no tables.
    several = [*tables] if isinstance(tables, list | tuple) else [cast(Table, tables)]
    return [table for item in several for table in _in_folder(item)]


def _in_folder(table: Table) -> list[Table]:
    if frames.in_memory(table) or not Path(str(table)).is_dir():
        return [table]
    paths = sorted(path for path in Path(str(table)).iterdir() if table_file.is_table(path))
    if not paths:
        raise SchemaError(f"{table} is a folder without a table ({', '.join(table_file.ENDINGS)})")
    return [*paths]


@dataclass(frozen=True)
class RecordedTables:
    """What the record of a job holds of its tables.

    ``argument`` is the path of a table, a list of paths, or None for a table in memory. ``files`` are those to hash.
    ``hashes`` are the content hashes of tables in memory, by the name of the argument.
    """

    argument: object
    files: tuple[Path, ...]
    hashes: Mapping[str, str]


def recorded(tables: Tables, argument: str = "runs") -> RecordedTables:
    """Return what the record of a job holds of its tables. ``argument`` is the name of the argument."""
    all_tables = listed(tables)
    paths = [None if frames.in_memory(table) else Path(str(table)) for table in all_tables]
    hashes = {
        argument if len(all_tables) == 1 else f"{argument} {place}": frames.content_hash(frames.frame(table))
        for place, table in enumerate(all_tables, start=1)
        if frames.in_memory(table)
    }
    texts = [None if path is None else str(path) for path in paths]
    return RecordedTables(texts[0] if len(texts) == 1 else texts, tuple(path for path in paths if path), hashes)


def how_read(columns: ColumnMap, program: str | None) -> dict[str, object]:
    """Return how tables were read, for the record of a job: the fields ``map`` and ``from``."""
    return {"map": columns.record(), "from": program}


def read(
    tables: Tables, columns: ColumnMap, program: str | None, *, counts: bool, checkpoints: Checkpoints = "auto"
) -> NamedTable:
    """Return all tables as one, with the columns that ``columns`` computes.

    Args:
        tables: one or several tables or files.
        columns: expressions for columns.
        program: the program that wrote the tables, one of ``PROGRAMS``, or None for run tables.
        counts: whether to refuse parameters and tokens that are counts in millions or billions.
        checkpoints: which rows may be of one training; see ``runs.trainings``.

    Raises:
        SchemaError: a file that cannot be read, a program that is unknown, an expression that does not work, or units
            that cannot be right.
    """
    if program is not None and program not in PROGRAMS:
        raise SchemaError(f"--from {program!r} is not {' or '.join(PROGRAMS)}{nearest(program, PROGRAMS)}")
    named = _loaded(listed(tables))
    if program == "wandb":
        named = [wandb_export.read(table) for table in named]
    elif program is not None:
        named = paired_files.regmix(named) if program == "regmix" else paired_files.swarm(named)
    named = column_map.apply(columns, named)
    if program == "wandb":
        named = [wandb_export.with_run_columns(table, columns.expressions) for table in named]
    named = [table.changed(number_columns.converted(table.frame)) for table in named]
    named = [share_units.as_shares(table) for table in named]
    if counts:
        for table in named:
            if not table.own:
                count_units.check(table, columns.expressions, alone=len(named) == 1)
    return joined_tables.join(named, checkpoints)


def _loaded(tables: Sequence[Table]) -> list[NamedTable]:
    if not tables:
        raise SchemaError("no run table is named. Give one or more")
    alone = len(tables) == 1
    return [
        NamedTable(frames.frame(table), MEMORY if alone else f"{MEMORY} {place}")
        if frames.in_memory(table)
        else NamedTable(table_file.read(Path(str(table))), str(table), own=file_format.is_own(Path(str(table))))
        for place, table in enumerate(tables, start=1)
    ]
