"""Rows x peak memory x throughput: memory must not grow with the rows, and reading must be the cost of scanning.

    python benchmarks/streaming.py --rows 1e5,1e6,1e7 --peer-python /path/to/python-with-datatrove

Every figure is of a process of its own, one thread. Files hold at most 250,000 rows; beyond 1e6 rows the same files
are linked again under other names, so that the disk holds 1e6. CPU seconds, for wall time means little on a busy
machine.
"""

import argparse
import json
import os
import resource
import subprocess
import sys
import time
from pathlib import Path
from tempfile import mkdtemp

FILE_ROWS, DISTINCT, WIDTH = 250_000, 1_000_000, 384
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
        made = pool / f"{i % (DISTINCT // FILE_ROWS)}-{n}.parquet"
        if not made.exists():
            ids = pa.array([f"d{start + j}" for j in range(n)])
            if kind == "text":
                table = pa.table({"id": ids, "text": base.take(pa.array(rng.integers(0, len(base), n)))})
                pq.write_table(table, made, row_group_size=50_000, compression="zstd", use_dictionary=["id"])
            else:
                vectors = rng.normal(size=(n, WIDTH)).astype(np.float32)
                flat = pa.FixedSizeBinaryArray.from_buffers(pa.binary(4 * WIDTH), n, [None, pa.py_buffer(vectors)])
                pq.write_table(
                    pa.table({"id": ids, "emb.e": flat}),
                    made,
                    row_group_size=50_000,
                    compression="none",
                    use_dictionary=False,
                )
        (out / f"{i:04d}.parquet").symlink_to(made)
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


SCORE = """
import sys
from pathlib import Path
from curate import score
result = {"rows": score.score([sys.argv[1]], sys.argv[3].split("+"), Path(sys.argv[2])).rows}
"""
PRUNE = """
import sys
from pathlib import Path
from curate import prune
done = prune.prune(Path(sys.argv[1]), sys.argv[3], Path(sys.argv[2]), keep=0.3, balance="source:0.5")
result = {"rows": int(done.table()["rows"].sum())}
"""
BARE = """
import sys, time, glob
import pyarrow as pa, pyarrow.parquet as pq
pa.set_cpu_count(1)
from curate import tables
from curate.scorers.length import Length
def bare(size):
    for path in sorted(glob.glob(sys.argv[1] + "/*")):
        file = pq.ParquetFile(path, pre_buffer=False, buffer_size=size)
        for batch in file.iter_batches(batch_size=4096, columns=["id", "text"]):
            batch.num_rows
def ours():
    for shard in tables.shards([sys.argv[1]]):
        for batch in tables.batches(shard, ("text",)):
            Length()(batch)
result = {}
loops = {"warm": lambda: bare(0), "bare": lambda: bare(0), "buffered": lambda: bare(1 << 20), "ours": ours}
for name, run in loops.items():
    times = []
    for _ in range(3):
        start = time.process_time(); run(); times.append(time.process_time() - start)
    result[name] = min(times)
"""


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rows", default="1e5,1e6,1e7")
    parser.add_argument("--peer-python", help="a Python that has datatrove")
    parser.add_argument("--peer-rows", type=int, default=3000)
    parser.add_argument("--folder", type=Path)
    parser.add_argument("--skip", default="", help="of scan,peer,text,embeddings")
    asked = parser.parse_args()
    folder = asked.folder or Path(mkdtemp())
    folder.mkdir(parents=True, exist_ok=True)
    if "scan" not in asked.skip:
        scan(make(folder, 500_000, "text"))
    if "peer" not in asked.skip:
        peer(folder, asked.peer_python, asked.peer_rows)
    print("rows | what | peak MB | CPU s | rows per CPU-s | wall s", flush=True)
    for rows in (int(float(item)) for item in asked.rows.split(",")):
        for kind, specs, column in (
            ("text", "length", "score.length"),
            ("text", "length+compression+repetition", "score.compression"),
            ("embeddings", "prototypes:k=64,embedding=emb.e", "score.prototypes"),
        ):
            if kind in asked.skip:
                continue
            data = folder / f"{kind}-{rows}"
            data = data if data.exists() else make(folder, rows, kind)
            if rows > 1_000_000 and "repetition" in specs:
                continue  # hours of CPU that say nothing more about memory
            out = folder / f"out-{kind}-{rows}-{specs[:9]}"
            line(rows, specs, measured(SCORE, data, out, specs))
            line(rows, f"prune by {column}", measured(PRUNE, out, Path(f"{out}-kept"), column))


def line(rows: int, what: str, got: dict[str, float]) -> None:
    assert got["rows"] == rows, (got, rows)
    print(
        f"{rows:.0e} | {what} | {got['peak']:.0f} | {got['cpu']:.1f} | {rows / got['cpu']:.0f} | {got['wall']:.0f}",
        flush=True,
    )


def scan(data: Path) -> None:
    got = measured(BARE, data)
    for name in ("bare", "buffered"):
        share = got[name] / got["ours"]
        print(
            f"scan with length: {got['ours']:.2f} CPU-s; pyarrow loop ({name}) {got[name]:.2f}: {share:.0%}", flush=True
        )


def peer(folder: Path, python: str | None, rows: int) -> None:
    """Text metrics, one after another, beside datatrove's filters on the same documents."""
    data = folder / "long"
    data.mkdir(exist_ok=True)
    documents(data / "x.parquet", rows)
    code = (
        "import sys, time\nfrom curate import plugins, tables\nresult = {}\n"
        "batches = list(tables.batches(tables.shards([sys.argv[1]])[0], ('text',)))\n"
        "result['bytes'] = sum(b['text'].str.len_bytes().sum() for b in batches)\n"
        "for spec in sys.argv[2].split('+'):\n"
        "    one = plugins.build('scorers', spec); one(batches[0].head(5)); start = time.process_time()\n"
        "    for b in batches: one(b)\n"
        "    result[spec] = time.process_time() - start\n"
    )
    ours = [name for name in ("length", "compression", "repetition", "language") if _usable(name)]
    got = measured(code, data, "+".join(ours))
    size = got["bytes"] / 1e6
    total = sum(got[name] for name in ours)
    print(f"{size:.1f} MB of text; MB per CPU-s: " + ", ".join(f"{n} {size / max(got[n], 1e-9):.1f}" for n in ours))
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
    from curate import plugins
    from curate.errors import CurateError

    try:
        plugins.build("scorers", name)
    except CurateError as error:
        print(f"without {name}: {error}")
        return False
    return True


def documents(path: Path, rows: int) -> None:
    """Documents of real code and prose: the running Python's own library, a few kB each."""
    import sysconfig

    import pyarrow as pa
    import pyarrow.parquet as pq

    found: list[str] = []
    for file in sorted(Path(sysconfig.get_paths()["stdlib"]).rglob("*.py")):
        text = file.read_text(encoding="utf-8", errors="ignore")
        found += [text[i : i + 4000] for i in range(0, len(text), 4000)]
        if len(found) >= rows:
            break
    pq.write_table(pa.table({"text": found[:rows]}), path)


if __name__ == "__main__":
    main()
