"""Write the kept rows of a group of inputs as data files, each whole or not at all.

In: a group of inputs and the names of their files. Out: files of Parquet or of JSON lines.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import chain, count, islice
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.pruning.kept_rows.kept_input import KeptInput
from curate.storage.files import replacing
from curate.tables.columns.arrow_types import is_binary, is_list
from curate.tables.cutting import cut
from curate.tables.data_set import json_kinds, one_schema
from curate.tables.data_set.json_kinds import Kinds
from curate.tables.formats import unpacking
from curate.tables.writer import GROUP_BYTES, GROUP_ROWS


@dataclass(frozen=True)
class KeptGroup:
    """Inputs whose kept rows go to the same files, one input after the other.

    The files are ``stem``, a number from ``first`` on, and ``suffix``, with ``shard_rows`` rows each; the last one may
    have fewer. ``schema`` is that of Parquet; None for JSON lines.
    """

    inputs: tuple[KeptInput, ...]
    stem: Path
    first: int
    suffix: str
    shard_rows: int
    schema: pa.Schema | None

    def path(self, number: int) -> Path:
        """Return the file of a number, counted from 0 in this group."""
        return self.stem.with_name(f"{self.stem.name}-{self.first + number:05d}{self.suffix}")


def write_group(group: KeptGroup) -> tuple[Path, Kinds]:
    """Write the files of a group; return the first one, and the kinds of its JSON values, none for Parquet."""
    if group.schema is None:
        return group.path(0), _write_lines(group)
    _write_tables(group, group.schema)
    return group.path(0), Kinds()


def _write_tables(group: KeptGroup, schema: pa.Schema) -> None:
    rows = chain.from_iterable(_tables(item, schema) for item in group.inputs)
    # A file is written row group by row group, so that memory does not grow with the rows of a file.
    pieces = cut(rows, GROUP_ROWS, GROUP_BYTES, group.shard_rows)
    waiting = next(pieces, None)
    for number in count():
        if waiting is None:
            return
        written = 0
        with (
            replacing(group.path(number)) as temporary,
            pq.ParquetWriter(temporary, schema, compression="zstd") as writer,
        ):
            while waiting is not None and written < group.shard_rows:
                table = pa.Table.from_batches(waiting, schema).combine_chunks()
                writer.write_table(table)
                written += table.num_rows
                waiting = next(pieces, None)
        pa.default_memory_pool().release_unused()


def _tables(item: KeptInput, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    path = str(item.data.path)
    if item.is_json:
        yield from item.json_tables(schema)
    else:
        yield from (one_schema.conformed(batch, schema, path) for batch in item.tables())


def _write_lines(group: KeptGroup) -> Kinds:
    kinds = Kinds()
    lines = chain.from_iterable(item.lines() if item.is_json else _table_lines(item) for item in group.inputs)
    for number in count():
        # Nothing is written where no row follows.
        if (first := next(lines, None)) is None:
            return kinds
        path = group.path(number)
        with replacing(path) as temporary:
            codec = unpacking.CODECS.get(path.suffix)
            with pa.output_stream(str(temporary), compression=codec) as stream:
                for line in chain([first], islice(lines, group.shard_rows - 1)):
                    stream.write(line)
                    json_kinds.add_line(kinds, line)
    return kinds


def _table_lines(item: KeptInput) -> Iterator[bytes]:
    """Yield the kept rows of a table as JSON lines.

    Raises:
        SchemaError: for a column of bytes, which JSON cannot hold.
    """
    for batch in item.tables():
        kinds = {field.name: one_schema.simplified(field.type) for field in batch.schema}
        if (name := next((name for name, kind in kinds.items() if _has_bytes(kind)), None)) is not None:
            raise SchemaError(
                f"{item.data.path}: {name} is {kinds[name]}, which JSON cannot hold. Use --format parquet"
            )
        plain = one_schema.conformed(batch, pa.schema(kinds.items()), str(item.data.path))
        yield from pl.DataFrame(pl.from_arrow(plain)).write_ndjson().encode().splitlines(keepends=True)


def _has_bytes(kind: pa.DataType) -> bool:
    if pa.types.is_struct(kind):
        return any(_has_bytes(field.type) for field in kind)
    return _has_bytes(kind.value_type) if is_list(kind) else is_binary(kind)
