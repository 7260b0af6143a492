"""The process that learns does little itself, so that more workers make learning faster.

A part of a large job is about 64 MB of text. Learning from it takes a worker some CPU-seconds. The driver, the process
that learns, may take 2 % of that: then 1 / .02 = 50 workers can be busy. What the driver does for a part hardly depends
on the rows of the part. So it is measured with small parts, and compared with the CPU-seconds of parts of 64 MB.
"""

import time
from importlib import import_module
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curate.engines.local import Local
from curate.tables.corpus import Corpus, FilePart
from curate.tables.shards import Shard

PART_MB, SHARE = 64, 0.02
ROWS = 40  # of a part
# MB of text that a worker learns from in a CPU-second: the fastest that the benchmarks of text_speed, ngram_tables and
# encoders show, so that the share is not too small. Vectors are first made by the encoder `hashed`.
SPEEDS = {"duplicates": 20, "dsir": 20, "perplexity": 20}
SPEED_OF_VECTORS = 30
# d2 is not among them: its rows are selected one after the other, in the driver, as its docstring says.
OPTIONS = {
    "duplicates": {},
    "dsir": {"target": "target"},
    "perplexity": {},
    "prototypes": {"k": 16},
    "density": {"k": 16},
    "semdedup": {},
    "moderate": {},
    "class_prototypes": {},
    "coverage": {"planes": 8},
    "dynamics": {"checkpoints": 1, "sample": 1000},
}


def files_of_rows(folder: Path, parts: int) -> list[FilePart]:
    """Write files of rows; a tenth of the texts of a file are copies of those of the file before, nearly or wholly."""
    rng = np.random.default_rng(0)
    vocabulary = np.array([f"w{i:x}" for i in range(5000)])
    files, before = [], np.zeros((ROWS, 40), np.int64)
    for part in range(parts):
        words = rng.integers(0, len(vocabulary), (ROWS, 40))
        words[:4] = before[-4:]
        words[:2, 0] = 0
        before = words
        vectors = rng.normal(size=(ROWS, 16)).astype(np.float32)
        path = folder / f"{part}.parquet"
        frame = pl.DataFrame(
            {
                "id": [f"{part}-{i}" for i in range(ROWS)],
                "text": [" ".join(line) for line in vocabulary[words].tolist()],
                "label": rng.integers(0, 3, ROWS),
                "emb.hashed": pl.Series(vectors, dtype=pl.Array(pl.Float32, 16)),
            }
        )
        frame.write_parquet(path)
        files.append(FilePart((Shard(path, path.name),)))
    return files


def driver_seconds(name: str, folder: Path, parts: int) -> float:
    """Return the CPU-seconds of this process while a scorer learns with two workers."""
    options = dict(OPTIONS[name])
    files = files_of_rows(folder, parts)
    if "target" in options:
        options["target"] = str(folder / "0.parquet")
    learner = import_module(f"curate.scorers.{name}")
    with Local(2).session() as workers:
        # Workers start, and modules are imported, once for each job, whatever its size.
        list(workers.run(abs, range(2)))
        learner.learn(Corpus(files[:3], folder / "first", workers), **options)
        before = time.process_time()
        learner.learn(Corpus(files, folder / "work", workers), **options)
        return time.process_time() - before


def check(name: str, folder: Path, parts: int) -> None:
    seconds = driver_seconds(name, folder, parts)
    worker_seconds = parts * PART_MB / SPEEDS.get(name, SPEED_OF_VECTORS)
    share = seconds / worker_seconds
    assert share < SHARE, f"{name}: {1000 * seconds / parts:.1f} ms of the driver for each of {parts} parts"


def test_the_driver_does_little_for_a_part(tmp_path):
    check("duplicates", tmp_path, 20)


@pytest.mark.slow
@pytest.mark.parametrize("name", OPTIONS)
def test_the_driver_takes_less_than_two_percent_with_200_parts(name, tmp_path):
    check(name, tmp_path, 200)
