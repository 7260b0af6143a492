"""What requirements cost: CPU seconds and peak memory of `prune`, beside a prune without them and a plain reading.

    python benchmarks/pruning/requirements.py --rows 1e5,1e6

Each figure is of a process of its own, with one thread, on score files of six columns: the least seconds of --repeats,
and the largest peak. `read` reads every column of the score files once, as `prune` does. `rank` is a prune by a
threshold. `require` applies two requirements alone, `require and rank` both. `duplicates` adds a lower bound on
score.duplicates. A tenth of the rows copy another row, and a tenth are like another one.
"""

import argparse
import json
import os
import subprocess
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl

from curate.streaming.near_duplicates.finished import LINKS_OF_PART, RECORD
from curate.tables import batches
from curate.tables.corpus import array_files

FILE_ROWS = 250_000
ROOT = Path(__file__).parents[2]
ONE_THREAD = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")}
ONE_THREAD["PYTHONPATH"] = str(ROOT)
REQUIRE = ("score.y > -1", "score.z / tokens < 0.5")
RANK = {"by": "score.x", "keep": 0.0, "rule": "threshold", "max_source_removal": 1}
JOBS: dict[str, dict[str, object] | None] = {
    "read": None,
    "rank": RANK,
    "require": {"require": REQUIRE},
    "require and rank": {"require": REQUIRE, **RANK},
    "duplicates": {"require": (*REQUIRE, "score.duplicates >= 0.25")},
}
RUN = """
import json, sys, time
from pathlib import Path
from curate.pruning.prune import prune
from curate.tables import scored
from curate.tables.row_ranges import row_ranges
options = json.loads(sys.argv[3])
start = time.process_time()
if options is None:
    columns = ("score.x", "score.y", "score.z", "score.duplicates")
    for shard in scored.score_files(Path(sys.argv[1])):
        for rows in row_ranges(shard):
            for frame in scored.light_batches(rows, columns, ("id", "source", "tokens")):
                pass
else:
    prune(Path(sys.argv[1]), Path(sys.argv[2]), **options)
seconds = time.process_time() - start
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([seconds, int(peak.split()[1]) / 1024]))
"""


def score_files(out: Path, rows: int) -> Path:
    """Write score files of ``rows`` rows in three sources, and the links of their duplicates."""
    rng = np.random.default_rng(0)
    ids = [f"document-{i}" for i in range(rows)]
    keys = batches.keys(ids, 0)
    # Row i and row i + 1 are linked for every tenth i, by equal or by similar texts; the smaller hash comes first.
    linked = np.arange(0, rows - 1, 5)
    pairs = np.sort(np.stack([keys[linked], keys[linked + 1]], axis=1), axis=1)
    equal = np.arange(len(linked)) % 2 == 0
    levels = np.where(equal, 1.0, 0.8)
    later = np.where(keys[linked] > keys[linked + 1], linked, linked + 1)
    duplicates = np.ones(rows)
    duplicates[later] = 1 - levels
    folder = out / "_curate" / "duplicates"
    arrays = {"first": pairs[:, 0], "second": pairs[:, 1], "similarity": levels, "equal": equal}
    array_files.write_arrays(folder / LINKS_OF_PART / "part.npz", arrays)
    record = {"settings": np.array([14, 8, 5, 0, 0.75]), "parts": np.array(["part"]), "generations": np.array([0])}
    array_files.write_arrays(folder / RECORD, record)
    for i, start in enumerate(range(0, rows, FILE_ROWS)):
        n = min(FILE_ROWS, rows - start)
        columns = {
            "id": ids[start : start + n],
            "source": rng.choice(["web", "book", "code"], n),
            "tokens": rng.lognormal(5, 1, n).astype(np.int64) + 1,
            **{f"score.{name}": rng.normal(size=n) for name in "xyz"},
            "score.duplicates": duplicates[start : start + n],
        }
        batches.write(out / f"{i:04d}.parquet.scores.parquet", [pl.DataFrame(columns)])
    job = {"data": ["inputs"], "text_column": "text", "scorers": ["duplicates"], "batch_rows": 4096}
    (out / "_curate" / "score.json").write_text(json.dumps(job))
    return out


def measured(scores: Path, job: str) -> tuple[float, float]:
    """Return CPU seconds and peak MB of one job."""
    with TemporaryDirectory() as kept:
        command = [sys.executable, "-c", RUN, str(scores), kept, json.dumps(JOBS[job])]
        done = subprocess.run(command, capture_output=True, text=True, env=ONE_THREAD, cwd=scores)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e5,1e6")
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    print("| rows | job | CPU s | peak MB |")
    print("|---|---|---|---|")
    with TemporaryDirectory() as folder:
        for rows in (int(float(item)) for item in options.rows.split(",")):
            scores = score_files(Path(folder) / str(rows), rows)
            for job in JOBS:
                runs = [measured(scores, job) for _ in range(options.repeats)]
                print(f"| {rows:,} | {job} | {min(run[0] for run in runs):.2f} | {max(run[1] for run in runs):.0f} |")


if __name__ == "__main__":
    main()
