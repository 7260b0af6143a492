"""What scorers need while they learn: python benchmarks/scorers/memory_of_learners.py --rows 200000,1000000

Every scorer learns from synthetic rows in 40 parts, with two workers, in a process of its own. Rows are made where they
are read: 12 random words, and a random vector of 16 numbers. The table shows the largest memory of the process that
learns (the driver) and of a worker, and the CPU-seconds of both. A process that has imported the libraries takes about
100 MB.
"""

import argparse
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib import import_module
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl

from curate.engines.local import Local
from curate.tables.corpus import Corpus

PARTS, BATCH, WIDTH = 40, 5000, 16
OPTIONS: dict[str, dict[str, object]] = {
    "duplicates": {},
    "perplexity": {},
    "prototypes": {},
    "semdedup": {},
    # More planes take more time, and not more memory.
    "coverage": {"planes": 4},
    "d2": {"near": 5},
}


@dataclass(frozen=True)
class RandomPart:
    """Rows that are drawn anew, the same each time, whenever they are read."""

    number: int
    rows: int
    generation: int = 0

    @property
    def name(self) -> str:
        """The number of the part."""
        return f"part-{self.number}"

    def batches(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the column ``id`` and the columns ``needs``, batch by batch."""
        for first in range(0, self.rows, BATCH):
            count = min(BATCH, self.rows - first)
            rng = np.random.default_rng((self.number, first))
            words = rng.integers(0, 50_000, (count, 12)).tolist() if "text" in needs else []
            columns = {
                "id": [f"{self.number}-{first + i}" for i in range(count)],
                "text": [" ".join(map(str, line)) for line in words] or [""] * count,
                "score.prototypes": rng.random(count),
                "emb.hashed": pl.Series(
                    rng.normal(size=(count, WIDTH)).astype(np.float32), dtype=pl.Array(pl.Float32, WIDTH)
                ),
            }
            yield pl.DataFrame(columns).select("id", *needs)


def learn(name: str, rows: int) -> None:
    """Let one scorer learn, and print a line of the table."""
    learner = import_module(f"curate.scorers.{name}")
    with tempfile.TemporaryDirectory() as folder, Local(2).session() as workers:
        parts = [RandomPart(number, rows // PARTS) for number in range(PARTS)]
        before = time.process_time()
        learner.learn(Corpus(parts, Path(folder), workers), **OPTIONS[name])
        seconds = time.process_time() - before
    own, others = resource.getrusage(resource.RUSAGE_SELF), resource.getrusage(resource.RUSAGE_CHILDREN)
    print(
        f"| {name} | {rows} | {own.ru_maxrss / 1024:.0f} | {others.ru_maxrss / 1024:.0f} | {seconds:.1f} | "
        f"{others.ru_utime + others.ru_stime:.1f} |",
        flush=True,
    )


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=(__doc__ or "").partition("\n")[0])
    parser.add_argument("--rows", default="50000,200000", help="numbers of rows, joined by commas")
    parser.add_argument("--scorers", default=",".join(OPTIONS), help="scorers, joined by commas")
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        learn(options.scorers, int(options.rows))
        return
    head = ("scorer", "rows", "MB of the driver", "of a worker", "CPU-s of the driver", "of the workers")
    print(f"| {' | '.join(head)} |\n|{'---|' * len(head)}", flush=True)
    for name in options.scorers.split(","):
        for rows in options.rows.split(","):
            subprocess.run([sys.executable, __file__, "--one", "--scorers", name, "--rows", rows], check=True)


if __name__ == "__main__":
    main()
