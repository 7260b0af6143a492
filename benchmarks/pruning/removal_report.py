"""What the report of `prune` on rows, tokens and length costs: CPU seconds and peak memory, by rows and rule.

    python benchmarks/pruning/removal_report.py --rows 1e5,1e6 --before /path/to/an/earlier/checkout

Each figure is of a process of its own, with one thread, on score files of four columns: the fewer columns, the larger
the report's part of the work. Seconds are those of the call, the least of --repeats; peak memory is the largest. With
--before, the same is measured with the code of that checkout, in turn, so that a busy machine meets both alike.
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

from curate.tables import batches

FILE_ROWS = 250_000
RULES = ("threshold", "middle", "sample")  # these need no meaning of the score
ROOT = Path(__file__).parents[2]
ONE_THREAD = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")}
PRUNE = """
import json, sys, time
from pathlib import Path
from curate.pruning.prune import prune
start = time.process_time()
prune(Path(sys.argv[1]), Path(sys.argv[2]), by="score.x", keep=0.3, rule=sys.argv[3], max_source_removal=1)
seconds = time.process_time() - start
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(json.dumps([seconds, int(peak.split()[1]) / 1024]))
"""


def score_files(out: Path, rows: int) -> Path:
    """Write score files of ``rows`` rows in three sources."""
    rng = np.random.default_rng(0)
    for i, start in enumerate(range(0, rows, FILE_ROWS)):
        n = min(FILE_ROWS, rows - start)
        columns = {
            "id": [f"document-{start + j}" for j in range(n)],
            "source": rng.choice(["web", "book", "code"], n),
            "tokens": rng.lognormal(5, 1, n).astype(np.int64) + 1,
            "score.x": rng.normal(size=n),
        }
        batches.write(out / f"{i:04d}.parquet.scores.parquet", [pl.DataFrame(columns)])
    (out / "_curate").mkdir()
    job = {"data": ["inputs"], "text_column": "text", "scorers": ["length"], "batch_rows": 4096}
    (out / "_curate" / "score.json").write_text(json.dumps(job))
    return out


def measured(checkout: Path, scores: Path, rule: str) -> tuple[float, float]:
    """Return CPU seconds and peak MB of one pruning with the code of a checkout."""
    with TemporaryDirectory() as kept:
        command = [sys.executable, "-c", PRUNE, str(scores), kept + "/kept", rule]
        environment = ONE_THREAD | {"PYTHONPATH": str(checkout)}
        done = subprocess.run(command, capture_output=True, text=True, env=environment, cwd=scores)
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    seconds, peak = json.loads(done.stdout)
    return seconds, peak


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e5,1e6")
    parser.add_argument("--before", type=Path, help="an earlier checkout to compare with")
    parser.add_argument("--repeats", type=int, default=5)
    options = parser.parse_args()
    checkouts = {"before": options.before.resolve()} if options.before else {}
    checkouts["now"] = ROOT
    print("| rows | rule | " + " | ".join(f"CPU s {name} | peak MB {name}" for name in checkouts) + " | more CPU |")
    print("|---|---|" + "---|---|" * len(checkouts) + "---|")
    with TemporaryDirectory() as folder:
        for rows in (int(float(item)) for item in options.rows.split(",")):
            scores = score_files(Path(folder) / str(rows), rows)
            for rule in RULES:
                runs = [[measured(path, scores, rule) for path in checkouts.values()] for _ in range(options.repeats)]
                best = [(min(s for s, _ in figures), max(p for _, p in figures)) for figures in zip(*runs, strict=True)]
                more = f"{best[-1][0] / best[0][0] - 1:+.0%}" if options.before else "-"
                cells = " | ".join(f"{seconds:.2f} | {peak:.0f}" for seconds, peak in best)
                print(f"| {rows:.0e} | {rule} | {cells} | {more} |", flush=True)


if __name__ == "__main__":
    main()
