"""Examples on disk as a stream of polars batches with an identity: the door through which data comes in.

Peak memory is a batch, not a file. Embedding columns ``emb.<name>`` are fixed-size binary on disk (five times faster to
read than lists) and ``pl.Array(Float32, d)`` here.
"""

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np
import polars as pl
import pyarrow as pa
import xxhash

from curate.errors import SchemaError
from curate.tables import readers, vectors
from curate.tables.readers import DOCUMENT_BYTES, Head, cut, head
from curate.tables.shards import FORMATS, Shard, shards
from curate.tables.vectors import finite
from curate.tables.writer import save, write

__all__ = [
    "BATCH_BYTES",
    "BATCH_ROWS",
    "FORMATS",
    "IDENTITY",
    "Shard",
    "Stream",
    "batches",
    "columns",
    "cut",
    "finite",
    "keys",
    "record_batches",
    "require",
    "save",
    "shards",
    "write",
]

Stream = Callable[[Sequence[str]], Iterator[pl.DataFrame]]  # the columns needed -> batches with id and those

BATCH_ROWS = 4096
BATCH_BYTES = 1 << 25  # of text in a batch, where the reader asks for it
BYTES_PER_TOKEN = 4  # English BPE rule of thumb; used only where a file has no `tokens` column
MADE = ("score.", "cluster.")  # beginnings of columns that scorers make
LEARNT = ("label", "emb.", "probs.", "logits.", "member", "correct")  # beginnings of columns that are not text
IDENTITY: Mapping[str, pl.DataType] = {"id": pl.String(), "source": pl.String(), "tokens": pl.Int64()}


def columns(shard: Shard) -> dict[str, pa.DataType]:
    """Return the column names and Arrow types of a shard (of JSONL: of its first batch)."""
    return head(shard).columns


def require(shard: Shard, needs: Sequence[str], known: Head | None = None) -> None:
    """Check that a shard has the columns a job reads, before the job starts."""
    have = (known or head(shard)).columns
    if have and (missing := [name for name in needs if name not in have]):
        hint = "Rename the column, or name yours with --text-column"
        if missing[0].startswith(LEARNT):
            hint = "Add it, or leave out the scorer that reads it"
        elif missing[0].startswith(MADE):
            hint = "Score with the scorer that makes it, named before any that reads it, or name another column"
        raise SchemaError(f"{shard.path} has no column {missing[0]!r}; it has {', '.join(have)}. {hint}")


def batches(
    shard: Shard,
    needs: Sequence[str] = (),
    *,
    rows: int = BATCH_ROWS,
    text_column: str = "text",
    identity: Sequence[str] = tuple(IDENTITY),
    size: int | None = None,
    start: int = 0,
    document_bytes: int = DOCUMENT_BYTES,
) -> Iterator[pl.DataFrame]:
    """Yield ``identity`` and the columns in ``needs``, at most ``rows`` rows at a time, in file order, from ``start``.

    No ``id``: ``<relative path>:<row>``. No ``source``: the ``source=`` folder, else the parent folder's name. No
    ``tokens``: a quarter of the text's UTF-8 bytes, rounded up; without a text either, 1 an example. A null is filled
    in the same way. Vectors must be finite and of one length throughout the file. With ``size`` a batch also ends
    before its strings exceed so many bytes.
    """
    have = head(shard).columns
    require(shard, [text_column if name == "text" else name for name in needs], Head(have, None))
    wanted = {text_column if name == "text" else name for name in needs} | (set(identity) & set(have))
    if (
        "tokens" in identity
        and text_column in have
        and ("tokens" not in have or readers.may_hold_null(shard, "tokens"))
    ):
        wanted.add(text_column)
    if have and not wanted:  # rows are counted by reading one column; vectors are the dearest
        wanted.add(min(have, key=lambda name: (name.startswith(vectors.PREFIX), name == "text")))
    at, widths = start, dict[str, int]()
    names = [name for name in have if name in wanted]
    for held in cut(readers.read(shard, names, rows, start=start, document_bytes=document_bytes), rows, size):
        frame = _frame(held[0] if len(held) == 1 else pa.concat_batches(held), shard)
        if text_column in frame.columns and text_column != "text":
            frame = frame.rename({text_column: "text"})
        frame = _identify(frame, shard, at, identity)
        vectors.check(frame, shard.path, widths)
        yield frame.select(*identity, *dict.fromkeys(needs))
        at += frame.height


def record_batches(shard: Shard, *, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield all columns of a shard as they are, cut like ``batches``."""
    for held in cut(readers.read(shard, None, rows), rows):
        yield held[0] if len(held) == 1 else pa.concat_batches(held)


def keys(ids: Sequence[str] | pl.Series, seed: int) -> np.ndarray:
    """Return a (n,) uint64 hash of each id and the seed: the source of every random choice about a row."""
    return np.fromiter((xxhash.xxh3_64_intdigest(i.encode(), seed) for i in ids), dtype=np.uint64, count=len(ids))


def _identify(frame: pl.DataFrame, shard: Shard, at: int, identity: Sequence[str]) -> pl.DataFrame:
    """Add the identity columns that are missing, of another type, or have nulls."""
    have = frame.schema
    todo = [name for name in identity if have.get(name) != IDENTITY[name] or frame[name].null_count()]
    if not todo:
        return frame
    found = {name: _default(name, have, shard, pl.int_range(at, at + frame.height)) for name in todo}
    return frame.with_columns(
        (pl.col(name).cast(IDENTITY[name]).fill_null(default) if name in have else default).alias(name)
        for name, default in found.items()
    )


def _default(name: str, have: Mapping[str, pl.DataType], shard: Shard, row: pl.Expr) -> pl.Expr:
    """Return what an identity column holds where the file does not say."""
    if name == "id":
        return pl.concat_str(pl.lit(shard.relative + ":"), row.cast(pl.String))
    if name == "source":
        return pl.lit(shard.source)
    if "text" not in have:
        return pl.lit(1, dtype=pl.Int64)
    length = pl.col("text").cast(pl.String).str.len_bytes().fill_null(0)
    return ((length + (BYTES_PER_TOKEN - 1)) // BYTES_PER_TOKEN).cast(pl.Int64)


def _frame(batch: pa.RecordBatch, shard: Shard) -> pl.DataFrame:
    plain = [n for n in batch.schema.names if not n.startswith(vectors.PREFIX)]
    frame = pl.DataFrame(pl.from_arrow(batch.select(plain))) if plain else pl.DataFrame()
    found = [vectors.from_arrow(n, batch.column(n), shard.path) for n in batch.schema.names if n not in plain]
    return pl.DataFrame(found) if not plain else frame.with_columns(found) if found else frame
