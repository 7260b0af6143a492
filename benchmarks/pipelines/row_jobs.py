"""Memory and CPU of the jobs that read scored rows, at growing numbers of rows: python benchmarks/pipelines/row_jobs.py

Rows are synthetic: four sources, of which one has most of the rows, short texts, a random score, 50,000 rows a file (or
--file-rows). Every command runs through the command line, in a process of its own. Peak memory is the largest resident
set of the job, and of its largest worker. CPU-seconds include those of workers. `materialize` draws 0.02 passes and 1.5
passes of every source.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import polars as pl

FILE_ROWS = 50_000
ROW_GROUP = 8192
# The source of each file in turn: one source has most of the rows, as in real collections.
SOURCES = "aaaaabcd"
PASSES = (0.02, 1.5)
# A worker holds a shard. Small shards are full at few rows too, so that they do not hide what grows with the rows.
SHARD_ROWS = {0.02: 1000, 1.5: 50_000}
# A peak is read when the process ends: VmHWM is that of the process alone, while ru_maxrss remembers its parent.
RUN = """
import atexit, json, os, resource, sys
def report():
    peak = next(line for line in open("/proc/self/status") if line.startswith("VmHWM"))
    used = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    cpu = sum(u.ru_utime + u.ru_stime for u in used)
    values = {"cpu": cpu, "peak": int(peak.split()[1]) / 1e3, "worker": used[1].ru_maxrss / 1e3}
    open(os.environ["REPORT"], "w").write(json.dumps(values))
atexit.register(report)
from pipelines.shared.cli import main
sys.exit(main())
"""


@dataclass(frozen=True)
class Data:
    """Synthetic scored rows in a folder: texts in ``data``, their scores in ``scores``, pools and plans."""

    folder: Path

    @property
    def commands(self) -> dict[str, list[str]]:
        """Return the words of every command that is measured, without its output, by name."""
        scores, plans = str(self.folder / "scores"), {passes: self.folder / f"plan-{passes}.json" for passes in PASSES}
        prune = ["prune", scores, "--by", "score.x", "--keep", "0.3", "--max-source-removal", "1"]
        return {
            "prune top": [*prune, "--rule", "top"],
            "prune stratified, even": [*prune, "--rule", "stratified", "--balance", "source:even"],
            "prune top, --materialize": [*prune, "--rule", "top", "--materialize"],
            "pools by source": ["pools", scores],
            "pools by score, 5 bins": ["pools", scores, "--by", "score.x"],
            **{
                f"materialize, {passes} passes": ["materialize", str(plan), "--shard-rows", str(SHARD_ROWS[passes])]
                for passes, plan in plans.items()
            },
            "describe": ["describe", str(self.folder / "data"), "--sample", "500"],
        }


def write(folder: Path, rows: int, file_rows: int = FILE_ROWS) -> Data:
    """Write texts, scores, pools and plans of ``rows`` rows below a folder."""
    from curate.pool.pool import Pool, to_json
    from curate.storage import artifacts
    from curate.tables import batches, scored

    rng = np.random.default_rng(0)
    sizes = [min(file_rows, rows - start) for start in range(0, rows, file_rows)]
    totals = {source: [0, 0] for source in sorted(set(SOURCES))}
    for number, size in enumerate(sizes):
        source = SOURCES[number % len(SOURCES)]
        relative = f"source={source}/{number:04d}.parquet"
        ids = pl.Series("id", [f"{number}-{row}" for row in range(size)])
        tokens = pl.Series("tokens", rng.integers(1, 2000, size))
        words = pl.DataFrame(rng.integers(0, 1000, (size, 6)).astype(str), schema=list("uvwxyz"))
        texts = words.select(pl.concat_str(pl.all(), separator=" ").alias("text"))["text"]
        path = folder / "data" / relative
        path.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame([ids, texts, tokens]).write_parquet(path, row_group_size=ROW_GROUP)
        score = pl.Series("score.x", rng.normal(size=size))
        named = pl.repeat(source, size, eager=True).alias("source")
        frame = pl.DataFrame([ids, named, tokens, score])
        meanings = {"meanings": {"score.x": "quality"}}
        batches.write(folder / "scores" / (relative + scored.SCORES), frame.iter_slices(ROW_GROUP), fields=meanings)
        totals[source][0] += size
        totals[source][1] += int(tokens.sum())
    record = {"data": [str(folder / "data")], "text_column": "text", "scorers": ["length"], "batch_rows": 4096}
    artifacts.save(scored.record_path(folder / "scores"), "score_job", record)
    pools = [
        Pool(name, tokens, count, (str(folder / "data"),), {"source": name}, None, str(folder / "scores"))
        for name, (count, tokens) in totals.items()
        if count
    ]
    total = sum(pool.tokens for pool in pools)
    weights = {pool.name: pool.tokens / total for pool in pools}
    for passes in PASSES:
        budget = {"tokens": round(passes * total), "params": 1e6}
        plan = {"plans": [{"budget": budget, "weights": weights}], "pools": to_json(pools)}
        artifacts.save(folder / f"plan-{passes}.json", "plan", plan)
    return Data(folder)


def measured(words: list[str], folder: Path) -> dict[str, float]:
    """Run one command, and return its CPU-seconds and peaks in MB."""
    report = folder / "report.json"
    done = subprocess.run(
        [sys.executable, "-c", RUN, *words], env={**os.environ, "REPORT": str(report)}, capture_output=True
    )
    if done.returncode:
        raise SystemExit(f"{' '.join(words)}: {done.stderr.decode()[-2000:]}")
    return dict(json.loads(report.read_text()))


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=float, nargs="+", default=[1e5, 1e6])
    parser.add_argument("--only", default="", help="measure only the commands whose names hold this text")
    parser.add_argument("--workers", type=int, default=1)
    parser.add_argument("--file-rows", type=float, default=FILE_ROWS)
    parser.add_argument("--plain", action="store_true", help="leave --workers out, for versions without it")
    arguments = parser.parse_args()
    print(f"{'command':28}{'rows':>10}{'CPU s':>8}{'us a row':>10}{'peak MB':>9}{'worker MB':>11}")
    for rows in map(int, arguments.rows):
        with tempfile.TemporaryDirectory() as name:
            data = write(Path(name), rows, int(arguments.file_rows))
            for number, (what, words) in enumerate(data.commands.items()):
                if arguments.only not in what:
                    continue
                workers = [] if arguments.plain else ["--workers", str(arguments.workers)]
                used = measured([*words, *workers, "--out", f"{name}/out-{number}"], Path(name))
                each = 1e6 * used["cpu"] / rows
                worker = used["worker"] if arguments.workers > 1 else 0
                print(f"{what:28}{rows:10}{used['cpu']:8.1f}{each:10.1f}{used['peak']:9.0f}{worker:11.0f}", flush=True)


if __name__ == "__main__":
    main()
