"""Write the kept rows as files, in the columns, schema and format in which they came.

In: score files, decisions and the inputs. Out: files of a given number of rows.
Rows of JSON keep their very bytes: a table has one type a column, and would change what does not fit.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import count, islice, zip_longest
from pathlib import Path

import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.progress import Progress, silent
from curate.storage import files
from curate.storage.files import replacing
from curate.tables import batches, scored
from curate.tables.cutting import kept as kept_rows_of
from curate.tables.formats import json_rows, unpacking
from curate.tables.reading import Reading
from curate.tables.row_ranges import RowRange
from curate.tables.scored_inputs import line_losses
from curate.tables.shards import CSV_ENDINGS, JSON_ENDINGS, Shard, ending, stem_of
from curate.tables.writer import SHARD_ROWS


def write_kept(
    scores: Path,
    kept: Path,
    out: Path,
    *,
    shard_rows: int = SHARD_ROWS,
    engine: Engine | None = None,
    progress: Progress = silent,
    partial: bool = False,
) -> int:
    """Write the rows that the decisions in ``kept`` keep to ``out/<same relative path>``, and return how many.

    ``a/b.parquet`` becomes ``a/b-00000.parquet``, ``a/b-00001.parquet`` and so on, of ``shard_rows`` rows each. Lines
    of JSON are written as the bytes that came in; CSV and TSV become Parquet. An input of which nothing is kept makes
    no file. Files that an earlier call made from these inputs are removed first. Every file appears by rename when it
    is whole.

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
    names = _names([shard.relative for shard, _ in pairs])
    _remove_earlier(out, set(names.values()))
    reading = scored.reading(scores)
    inputs_to_write = [
        KeptInput(
            shard, data, kept, line_losses.aligned(reading, scores, data), shard_rows, out, *names[shard.relative]
        )
        for shard, data in pairs
    ]
    total = 0
    for done, rows in enumerate((engine or Local()).run(_write_input, inputs_to_write), start=1):
        total += rows
        progress("files of kept rows written", done, len(pairs))
    return total


@dataclass(frozen=True)
class KeptInput:
    """The kept rows of one input: its score file, the input itself, the decisions, and how the input is read.

    They go to files below ``out``, whose names are ``stem``, a number and ``suffix``.
    """

    scores: Shard
    data: Shard
    kept: Path
    reading: Reading
    shard_rows: int
    out: Path
    stem: str
    suffix: str

    def path(self, number: int) -> Path:
        """Return the file of this number."""
        return self.out / f"{self.stem}-{number:05d}{self.suffix}"

    @property
    def verdicts(self) -> Iterator[pl.Series]:
        """The decisions, (n,) booleans for each batch."""
        return (verdict for _, verdict in scored.kept_batches(RowRange(self.scores), self.kept, ()))

    def mismatch(self) -> SchemaError:
        """Return the error for an input that has other rows than were scored."""
        return SchemaError(f"{self.data.path} has other rows than were scored: it changed since. Score the data again")


def _names(relative: Sequence[str]) -> dict[str, tuple[str, str]]:
    """Return the stem and the ending of the files that each input becomes. CSV and TSV become Parquet."""
    names = {}
    for name in relative:
        suffix, stem = ending(name), stem_of(name)
        as_written = name.removeprefix(stem)
        names[name] = (stem, ".parquet" if suffix in CSV_ENDINGS else as_written)
    counts = Counter(names.values())
    # `a.csv` beside `a.parquet` keeps its ending in the name, since both would become `a-00000.parquet`.
    taken = {name for name, pair in names.items() if counts[pair] > 1 and ending(name) in CSV_ENDINGS}
    return {name: (name, ".parquet") if name in taken else pair for name, pair in names.items()}


def _remove_earlier(out: Path, outputs: set[tuple[str, str]]) -> None:
    """Remove numbered files of these (stem, suffix) pairs, and no file that this module cannot have written."""
    for suffix in sorted({suffix for _, suffix in outputs}):
        for path in files.below(out, suffix):
            stem, dash, number = str(path.relative_to(out)).removesuffix(suffix).rpartition("-")
            if dash and number.isdigit() and len(number) >= 5 and (stem, suffix) in outputs:
                files.remove(path)


def _write_input(rows: KeptInput) -> int:
    """Write the kept rows of one input; return how many."""
    return _write_lines(rows) if ending(rows.data.path.name) in JSON_ENDINGS else _write_tables(rows)


def _write_tables(rows: KeptInput) -> int:
    """Write the kept rows of Parquet, Arrow or CSV as tables; return how many."""
    total = 0
    for i, part in enumerate(batches.cut(_kept_batches(rows), rows.shard_rows)):
        table = pa.Table.from_batches(part)
        _write_table(rows.path(i), table)
        total += table.num_rows
    return total


def _kept_batches(rows: KeptInput) -> Iterator[pa.RecordBatch]:
    # Inputs, scores and decisions have the same rows in the same order, and are cut alike: so batches match.
    for batch, verdict in zip_longest(batches.record_batches(rows.data, reading=rows.reading), rows.verdicts):
        if batch is None or verdict is None or batch.num_rows != len(verdict):
            raise rows.mismatch()
        yield kept_rows_of(batch, verdict.to_arrow())


def _write_table(path: Path, table: pa.Table) -> None:
    with replacing(path) as temporary:
        if ending(path.name) == ".parquet":
            pq.write_table(table, temporary, compression="zstd")
        else:
            with pa.ipc.new_file(temporary, table.schema) as writer:
                writer.write_table(table)


def _write_lines(rows: KeptInput) -> int:
    """Write the kept rows of JSON as the bytes that came in, as lines or as an array; return how many."""
    first, between, last = (b"[\n", b",\n", b"\n]\n") if json_rows.is_array(rows.data) else (b"", b"", b"")
    kept = _kept_lines(rows)
    total = 0
    for i in count():
        # Nothing is written where no row follows.
        if (line := next(kept, None)) is None:
            return total
        path = rows.path(i)
        with replacing(path) as temporary:
            codec = unpacking.CODECS.get(path.suffix.lower())
            with pa.output_stream(str(temporary), compression=codec) as stream:
                stream.write(first + line)
                total += 1
                for line in islice(kept, rows.shard_rows - 1):
                    stream.write(between + line)
                    total += 1
                stream.write(last)
    return total


def _kept_lines(rows: KeptInput) -> Iterator[bytes]:
    lines = json_rows.good_lines(batches.request(rows.data, None, rows.reading))
    for verdict in rows.verdicts:
        for keep in verdict:
            if (line := next(lines, None)) is None:
                raise rows.mismatch()
            if keep:
                yield line
    if next(lines, None) is not None:
        raise rows.mismatch()
