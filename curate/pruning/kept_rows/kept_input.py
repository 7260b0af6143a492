"""Read the kept rows of one input: as bytes of JSON, as JSON values, or as Arrow batches.

In: an input, its score file and its decisions. Out: the rows that the decisions keep, in order.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from itertools import islice, zip_longest
from pathlib import Path

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.tables import batches, scored
from curate.tables.cutting import kept
from curate.tables.data_set import json_kinds
from curate.tables.data_set.json_kinds import Kinds
from curate.tables.data_set.one_schema import FileSchema
from curate.tables.formats import json_rows
from curate.tables.reading import Reading
from curate.tables.row_ranges import RowRange
from curate.tables.scored import DECISIONS
from curate.tables.shards import CSV_ENDINGS, JSON_ENDINGS, Shard, ending

TABLE_ROWS = 1024  # of JSON that become one Arrow batch


@dataclass(frozen=True)
class KeptInput:
    """The kept rows of one input: its score file, the input itself, the decisions, and how the input is read."""

    scores: Shard
    data: Shard
    kept: Path
    reading: Reading

    @property
    def is_json(self) -> bool:
        """Return whether the rows are JSON, whose bytes are kept."""
        return ending(self.data.path.name) in JSON_ENDINGS

    def count(self) -> int:
        """Return how many rows are kept."""
        decisions = Shard(self.kept / (self.scores.relative + DECISIONS), self.scores.relative)
        return sum(int(batch["keep"].sum()) for batch in batches.batches(decisions, ("keep",), identity=()))

    def lines(self) -> Iterator[bytes]:
        """Yield the kept rows of JSON as the bytes that came in, each on one line."""
        lines = json_rows.good_lines(batches.request(self.data, None, self.reading))
        for verdict in self._verdicts():
            for keep in verdict:
                if (line := next(lines, None)) is None:
                    raise self._mismatch()
                if keep:
                    yield _on_one_line(line)
        if next(lines, None) is not None:
            raise self._mismatch()

    def tables(self) -> Iterator[pa.RecordBatch]:
        """Yield the kept rows of a table as they came."""
        # Inputs, scores and decisions have the same rows in the same order, and are cut alike: so batches match.
        for batch, verdict in zip_longest(batches.record_batches(self.data, reading=self.reading), self._verdicts()):
            if batch is None or verdict is None or batch.num_rows != len(verdict):
                raise self._mismatch()
            yield kept(batch, verdict.to_arrow())

    def json_tables(self, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
        """Yield the kept rows of JSON as Arrow batches of a schema that holds their values."""
        lines = self.lines()
        while rows := [json_rows.parsed(line) for line in islice(lines, TABLE_ROWS)]:
            yield pa.RecordBatch.from_pylist(rows, schema)

    def schema(self) -> FileSchema:
        """Return the schema of the rows as a table. Of JSON, all kept rows are read for it.

        Raises:
            SchemaError: if a column of JSON has values that no type holds.
        """
        if not self.is_json:
            first = next(batches.record_batches(self.data, rows=1, reading=self.reading))
            return FileSchema(str(self.data.path), first.schema, ending(self.data.path.name) in CSV_ENDINGS)
        kinds = Kinds()
        for line in self.lines():
            json_kinds.add_line(kinds, line)
        fields = {}
        for name, kind in json_kinds.columns(kinds).items():
            if kind is None:
                raise SchemaError(
                    f"{self.data.path}: the values of {name} are of several types, which no column of Parquet holds. "
                    "Use --format jsonl"
                )
            # A time that is written as text stays the text that it is.
            fields[name] = json_kinds.without_times(kind)
        return FileSchema(str(self.data.path), pa.schema(fields.items()))

    def _verdicts(self) -> Iterator[pl.Series]:
        """Yield the decisions, (n,) booleans for each batch."""
        return (verdict for _, verdict in scored.kept_batches(RowRange(self.scores), self.kept, ()))

    def _mismatch(self) -> SchemaError:
        return SchemaError(f"{self.data.path} has other rows than were scored: it changed since. Score the data again")


def _on_one_line(row: bytes) -> bytes:
    """Return a row of JSON with a line break at its end and none inside.

    Only rows of an array, or of files with other line breaks, change. A line break in a text of JSON is an escape, so
    that it is never among those that are taken out.
    """
    if row.endswith(b"\n") and b"\r" not in row:
        return row
    inner = row.rstrip(b" \t\r\n")
    if row.endswith(b"\n") and b"\r" not in inner:
        return row
    return b" ".join(inner.splitlines()) + b"\n"
