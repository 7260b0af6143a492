"""Decide how a job reads the files of pools and of targets, under the names of columns that the user gave.

In: pools, targets, and what ``--columns`` says. Out: how to read each of them. May use: the heads of files.

Pools that were scored are read as they were scored. The files of other pools must have the columns of ``--columns``, as
data must. Targets are read like the pools, as far as they have these columns, and else by the names that jobs use.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from curate.errors import SchemaError, first_few
from curate.pool.pool import Pool
from curate.storage import files
from curate.tables import batches, scored
from curate.tables.mapping import options
from curate.tables.readers import head
from curate.tables.reading import Reading
from curate.tables.shards import Shard


@dataclass(frozen=True)
class PoolReading:
    """How files are read: those of pools without scores (``unscored``), and those of targets (``targets``)."""

    unscored: Reading = batches.READING
    targets: Reading = batches.READING

    def of(self, pool: Pool) -> Reading:
        """Return how the files of a pool are read."""
        return self.unscored if pool.scores is None else scored.reading(Path(pool.scores))


def mapped(columns: str | Mapping[str, str], text_column: str, join: str | Sequence[str], render: str) -> Reading:
    """Return how to read files under the names that the user gave: see `curate.tables.mapping.options.mapping`."""
    text_column, mapping = options.mapping(columns, text_column, join, render)
    return Reading(text_column, mapping=mapping)


def pool_reading(pools: Sequence[Pool], targets: Sequence[str], wanted: Reading) -> PoolReading:
    """Return how to read pools and targets. ``wanted`` is what the user said, and ``targets`` are paths.

    If the user said nothing, targets are read like the pools that were scored, where all of them were read alike.

    Raises:
        SchemaError: if ``wanted`` maps columns and no file is read by it, or no target has a column that it names.
    """
    if wanted.whole_mapping.is_empty:
        folders = sorted({pool.scores for pool in pools if pool.scores})
        readings = [scored.reading(Path(folder)) for folder in folders if _has_record(Path(folder))]
        alike = bool(readings) and len({reading.whole_mapping for reading in readings}) == 1
        return PoolReading(wanted, (readings[0] if alike else wanted).of_other_files())
    if all(pool.scores for pool in pools):
        if not targets:
            raise SchemaError(
                "all pools were scored, and are read with the columns that `curate score` was told. Leave out --columns"
            )
        _check_named(targets, wanted.of_other_files())
    return PoolReading(wanted, wanted.of_other_files())


def _has_record(scores: Path) -> bool:
    return files.exists(scored.record_path(scores))


def _check_named(targets: Sequence[str], reading: Reading) -> None:
    """Check that some target has each mapped column. A name that no file has is a mistake."""
    mapping = reading.whole_mapping
    shards = [shard for target in targets for shard in batches.shards([target])]
    lacking = [_lacking(shard, reading) for shard in shards]
    for name in (*mapping.written, *(("text",) if mapping.join else ())):
        if shards and all(name in names for names in lacking):
            raise SchemaError(
                f"no target has the column {lacking[0][name]!r} for {name}; {shards[0].path} has "
                f"{first_few(head(shards[0]).columns, near=lacking[0][name])}. Correct --columns"
            )


def _lacking(shard: Shard, reading: Reading) -> Mapping[str, str]:
    view = head(shard, (), reading.whole_mapping).view
    return {} if view is None else view.lacking
