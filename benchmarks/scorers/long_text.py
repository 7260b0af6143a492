"""What one very long text costs: peak memory and CPU of `curate score`, beside the same command on the scorer `length`.

    python benchmarks/scorers/long_text.py --mb 16

The text consists of random words. Every command runs in a process of its own, with one numerical thread; the first line
of the table is what starting, reading and decoding cost, which the other lines contain.
"""

import argparse
import random
import sys
import tempfile
from pathlib import Path

import polars as pl

sys.path.insert(0, str(Path(__file__).parents[1]))
from engine_rows import jobs

SCORERS = ("length", "repetition", "gopher:rules=repetition", "gopher:rules=quality", "c4", "fineweb")
WORDS = 20_000  # different words
LINE = 12  # words in a line


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--mb", type=float, default=16)
    size = parser.parse_args().mb
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        pl.DataFrame({"text": [text(round(size * 1e6))]}).write_parquet(folder / "data.parquet")
        lines = []
        for number, scorer in enumerate(SCORERS):
            cost = jobs.required(jobs.score(folder / "data.parquet", [scorer], folder / f"out{number}"))
            lines.append({"scorer": scorer, "peak MB": round(cost.peak), "CPU s": round(cost.cpu, 1)})
    print(f"one text of {size:g} MB")
    print(pl.DataFrame(lines))


def text(size: int) -> str:
    """Return random words in lines, about so many bytes."""
    rng = random.Random(0)
    letters = "abcdefghijklmnopqrstuvwxyz"
    words = ["".join(rng.choices(letters, k=rng.randint(2, 10))) for _ in range(WORDS)]
    parts: list[str] = []
    total = 0
    while total < size:
        line = " ".join(rng.choices(words, k=LINE)) + ".\n"
        parts.append(line)
        total += len(line)
    return "".join(parts)


if __name__ == "__main__":
    main()
