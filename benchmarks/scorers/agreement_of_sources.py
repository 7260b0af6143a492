"""The scorer ``agreement`` beside ``duplicates`` alone: CPU time and memory at several sizes.

    python benchmarks/scorers/agreement_of_sources.py [--rows N ...]

Five sources hold texts of 40 words, most of them drawn from one common set, and half of them with one word changed. So
most texts have a near copy in another source. Each job runs in one process with one thread, from Parquet files to score
files. The peak is that of the process.
"""

import argparse
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

SEED, SOURCES, WORDS = 0, 5, 40
PROGRAM = """
import resource
from pipelines.shared.cli import main
try:
    main()
except SystemExit as end:
    assert not end.code
usage = resource.getrusage(resource.RUSAGE_SELF)
print(usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024)
"""


def write_sources(rows: int, folder: Path) -> None:
    """Write the rows of five sources as Parquet files, in folders of their own."""
    rng = np.random.default_rng(SEED)
    vocabulary = np.array([f"w{i:x}" for i in rng.integers(0, 1 << 30, 20_000)])
    common = rng.integers(0, vocabulary.size, (rows * 3 // SOURCES, WORDS))
    for source in range(SOURCES):
        words = common[rng.integers(0, len(common), rows // SOURCES)]
        changed = rng.random(len(words)) < 0.5
        words[changed, 5] = rng.integers(0, vocabulary.size, changed.sum())
        path = folder / f"source-{source}" / "rows.parquet"
        path.parent.mkdir(parents=True)
        texts = [" ".join(line) for line in vocabulary[words].tolist()]
        frame = pl.DataFrame({"id": [f"{source}-{i}" for i in range(len(words))], "text": texts})
        frame.write_parquet(path, row_group_size=20_000)


def measured(data: Path, out: Path, scorers: Sequence[str]) -> tuple[float, float]:
    """Score data in one process; return its CPU-seconds and its peak in MB."""
    chosen = [word for scorer in scorers for word in ("--scorer", scorer)]
    command = [sys.executable, "-c", PROGRAM, "score", str(data), *chosen, "--workers", "1", "--out", str(out)]
    environment = os.environ | {"OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    reply = subprocess.run(command, env=environment, check=True, capture_output=True, text=True)
    seconds, peak = map(float, reply.stdout.split()[-2:])
    return seconds, peak


def main() -> None:
    """Measure, and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, nargs="+", default=[50_000, 200_000])
    options = parser.parse_args()
    print("| rows | `duplicates`: CPU-s | peak MB | with `agreement`: CPU-s | peak MB | rows that other sources have |")
    print("|---|---|---|---|---|---|")
    for rows in options.rows:
        with TemporaryDirectory() as name:
            folder = Path(name)
            write_sources(rows, folder / "data")
            alone = measured(folder / "data", folder / "alone", ["duplicates"])
            both = measured(folder / "data", folder / "both", ["duplicates", "agreement"])
            scores = pl.read_parquet(folder / "both" / "**" / "*.scores.parquet", columns=["score.agreement"])
        shared = (scores["score.agreement"] > 0).mean()
        cells = [f"{alone[0]:.2f}", f"{alone[1]:.0f}", f"{both[0]:.2f}", f"{both[1]:.0f}", f"{shared:.2f}"]
        print(f"| {rows} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
