"""Find and read the columns of which texts are made, so that a training set has them as they came.

In: data files whose texts are rendered conversations or joined columns. Out: these columns, in one schema.
A trainer of conversations applies a template of its own to the messages, and one of prompts masks them: neither can use
the text that scorers read.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice

import msgspec
import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.tables import batches, readers
from curate.tables.columns.arrow_types import is_text
from curate.tables.data_set import json_kinds, one_schema
from curate.tables.data_set.json_kinds import Kinds
from curate.tables.data_set.one_schema import FileSchema
from curate.tables.formats import json_rows
from curate.tables.reading import ROW, Reading
from curate.tables.shards import CSV_ENDINGS, JSON_ENDINGS, ending
from curate.training_set.data_files import DataFile

TRAINING = {
    "id": pl.String(),
    "source": pl.String(),
    "text": pl.String(),
    "tokens": pl.Int64(),
    "pool": pl.String(),
    "epoch": pl.Int32(),
}
SLOT = "slot"  # the place of a copy in the training set, while it is brought there
JSON_ROWS = 1024  # rows of JSON that become one Arrow batch


@dataclass(frozen=True)
class InputSchema:
    """The columns of all data files of which texts are made: their names in the training set, and their types.

    A column is JSON text if its values are of several types.
    """

    schema: pa.Schema

    @property
    def names(self) -> tuple[str, ...]:
        """The names of the columns in the training set."""
        return tuple(self.schema.names)

    @property
    def polars(self) -> dict[str, pl.DataType]:
        """The names and the types that polars gives them."""
        return dict(pl.DataFrame(pl.from_arrow(self.schema.empty_table())).schema) if self.names else {}


NO_COLUMNS = InputSchema(pa.schema([]))


def of_text(reading: Reading) -> tuple[str, ...]:
    """Return the columns of a file of which its texts are made; none if a single column of texts is read."""
    mapping = reading.whole_mapping
    return (reading.column("text"),) if mapping.render else mapping.join


def output_name(column: str) -> str:
    """Return the name in the training set of a column of the inputs: its own, unless the training set uses that."""
    return f"input_{column}" if column in (*TRAINING, SLOT) else column


def output_names(files: Iterable[DataFile]) -> tuple[str, ...]:
    """Return the names in the training set of all columns of which the texts of these files are made."""
    return tuple(dict.fromkeys(output_name(column) for file in files for column in of_text(file.reading)))


def file_schema(file: DataFile) -> FileSchema:
    """Return the types of the columns of which the texts of a file are made. Of JSON, all rows are read."""
    names, path = of_text(file.reading), str(file.data.path)
    if not _is_json(file):
        present = readers.head(file.data, names).columns
        kinds = [(output_name(name), present[name]) for name in names if name in present]
        return FileSchema(path, pa.schema(kinds), ending(file.data.path.name) in CSV_ENDINGS)
    values = Kinds()
    for row in _json_rows(file, names):
        values.add(row)
    types = json_kinds.columns(values).items()
    # A time that is written as text stays the text that it is.
    kept = [(output_name(n), pa.string() if kind is None else json_kinds.without_times(kind)) for n, kind in types]
    return FileSchema(path, pa.schema(kept))


def unified(schemas: Sequence[FileSchema]) -> InputSchema:
    """Return the schema that holds the columns of all files."""
    names = dict.fromkeys(name for file in schemas for name in file.schema.names)
    fields = []
    for name in names:
        kinds = [
            FileSchema(file.path, pa.schema([(name, file.schema.field(name).type)]), file.is_csv)
            for file in schemas
            if name in file.schema.names
        ]
        try:
            kind = one_schema.without_views(one_schema.unified(kinds).field(0).type)
        except SchemaError:
            # Conversations are lists in one file and JSON text in another, or their messages differ too much.
            kind = pa.string()
        fields.append((name, kind))
    return InputSchema(pa.schema(fields))


def beside(frames: Iterator[pl.DataFrame], file: DataFile, columns: InputSchema) -> Iterator[pl.DataFrame]:
    """Yield batches of a data file with the columns of which its texts are made; null in a file without them.

    Raises:
        SchemaError: if the file has other rows than the batches.
    """
    if not of_text(file.reading):
        for frame in frames:
            yield frame.with_columns(pl.lit(None, kind).alias(name) for name, kind in columns.polars.items())
        return
    rows, held = _rows(file, columns.schema), columns.schema.empty_table()
    for frame in frames:
        while held.num_rows < frame.height and (batch := next(rows, None)) is not None:
            held = pa.concat_tables([held, pa.Table.from_batches([batch])])
        if held.num_rows < frame.height:
            raise _changed(file)
        yield frame.hstack(pl.DataFrame(pl.from_arrow(held.slice(0, frame.height))))
        held = held.slice(frame.height)
    if held.num_rows or next(rows, None) is not None:
        raise _changed(file)


def _rows(file: DataFile, schema: pa.Schema) -> Iterator[pa.RecordBatch]:
    """Yield the columns of which the texts of a file are made, in the schema of the training set."""
    names, path = of_text(file.reading), str(file.data.path)
    if _is_json(file):
        values = _json_rows(file, names)
        while rows := list(islice(values, JSON_ROWS)):
            # The columns of other files are null.
            named = [{output_name(name): value for name, value in row.items()} for row in rows]
            arrays = [_from_json([row.get(field.name) for row in named], field.type) for field in schema]
            yield pa.RecordBatch.from_arrays(arrays, schema=schema)
        return
    request = batches.request(file.data, names, file.reading)
    for batch in readers.rows_of(request):
        if ROW in batch.schema.names:
            batch = batch.drop_columns([ROW])
        columns = {output_name(name): column for name, column in zip(batch.schema.names, batch.columns, strict=True)}
        for field in schema:
            column = columns.get(field.name)
            if column is not None and is_text(field.type) and not is_text(column.type):
                columns[field.name] = _from_json(column.to_pylist(), field.type)
        yield one_schema.conformed(pa.RecordBatch.from_pydict(columns), schema, path)


def _from_json(values: list[object], kind: pa.DataType) -> pa.Array:
    """Return values of JSON as an array; in a column of texts, other values become JSON text."""
    if is_text(kind):
        values = [v if v is None or isinstance(v, str) else msgspec.json.encode(v).decode() for v in values]
    return pa.array(values, kind)


def _json_rows(file: DataFile, names: Sequence[str]) -> Iterator[dict[str, object]]:
    """Yield some columns of every row of a file of JSON."""
    for line in json_rows.good_lines(batches.request(file.data, None, file.reading)):
        row = json_rows.parsed(line)
        yield {name: row.get(name) for name in names}


def _is_json(file: DataFile) -> bool:
    return ending(file.data.path.name) in JSON_ENDINGS


def _changed(file: DataFile) -> SchemaError:
    return SchemaError(f"{file.data.path} has other rows than were scored: score the data again")
