"""Rows x peak memory x throughput: memory must not grow with the rows, and reading must be the cost of scanning.

    python benchmarks/scoring/streaming.py --rows 1e5,1e6,1e7 --peer-python /path/to/python-with-datatrove

Every figure is of a process of its own, one thread. Files hold at most 250,000 rows; beyond 1e6 rows the same files
are linked again under other names, so that the disk holds 1e6 (3 GB in a temporary folder, removed at the end). CPU
seconds, for wall time means little on a busy machine. Of Ray: the peak of the largest process that runs curate, and the
CPU seconds of the driver and the workers, sampled.
"""

import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryDirectory

FILE_ROWS, DISTINCT, WIDTH = 250_000, 1_000_000, 384
TEXT = "length+compression+repetition+language"
MARK = "CURATE_BENCHMARK"
TICKS = os.sysconf("SC_CLK_TCK")
ONE_THREAD = {**os.environ, **dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "POLARS_MAX_THREADS"), "1")}
PEER = """
import json, resource, sys
import pyarrow.parquet as pq
from datatrove.data import Document
from datatrove.pipeline.filters import GopherQualityFilter, GopherRepetitionFilter
texts = pq.read_table(sys.argv[1], columns=["text"])["text"].to_pylist()[: int(sys.argv[2])]
repetition, quality = GopherRepetitionFilter(), GopherQualityFilter()
documents = [Document(text=t, id=str(i)) for i, t in enumerate(texts)]
for d in documents[:20]: repetition.filter(d), quality.filter(d)
found = {}
for name, one in (("GopherRepetitionFilter", repetition), ("GopherQualityFilter", quality)):
    start = resource.getrusage(resource.RUSAGE_SELF)
    for d in documents: one.filter(d)
    end = resource.getrusage(resource.RUSAGE_SELF)
    found[name] = end.ru_utime - start.ru_utime
print(json.dumps({"bytes": sum(len(t.encode()) for t in texts), "seconds": found}))
"""


def make(folder: Path, rows: int, kind: str) -> Path:
    """Write ``rows`` rows of text (about 1 kB) or of 384 float32."""
    import numpy as np
    import pyarrow as pa
    import pyarrow.parquet as pq

    out = folder / f"{kind}-{rows}"
    out.mkdir()
    rng = np.random.default_rng(0)
    words = np.array([f"{a}{b}" for a in ("re", "un", "con", "pro", "de") for b in range(2000)])
    base = pa.array([" ".join(words[rng.zipf(1.3, 250) % len(words)]) for _ in range(20_000)])
    pool = folder / f"{kind}-files"
    pool.mkdir(exist_ok=True)
    for i, start in enumerate(range(0, rows, FILE_ROWS)):
        n = min(FILE_ROWS, rows - start)
        path = pool / f"{i % (DISTINCT // FILE_ROWS)}-{n}.parquet"
        if not path.exists():
            ids = pa.array([f"d{start + j}" for j in range(n)])
            if kind == "text":
                table = pa.table({"id": ids, "text": base.take(pa.array(rng.integers(0, len(base), n)))})
                pq.write_table(table, path, row_group_size=50_000, compression="zstd", use_dictionary=["id"])
            else:
                vectors = rng.normal(size=(n, WIDTH)).astype(np.float32)
                flat = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * WIDTH), n, [None, pa.py_buffer(vectors)])
                pq.write_table(
                    pa.table({"id": ids, "emb.e": flat}),
                    path,
                    row_group_size=50_000,
                    compression="none",
                    use_dictionary=False,
                )
        (out / f"{i:04d}.parquet").symlink_to(path)
    return out


def measured(code: str, *arguments: object) -> dict[str, float]:
    """Run code in a process of its own; it prints a JSON object last. Return that with CPU seconds and peak MB."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    wrapped = (
        code + "\nimport json; peak = [x for x in open('/proc/self/status') if x.startswith('VmHWM')][0].split()[1]\n"
        "print(json.dumps({**result, 'peak': int(peak) / 1024}))"
    )
    started = time.monotonic()
    done = subprocess.run(
        [sys.executable, "-c", wrapped, *map(str, arguments)], capture_output=True, text=True, env=ONE_THREAD
    )
    if done.returncode:
        raise SystemExit(done.stderr[-2000:])
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    cpu = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    return {**json.loads(done.stdout.splitlines()[-1]), "cpu": cpu, "wall": time.monotonic() - started}


def sampled(code: str, *arguments: object) -> dict[str, float]:
    """Run code that starts processes of its own; return what it printed last with CPU seconds and the largest peak."""
    mark, started = str(os.getpid()), time.monotonic()
    run = subprocess.Popen(
        [sys.executable, "-c", code + "\nimport json; print(json.dumps(result))", *map(str, arguments)],
        stdout=subprocess.PIPE, text=True, env={**ONE_THREAD, MARK: mark},
    )  # fmt: skip
    cpu: dict[int, float] = {}
    peaks: dict[int, int] = {}
    while run.poll() is None:
        for folder in Path("/proc").glob("[0-9]*"):
            try:
                pid, name = int(folder.name), (folder / "cmdline").read_bytes()
                is_own = f"{MARK}={mark}".encode() in (folder / "environ").read_bytes()
                if not is_own or not (pid == run.pid or name.startswith(b"ray::")):
                    continue
                times = (folder / "stat").read_text().rpartition(")")[2].split()
                peak = next(x for x in (folder / "status").read_text().splitlines() if x.startswith("VmHWM"))
            except (OSError, StopIteration):  # it ended
                continue
            cpu[pid] = (int(times[11]) + int(times[12])) / TICKS
            peaks[pid] = int(peak.split()[1])
        time.sleep(0.5)
    if run.returncode:
        raise SystemExit(f"a run failed: {arguments}")
    record = json.loads(run.stdout.read().splitlines()[-1])
    return {**record, "peak": max(peaks.values()) / 1024, "cpu": sum(cpu.values()), "wall": time.monotonic() - started}


SCORE = """
import sys
from pathlib import Path
from curate.scoring import score
result = {"rows": score.score([sys.argv[1]], sys.argv[3].split("+"), Path(sys.argv[2])).rows}
"""
ON_RAY = """
import sys
from pathlib import Path
from curate.scoring import score
from curate.engines.ray import Ray
result = {"rows": score.score([sys.argv[1]], sys.argv[3].split("+"), Path(sys.argv[2]), engine=Ray(2)).rows}
"""
PRUNE = """
import sys
from pathlib import Path
from curate.pruning import prune
rule = "hard" if sys.argv[3] == "score.prototypes" else "top"
done = prune.prune(Path(sys.argv[1]), Path(sys.argv[2]), by=sys.argv[3], keep=0.3, rule=rule, balance="source:0.5")
result = {"rows": int(done.table()["rows"].sum())}
"""
BARE = """
import sys, time, glob
import pyarrow as pa, pyarrow.parquet as pq
pa.set_cpu_count(1)
from curate.tables import batches
from curate.scorers.length import Length
def bare(size):
    for path in sorted(glob.glob(sys.argv[1] + "/*")):
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=size)
        for batch in file.iter_batches(batch_size=4096, columns=["id", "text"]):
            batch.num_rows
def ours():
    for shard in batches.shards([sys.argv[1]]):
        for batch in batches.batches(shard, ("text",)):
            Length()(batch)
loops = {"bare": lambda: bare(0), "buffered": lambda: bare(1 << 20), "ours": ours}
times = {name: [] for name in loops}
for run in loops.values(): run()
for _ in range(7):  # in turn, so that a busy neighbour meets them all
    for name, run in loops.items():
        start = time.process_time(); run(); times[name].append(time.process_time() - start)
result = {name: min(found) for name, found in times.items()}
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e5,1e6,1e7")
    parser.add_argument("--peer-python", help="a Python that has datatrove")
    parser.add_argument("--peer-rows", type=int, default=3000)
    parser.add_argument("--only", default="scan,peer,text,embeddings,ray")
    options = parser.parse_args()
    only = options.only.split(",")
    with TemporaryDirectory() as name:
        folder = Path(name)
        if "scan" in only:
            scan(make(folder, 500_000, "text"))
        if "peer" in only:
            peer(folder, options.peer_python, options.peer_rows)
        print(
            "| rows | what | engine | peak MB | CPU s | rows a CPU-s | wall s |\n|---|---|---|---|---|---|---|",
            flush=True,
        )
        for rows in (int(float(item)) for item in options.rows.split(",")):
            for kind, specs, column in (
                ("text", "length", "score.length"),
                ("text", TEXT, "score.compression"),
                ("embeddings", "prototypes:k=64,embedding=emb.e", "score.prototypes"),
            ):
                if kind not in only or (specs == TEXT and rows > 200_000):
                    continue  # hours of CPU that say nothing more about memory
                job(folder, rows, kind, specs, column, ray="ray" in only and specs != TEXT)


def job(folder: Path, rows: int, kind: str, specs: str, column: str, *, ray: bool) -> None:
    """Score and prune on this machine, and score on Ray: a line each; the two engines must write the same bytes."""
    data, out = folder / f"{kind}-{rows}", folder / "out"
    data = data if data.exists() else make(folder, rows, kind)
    line(rows, specs, "local 1", measured(SCORE, data, out, specs))
    line(rows, f"prune by {column}", "-", measured(PRUNE, out, folder / "kept", column))
    if ray:
        line(rows, specs, "ray 2", sampled(ON_RAY, data, folder / "ray", specs))
        for path in out.rglob("*.scores.parquet"):
            assert path.read_bytes() == (folder / "ray" / path.relative_to(out)).read_bytes(), path
    for used in (out, folder / "kept", folder / "ray"):
        shutil.rmtree(used, ignore_errors=True)


def line(rows: int, what: str, engine: str, figures: dict[str, float]) -> None:
    assert figures["rows"] == rows, (figures, rows)
    print(
        f"| {rows:.0e} | {what} | {engine} | {figures['peak']:.0f} | {figures['cpu']:.1f} "
        f"| {rows / figures['cpu']:.0f} | {figures['wall']:.0f} |",
        flush=True,
    )


def scan(data: Path) -> None:
    figures = measured(BARE, data)
    for name in ("bare", "buffered"):
        share = figures[name] / figures["ours"]
        print(
            f"scan with length: {figures['ours']:.2f} CPU-s; pyarrow loop ({name}) {figures[name]:.2f}: {share:.0%}",
            flush=True,
        )


def peer(folder: Path, python: str | None, rows: int) -> None:
    """Text metrics, one after another, beside datatrove's filters on the same documents."""
    data = folder / "long"
    data.mkdir(exist_ok=True)
    documents(data / "x.parquet", rows)
    code = (
        "import sys, time\nfrom curate import open_sets\nfrom curate.tables import batches as tables\nresult = {}\n"
        "batches = list(tables.batches(tables.shards([sys.argv[1]])[0], ('text',)))\n"
        "result['bytes'] = sum(b['text'].str.len_bytes().sum() for b in batches)\n"
        "for spec in sys.argv[2].split('+'):\n"
        "    one = open_sets.build('scorers', spec); one(batches[0].head(5)); start = time.process_time()\n"
        "    for b in batches: one(b)\n"
        "    result[spec] = time.process_time() - start\n"
    )
    ours = [name for name in ("length", "compression", "repetition", "language") if _usable(name)]
    figures = measured(code, data, "+".join(ours))
    size = figures["bytes"] / 1e6
    total = sum(figures[name] for name in ours)
    print(f"{size:.1f} MB of text; MB per CPU-s: " + ", ".join(f"{n} {size / max(figures[n], 1e-9):.1f}" for n in ours))
    print(f"all of {', '.join(ours)}: {size / total:.2f} MB per CPU-s", flush=True)
    if not python:
        print("datatrove: not installed (--peer-python)")
        return
    done = subprocess.run(
        [python, "-c", PEER, str(data / "x.parquet"), str(rows)], capture_output=True, text=True, env=ONE_THREAD
    )
    if done.returncode:
        print("datatrove: " + done.stderr.strip().splitlines()[-1])
        return
    theirs = json.loads(done.stdout.splitlines()[-1])
    for name, seconds in theirs["seconds"].items():
        print(f"datatrove {name}: {theirs['bytes'] / 1e6 / seconds:.2f} MB per CPU-s")
    both = theirs["bytes"] / 1e6 / sum(theirs["seconds"].values())
    print(f"datatrove both: {both:.2f} MB per CPU-s; ours {size / total / both:.1f} times that", flush=True)


def _usable(name: str) -> bool:
    from curate import open_sets
    from curate.errors import CurateError

    try:
        open_sets.build("scorers", name)
    except CurateError as error:
        print(f"without {name}: {error}")
        return False
    return True


def documents(path: Path, rows: int) -> None:
    """Documents of real code and prose: the running Python's own library, a few kB each."""
    import sysconfig

    import pyarrow as pa
    import pyarrow.parquet as pq

    texts: list[str] = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = file.read_text(encoding="utf-8", errors="ignore")
        texts += [text[i : i + 4000] for i in range(0, len(text), 4000)]
        if len(texts) >= rows:
            break
    pq.write_table(pa.table({"text": texts[:rows]}), path)


if __name__ == "__main__":
    main()
