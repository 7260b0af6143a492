"""Examples on disk as a stream of polars batches: Parquet, JSONL (.gz, .zst) and Arrow IPC in, Parquet out.

We own the read loop (pyarrow, ``pre_buffer=False``): peak memory is a batch, not a file. Embedding columns
``emb.<name>`` are fixed-size binary on disk (five times faster to read than lists) and ``pl.Array(Float32, d)`` here.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from glob import glob
from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.json
import pyarrow.parquet as pq
import xxhash

from curate.errors import SchemaError
from curate.files import replacing

FORMATS = (".parquet", ".jsonl", ".jsonl.gz", ".jsonl.zst", ".arrow", ".feather")
BATCH_ROWS = 4096
BYTES_PER_TOKEN = 4  # English BPE rule of thumb; used only where a file has no `tokens` column


@dataclass(frozen=True)
class Shard:
    """One input file: where it is, and its path relative to the folder the user named (outputs mirror it)."""

    path: Path
    relative: str


def shards(data: Sequence[str]) -> tuple[Shard, ...]:
    """Find the input files under files, folders and globs, sorted by relative path."""
    found: dict[str, Shard] = {}
    for item in data:
        if "://" in item:
            raise SchemaError(f"{item}: remote storage is not read by this version; copy the files to a folder")
        for shard in _under(item):
            if (other := found.setdefault(shard.relative, shard)).path != shard.path:
                raise SchemaError(
                    f"{other.path} and {shard.path} would both write {shard.relative}: "
                    "name their common parent folder, or run them into different --out folders"
                )
    return tuple(found[key] for key in sorted(found))


def _under(item: str) -> list[Shard]:
    path = Path(item)
    if path.is_file():
        return [Shard(path, path.name)]
    if path.is_dir():
        root, files = path, [p for p in path.rglob("*") if p.is_file() and not p.name.startswith((".", "_"))]
    else:
        parts = path.parts
        magic = next((i for i, part in enumerate(parts) if set(part) & set("*?[")), len(parts))
        root, files = Path(*parts[:magic]), [Path(p) for p in glob(item, recursive=True)]
    result = [Shard(p, p.relative_to(root).as_posix()) for p in files if p.name.endswith(FORMATS)]
    if not result:
        raise SchemaError(f"no input files at {item}: it must be or hold {', '.join(FORMATS)}")
    return [s for s in result if not any(part.startswith(("_", ".")) for part in Path(s.relative).parts)]


def columns(shard: Shard) -> dict[str, pa.DataType]:
    """Return the column names and Arrow types of a shard (of JSONL: of its first batch)."""
    if shard.path.name.endswith(".parquet"):
        schema = _parquet(shard).schema_arrow
    else:
        first = next(iter(_raw(shard, None, 64)), None)
        if first is None:
            return {}
        schema = first.schema
    return dict(zip(schema.names, schema.types, strict=True))


def require(shard: Shard, needs: Sequence[str]) -> None:
    """Check that a shard has the columns a job reads, before the job starts."""
    have = columns(shard)
    if have and (missing := [name for name in needs if name not in have]):
        raise SchemaError(
            f"{shard.path} has no column {missing[0]!r}; it has {', '.join(have)}. "
            "Rename the column, or name yours with --text-column"
        )


def batches(
    shard: Shard, needs: Sequence[str] = (), *, rows: int = BATCH_ROWS, text_column: str = "text"
) -> Iterator[pl.DataFrame]:
    """Yield ``id, source, tokens`` and the columns in ``needs``, at most ``rows`` rows at a time, in file order.

    No ``id``: ``<relative path>:<row>``. No ``source``: the ``source=`` folder, else the parent folder's name. No
    ``tokens``: a quarter of the text's UTF-8 bytes, rounded up; without a text either, 1 an example. A null is filled
    in the same way. Vectors must be finite and of one length throughout the file.
    """
    have = columns(shard)
    require(shard, [text_column if name == "text" else name for name in needs])
    wanted = {text_column if name == "text" else name for name in needs} | ({"id", "source", "tokens"} & set(have))
    if text_column in have and ("tokens" not in have or _may_hold_null(shard, "tokens")):
        wanted.add(text_column)
    if have and not wanted:  # rows are counted by reading one column; vectors are the dearest
        wanted.add(min(have, key=lambda name: (name.startswith("emb."), name == "text")))
    at, widths = 0, dict[str, int]()
    for raw in _exactly(_raw(shard, [name for name in have if name in wanted], rows), rows):
        frame = _frame(raw, shard)
        if text_column in frame.columns and text_column != "text":
            frame = frame.rename({text_column: "text"})
        frame = _identify(frame, shard, at)
        _check_vectors(frame, shard, widths)
        yield frame.select("id", "source", "tokens", *dict.fromkeys(needs))
        at += frame.height


def record_batches(shard: Shard, *, rows: int = BATCH_ROWS) -> Iterator[pa.RecordBatch]:
    """Yield all columns of a shard as they are, cut like ``batches``."""
    yield from _exactly(_raw(shard, None, rows), rows)


def _identify(frame: pl.DataFrame, shard: Shard, at: int) -> pl.DataFrame:
    tokens = pl.lit(1, dtype=pl.Int64)
    if "text" in frame.columns:
        length = pl.col("text").cast(pl.String).str.len_bytes().fill_null(0)
        tokens = ((length + (BYTES_PER_TOKEN - 1)) // BYTES_PER_TOKEN).cast(pl.Int64)
    row = pl.int_range(at, at + frame.height).cast(pl.String)
    defaults = {
        "id": pl.concat_str(pl.lit(shard.relative + ":"), row),
        "source": pl.lit(_source(shard)),
        "tokens": tokens,
    }
    kinds = {"id": pl.String(), "source": pl.String(), "tokens": pl.Int64()}
    return frame.with_columns(
        (pl.col(name).cast(kinds[name]).fill_null(default) if name in frame.columns else default).alias(name)
        for name, default in defaults.items()
    )


def _may_hold_null(shard: Shard, column: str) -> bool:
    """Say whether a column can hold a null, as far as the file says without being read."""
    if not shard.path.name.endswith(".parquet"):
        return True
    metadata = _parquet(shard).metadata
    paths = [metadata.schema.column(i).path for i in range(metadata.num_columns)]
    if column not in paths:  # nested
        return True
    at = paths.index(column)
    found = (metadata.row_group(i).column(at).statistics for i in range(metadata.num_row_groups))
    return any(stats is None or not stats.has_null_count or stats.null_count for stats in found)


def finite(column: pl.Series) -> np.ndarray:
    """Say which of (n,) rows are finite numbers, or vectors of them; a null is not."""
    if isinstance(column.dtype, pl.Array):
        return np.asarray(np.isfinite(column.to_numpy()).all(axis=1))
    return column.is_finite().fill_null(False).to_numpy()


def _check_vectors(frame: pl.DataFrame, shard: Shard, widths: dict[str, int]) -> None:
    """Check the vectors of a batch: as long as those before (``widths``, filled here), and finite."""
    for name in frame.columns:
        if not name.startswith("emb."):
            continue
        width = frame[name].to_numpy().shape[1]
        if (before := widths.setdefault(name, width)) != width:
            raise SchemaError(
                f"{shard.path}: {name} has vectors of {before} and of {width} numbers; they must be alike"
            )
        good = finite(frame[name])
        if not good.all():
            first = frame["id"][int(good.argmin())]
            raise SchemaError(
                f"{shard.path}: {name} is NaN, infinite or null in {int((~good).sum())} rows of a batch, the first "
                f"with id {first!r}: remove those rows or embed them again"
            )


def _source(shard: Shard) -> str:
    folders = shard.path.parent.parts
    hive = [part.removeprefix("source=") for part in folders if part.startswith("source=")]
    return hive[-1] if hive else shard.path.resolve().parent.name


def _parquet(shard: Shard) -> pq.ParquetFile:
    try:
        return pq.ParquetFile(shard.path, pre_buffer=False)
    except (pa.ArrowException, OSError) as error:
        raise SchemaError(f"{shard.path} cannot be read as Parquet: {error}. Replace or remove the file") from None


def _raw(shard: Shard, names: list[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
    name = shard.path.name
    try:
        if name.endswith(".parquet"):
            yield from _parquet(shard).iter_batches(batch_size=rows, columns=names)
        elif name.endswith((".arrow", ".feather")):
            with pa.memory_map(str(shard.path)) as source, pa.ipc.open_file(source) as reader:
                for i in range(reader.num_record_batches):
                    batch = reader.get_batch(i).select(names or reader.schema.names)
                    for start in range(0, batch.num_rows, rows):
                        yield batch.slice(start, rows)
        else:
            yield from _jsonl(shard, names, rows)
    except (pa.ArrowException, OSError, UnicodeDecodeError, pl.exceptions.PolarsError) as error:
        raise SchemaError(f"{shard.path} cannot be read: {error}. Replace or remove the file") from None


def _exactly(raw: Iterator[pa.RecordBatch], rows: int) -> Iterator[pa.RecordBatch]:
    for held in cut(raw, rows):
        yield held[0] if len(held) == 1 else pa.concat_batches(held)


def cut(raw: Iterator[pa.RecordBatch], rows: int) -> Iterator[list[pa.RecordBatch]]:
    """Cut a stream into lists of batches of exactly ``rows`` rows in all (the last may be shorter), without a copy."""
    held: list[pa.RecordBatch] = []
    count = 0
    for batch in raw:
        at = 0
        while count + batch.num_rows - at >= rows:
            held.append(batch.slice(at, rows - count))
            yield held
            held, count, at = [], 0, at + held[-1].num_rows
        if at < batch.num_rows:
            held.append(batch.slice(at))
            count += held[-1].num_rows
    if held:
        yield held


def _jsonl(shard: Shard, names: list[str] | None, rows: int) -> Iterator[pa.RecordBatch]:
    with pa.input_stream(str(shard.path), compression="detect") as stream:
        pending: list[bytes] = []
        for line in _lines(stream):
            pending.append(line)
            if len(pending) == rows:
                yield _parse_lines(pending, names)
                pending = []
        if pending:
            yield _parse_lines(pending, names)


def _lines(stream: pa.NativeFile) -> Iterator[bytes]:
    rest = b""
    while chunk := stream.read(1 << 20):
        *whole, rest = (rest + chunk).split(b"\n")
        yield from (line for line in whole if line.strip())
    if rest.strip():
        yield rest


def _parse_lines(lines: list[bytes], names: list[str] | None) -> pa.RecordBatch:
    frame = pl.read_ndjson(b"\n".join(lines), infer_schema_length=None)
    if names is not None:
        frame = frame.select(pl.col(n) if n in frame.columns else pl.lit(None).alias(n) for n in names)
    return frame.to_arrow().combine_chunks().to_batches()[0]


def _frame(batch: pa.RecordBatch, shard: Shard) -> pl.DataFrame:
    plain = [n for n, t in zip(batch.schema.names, batch.schema.types, strict=True) if not n.startswith("emb.")]
    frame = pl.DataFrame(pl.from_arrow(batch.select(plain))) if plain else pl.DataFrame()
    vectors = [_vectors(n, batch.column(n), shard) for n in batch.schema.names if n.startswith("emb.")]
    return frame.with_columns(vectors) if plain else pl.DataFrame(vectors)


def _vectors(name: str, column: pa.Array, shard: Shard) -> pl.Series:
    kind = column.type
    if column.null_count:
        raise SchemaError(f"{shard.path}: {name} has {column.null_count} null rows; every row needs its vector")
    if pa.types.is_fixed_size_binary(kind) and kind.byte_width % 4 == 0:
        start = column.offset * kind.byte_width
        flat = np.frombuffer(
            column.buffers()[1], dtype=np.float32, offset=start, count=len(column) * kind.byte_width // 4
        )
        width = kind.byte_width // 4
    elif _is_list(kind) and (pa.types.is_floating(kind.value_type) or pa.types.is_integer(kind.value_type)):
        flat = column.flatten().to_numpy(zero_copy_only=False).astype(np.float32, copy=False)
        width = kind.list_size if pa.types.is_fixed_size_list(kind) else _width(name, column, shard)
    else:
        raise SchemaError(
            f"{shard.path}: {name} is {kind}; use lists of numbers, all of one length, or fixed-size binary"
        )
    return pl.Series(name, flat.reshape(len(column), width), dtype=pl.Array(pl.Float32, width))


def _is_list(kind: pa.DataType) -> bool:
    return bool(pa.types.is_fixed_size_list(kind) or pa.types.is_list(kind) or pa.types.is_large_list(kind))


def _width(name: str, column: pa.Array, shard: Shard) -> int:
    """Return the one length of all rows of a list column."""
    lengths = np.unique(column.value_lengths().to_numpy(zero_copy_only=False))
    if len(lengths) > 1:
        raise SchemaError(
            f"{shard.path}: {name} has vectors of {lengths[0]} and of {lengths[-1]} numbers; they must be alike"
        )
    if lengths[0] == 0:
        raise SchemaError(f"{shard.path}: {name} has vectors of 0 numbers")
    return int(lengths[0])


def write(
    path: Path,
    frames: Iterable[pl.DataFrame],
    *,
    schema: Mapping[str, pl.DataType] | None = None,
    metadata: Mapping[str, str] | None = None,
) -> int:
    """Write batches as one Parquet file, atomically; return the number of rows.

    No frame at all is an error, unless ``schema`` says what columns the empty file has.
    """
    rows = 0
    if schema is not None:
        frames = chain([pl.DataFrame(schema=schema)], frames)
    with replacing(path) as temporary:
        writer: pq.ParquetWriter | None = None
        try:
            for frame in frames:
                table = _table(frame)
                if writer is None:
                    head = table.schema.with_metadata(dict(metadata) if metadata else None)
                    writer = pq.ParquetWriter(temporary, head, compression="zstd")
                    if schema is not None:  # the first frame is empty and only says what columns there are
                        continue
                writer.write_table(table.cast(writer.schema))
                rows += frame.height
        finally:
            if writer is not None:
                writer.close()
        if writer is None:
            raise SchemaError(f"nothing to write to {path}: the input has no rows")
    return rows


def save(path: Path, frame: pl.DataFrame) -> None:
    """Write a small frame atomically: CSV where the name ends so, else Parquet."""
    if path.suffix == ".csv":
        with replacing(path) as temporary:
            frame.write_csv(temporary)
    else:
        write(path, [frame])


def _table(frame: pl.DataFrame) -> pa.Table:
    names, arrays = [], []
    for series in frame.iter_columns():
        if isinstance(series.dtype, pl.Array) and series.name.startswith("emb."):
            values = np.ascontiguousarray(series.to_numpy(), dtype=np.float32)
            kind = pa.binary(values.shape[1] * 4)
            arrays.append(pa.Array.from_buffers(kind, len(values), [None, pa.py_buffer(values.tobytes())]))
        else:
            arrow = series.to_arrow()
            arrays.append(arrow.cast(pa.string()) if pa.types.is_large_string(arrow.type) else arrow)
        names.append(series.name)
    return pa.table(dict(zip(names, arrays, strict=True)))


def keys(ids: Sequence[str] | pl.Series, seed: int) -> np.ndarray:
    """Return a (n,) uint64 hash of each id and the seed: the source of every random choice about a row."""
    return np.fromiter((xxhash.xxh3_64_intdigest(i.encode(), seed) for i in ids), dtype=np.uint64, count=len(ids))
