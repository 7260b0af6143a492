"""What learners of vectors cost, and what is done on the driver: python benchmarks/scorers/vector_learners.py

The first table runs the command line on real texts (Python sources and documents of this machine, --megabytes of them,
chosen with a seed). The learners' CPU-seconds are those of the job without those of embedding alone. The second table
learns from synthetic vectors in --parts parts with two workers. The share of the driver is its CPU time, divided by
that of a job in which every part is 64 MB of text and is embedded at the speed of the first table.
"""

import argparse
import os
import random
import resource
import subprocess
import sys
import sysconfig
import tempfile
import time
from importlib import import_module
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl

from curate.engines.local import Local
from curate.tables.corpus import Corpus, FramePart

WIDTH, PART_MEGABYTES = 384, 64
COMMAND = "from pipelines.shared.cli import main; main()"
JOBS: tuple[tuple[str, ...], ...] = (
    ("embedding",),
    ("embedding", "semdedup"),
    ("embedding", "semdedup", "prototypes"),
    ("embedding", "semdedup", "prototypes", "density"),
)
LEARNERS = ("semdedup", "prototypes", "density", "moderate", "coverage")


def texts(megabytes: float) -> pl.DataFrame:
    """Return real texts of about this size in all."""
    paths = [
        *Path(sysconfig.get_paths()["stdlib"]).rglob("*.py"),
        *(path for path in Path("/usr/share/doc").rglob("*") if path.is_file() and path.suffix in ("", ".txt")),
    ]
    random.Random(0).shuffle(paths := sorted(paths))
    rows, size = [], 0
    for path in paths:
        text = path.read_text(encoding="utf-8", errors="ignore")
        if text and size < megabytes * 1e6:
            rows.append({"id": str(path), "text": text})
            size += len(text.encode())
    return pl.DataFrame(rows)


def job(data: Path, out: Path, scorers: tuple[str, ...]) -> float:
    """Run a scoring job and return the CPU-seconds of all its processes."""
    before = children()
    words = [word for name in scorers for word in ("--scorer", name)]
    subprocess.run(
        [sys.executable, "-c", COMMAND, "score", data, *words, "--out", out, "--workers", "2"],
        check=True,
        capture_output=True,
    )
    return children() - before


def children() -> float:
    return sum(resource.getrusage(resource.RUSAGE_CHILDREN)[:2])


def parts(count: int, rows: int) -> list[FramePart]:
    """Return parts of unit vectors: topics with noise; a tenth of the rows are near copies of others."""
    rng = np.random.default_rng(0)
    topics = rng.normal(size=(200, WIDTH))
    result = []
    for number in range(count):
        x = topics[rng.integers(0, 200, rows)] + 1.5 * rng.normal(size=(rows, WIDTH))
        x[: rows // 10] = x[rows // 2 : rows // 2 + rows // 10] + 0.1 * rng.normal(size=(rows // 10, WIDTH))
        x = (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)
        frame = pl.DataFrame({"id": [f"{number}-{i}" for i in range(rows)]}).with_columns(
            pl.Series("emb.x", x, dtype=pl.Array(pl.Float32, WIDTH)), label=pl.Series(rng.integers(0, 4, rows))
        )
        result.append(FramePart(f"part-{number}", (frame,)))
    return result


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--megabytes", type=float, default=20)
    parser.add_argument("--parts", type=int, default=200)
    parser.add_argument("--rows", type=int, default=200, help="of a part")
    parser.add_argument("--only", default="", help="learners of the second table")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        frame = texts(arguments.megabytes)
        megabytes = sum(len(text.encode()) for text in frame["text"]) / 1e6
        (folder / "data").mkdir()
        for number, part in enumerate(frame.iter_slices(-(-frame.height // 4))):
            part.write_parquet(folder / "data" / f"{number}.parquet")
        title = f"{frame.height:,} texts, {megabytes:.1f} MB"
        print(f"{title:46}{'CPU s':>8}{'MB/CPU s':>10}{'learners, CPU s':>17}", flush=True)
        alone = 0.0
        for number, scorers in enumerate(JOBS):
            cpu = job(folder / "data", folder / f"out{number}", scorers)
            alone = alone or cpu
            print(f"{' + '.join(scorers):46}{cpu:8.1f}{megabytes / cpu:10.2f}{cpu - alone:17.1f}", flush=True)
        embedding = arguments.parts * PART_MEGABYTES * alone / megabytes
        rows = arguments.parts * arguments.rows
        title = f"{arguments.parts} parts, {rows:,} vectors"
        print(f"\n{title:46}{'driver s':>10}{'workers s':>11}{'driver of a job':>17}", flush=True)
        vectors = parts(arguments.parts, arguments.rows)
        for learner in (name for name in LEARNERS if arguments.only in name):
            learn = import_module(f"curate.scorers.{learner}").learn
            before, start = children(), time.process_time()
            with Local(2).session() as engine:
                learn(Corpus(vectors, folder / learner, engine), embedding="emb.x")
            driver, workers = time.process_time() - start, children() - before
            share = driver / (driver + workers + embedding)
            print(f"{learner:46}{driver:10.2f}{workers:11.2f}{share:17.2%}", flush=True)


if __name__ == "__main__":
    main()
