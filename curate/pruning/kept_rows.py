"""Write the kept rows as files, in the columns, schema and format in which they came.

In: score files, decisions and the inputs. Out: files of a given number of rows.
"""

from collections.abc import Iterator
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curate.errors import SchemaError
from curate.progress import Progress, silent
from curate.storage import files
from curate.storage.files import replacing
from curate.tables import batches, scored
from curate.tables.batches import Shard
from curate.tables.cutting import kept as kept_rows_of
from curate.tables.shards import ending, stem_of
from curate.tables.writer import SHARD_ROWS

COMPRESSION = {".gz": "gzip", ".zst": "zstd"}


def write_kept(
    scores: Path,
    kept: Path,
    out: Path,
    *,
    shard_rows: int = SHARD_ROWS,
    progress: Progress = silent,
    partial: bool = False,
) -> int:
    """Write the rows that the decisions in ``kept`` keep to ``out/<same relative path>``, and return how many.

    ``a/b.parquet`` becomes ``a/b-00000.parquet``, ``a/b-00001.parquet`` and so on, of ``shard_rows`` rows each. An
    input of which nothing is kept makes no file. Files that an earlier call made from these inputs are removed first.
    Every file appears by rename when it is whole.

    Raises:
        SchemaError: if an input was moved or lies in ``out``, or ``shard_rows`` is below 1.
    """
    if shard_rows < 1:
        raise SchemaError(f"--shard-rows {shard_rows} must be at least 1")
    inputs = scored.inputs(scores)
    pairs = scored.with_inputs(scores, inputs, partial=partial)
    # Removing the files of an earlier call would remove inputs.
    if read := next((shard for shard in inputs if shard.path.is_relative_to(out)), None):
        raise SchemaError(f"kept rows cannot go to {out}: the input {read.path} is there. Give another --out")
    _remove_earlier(out, {_stem_and_suffix(shard.relative) for shard, _ in pairs})
    total = 0
    for done, (shard, data) in enumerate(pairs, start=1):
        stem, suffix = _stem_and_suffix(shard.relative)
        kept_batches = _kept_batches(data, shard, kept)
        for i, part in enumerate(batches.cut(kept_batches, shard_rows)):
            table = pa.Table.from_batches(part)
            _write(out / f"{stem}-{i:05d}{suffix}", suffix, table)
            total += table.num_rows
        progress("files of kept rows written", done, len(pairs))
    return total


def _remove_earlier(out: Path, outputs: set[tuple[str, str]]) -> None:
    """Remove numbered files of these (stem, suffix) pairs, and no file that this module cannot have written."""
    for suffix in sorted({suffix for _, suffix in outputs}):
        for path in files.below(out, suffix):
            stem, dash, number = str(path.relative_to(out)).removesuffix(suffix).rpartition("-")
            if dash and number.isdigit() and len(number) >= 5 and (stem, suffix) in outputs:
                files.remove(path)


def _stem_and_suffix(relative: str) -> tuple[str, str]:
    """Split the name of an input before the ending of its format."""
    stem = stem_of(relative)
    return stem, relative.removeprefix(stem)


def _kept_batches(data: Shard, shard: Shard, kept: Path) -> Iterator[pa.RecordBatch]:
    # Inputs, scores and decisions have the same rows in the same order, and are cut alike: so batches match.
    verdicts = scored.kept_batches(shard, kept, ())
    for batch, (_, verdict) in zip(batches.record_batches(data), verdicts, strict=True):
        yield kept_rows_of(batch, verdict.to_arrow())


def _write(path: Path, suffix: str, table: pa.Table) -> None:
    with replacing(path) as temporary:
        kind = ending(suffix)
        if kind == ".parquet":
            pq.write_table(table, temporary, compression="zstd")
        elif kind in (".arrow", ".arrows", ".feather"):
            with pa.ipc.new_file(temporary, table.schema) as writer:
                writer.write_table(table)
        else:
            lines = pl.DataFrame(pl.from_arrow(table)).write_ndjson().encode()
            compression = COMPRESSION.get("." + kind.rpartition(".")[2])
            with pa.output_stream(str(temporary), compression=compression) as stream:
                stream.write(lines)
