"""How a scoring job scales: what the driver, the records and the storage cost for each row and each part.

    python benchmarks/scale.py --rows 1e5,1e6 --scorers length,duplicates
    python benchmarks/scale.py --rows 1e5,1e6,1e7 --requests        # and the requests to a store (needs strace)

Rows are synthetic: 30 words by Zipf's law, 1 % of them copies. A part is a file of 100,000 rows. Each job runs through
the command line with 2 workers. What a row and a part cost is the growth from the second largest size to the largest,
so that the start of the command does not count. Read and written are all bytes that pass through files and between
processes, so what is written beyond the scores is exchanged between tasks. With this growth the figures are
extrapolated to 1e9 and 1e10 rows. Trend: the growth a row, divided by that between the two sizes before; above 1 the
cost of a row rises. The last line names what breaks first: the first quantity that exceeds what a machine has.
"""

import argparse
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from engine_rows import jobs

PART_ROWS = 100_000
WORDS = 30
TARGETS = (1e9, 1e10)
MB = 1 << 20
NOISE = 0.02  # share by which a figure may grow between two runs of the same job


@dataclass(frozen=True)
class Limit:
    """What one machine has of a quantity, and what happens above it."""

    most: float
    breaks: str


LIMITS = {
    "driver CPU s": Limit(86_400, "the driver alone works longer than a day"),
    "peak MB": Limit(64 * 1024, "one process needs more than 64 GB of memory"),
    "kept MB": Limit(10 * 1024 * 1024, "the records and the cache of the job need more than 10 TB"),
    "largest file MB": Limit(64 * 1024, "one file of learned state, which every worker loads, exceeds 64 GB"),
    "files": Limit(1e7, "the output folder has more than 10 million files"),
}


@dataclass(frozen=True)
class Measurement:
    """The figures of one job."""

    rows: int
    parts: int
    figures: dict[str, float]


def write(folder: Path, rows: int) -> int:
    """Write synthetic rows; return the number of files."""
    rng = np.random.default_rng(0)
    words = np.array([f"{a}{b}" for a in ("re", "un", "con", "pro", "de") for b in range(20_000)])
    folder.mkdir(parents=True)
    parts = 0
    for start in range(0, rows, PART_ROWS):
        n = min(PART_ROWS, rows - start)
        drawn = words[rng.zipf(1.2, (n, WORDS)) % len(words)]
        # Every hundredth row is a copy of the row before it.
        drawn[99::100] = drawn[98::100][: len(drawn[99::100])]
        texts = pa.array([" ".join(row) for row in drawn])
        ids = pa.array([f"r{start + i}" for i in range(n)])
        pq.write_table(pa.table({"id": ids, "text": texts}), folder / f"{parts:05d}.parquet", row_group_size=32768)
        parts += 1
    return parts


def measure(folder: Path, scorer: str, rows: int) -> Measurement:
    """Score ``rows`` rows with one scorer."""
    data = folder / f"data-{rows}"
    parts = len(list(data.iterdir())) if data.exists() else write(data, rows)
    out = folder / f"out-{scorer.partition(':')[0]}-{rows}"
    cost = jobs.score(data, (scorer,), out, workers=2)
    if cost.error:
        raise SystemExit(f"{scorer}, {rows} rows: {cost.error}")
    sizes = [path.stat().st_size for path in out.rglob("*") if path.is_file()]
    scores = sum(path.stat().st_size for path in out.rglob("*.scores.parquet"))
    kept = [path.stat().st_size for path in (out / "_curate").rglob("*") if path.is_file()]
    figures = {
        "driver CPU s": cost.driver,
        "worker CPU s": cost.workers,
        "peak MB": cost.peak,
        "read MB": cost.read,
        "written MB": cost.written,
        "kept MB": sum(kept) / MB,
        "largest file MB": max(kept, default=0) / MB,
        "scores MB": scores / MB,
        "files": float(len(sizes)),
    }
    shutil.rmtree(out)
    return Measurement(rows, parts, figures)


def requests(folder: Path, scorer: str, rows: int) -> dict[str, float]:
    """Return the calls to the file system that the driver makes for each part; behind s3:// each is a request.

    They are counted on the driver: opening, looking at, renaming and removing files of the data or of the output.
    """
    data, out, log = folder / f"data-{rows}", folder / "out-requests", folder / "calls.txt"
    if shutil.which("strace") is None:
        return {}
    calls = "openat,stat,newfstatat,rename,unlink,mkdir"
    curate = [sys.executable, "-c", "from pipelines.shared.cli import main; main()"]
    job = [*curate, "score", str(data), "--scorer", scorer, "--workers", "2", "--out", str(out)]
    environment = jobs.environment_of(jobs.ROOT)
    command = ["strace", "-e", f"trace={calls}", "-o", str(log), *job]
    subprocess.run(command, check=True, capture_output=True, env=environment)
    lines = [line for line in log.read_text(errors="replace").splitlines() if str(folder) in line]
    kinds = {line.partition("(")[0] for line in lines}
    parts = len(list(data.iterdir()))
    return {kind: sum(line.startswith(f"{kind}(") for line in lines) / parts for kind in sorted(kinds)}


def slope(before: Measurement, last: Measurement, name: str) -> float:
    """Return by how much a figure grows for each row more, from one measurement to the next; 0 if it hardly grows."""
    growth = last.figures[name] - before.figures[name]
    return growth / (last.rows - before.rows) if growth > NOISE * before.figures[name] else 0.0


def table(scorer: str, measurements: Sequence[Measurement]) -> None:
    """Print the figures of a scorer, and what they become at 1e9 and 1e10 rows."""
    sizes = [f"{m.rows:.0e} rows" for m in measurements]
    print(f"\n{scorer}\n")
    heads = ["figure", *sizes, "a row", "a part", "trend", *(f"{rows:.0e} rows" for rows in TARGETS)]
    print(f"| {' | '.join(heads)} |\n|{'---|' * len(heads)}")
    last, before = measurements[-1], measurements[-2]
    first_limits: list[tuple[float, str]] = []
    for name in last.figures:
        each = slope(before, last, name)
        earlier = slope(measurements[-3], before, name) if len(measurements) > 2 else 0.0
        trend = f"{each / earlier:.2f}" if earlier else "-"
        futures = [last.figures[name] + each * (rows - last.rows) for rows in TARGETS]
        values = [f"{m.figures[name]:.4g}" for m in measurements]
        cells = [*values, f"{each:.3g}", f"{each * PART_ROWS:.3g}", trend, *(f"{value:.3g}" for value in futures)]
        print(f"| {name} | {' | '.join(cells)} |")
        if name in LIMITS and each > 0:
            limit = LIMITS[name]
            first_limits.append((last.rows + (limit.most - last.figures[name]) / each, limit.breaks))
    rows, breaks = min(first_limits, default=(float("inf"), "nothing"))
    print(f"\nBreaks first: at {rows:.2g} rows {breaks}.", flush=True)


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter, prog=Path(__file__).name
    )
    parser.add_argument("--rows", default="1e5,1e6")
    parser.add_argument("--scorers", default="length,duplicates", help="separated by spaces or commas")
    parser.add_argument("--requests", action="store_true", help="count the calls to the file system (needs strace)")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp())
    sizes = sorted({int(float(rows)) for rows in options.rows.split(",")})
    if len(sizes) < 2:
        parser.error("--rows: two or more sizes are needed, such as 1e5,1e6")
    try:
        for scorer in options.scorers.replace(",", " ").split():
            table(scorer, [measure(folder, scorer, rows) for rows in sizes])
            if options.requests:
                counts = requests(folder, scorer, sizes[0])
                shown = ", ".join(f"{kind} {count:.1f}" for kind, count in counts.items())
                print(f"\nCalls of the driver to the file system for each part: {shown or 'missing: no strace'}.")
                shutil.rmtree(folder / "out-requests", ignore_errors=True)
    finally:
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
