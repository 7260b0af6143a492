"""Kept rows as files: the input's columns, schema and format, in shards of a given number of rows."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.progress import Progress, silent
from curate.storage import files
from curate.storage.files import replacing
from curate.tables import batches, scored
from curate.tables.batches import FORMATS, Shard
from curate.tables.writer import SHARD_ROWS

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


def materialize(
    scores: Path, kept: Path, out: Path, *, shard_rows: int = SHARD_ROWS, progress: Progress = silent
) -> int:
    """Write the rows that the decisions in ``kept`` keep to ``out/<same relative path>``, and return how many.

    ``a/b.parquet`` becomes ``a/b-00000.parquet``, ``a/b-00001.parquet`` ...; an input with nothing kept makes no file.
    Files that an earlier call made of these inputs go first. Every file appears by rename when it is whole.
    """
    if shard_rows < 1:
        raise SchemaError(f"--shard-rows {shard_rows} must be at least 1")
    inputs = {shard.relative: shard for shard in batches.shards(cast(list[str], scored.job(scores)["data"]))}
    found, total = scored.score_files(scores), 0
    if lost := next((shard for shard in found if shard.relative not in inputs), None):
        raise SchemaError(f"{lost.path} has no input {lost.relative} any more: was it moved?")
    if read := next((shard for shard in inputs.values() if shard.path.is_relative_to(out)), None):
        raise SchemaError(f"kept rows cannot go to {out}: the input {read.path} is there; give another --out")
    made = {_named(shard.relative) for shard in found}
    for suffix in sorted({suffix for _, suffix in made}):
        for old in files.below(out, suffix):
            stem, dash, number = str(old.relative_to(out)).removesuffix(suffix).rpartition("-")
            if dash and number.isdigit() and len(number) >= 5 and (stem, suffix) in made:
                files.remove(old)
    for done, shard in enumerate(found, start=1):
        stem, suffix = _named(shard.relative)
        for i, held in enumerate(batches.cut(_kept(inputs[shard.relative], shard, kept), shard_rows)):
            part = pa.Table.from_batches(held)
            _write(out / f"{stem}-{i:05d}{suffix}", suffix, part)
            total += part.num_rows
        progress("materialize", done, len(found))
    return total


def _named(relative: str) -> tuple[str, str]:
    """Split the name of an input into its stem and the ending of its format."""
    suffix = next(s for s in sorted(FORMATS, key=len, reverse=True) if relative.endswith(s))
    return relative.removesuffix(suffix), suffix


def _kept(data: Shard, shard: Shard, kept: Path) -> Iterator[pa.RecordBatch]:
    verdicts = scored.kept_batches(shard, kept, ())
    for batch, (_, verdict) in zip(batches.record_batches(data), verdicts, strict=True):
        yield batch.filter(verdict.to_arrow())


def _write(path: Path, suffix: str, table: pa.Table) -> None:
    with replacing(path) as temporary:
        if suffix == ".parquet":
            pq.write_table(table, temporary, compression="zstd")
        elif suffix in (".arrow", ".feather"):
            with pa.ipc.new_file(temporary, table.schema) as writer:
                writer.write_table(table)
        else:
            lines = pl.DataFrame(pl.from_arrow(table)).write_ndjson().encode()
            compression = COMPRESSION.get("." + suffix.rpartition(".")[2])
            with pa.output_stream(str(temporary), compression=compression) as stream:
                stream.write(lines)
