"""Find one schema for the rows of many files, and bring the rows of each file into it.

In: the Arrow schemas of files. Out: one schema that Parquet, `datasets`, DuckDB and Polars know, and rows in it.
`datasets.load_dataset` refuses files whose columns differ. So a column that a file lacks becomes null there, numbers
become as wide as the widest, and encodings such as dictionaries become plain values.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from curate.errors import SchemaError
from curate.tables.columns import arrow_types, vectors
from curate.tables.columns.arrow_types import is_binary, is_list, is_text

# Types that text can be read as. The columns of CSV are text, and take the type that other files give them.
WRITTEN_AS_TEXT = (pa.types.is_integer, pa.types.is_floating, pa.types.is_boolean)
OUR_KEYS = {b"curate", b"tokens"}  # metadata of files that this program wrote; they are wrong for other rows


@dataclass(frozen=True)
class FileSchema:
    """The schema of the rows of one file. ``is_csv`` says that its columns are text because CSV has no types."""

    path: str
    schema: pa.Schema
    is_csv: bool = False


def unified(schemas: Sequence[FileSchema]) -> pa.Schema:
    """Return the schema that holds the rows of all files, with the columns in the order in which they first appear.

    Raises:
        SchemaError: if a column has types in two files that no type holds, with the column, both files and both types.
    """
    names = dict.fromkeys(name for file in schemas for name in file.schema.names)
    fields: dict[str, tuple[pa.Field, FileSchema]] = {}
    # Files with types come first, so that the columns of CSV can follow them.
    for file in sorted(schemas, key=lambda file: file.is_csv):
        for field in file.schema:
            plain = pa.field(field.name, simplified(field.type), metadata=_field_metadata(field))
            if file.schema.names.count(field.name) > 1:
                raise SchemaError(f"{file.path} has two columns {field.name!r}. Rename one of them")
            before, owner = fields.get(field.name, (plain, file))
            kind = _common(before, plain, is_csv=file.is_csv and not owner.is_csv)
            if kind is None:
                other = _shown(owner.schema.field(field.name).type)
                raise SchemaError(
                    f"{file.path}: {field.name} is {_shown(field.type)}, and in {owner.path} it is {other}. The files "
                    "of one data set need one type: write the column alike in all files"
                )
            # The owner is the file whose type the message shows, so a column of nulls does not own it.
            owner = file if pa.types.is_null(before.type) else owner
            fields[field.name] = (before.with_type(kind).with_nullable(True), owner)
    metadata = [_metadata(file.schema) for file in schemas]
    same = all(keys == metadata[0] for keys in metadata)
    return pa.schema([fields[name][0] for name in names], metadata=metadata[0] if same and metadata else None)


def conformed(batch: pa.RecordBatch, schema: pa.Schema, path: str) -> pa.RecordBatch:
    """Return the rows of a batch in a schema of `unified`.

    Raises:
        SchemaError: if a value does not fit, with the file, the column and both types.
    """
    present = batch.schema.names
    columns = []
    for field in schema:
        if field.name not in present:
            columns.append(pa.nulls(batch.num_rows, field.type))
            continue
        column = batch.column(field.name)
        try:
            columns.append(_conformed(column, field.type))
        except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
            raise SchemaError(
                f"{path}: {field.name} is {_shown(column.type)}, and {_shown(field.type)} in other files. A value does "
                f"not fit: {' '.join(str(error).split())[:200]}. Write the column alike in all files"
            ) from None
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def simplified(kind: pa.DataType) -> pa.DataType:
    """Return the plain type for the values of a type: one that Parquet, `datasets`, DuckDB and Polars know.

    A column of views stays one. Arrow can neither join views with other strings nor write views inside of other types.
    """
    plain = arrow_types.plain(kind)
    return plain if pa.types.is_string_view(plain) or pa.types.is_binary_view(plain) else without_views(plain)


def without_views(kind: pa.DataType) -> pa.DataType:
    """Return the plain type for the values of a type, with plain strings and bytes in the place of views."""
    kind = arrow_types.plain(kind)
    if isinstance(kind, pa.UuidType) or pa.types.is_string_view(kind):
        return pa.string()
    if pa.types.is_binary_view(kind):
        return pa.binary()
    if pa.types.is_struct(kind):
        return pa.struct([pa.field(field.name, without_views(field.type)) for field in kind])
    if pa.types.is_map(kind):
        return pa.list_(pa.struct([("key", without_views(kind.key_type)), ("value", without_views(kind.item_type))]))
    if not is_list(kind):
        return kind
    item = without_views(kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        return pa.list_(item, kind.list_size)
    return pa.large_list(item) if pa.types.is_large_list(kind) or pa.types.is_large_list_view(kind) else pa.list_(item)


def _common(before: pa.Field, field: pa.Field, *, is_csv: bool) -> pa.DataType | None:
    """Return the type that holds the values of both fields; None if there is none."""
    first, second = before.type, field.type
    if first.equals(second):
        # The bytes of a vector are numbers of the type in the metadata of the field.
        is_vector = field.name.startswith(vectors.PREFIX) and is_binary(first)
        return None if is_vector and before.metadata != field.metadata else first
    if pa.types.is_null(first) or pa.types.is_null(second):
        return second if pa.types.is_null(first) else first
    if is_csv and any(is_kind(first) for is_kind in WRITTEN_AS_TEXT):
        return first
    # Arrow would turn text into bytes.
    if is_text(first) != is_text(second):
        return None
    try:
        both = [pa.schema([("x", without_views(kind))]) for kind in (first, second)]
        return pa.unify_schemas(both, promote_options="permissive").field(0).type
    except (pa.ArrowTypeError, pa.ArrowInvalid):
        return None


def _conformed(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column in a plain type that holds its values."""
    if column.type.equals(kind):
        return column
    column = arrow_types.decoded(column)
    if pa.types.is_null(column.type):
        return pa.nulls(len(column), kind)
    if pa.types.is_struct(kind) and pa.types.is_struct(column.type):
        # `flatten` looks at the nulls and the slice of the struct, which its children alone do not know.
        children = dict(zip(arrow_types.inner_names(column.type), column.flatten(), strict=True))
        arrays = [
            _conformed(children[field.name], field.type)
            if field.name in children
            else pa.nulls(len(column), field.type)
            for field in kind
        ]
        return pa.StructArray.from_arrays(arrays, fields=list(kind), mask=column.is_null())
    if is_list(kind) and pa.types.is_map(column.type):
        pairs = pa.struct([("key", column.type.key_type), ("value", column.type.item_type)])
        column = column.cast(pa.list_(pairs))
    if is_list(kind) and is_list(column.type):
        return _conformed_list(column, kind)
    return column.cast(kind)


def _conformed_list(column: pa.Array, kind: pa.DataType) -> pa.Array:
    """Return a column of lists in another type of lists."""
    is_null = column.is_null()
    # The values of null lists are left out.
    values = _conformed(column.flatten(), kind.value_type)
    if pa.types.is_fixed_size_list(kind):
        # All files have lists of this length, so only the type of the values changes. A null list has values too.
        size, present = kind.list_size, ~is_null.to_numpy(zero_copy_only=False)
        first = np.where(present, np.cumsum(present) - 1, 0) * size
        places = (first[:, None] + np.arange(size)).ravel()
        items = values.take(pa.array(places)) if len(values) else pa.nulls(len(places), kind.value_type)
        return pa.FixedSizeListArray.from_arrays(items, type=kind, mask=is_null)
    lengths = pc.list_value_length(column).fill_null(0).to_numpy(zero_copy_only=False)
    lengths = np.where(is_null.to_numpy(zero_copy_only=False), 0, lengths)
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    if pa.types.is_large_list(kind):
        return pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), values, type=kind, mask=is_null)
    return pa.ListArray.from_arrays(pa.array(offsets, pa.int32()), values, type=kind, mask=is_null)


def _field_metadata(field: pa.Field) -> dict[bytes, bytes] | None:
    """Return the metadata of a field that its values need: the type of the numbers in vectors of bytes."""
    # Others tell how values were encoded, such as the categories of polars, and would be wrong now.
    return field.metadata if field.name.startswith(vectors.PREFIX) else None


def _metadata(schema: pa.Schema) -> dict[bytes, bytes] | None:
    keys = {key: value for key, value in (schema.metadata or {}).items() if key not in OUR_KEYS}
    return keys or None


def _shown(kind: pa.DataType) -> str:
    """Return a type as people write it; a nested type may have thousands of characters."""
    text = str(kind)
    return text if len(text) <= 80 else f"{text[:77]}..."
