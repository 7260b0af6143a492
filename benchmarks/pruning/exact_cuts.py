"""Exact cuts of `curate prune` beside DuckDB: CPU seconds, peak memory, and whether the same rows are kept.

    python benchmarks/pruning/exact_cuts.py --duckdb /path/to/python/with/duckdb --rows 1e6

Each figure is of a process of its own with one worker and one thread. Both read the same score files and write a
decision of every row. `curate prune` also counts rows and tokens by source and reason, guards the sources, and writes
pools; the first line of the table is the start of each program. DuckDB cannot compute the hash of an id that orders
equal scores (xxh3 with a seed), so it is given these hashes as a column. Its memory limit is --memory; it may spill to
disk.
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

FILE_ROWS = 1_000_000
KEEP = 0.3
ONE_THREAD = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")}
# Runs a command, and prints the CPU seconds and the peak memory of its process alone.
MEASURE = """
import json, resource, subprocess, sys
done = subprocess.run(sys.argv[1:], capture_output=True, text=True)
used = resource.getrusage(resource.RUSAGE_CHILDREN)
failed = "" if done.returncode == 0 else done.stderr.strip().splitlines()[-1]
print(json.dumps([used.ru_utime + used.ru_stime, used.ru_maxrss / 1024, failed]))
"""
DUCKDB = """
import sys, duckdb
scores, out, memory, keep = sys.argv[1:]
con = duckdb.connect()
con.execute(f"SET threads = 1; SET memory_limit = '{memory}'; SET temp_directory = '{out}.spill'")
con.execute(f"CREATE VIEW rows AS SELECT * FROM read_parquet('{scores}/*.scores.parquet')")
con.execute(f"COPY (SELECT id, source, k AS keep, if(k, 'kept', 'dropped') AS reason FROM ({keep})) TO '{out}.parquet'")
"""
# Each case: options of `curate prune`, and the same rows in SQL. {rows} and {tokens} are what is kept.
CASES = {
    "30 % of the rows": (
        ("--by", "score.x", "--keep", str(KEEP)),
        """WITH cut AS (SELECT "score.x" AS s, key AS h FROM rows ORDER BY s DESC, h LIMIT 1 OFFSET {rows} - 1)
        SELECT id, source, ("score.x" > s OR ("score.x" = s AND key <= h)) AS k FROM rows, cut""",
    ),
    "30 % of the tokens": (
        ("--by", "score.x", "--keep-tokens", "{tokens}"),
        """SELECT id, source, sum(tokens) OVER (ORDER BY "score.x" DESC, key ROWS UNBOUNDED PRECEDING) <= {tokens} AS k
        FROM rows""",
    ),
    "a draw of 30 % by score": (
        ("--by", "score.x", "--rule", "sample", "--temperature", "raw:1", "--keep", str(KEEP)),
        """WITH noisy AS (SELECT *, "score.x" - ln(-ln(((key >> 11)::DOUBLE + 0.5) * pow(2, -53))) AS n FROM rows),
        cut AS (SELECT n AS s, key AS h FROM noisy ORDER BY s DESC, h LIMIT 1 OFFSET {rows} - 1)
        SELECT id, source, (n > s OR (n = s AND key <= h)) AS k FROM noisy, cut""",
    ),
    "one row of a conversation": (
        ("--by", "score.x", "--cap", "conversation=1"),
        """SELECT id, source, row_number() OVER (PARTITION BY conversation ORDER BY "score.x" DESC, key) <= 1 AS k
        FROM rows""",
    ),
}


def score_files(out: Path, rows: int) -> tuple[Path, int]:
    """Write score files of so many rows, and return their folder and tokens."""
    rng, tokens = np.random.default_rng(0), 0
    for i, start in enumerate(range(0, rows, FILE_ROWS)):
        n = min(FILE_ROWS, rows - start)
        ids = [f"document-{start + j}" for j in range(n)]
        columns = {
            "id": ids,
            "source": rng.choice(["web", "book", "code"], n),
            "tokens": rng.lognormal(5, 1, n).astype(np.int64) + 1,
            "score.x": rng.normal(size=n).round(4),
            "conversation": rng.integers(0, rows // 3, n),
            "key": batches.keys(ids, 0),
        }
        frame = pl.DataFrame(columns)
        tokens += int(frame["tokens"].sum())
        path, fields = out / f"{i:04d}.parquet.scores.parquet", {"meanings": {"score.x": "quality"}}
        batches.write(path, [frame], schema=frame.schema, fields=fields)
    (out / "_curate").mkdir()
    record = {"data": ["rows"], "text_column": "text", "scorers": ["length"], "batch_rows": 4096}
    (out / "_curate" / "score.json").write_text(json.dumps(record))
    return out, tokens


def measured(command: list[str]) -> tuple[float, float, str]:
    """Return the CPU seconds and peak MB of a command, and why it failed, if it did."""
    done = subprocess.run(
        [sys.executable, "-c", MEASURE, *command], capture_output=True, text=True, env=ONE_THREAD, check=True
    )
    seconds, peak, failed = json.loads(done.stdout)
    return seconds, peak, failed


def kept_ids(files: list[Path]) -> set[str]:
    """Return the ids of the kept rows of decision files."""
    return set(pl.concat([pl.read_parquet(file, columns=["id", "keep"]) for file in files]).filter("keep")["id"])


def main() -> None:
    """Print one table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--duckdb", required=True, help="a Python with duckdb")
    parser.add_argument("--rows", default="1e6")
    parser.add_argument("--memory", default="250MB")
    options = parser.parse_args()
    print(f"{'rows':>9}  {'case':26} {'curate s':>9} {'MB':>6} {'DuckDB s':>9} {'MB':>6}  same rows")
    ours, theirs = measured(["curate", "prune", "--help"]), measured([options.duckdb, "-c", "import duckdb"])
    print(f"{'-':>9}  {'start':26} {ours[0]:9.2f} {ours[1]:6.0f} {theirs[0]:9.2f} {theirs[1]:6.0f}")
    for rows in (int(float(number)) for number in options.rows.split(",")):
        with TemporaryDirectory() as folder:
            scores, tokens = score_files(Path(folder) / "scores", rows)
            numbers = {"rows": round(KEEP * rows), "tokens": int(KEEP * tokens)}
            for case, (words, sql) in CASES.items():
                out, peer_out = Path(folder) / "kept", Path(folder) / "duckdb"
                flags = [word.format(**numbers) for word in words]
                command = ["curate", "prune", str(scores), *flags, "--max-source-removal", "1", "--workers", "1"]
                seconds, peak, failed = measured([*command, "--out", str(out)])
                assert not failed, failed
                peer = [options.duckdb, "-c", DUCKDB, str(scores), str(peer_out), options.memory, sql.format(**numbers)]
                duck_seconds, duck_peak, duck_failed = measured(peer)
                kept = kept_ids(sorted(out.glob("*.keep.parquet")))
                same = duck_failed or kept == kept_ids([Path(f"{peer_out}.parquet")])
                print(
                    f"{rows:9,}  {case:26} {seconds:9.2f} {peak:6.0f} {duck_seconds:9.2f} {duck_peak:6.0f}  {same}",
                    flush=True,
                )


if __name__ == "__main__":
    main()
