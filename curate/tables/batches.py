"""Read examples from files as a stream of polars batches in which every row has an identity.

Memory holds a batch, not a file. Embedding columns ``emb.<name>`` are fixed-size binary on disk, which reads five times
faster than lists, and ``pl.Array(Float32, d)`` in a batch.
"""

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from difflib import get_close_matches
from functools import partial
from itertools import repeat
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import xxhash

from curate.errors import SchemaError, first_few
from curate.tables import readers
from curate.tables.columns import arrow_types, column_types, vectors
from curate.tables.columns.arrow_types import inner_names
from curate.tables.columns.vectors import finite
from curate.tables.cutting import cut, string_bytes
from curate.tables.mapping.file_columns import bound
from curate.tables.readers import Head, head
from curate.tables.reading import BATCH_BYTES, BATCH_ROWS, ROW, Reading, Request
from curate.tables.scored_inputs.row_hash import BLOCK_ROWS, RowHasher
from curate.tables.shards import FORMATS, Inputs, Shard, has_lines, inputs, shards
from curate.tables.writer import save, write

__all__ = [
    "BATCH_BYTES",
    "BATCH_ROWS",
    "FORMATS",
    "IDENTITY",
    "Inputs",
    "Reading",
    "Shard",
    "Stream",
    "batches",
    "columns",
    "cut",
    "finite",
    "from_table",
    "inputs",
    "keys",
    "record_batches",
    "request",
    "require",
    "save",
    "shards",
    "write",
]

# A function of the columns that are needed. It returns batches that have `id` and those columns.
Stream = Callable[[Sequence[str]], Iterator[pl.DataFrame]]

BYTES_PER_TOKEN = 4  # rule of thumb for byte-pair encodings of English; used only for files without `tokens`
SCORER_PREFIXES = ("score.", "cluster.", "reason.")  # of columns that scorers add
MODEL_PREFIXES = ("label", "emb.", "probs.", "logits.", "member", "correct")  # of columns that hold no text
IDENTITY: Mapping[str, pl.DataType] = {"id": pl.String(), "source": pl.String(), "tokens": pl.Int64()}
READING = Reading()


def columns(shard: Shard, reading: Reading = READING) -> Mapping[str, pa.DataType]:
    """Return the column names and Arrow types of a shard. For JSON lines, the first lines tell them.

    Columns that ``reading`` maps have the names that jobs use.
    """
    return head(shard, (), reading.whole_mapping).columns


def require(shard: Shard, needs: Sequence[str], shard_head: Head | None = None, remedy: str = "") -> None:
    """Check that a shard has the columns that a job reads, and has each only once.

    ``remedy`` says what to do about a missing column, where the job knows better than this function.

    Raises:
        SchemaError: with the first column that is missing or stands there twice, and what to do about it.
    """
    shard_head = shard_head or head(shard, needs)
    present = shard_head.columns
    if twice := next((name for name in (*needs, *IDENTITY) if name in shard_head.repeated), None):
        raise SchemaError(f"{shard.path} has two columns {twice!r}. Rename one of them, or leave it out")
    # A file of lines without any line has no columns, and needs none.
    if (present or shard_head.rows is None) and (missing := [name for name in needs if name not in present]):
        names = first_few(present, near=missing[0]) if present else "no columns"
        what = repr(missing[0])
        if shard_head.view is not None and missing[0] in shard_head.view.lacking:
            what = f"{shard_head.view.lacking[missing[0]]!r} for {missing[0]}, and none called {what}"
        remedy = remedy or _remedy(missing[0], present)
        raise SchemaError(f"{shard.path} has no column {what}; it has {names}. {remedy}")


def _remedy(name: str, present: Mapping[str, pa.DataType]) -> str:
    """Return what to do about a column that is missing."""
    if outer := next((column for column, kind in present.items() if name in inner_names(kind)), None):
        return f"{outer} has a field {name}: write that as a column of its own"
    if name == "text":
        return "Rename the column, or name yours with --text-column"
    if name.startswith(MODEL_PREFIXES):
        return "Add it, or leave out the scorer that reads it"
    if name.startswith(SCORER_PREFIXES):
        # Compared without the prefix, which makes all of them alike.
        kinds = {column.partition(".")[2]: column for column in present if column.startswith(SCORER_PREFIXES)}
        near = [kinds[kind] for kind in get_close_matches(name.partition(".")[2], list(kinds), n=1)]
        remedy = "Score with the scorer that makes it, before any scorer that reads it, or name another column"
        return f"Did you mean {near[0]}? If not: {remedy[0].lower()}{remedy[1:]}" if near else remedy
    if (score := f"score.{name}") in present:
        return f"Did you mean {score}?"
    # Score files have few other columns, whose names are alike only by chance.
    if any(column.startswith(SCORER_PREFIXES) for column in present):
        return "Name one of these"
    if close := get_close_matches(name, list(present), n=1):
        return f"Did you mean {close[0]}?"
    return "Name one of these"


def batches(
    shard: Shard,
    needs: Sequence[str] = (),
    *,
    reading: Reading = READING,
    identity: Sequence[str] = tuple(IDENTITY),
    size: int | None = None,
    start: int = 0,
    hasher: RowHasher | None = None,
) -> Iterator[pl.DataFrame]:
    """Yield the columns in ``identity`` and ``needs``, batch by batch, in file order.

    Rows without an ``id`` get ``<relative path>:<row>``. Rows without a ``source`` get the folder ``source=...``, else
    the parent folder's name. Rows without ``tokens`` get a quarter of their text's UTF-8 bytes, rounded up, or 1 if
    there is no text. Vectors must be finite, and of one length throughout the file. The types of the columns are those
    of ``curate.tables.columns.column_types``.

    Args:
        shard: the file.
        needs: columns to read, by the names that jobs use, such as ``text``.
        reading: which columns of the file these are, the rows per batch, the largest text, and the type of binary
            vectors.
        identity: which of ``id``, ``source`` and ``tokens`` to yield.
        size: a batch also ends before its strings exceed so many bytes.
        start: the first row to read.
        hasher: receives the columns that are read, before each batch. Batches then also end where its blocks do.

    Raises:
        SchemaError: if a column is missing, or a value is damaged or too large.
    """
    # A job may also use an identity column as data, as `prune --by tokens` does. It is then read only once.
    identity = tuple(dict.fromkeys((*identity, *(name for name in needs if name in IDENTITY))))
    needs = [name for name in dict.fromkeys(needs) if name not in IDENTITY]
    shard_head = head(shard, needs, reading.whole_mapping)
    if has_lines(shard) and "tokens" in identity and not {"tokens", "text"} & set(shard_head.columns):
        # Tokens are then counted in the texts, which may first appear late.
        shard_head = head(shard, (*needs, "text"), reading.whole_mapping)
    present = shard_head.columns
    require(shard, needs, shard_head)
    names = _columns_to_read(shard, shard_head, needs, identity)
    position, widths = start, dict[str, int]()
    if has_lines(shard):
        # The first lines do not tell all columns of the file. Those that it does not have are null.
        names = list(dict.fromkeys((*names, *identity)))
    if hasher is not None:
        hasher.columns = recorded_names(names, shard_head)
    stream = readers.rows_of(request(shard, names, reading, start, shard_head))
    typed: Iterator[pa.RecordBatch]
    labels = labels_of(shard_head)
    if hasher is None and {"text", *identity, *needs}.isdisjoint(names):
        # The column is read only to count rows, so that its type does not matter.
        typed = (pa.record_batch([pa.nulls(batch.num_rows)], names=["row"]) for batch in stream)
        numbers = dict[str, str]()
    else:
        column_types.check(shard.path, present, names, labels)
        numbers = vectors.dtypes(shard, shard_head, names, reading.dtype)
        typed = column_types.converted(stream, shard.path, labels, start)
    for pieces in cut(typed, reading.batch_rows, size, None if hasher is None else BLOCK_ROWS):
        if hasher is not None:
            for piece in pieces:
                hasher.add(recorded(piece, shard_head))
        whole = pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
        frame = _frame(whole, shard.path, numbers)
        frame = _with_defaults(frame, shard, position, identity, partial(_tokens, whole))
        frame = _identify(frame, shard, position, identity)
        vectors.check(frame, shard.path, widths)
        yield frame[:, [*identity, *needs]]
        position += frame.height


def table_head(table: pl.DataFrame, reading: Reading, where: Path) -> Head:
    """Return the columns of a table in memory, by the names that jobs use. ``where`` stands for the file.

    Raises:
        SchemaError: if the table lacks a mapped column.
    """
    columns = {name: field.type for name, field in zip(table.columns, table[:0].to_arrow().schema, strict=True)}
    if reading.whole_mapping.is_empty:
        return Head(columns, None)
    view = bound(reading.whole_mapping, columns, where, lines=False)
    return Head(view.columns, None, view=view)


def from_table(
    table: pl.DataFrame, names: Sequence[str], where: Path, table_head: Head | None = None
) -> Iterator[pl.DataFrame]:
    """Yield the columns ``names`` of a table in memory, in the types that batches of files have.

    ``table_head`` gives columns the names that jobs use, as for a file.

    Raises:
        SchemaError: for a column of a wrong type, or a value that cannot be used. ``where`` stands for the file.
    """
    view = None if table_head is None else table_head.view
    in_table = names if view is None else view.in_file(names)
    pieces = iter(table.select(in_table).rechunk().to_arrow().to_batches(BATCH_ROWS))
    if view is not None:
        pieces = (view.named(batch, names, number * BATCH_ROWS) for number, batch in enumerate(pieces))
    for batch in column_types.converted(pieces, where, {} if view is None else view.labels):
        yield _frame(batch, where, {})


def columns_to_read(shard: Shard, needs: Sequence[str], reading: Reading = READING) -> tuple[str, ...]:
    """Return the columns of a file that `batches` reads for these ``needs``, as they are recorded."""
    needs = [name for name in needs if name not in IDENTITY]
    shard_head = head(shard, needs, reading.whole_mapping)
    names = _columns_to_read(shard, shard_head, needs, tuple(IDENTITY))
    return recorded_names(dict.fromkeys((*names, *IDENTITY)) if has_lines(shard) else names, shard_head)


def recorded_names(names: Iterable[str], shard_head: Head) -> tuple[str, ...]:
    """Return under which names columns are hashed and recorded: those that they have in the file."""
    if shard_head.view is None:
        return tuple(names)
    return tuple(dict.fromkeys(map(shard_head.view.recorded_name, names)))


def recorded(batch: pa.RecordBatch, shard_head: Head) -> pa.RecordBatch:
    """Return a batch with the names of `recorded_names`, each once, so that its rows can be hashed."""
    if shard_head.view is None:
        return batch
    columns: dict[str, pa.Array] = {}
    for name, column in zip(batch.schema.names, batch.columns, strict=True):
        # Of two columns with one origin, the first is hashed, as `scored_rows.row_blocks` does.
        columns.setdefault(shard_head.view.recorded_name(name), column)
    return pa.RecordBatch.from_arrays(list(columns.values()), names=list(columns))


def labels_of(shard_head: Head) -> Mapping[str, str]:
    """Return what messages call the columns that have another name in the file."""
    return {} if shard_head.view is None else shard_head.view.labels


def record_batches(shard: Shard, *, rows: int = BATCH_ROWS, reading: Reading = READING) -> Iterator[pa.RecordBatch]:
    """Yield all columns of a shard as they are, at most ``rows`` rows at a time. Those of CSV are text."""
    mapping = reading.whole_mapping
    shard_head = None if mapping.is_empty else head(shard, (), mapping)
    whole = request(shard, None, replace(reading, batch_rows=rows), shard_head=shard_head)
    for pieces in cut(readers.rows_of(whole), rows):
        batch = pieces[0] if len(pieces) == 1 else pa.concat_batches(pieces)
        yield batch.drop_columns([ROW]) if ROW in batch.schema.names else batch


def request(
    shard: Shard, names: Sequence[str] | None, reading: Reading, start: int = 0, shard_head: Head | None = None
) -> Request:
    """Return the request for the columns ``names`` (None: all) from row ``start`` on.

    ``shard_head`` is needed where ``reading`` maps columns.
    """
    return Request(
        shard,
        names,
        reading.batch_rows,
        start,
        reading.document_bytes,
        reading.judged,
        reading.bad_lines,
        None if shard_head is None else shard_head.view,
    )


def keys(ids: Sequence[str] | pl.Series, seed: int) -> np.ndarray:
    """Return an (n,) uint64 hash of each id and the seed. Every random choice about a row follows from it."""
    # Polars encodes all ids together, and `map` needs no Python code for each id: this takes half the time of a loop.
    encoded = pl.Series(ids, dtype=pl.String).cast(pl.Binary).to_list()
    return np.fromiter(map(xxhash.xxh3_64_intdigest, encoded, repeat(seed)), dtype=np.uint64, count=len(ids))


def _columns_to_read(shard: Shard, shard_head: Head, needs: Sequence[str], identity: Sequence[str]) -> list[str]:
    """Return the columns that a batch is made from: first the mapped ones, then the others in the order of the file."""
    present = shard_head.columns
    wanted = {*needs} | (set(identity) & set(present))
    tokens_are_counted = "tokens" in identity and "text" in present
    if tokens_are_counted and ("tokens" not in present or readers.may_hold_null(shard, "tokens", shard_head.view)):
        wanted.add("text")
    # Rows can be counted only by reading a column. Vectors cost most to read, and texts come next.
    if present and not wanted:
        wanted.add(min(present, key=lambda name: (name.startswith(vectors.PREFIX), name == "text")))
    return [name for name in present if name in wanted]


def _identify(frame: pl.DataFrame, shard: Shard, position: int, identity: Sequence[str]) -> pl.DataFrame:
    """Add the identity columns that are missing, of another type, or have nulls."""
    schema = frame.schema
    incomplete = [name for name in identity if schema.get(name) != IDENTITY[name] or frame[name].null_count()]
    if not incomplete:
        return frame
    row = pl.col(ROW) if ROW in schema else pl.int_range(position, position + frame.height)
    defaults = {name: _default(name, schema, shard, row) for name in incomplete}
    return frame.with_columns(
        (pl.col(name).cast(IDENTITY[name]).fill_null(default) if name in schema else default).alias(name)
        for name, default in defaults.items()
    )


def _with_defaults(
    frame: pl.DataFrame, shard: Shard, position: int, identity: Sequence[str], tokens: Callable[[], pl.Series]
) -> pl.DataFrame:
    """Add the id, the source and the tokens where no row of a batch has any.

    They need no expression of polars, which costs more than a small file.
    """
    if "id" in identity and _is_empty(frame, "id"):
        numbers = frame.get_column(ROW) if ROW in frame.columns else range(position, position + frame.height)
        frame = _with(frame, pl.Series("id", [f"{shard.relative}:{number}" for number in numbers], pl.String))
    if "source" in identity and _is_empty(frame, "source"):
        source = pl.Series("source", [shard.source], pl.String).new_from_index(0, frame.height)
        frame = _with(frame, source)
    return _with(frame, tokens()) if "tokens" in identity and _is_empty(frame, "tokens") else frame


def _is_empty(frame: pl.DataFrame, name: str) -> bool:
    """Return whether a batch lacks a column, or has nothing but nulls in it."""
    return name not in frame.columns or frame.get_column(name).null_count() == frame.height


def _with(frame: pl.DataFrame, column: pl.Series) -> pl.DataFrame:
    """Return a batch with this column, in the place of one of the same name if there is one."""
    if column.name not in frame.columns:
        return frame.hstack([column])
    return frame.replace_column(frame.get_column_index(column.name), column)


def _tokens(batch: pa.RecordBatch) -> pl.Series:
    """Return the tokens of rows as their texts tell them: a quarter of the UTF-8 bytes, or 1 without texts."""
    if "text" in batch.schema.names:
        lengths = string_bytes(arrow_types.decoded(batch.column("text"))).fill_null(0)
        bytes_of_texts = lengths.to_numpy(zero_copy_only=False).astype(np.int64)
        return pl.Series("tokens", (bytes_of_texts + (BYTES_PER_TOKEN - 1)) // BYTES_PER_TOKEN)
    return pl.Series("tokens", np.ones(batch.num_rows, np.int64))


def _default(name: str, schema: Mapping[str, pl.DataType], shard: Shard, row: pl.Expr) -> pl.Expr:
    """Return the value of an identity column in rows that do not have it."""
    if name == "id":
        return pl.concat_str(pl.lit(shard.relative + ":"), row.cast(pl.String))
    if name == "source":
        return pl.lit(shard.source)
    if "text" not in schema:
        return pl.lit(1, dtype=pl.Int64)
    length = pl.col("text").cast(pl.String).str.len_bytes().fill_null(0)
    return ((length + (BYTES_PER_TOKEN - 1)) // BYTES_PER_TOKEN).cast(pl.Int64)


def _frame(batch: pa.RecordBatch, where: Path, dtypes: Mapping[str, str]) -> pl.DataFrame:
    names = batch.schema.names
    plain = [name for name in names if not name.startswith(vectors.PREFIX)]
    # Polars panics on metadata that is not UTF-8, of the table or of a column. A table of the arrays alone has none.
    # Names are set afterwards: on the way to polars a name ends at its first null byte, with which ROW begins.
    arrays = pa.RecordBatch.from_arrays([batch.column(name) for name in plain], names=list(map(str, range(len(plain)))))
    frame = pl.DataFrame(arrays) if plain else pl.DataFrame()
    frame.columns = plain
    embeddings = [
        vectors.from_arrow(name, batch.column(name), where, dtypes.get(name, vectors.DTYPES[0]))
        for name in names
        if name.startswith(vectors.PREFIX)
    ]
    if not plain:
        return pl.DataFrame(embeddings)
    return frame.with_columns(embeddings) if embeddings else frame
