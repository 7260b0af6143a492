"""The columns of one file under the names that jobs use.

In: a mapping, and the columns of a file. Out: which columns of the file to read, and batches with the names of jobs.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property, lru_cache
from pathlib import Path
from typing import TypeAlias

import polars as pl
import pyarrow as pa

from curate.errors import SchemaError
from curate.tables import sql
from curate.tables.columns.arrow_types import decoded, inner_names, is_text, plain
from curate.tables.mapping import chat, options
from curate.tables.mapping.column_mapping import TEXT, ColumnMapping, plain_name, quoted_name

JOINT = "\n\n"  # stands between two texts that --join joins: an empty line, as between paragraphs
ADVICE = "Compute it from the columns of a row"
# The types of columns that the parsers of JSON and CSV make, by the names that jobs use.
FIXED: Mapping[str, pa.DataType] = {
    TEXT: pa.large_string(),
    "id": pa.large_string(),
    "source": pa.large_string(),
    "tokens": pa.int64(),
}


@dataclass(frozen=True)
class Renamed:
    """A column of the file under another name."""

    column: str

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file to read."""
        return (self.column,)


@dataclass(frozen=True)
class Computed:
    """A column that an SQL expression computes. ``paths`` are the columns and fields that it reads."""

    written: str
    expression: pl.Expr = field(compare=False)
    paths: tuple[sql.Path, ...]

    @property
    def columns(self) -> tuple[str, ...]:
        """The columns of the file to read."""
        return tuple(dict.fromkeys(path[0] for path in self.paths))


@dataclass(frozen=True)
class Joined:
    """A column of texts that are joined from several columns."""

    columns: tuple[str, ...]


Origin: TypeAlias = Renamed | Computed | Joined


@dataclass(frozen=True)
class FileColumns:
    """The columns of a file by the names that jobs use, with their types.

    ``origins`` say where the mapped ones come from; the others have the same name in the file. If ``rendered``, the
    column of texts holds conversations. In a file of ``lines`` the parser renders them, since it then refuses single
    lines.
    """

    path: Path
    columns: Mapping[str, pa.DataType]
    origins: Mapping[str, Origin]
    rendered: bool
    lines: bool
    # What is mapped but not in the file, by the names that jobs use: see `ColumnMapping.optional`.
    lacking: Mapping[str, str] = field(default_factory=dict)

    def in_file(self, names: Sequence[str]) -> tuple[str, ...]:
        """Return the columns of the file that make the columns ``names``, each once."""
        return tuple(dict.fromkeys(column for name in names for column in self._columns_of(name)))

    def _columns_of(self, name: str) -> tuple[str, ...]:
        origin = self.origins.get(name)
        return (name,) if origin is None else origin.columns

    @cached_property
    def roles(self) -> Mapping[str, str]:
        """The name that jobs use for columns of the file that have another one there; empty if they use none.

        The name decides what the values of a line may be.
        """
        roles = dict.fromkeys(self.origins, "")
        for name, origin in self.origins.items():
            if isinstance(origin, Joined):
                roles |= dict.fromkeys(origin.columns, TEXT)
            elif isinstance(origin, Renamed) and not roles.get(origin.column):
                roles[origin.column] = name
        return roles

    @property
    def hidden(self) -> Mapping[str, str]:
        """The columns of the file that are not what their name says, as `roles` for copying rows."""
        return {
            name: "" for name in self.origins if name not in self._columns_of(name) or (self.rendered and name == TEXT)
        }

    @cached_property
    def nested(self) -> Mapping[str, tuple[sql.Path, ...]]:
        """The fields that expressions read of columns of structs."""
        fields: dict[str, dict[sql.Path, None]] = {}
        for origin in self.origins.values():
            for column, *inner in origin.paths if isinstance(origin, Computed) else ():
                if inner and not self.roles.get(column):
                    fields.setdefault(column, {})[tuple(inner)] = None
        return {column: tuple(paths) for column, paths in fields.items()}

    def recorded_name(self, name: str) -> str:
        """Return the name under which a column is hashed and recorded: that of the file, or the whole expression."""
        origin = self.origins.get(name)
        if origin is None:
            return name
        return origin.column if isinstance(origin, Renamed) else f"{name}={self._shown(origin)}"

    def name_of(self, recorded_name: str) -> str:
        """Return the name that jobs use for a column that was recorded by `recorded_name`."""
        return self._names.get(recorded_name, recorded_name)

    @cached_property
    def _names(self) -> Mapping[str, str]:
        # The first of two columns with the same origin, as for the hash.
        return {self.recorded_name(name): name for name in reversed(list(self.origins))}

    @cached_property
    def labels(self) -> Mapping[str, str]:
        """What messages call the mapped columns."""
        return {name: self.recorded_name(name) for name in self.origins}

    @staticmethod
    def _shown(origin: "Computed | Joined") -> str:
        return origin.written if isinstance(origin, Computed) else ",".join(origin.columns)

    def named(self, batch: pa.RecordBatch, names: Sequence[str], position: int) -> pa.RecordBatch:
        """Return a batch with the columns ``names``, from a batch with the columns of the file.

        ``position`` is the number of the first row in the file.

        Raises:
            SchemaError: if a conversation cannot be rendered, or an expression fails.
        """
        arrays, fields = [], []
        for name in names:
            origin = self.origins.get(name)
            column = name if origin is None else origin.column if isinstance(origin, Renamed) else None
            if column is None:
                assert isinstance(origin, Computed | Joined)
                array = self._joined(batch, origin) if isinstance(origin, Joined) else self._computed(batch, origin)
                arrays.append(array)
                fields.append(pa.field(name, array.type))
                continue
            place = batch.schema.get_field_index(column)
            array = batch.column(place)
            # The metadata of a field tell the type of the numbers in binary vectors.
            kept = batch.schema.field(place).metadata
            if self.rendered and name == TEXT and not self.lines:
                array, kept = self._rendered(array, column, position), None
            arrays.append(array)
            fields.append(pa.field(name, array.type, metadata=kept))
        return pa.RecordBatch.from_arrays(arrays, schema=pa.schema(fields, metadata=batch.schema.metadata))

    def _rendered(self, array: pa.Array, column: str, position: int) -> pa.Array:
        try:
            return chat.rendered_column(array)
        except chat.UnrenderedRow as error:
            raise SchemaError(
                f"{self.path}: {column} of row {position + error.row} cannot be rendered: {error.reason}. Correct or "
                "remove the row"
            ) from None

    def _joined(self, batch: pa.RecordBatch, origin: Joined) -> pa.Array:
        # Arrow 26 loses the rows whose texts are all null.
        texts = _frame({name: batch.column(name) for name in origin.columns}, batch.num_rows).select(
            pl.all().cast(pl.String)
        )
        joined = pl.concat_str(pl.all(), separator=JOINT, ignore_nulls=True)
        # A row without any text has no text, as it would in a column of its own.
        empty = pl.all_horizontal(pl.all().is_null())
        return _array(texts.select(value=pl.when(empty).then(None).otherwise(joined))["value"], batch.num_rows)

    def _computed(self, batch: pa.RecordBatch, origin: Computed) -> pa.Array:
        frame = _frame({name: batch.column(name) for name in origin.columns}, batch.num_rows)
        try:
            values = frame.select(origin.expression.alias("value"))["value"]
        except pl.exceptions.PolarsError as error:
            raise SchemaError(f"{self.path}: {origin.written} fails: {sql.detail(error)}. {ADVICE}") from None
        return _array(values, batch.num_rows)


def bound(mapping: ColumnMapping, columns: Mapping[str, pa.DataType], path: Path, *, lines: bool) -> FileColumns:
    """Return the columns of a file under the names that jobs use. ``columns`` are those that the file has.

    Raises:
        SchemaError: if the file lacks a column that the mapping names, or an expression cannot be computed.
    """
    origins: dict[str, Origin] = {}
    kinds: dict[str, pa.DataType] = {}
    lacking: dict[str, str] = {}
    for name, written in (*_written(mapping).items(), *([(TEXT, ",".join(mapping.join))] if mapping.join else [])):
        try:
            origins[name], kinds[name] = _mapped(name, written, mapping, columns, path)
        except SchemaError:
            if name not in mapping.optional:
                raise
            lacking[name] = plain_name(written) or written
    if mapping.render and TEXT in columns and TEXT not in {*origins, *lacking}:
        origins[TEXT], kinds[TEXT] = Renamed(TEXT), columns[TEXT]
    rendered = bool(mapping.render) and TEXT not in lacking
    if rendered and TEXT in origins:
        if not (lines or chat.may_be_conversations(kinds[TEXT])):
            raise SchemaError(
                f"{path}: {mapping.written.get(TEXT, TEXT)} is {str(kinds[TEXT])[:80]}, not {chat.WORDS}. Leave out "
                "--render chat, or name the column of conversations with --text-column"
            )
        kinds[TEXT] = pa.large_string()
    if lines:
        # As the parser makes them, whatever the first lines hold.
        kinds |= {name: FIXED[name] for name in FIXED if isinstance(origins.get(name), Renamed)}
        kinds |= {name: pa.list_(pa.float64()) for name in kinds if _is_numbers(name) and is_text(kinds[name])}
    # Mapped columns stand in the place of those that have the same name in the file.
    others = {name: kind for name, kind in columns.items() if name not in origins}
    return FileColumns(path, {**kinds, **others}, origins, rendered, lines, lacking)


def _mapped(
    name: str, written: str, mapping: ColumnMapping, columns: Mapping[str, pa.DataType], path: Path
) -> tuple[Origin, pa.DataType]:
    """Return where a mapped column comes from in a file, and its type."""
    if name == TEXT and mapping.join:
        return _join(mapping.join, columns, path), pa.large_string()
    origin = _origin(name, written, columns, path)
    if isinstance(origin, Renamed):
        return origin, columns[origin.column]
    return origin, _kind(origin, columns, f"{path}: --columns {name}={written}")


# The files of a job are all read with one mapping, and small files are many.
@lru_cache(maxsize=16)
def certain_columns(mapping: ColumnMapping) -> tuple[str, ...]:
    """Return the columns of files that a mapping names for sure: those that cannot be expressions."""
    names = [plain_name(written) for written in _written(mapping).values()]
    text = (TEXT,) if mapping.render and TEXT not in mapping.written else ()
    return tuple(dict.fromkeys((*(name for name in names if name is not None), *mapping.join, *text)))


@lru_cache(maxsize=16)
def paths_read(mapping: ColumnMapping, columns: tuple[str, ...] = ()) -> tuple[sql.Path, ...]:
    """Return the columns and fields that the expressions of a mapping read, if no column has their whole text as name.

    ``columns`` are those that a file has. A text that is not an expression is left out; `bound` reports it.
    """
    paths: dict[sql.Path, None] = {}
    for written in _written(mapping).values():
        if plain_name(written) is None and written not in columns:
            try:
                paths |= dict.fromkeys(sql.row_expression(sql.WrittenSql(written, "", ""), columns).paths)
            except SchemaError:
                continue
    return tuple(paths)


@lru_cache(maxsize=16)
def _written(mapping: ColumnMapping) -> Mapping[str, str]:
    order = {name: place for place, name in enumerate(options.NAMED)}
    return dict(sorted(mapping.targets, key=lambda pair: (order.get(pair[0], len(order)), pair[0])))


def _origin(name: str, written: str, columns: Mapping[str, pa.DataType], path: Path) -> Origin:
    exact = quoted_name(written)
    column = written if exact is None else exact
    if column in columns:
        return Renamed(column)
    where = f"{path}: --columns {name}={written}"
    if plain_name(written) is not None or name not in options.COMPUTED:
        use = "" if name == TEXT else f" for {name}"
        raise SchemaError(f"{path} has no column {column!r}{use}; {options.shown(list(columns), column)}")
    try:
        parsed = sql.row_expression(sql.WrittenSql(written, where, ADVICE), columns)
    except sql.NotSql as error:
        raise SchemaError(
            f"{error.problem}, and {path.name} has no such column; {options.shown(list(columns), column)}"
        ) from None
    parsed.check_columns(columns)
    return Computed(written, parsed.polars, parsed.paths)


def _kind(origin: Origin, columns: Mapping[str, pa.DataType], where: str) -> pa.DataType:
    """Return the type that an expression gives, by computing it of no rows. ``where`` begins a message."""
    assert isinstance(origin, Computed)
    frame = _frame({name: pa.array([], plain(columns[name])) for name in origin.columns}, 0)
    try:
        return _array(frame.select(origin.expression.alias("value"))["value"], 0).type
    except pl.exceptions.StructFieldNotFoundError as error:
        missing = str(error).split()[0]
        fields = [name for column in origin.columns for name in inner_names(columns[column])]
        raise SchemaError(f"{where}: there is no field {missing!r}; {options.shown(fields, missing)}") from None
    except pl.exceptions.PolarsError as error:
        raise SchemaError(f"{where}: {sql.detail(error)}. {ADVICE}") from None


def _is_numbers(name: str) -> bool:
    """Return whether jobs read lists of numbers in a column of this name."""
    return name.startswith(options.PREFIXES)


def _join(names: Sequence[str], columns: Mapping[str, pa.DataType], path: Path) -> Joined:
    for name in names:
        if name not in columns:
            raise SchemaError(f"{path} has no column {name!r} for --join; {options.shown(list(columns), name)}")
        if not (is_text(columns[name]) or pa.types.is_null(plain(columns[name]))):
            raise SchemaError(f"{path}: --join {name}: the column is {str(columns[name])[:80]}, not text. Leave it out")
    return Joined(tuple(names))


def _frame(columns: Mapping[str, pa.Array], rows: int) -> pl.DataFrame:
    """Return columns as a frame; one without columns has rows of nulls, so that a constant has a value in each."""
    # Polars has no run-end encoding and no extension types.
    series = [pl.Series(name, pl.from_arrow(decoded(column))) for name, column in columns.items()]
    return pl.DataFrame(series) if series else pl.DataFrame({"\0": pl.repeat(None, rows, eager=True)})


def _array(values: pl.Series, rows: int) -> pa.Array:
    """Return the values of an expression; a constant is repeated."""
    if len(values) == 1 != rows:
        values = values.new_from_index(0, rows)
    array = values.rechunk().to_arrow()
    return array.cast(pa.large_string()) if pa.types.is_string_view(array.type) else array
