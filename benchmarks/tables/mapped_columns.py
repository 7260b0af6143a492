"""What it costs to read columns under other names, beside the same rows under our names.

Example: python benchmarks/tables/mapped_columns.py --mb 8 --repeats 5

Prints CPU-seconds of reading texts with their identity (the median of the repeats, which alternate), for Parquet and
for JSON lines, and the ratio to the file with our names. The text is Python's own source.
"""

import argparse
import json
import sysconfig
import tempfile
import time
from pathlib import Path
from statistics import median

import polars as pl

from curate.tables import batches
from curate.tables.mapping.options import mapping
from curate.tables.reading import Reading
from curate.tables.scored_inputs.row_hash import RowHasher
from curate.tables.shards import Shard

RENAMES = 'text="Raw Content",id=DocID,source=origin,tokens=n'
# Name of each way to read: the options, and whether the file has our names.
WAYS = {
    "our names": ("", "", ""),
    "four other names": (RENAMES, "", ""),
    "source=lower(meta.domain)": ("text=Raw Content,id=DocID,source=lower(meta.domain),tokens=n", "", ""),
    "--join head,rest": ("id=DocID,source=origin,tokens=n", "head,rest", ""),
    "--render chat": ("text=messages,id=DocID,source=origin,tokens=n", "", "chat"),
}


def rows(megabytes: float) -> pl.DataFrame:
    """Return Python sources, cut into texts of at most 4 kB, under our names."""
    texts: list[str] = []
    size = 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        source = path.read_text(encoding="utf-8", errors="ignore")
        texts += [source[i : i + 4000] for i in range(0, len(source), 4000)]
        size += len(source)
        if size > megabytes * 2**20:
            break
    n = len(texts)
    return pl.DataFrame(
        {
            "text": texts,
            "id": [f"doc-{i}" for i in range(n)],
            "source": [f"site{i % 7}.org" for i in range(n)],
            "tokens": [len(text) // 4 + 1 for text in texts],
        }
    )


def files(ours: pl.DataFrame, folder: Path, kind: str) -> dict[str, Shard]:
    """Write one file for each way to read."""
    theirs = ours.rename({"text": "Raw Content", "id": "DocID", "source": "origin", "tokens": "n"})
    text = pl.col("Raw Content")
    message = pl.struct(role=pl.lit("user"), content=text)
    frames = {
        "our names": ours,
        "four other names": theirs,
        "source=lower(meta.domain)": theirs.with_columns(meta=pl.struct(domain="origin", n="n")).drop("origin"),
        "--join head,rest": theirs.with_columns(head=text.str.head(2000), rest=text.str.slice(2000)).drop(
            "Raw Content"
        ),
        "--render chat": theirs.with_columns(messages=pl.concat_list(message)).drop("Raw Content"),
    }
    shards = {}
    for number, (name, frame) in enumerate(frames.items()):
        path = folder / f"{number}.{kind}"
        if kind == "parquet":
            frame.write_parquet(path)
        else:
            path.write_text("".join(json.dumps(row) + "\n" for row in frame.iter_rows(named=True)), encoding="utf-8")
        shards[name] = Shard(path, path.name)
    return shards


def seconds(shard: Shard, name: str) -> float:
    """Return the CPU-seconds of reading and hashing a file, as `curate score` does."""
    columns, join, render = WAYS[name]
    text_column, mapped = mapping(columns, "text", join, render)
    reading = Reading(text_column, mapping=mapped)
    began = time.process_time()
    for _ in batches.batches(shard, ("text",), reading=reading, hasher=RowHasher()):
        pass
    return time.process_time() - began


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--mb", type=float, default=8)
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    ours = rows(options.mb)
    table = []
    with tempfile.TemporaryDirectory() as folder:
        for kind in ("parquet", "jsonl"):
            shards = files(ours, Path(folder), kind)
            times: dict[str, list[float]] = {name: [] for name in WAYS}
            for repeat in range(options.repeats + 1):
                for name, shard in shards.items():
                    taken = seconds(shard, name)
                    # The first reading of each file warms caches, and is not counted.
                    times[name] += [taken] if repeat else []
            base = median(times["our names"])
            table += [
                {"format": kind, "read": name, "CPU-s": median(taken), "ratio": median(taken) / base}
                for name, taken in times.items()
            ]
    print(f"{ours.height:,} rows, {ours['text'].str.len_bytes().sum() / 2**20:.1f} MB of text")
    with pl.Config(tbl_hide_dataframe_shape=True, tbl_rows=20, fmt_str_lengths=40, float_precision=3):
        print(pl.DataFrame(table))


if __name__ == "__main__":
    main()
