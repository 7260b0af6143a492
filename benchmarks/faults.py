"""kill -9 at random moments, again and again until the job ends by itself: the bytes must be those of a calm run.

    python benchmarks/faults.py --kills 100 --tiny 10000

Prints counts: kills, where they fell (nothing done yet, between files, inside a long file), runs that ended with other
bytes, and what 10,000 tiny files take.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from tempfile import mkdtemp

import numpy as np
import polars as pl

CURATE = str(Path(sys.executable).parent / "curate")


def corpus(folder: Path) -> None:
    """One long file of 150,000 short texts in groups of 20,000 rows, and eight small ones of 500 longer texts."""
    folder.mkdir(parents=True)
    rng = np.random.default_rng(0)
    words = np.array([f"w{i}" for i in range(500)])
    short = [" ".join(words[rng.integers(0, 500, 12)]) for _ in range(1000)]
    pl.DataFrame({"text": short * 150}).write_parquet(folder / "long.parquet", row_group_size=20_000)
    for i in range(8):
        texts = [" ".join(words[rng.integers(0, 500, 300)]) for _ in range(500)]
        pl.DataFrame({"text": texts}).write_parquet(folder / f"{i}.parquet")


def start(data: Path, out: Path, workers: int) -> subprocess.Popen:
    command = [
        CURATE,
        "score",
        str(data),
        "--scorer",
        "length",
        "--scorer",
        "compression",
        "--scorer",
        "embedding:width=16",
    ]
    command += ["--workers", str(workers), "--out", str(out)]
    return subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True)


def tree(folder: Path) -> dict[str, bytes]:
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith("."))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def moment(out: Path) -> str:
    parts = list((out / "_curate").rglob("parts/*/*/*.arrow"))
    done = list(out.glob("*.scores.parquet"))
    return "inside the long file" if parts else "between files" if done else "nothing done yet"


def campaign(folder: Path, kills: int, seed: int) -> None:
    rng, data, calm = random.Random(seed), folder / "data", folder / "calm"
    corpus(data)
    began = time.monotonic()
    if start(data, calm, 1).wait():
        raise SystemExit("the calm run failed")
    span, expected = time.monotonic() - began, tree(calm)
    counts: Counter[str] = Counter()
    out, run = folder / "out", None
    while counts["kills"] < kills:
        workers = rng.choice([1, 2])
        run = start(data, out, workers)
        try:
            run.wait(rng.uniform(0.1, 1.0) * span)
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            counts["kills"] += 1
            counts[moment(out)] += 1
            continue
        judge(run, out, expected, counts)
        shutil.rmtree(out)
    judge(last := start(data, out, 1), out, expected, counts, wait=True)
    assert last.returncode is not None
    for name, count in sorted(counts.items()):
        print(f"{name}: {count}")
    sys.stdout.flush()


def judge(run: subprocess.Popen, out: Path, expected: dict[str, bytes], counts: Counter, *, wait: bool = False) -> None:
    _, said = run.communicate() if wait else (None, run.stderr.read())
    counts["jobs that ended"] += 1
    counts["jobs that ended with an error"] += run.returncode != 0
    counts["jobs that ended with other bytes"] += tree(out) != expected
    if run.returncode:
        print(said.decode()[-500:])


def tiny(folder: Path, count: int) -> None:
    data, out = folder / "tiny", folder / "tiny-out"
    data.mkdir()
    for i in range(count):
        (data / f"{i:05d}.jsonl").write_text(f'{{"text": "document {i}"}}\n')
    for what in ("score", "again, all done"):
        began = time.monotonic()
        run = start(data, out, 1)
        run.communicate()
        print(f"{count} tiny files, {what}: {time.monotonic() - began:.1f} s, exit code {run.returncode}", flush=True)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--tiny", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    asked = parser.parse_args()
    folder = Path(mkdtemp())
    try:
        campaign(folder, asked.kills, asked.seed)
        tiny(folder, asked.tiny)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
