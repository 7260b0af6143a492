"""Writing kept rows: CPU-seconds and peak memory of `prune --materialize`, beside Polars that filters the same rows.

The rows are cuts of the Python sources of this machine, about 20 MB, as Parquet and as JSON lines. Every figure is of a
process of its own. The row `curate` is `prune --materialize` less `prune` alone, both with one worker. Polars writes
the rows of the decisions with one thread, without a card and without looking at the types of JSON.

    python benchmarks/pruning/kept_rows.py --mb 20 --before /path/to/an/earlier/checkout

With --before, the same is measured with the code of that checkout. Every process runs --repeats times, in turn with the
others, and its least CPU-seconds count.
"""

import argparse
import os
import subprocess
import sys
import sysconfig
import tempfile
from pathlib import Path

import polars as pl

FILES = 4
ROOT = Path(__file__).parents[2]
CURATE = (sys.executable, "-c", "from pipelines.shared.cli import main; main()")
CUT = 4000  # characters of a row
PEER = """
import polars as pl, sys
data, kept, out, suffix = sys.argv[1:]
scan = pl.scan_parquet if suffix == "parquet" else pl.scan_ndjson
for i in range({files}):
    keep = pl.read_parquet(f"{{kept}}/{{i}}.{{suffix}}.keep.parquet", columns=["keep"])["keep"]
    rows = scan(f"{{data}}/{{i}}.{{suffix}}").collect().filter(keep)
    rows.write_parquet(f"{{out}}/{{i}}.parquet") if suffix == "parquet" else rows.write_ndjson(f"{{out}}/{{i}}.jsonl")
"""


def texts(size: int) -> list[str]:
    """Return cuts of the Python sources of this machine, ``size`` bytes in all."""
    result, total = [], 0
    for path in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = path.read_text(errors="replace")
        for start in range(0, len(text), CUT):
            result.append(text[start : start + CUT])
            total += len(result[-1])
            if total >= size:
                return result
    return result


def run(*command: object, checkout: Path = ROOT) -> tuple[float, float]:
    """Run a process with the code of a checkout; return its CPU-seconds and its peak memory in MB."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1", "PYTHONPATH": str(checkout)}
    process = subprocess.Popen(list(map(str, command)), stdout=subprocess.DEVNULL, env=environment)
    _, status, usage = os.wait4(process.pid, 0)
    if status:
        sys.exit(f"{command} failed")
    return usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("--mb", type=float, default=20)
    parser.add_argument("--before", type=Path)
    parser.add_argument("--repeats", type=int, default=3)
    options = parser.parse_args()
    rows = texts(int(options.mb * 1e6))
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(len(rows))], "text": rows, "n": range(len(rows))})
    print(f"{len(rows)} rows, {sum(map(len, rows)) / 1e6:.1f} MB of text, half of the rows kept")
    print("| input | writer | CPU-s | peak MB | MB of text per CPU-s |\n|---|---|---|---|---|")
    for suffix in ("parquet", "jsonl"):
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder, "data")
            data.mkdir()
            for i in range(FILES):
                part = frame[i::FILES]
                path = data / f"{i}.{suffix}"
                part.write_parquet(path) if suffix == "parquet" else part.write_ndjson(path)
            scores, peer = Path(folder, "scores"), Path(folder, "peer")
            peer.mkdir()
            run(*CURATE, "score", data, "--scorer", "length", "--workers", 1, "--out", scores)
            checkouts = {"curate": ROOT} | ({"before": options.before} if options.before else {})
            seconds: dict[tuple[str, str], list[float]] = {}
            peaks: dict[str, float] = {}
            for _ in range(options.repeats):
                for name, checkout in checkouts.items():
                    prune = (*CURATE, "prune", scores, "--by", "score.length", "--keep", 0.5, "--workers", 1)
                    prune = (*prune, "--max-source-removal", 1, "--out", Path(folder, name))
                    for step, more in (("without", ()), ("with", ("--materialize",))):
                        used, peaks[name] = run(*prune, *more, checkout=checkout)
                        seconds.setdefault((name, step), []).append(used)
                seconds.setdefault(("Polars", "without"), []).append(run(sys.executable, "-c", "import polars")[0])
                peer_code = PEER.format(files=FILES)
                used, peaks["Polars"] = run(sys.executable, "-c", peer_code, data, Path(folder, "curate"), peer, suffix)
                seconds.setdefault(("Polars", "with"), []).append(used)
            for name, peak in peaks.items():
                used = min(seconds[name, "with"]) - min(seconds[name, "without"])
                speed = sum(map(len, rows)) / 2e6 / used
                print(f"| {suffix} | {name} | {used:.2f} | {peak:.0f} | {speed:.0f} |", flush=True)


if __name__ == "__main__":
    main()
