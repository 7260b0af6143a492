"""The scorer ``agreement`` beside ``duplicates`` alone: CPU time and memory at several sizes.

    python benchmarks/scorers/agreement_of_sources.py [--rows N ...]

Five sources hold texts of 40 words, most of them drawn from one common set, and half of them with one word changed. So
most texts have a near copy in another source. Each job runs in one process with one thread, from Parquet files to score
files. The peak is that of the process.
"""

import argparse
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
from engine_rows import jobs

SEED, SOURCES, WORDS = 0, 5, 40


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
            alone = jobs.required(jobs.score(folder / "data", ["duplicates"], folder / "alone"))
            both = jobs.required(jobs.score(folder / "data", ["duplicates", "agreement"], folder / "both"))
            scores = pl.read_parquet(folder / "both" / "**" / "*.scores.parquet", columns=["score.agreement"])
        shared = (scores["score.agreement"] > 0).mean()
        cells = [f"{alone.cpu:.2f}", f"{alone.peak:.0f}", f"{both.cpu:.2f}", f"{both.peak:.0f}", f"{shared:.2f}"]
        print(f"| {rows} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main()
