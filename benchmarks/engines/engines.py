"""One scoring job on every engine, from nothing to the last score file: python benchmarks/engines/engines.py

Shards of 1,000 documents of 2 kB. Wall and CPU seconds include starting and stopping (of Ray: its own cluster on this
machine); memory is the peak over time of the anonymous memory of all processes together; CPU and memory are sampled
from /proc, so they miss what a process did in its last half second.
"""

import os
import subprocess
import sys
import tempfile
import time
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import polars as pl

SHARDS = (4, 16)
ROWS = 1000
SPECS = ("length", "compression", "embedding:width=64", "prototypes:k=32")
ENGINES = {"serial": ("local", 1), "local 2": ("local", 2), "ray 2": ("ray", 2)}
MARK = "CURATE_BENCHMARK"
TICKS = os.sysconf("SC_CLK_TCK")


def write(folder: Path, shards: int) -> None:
    """Write random words."""
    rng = np.random.default_rng(0)
    words = np.array(["".join(map(chr, rng.integers(97, 123, rng.integers(2, 9)))) for _ in range(20_000)])
    for i in range(shards):
        texts = [" ".join(words[rng.zipf(1.3, 350) % len(words)]) for _ in range(ROWS)]
        frame = pl.DataFrame({"id": [f"{i}-{j}" for j in range(ROWS)], "text": texts})
        folder.mkdir(parents=True, exist_ok=True)
        frame.write_parquet(folder / f"{i:03d}.parquet")


def sample(mark: str) -> tuple[dict[int, float], int]:
    """Return CPU seconds by process, and the anonymous bytes of all, of the processes that carry the mark."""
    cpu, memory = {}, 0
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if f"{MARK}={mark}".encode() not in (folder / "environ").read_bytes():
                continue
            times = (folder / "stat").read_text().rpartition(")")[2].split()
            status = dict(line.split(":", 1) for line in (folder / "status").read_text().splitlines())
        except OSError:  # it ended, or is another user's
            continue
        cpu[int(folder.name)] = (int(times[11]) + int(times[12])) / TICKS
        memory += int(status.get("RssAnon", "0 kB").split()[0]) * 1024
    return cpu, memory


def measure(data: Path, out: Path, engine: str) -> tuple[float, float, float]:
    """Run the job on an engine; return wall and CPU seconds and peak MB."""
    name, workers = ENGINES[engine]
    scorers = [part for spec in SPECS for part in ("--scorer", spec)]
    command = [str(Path(sys.executable).parent / "curate"), "score", str(data), *scorers, "--out", str(out)]
    command += ["--engine", name, "--workers", str(workers)]
    mark = f"{os.getpid()}-{out.name}"
    environment = {**os.environ, MARK: mark, "OMP_NUM_THREADS": "1", "POLARS_MAX_THREADS": "1"}
    started, cpu, peak = time.perf_counter(), {}, 0
    process = subprocess.Popen(command, env=environment, stdout=subprocess.DEVNULL)
    while process.poll() is None:
        seconds, memory = sample(mark)
        cpu |= seconds
        peak = max(peak, memory)
        time.sleep(0.5)
    if process.returncode:
        raise SystemExit(f"{engine} failed: {' '.join(command)}")
    return time.perf_counter() - started, sum(cpu.values()), peak / 1e6


def scores(out: Path) -> dict[str, bytes]:
    """Return the score files by name."""
    return {p.relative_to(out).as_posix(): p.read_bytes() for p in sorted(out.rglob("*.scores.parquet"))}


def main() -> None:
    """Print one table."""
    print("| shards | engine | wall s | CPU s | peak MB | same bytes |\n|---|---|---|---|---|---|", flush=True)
    for shards in SHARDS:
        with tempfile.TemporaryDirectory() as folder:
            data = Path(folder) / "data"
            write(data, shards)
            first: dict[str, bytes] = {}
            for engine in ENGINES:
                if engine.startswith("ray") and find_spec("ray") is None:
                    print(f"| {shards} | {engine} | not installed: pip install 'curate-planner[ray]' | | | |")
                    continue
                out = Path(folder) / engine.replace(" ", "-")
                wall, cpu, peak = measure(data, out, engine)
                files = scores(out)
                first = first or files
                same = "yes" if files == first and len(files) == shards else "NO"
                print(f"| {shards} | {engine} | {wall:.1f} | {cpu:.1f} | {peak:.0f} | {same} |", flush=True)


if __name__ == "__main__":
    main()
