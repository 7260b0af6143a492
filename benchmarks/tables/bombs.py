"""Score files that were made to fill the memory, and print what happens: one line, seconds, and peak memory.

Each file goes through `curate score DATA --scorer length` in a process of its own, with 6 GB of address space.

Run: python benchmarks/tables/bombs.py
"""

import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.ipc
import pyarrow.parquet as pq

MB = 1 << 20
LIMIT = 6 << 30  # bytes of address space; the libraries take about 2 GB of it
COMMAND = "from pipelines.shared.cli import main; main()"


def same(value: str, rows: int) -> pa.Array:
    """Return a column with one value in every row, which takes the memory of one value."""
    return pa.DictionaryArray.from_arrays(np.zeros(rows, np.int32), pa.array([value]))


def parquet(path: Path, text: pa.Array, *, categories: bool = False) -> None:
    pq.write_table(pa.table({"text": text}), path, store_schema=categories, compression="zstd")


def stream(path: Path, text: pa.Array) -> None:
    options = pa.ipc.IpcWriteOptions(compression="zstd")
    schema = pa.schema([("text", text.type)])
    with pa.OSFile(str(path), "wb") as sink, pa.ipc.new_stream(sink, schema, options=options) as writer:
        writer.write_batch(pa.record_batch([text], schema=schema))


def bombs(folder: Path) -> dict[str, tuple[Path, float]]:
    """Write the files; return what each is, its path, and its decoded gigabytes."""
    long, book = "a" * (2 * MB), same("a" * (2 * MB), 4096)
    files = {
        "Parquet dictionary, 2 MB in 4,096 rows": (folder / "a.parquet", 8.6),
        "Parquet categories, 2 MB in 4,096 rows": (folder / "b.parquet", 8.6),
        "Parquet dictionary, 1.9 MB in 4,096 rows": (folder / "c.parquet", 8.2),
        "Arrow stream, 2 MB in 4,096 rows": (folder / "d.arrow", 8.6),
        "Arrow stream, 2^31 - 1 rows of null": (folder / "e.arrow", 0.0),
        "Parquet, prompt of 20 kB in 4,096 rows (real)": (folder / "f.parquet", 0.08),
    }
    paths = [path for path, _ in files.values()]
    parquet(paths[0], book)
    parquet(paths[1], book, categories=True)
    parquet(paths[2], same(long[:1_900_000], 4096))
    stream(paths[3], book)
    stream(paths[4], pa.Array.from_buffers(pa.null(), 2**31 - 1, [None]))
    parquet(paths[5], same("a" * 20_000, 4096))
    return files


def scored(path: Path, out: Path) -> tuple[str, float, float]:
    """Score a file; return its message, the seconds, and the peak memory in MB."""
    started = time.perf_counter()
    process = subprocess.Popen(
        [sys.executable, "-c", COMMAND, "score", str(path), "--scorer", "length", "--workers", "1", "--out", str(out)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (LIMIT, LIMIT)),
    )
    _, error = process.communicate()
    seconds = time.perf_counter() - started
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024  # the largest child so far
    lines = [
        line for line in error.splitlines() if line.strip() and not line.startswith(("rows scored", "files scored"))
    ]
    message = "scored" if process.returncode == 0 else lines[-1][-60:] if lines else "nothing on stderr"
    return f"exit {process.returncode}: {message}", seconds, peak


def main() -> None:
    rows = []
    with tempfile.TemporaryDirectory() as folder:
        for number, (what, (path, gigabytes)) in enumerate(bombs(Path(folder)).items()):
            message, seconds, peak = scored(path, Path(folder) / f"out{number}")
            size = path.stat().st_size
            rows.append((what, size, gigabytes, round(seconds, 1), round(peak), message))
    columns = ["file", "bytes", "decoded GB", "seconds", "largest peak so far MB", "what happens"]
    with pl.Config(tbl_rows=-1, tbl_width_chars=200, fmt_str_lengths=70, tbl_hide_dataframe_shape=True):
        print(pl.DataFrame(rows, schema=columns, orient="row"))


if __name__ == "__main__":
    main()
