"""JSON lines: CPU seconds and peak memory of `curate score`, with the reader of this version or of another checkout.

    python benchmarks/scoring/json_lines.py --megabytes 100 --other /path/to/another/checkout

A line has an id, a text of about 600 characters and 20 other columns, which no scorer reads. Each figure is the least
of three runs through the command line, with one worker and one thread, of a process of its own.
"""

import argparse
import json
import os
import random
import resource
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

RUNS = 3
HERE = Path(__file__).parents[2]
THREADS = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")
WORDS = [f"{a}{b}" for a in ("re", "un", "con", "pro", "de") for b in range(400)]


def make(path: Path, size: int, *, vectors: bool) -> int:
    """Write lines until the file has ``size`` bytes; return how many."""
    draw, lines, written = random.Random(0), 0, 0
    with path.open("w", encoding="utf-8") as file:
        while written < size:
            row: dict[str, object] = {"id": f"d{lines}", "text": " ".join(draw.choices(WORDS, k=100))}
            row |= {f"number{i}": draw.random() for i in range(8)}
            row |= {f"word{i}": draw.choice(WORDS) for i in range(8)}
            row |= {"tags": draw.choices(WORDS, k=5), "meta": {"url": "https://example.org/" + draw.choice(WORDS)}}
            row |= {"flag": lines % 2 == 0, "nothing": None}
            if vectors:
                row["emb.e"] = [draw.gauss(0, 1) for _ in range(384)]
            written += file.write(json.dumps(row) + "\n")
            lines += 1
    return lines


def measure(tree: Path, data: Path, scorer: str) -> tuple[float, float]:
    """Return the CPU seconds and the peak memory in MB of one scoring job with the code in ``tree``."""
    seconds, peaks = [], []
    for _ in range(RUNS):
        with TemporaryDirectory() as folder:
            code = (
                "import json, resource, sys; from pipelines.shared.cli import main\n"
                "try: main()\n"
                "except SystemExit as stop: code = stop.code or 0\n"
                "else: code = 0\n"
                "kind = resource.RUSAGE_SELF; use = resource.getrusage(kind)\n"
                "print('USED', use.ru_utime + use.ru_stime, use.ru_maxrss / 1024, code)"
            )
            words = ["score", str(data), "--scorer", scorer, "--workers", "1", "--out", f"{folder}/out"]
            done = subprocess.run(
                [sys.executable, "-c", code, *words],
                env={**os.environ, **THREADS, "PYTHONPATH": str(tree)},
                capture_output=True,
                text=True,
                check=True,
                cwd=folder,
            )
            (line,) = [line for line in done.stdout.splitlines() if line.startswith("USED")]
            _, used, peak, stopped = line.split()
            assert stopped == "0", done.stderr
            seconds.append(float(used))
            peaks.append(float(peak))
    return min(seconds), min(peaks)


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--megabytes", type=float, default=100)
    parser.add_argument("--other", type=Path, help="another checkout, such as one before a change")
    arguments = parser.parse_args()
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    trees = {"this version": HERE} | ({"other": arguments.other.resolve()} if arguments.other else {})
    print(f"{'lines':>8}  {'scorer':<28}{'reader':<14}{'CPU s':>8}{'peak MB':>10}")
    with TemporaryDirectory() as folder:
        for name, scorer, vectors in (
            ("text", "length", False),
            ("vectors", "prototypes:k=8,embedding=emb.e", True),
        ):
            data = Path(folder) / f"{name}.jsonl"
            lines = make(data, int(arguments.megabytes * 1e6), vectors=vectors)
            for reader, tree in trees.items():
                seconds, peak = measure(tree, data, scorer)
                print(f"{lines:>8}  {scorer:<28}{reader:<14}{seconds:>8.2f}{peak:>10.0f}", flush=True)


if __name__ == "__main__":
    main()
