"""Everything that goes wrong, one line each: what happened, how many rows were lost, whether the bytes are those of a
calm run. First single faults, then kill -9 at random moments, again and again until the job ends by itself.

    python benchmarks/scoring/faults.py --kills 100 --tiny 10000

A damaged file must be set aside with its reason while the rest is done (exit code 1); mended, the same command must
finish to the bytes of a calm run. Rows lost are counted then: rows of the input less rows of the scores. The full and
the read-only disk are file systems of their own, mounted where only this process sees them; that needs root.
"""

import argparse
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pyarrow as pa
import pyarrow.parquet as pq

CURATE = str(Path(sys.executable).parent / "curate")
TEXT = ("length", "compression", "embedding:width=16")
VECTORS = ("prototypes:k=4,embedding=emb.e",)
ROWS, WIDTH = 500, 8
MB = 1 << 20


def command(data: Path, out: Path, specs: Sequence[str] = TEXT, workers: int = 1, *more: str) -> list[str]:
    scorers = [part for spec in specs for part in ("--scorer", spec)]
    return [CURATE, "score", str(data), *scorers, "--workers", str(workers), "--out", str(out), *more]


def run(words: Sequence[str]) -> tuple[int, str]:
    """Run a command; return its exit code and the last line it said."""
    done = subprocess.run(words, capture_output=True, text=True)
    lines = (done.stderr if done.returncode else done.stdout).strip().splitlines()
    return done.returncode, lines[-1] if lines else ""


def start(data: Path, out: Path, workers: int) -> subprocess.Popen:
    return subprocess.Popen(
        command(data, out, workers=workers), stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, start_new_session=True
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Return all files of a job, its records too."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith("."))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def scores(folder: Path) -> dict[str, bytes]:
    return {name: content for name, content in tree(folder).items() if name.endswith(".scores.parquet")}


def rows_of(folder: Path) -> int:
    return sum(pq.read_metadata(path).num_rows for path in folder.rglob("*.scores.parquet"))


def frame(i: int, words: int = 30) -> pl.DataFrame:
    """Texts and vectors that depend on ``i`` only."""
    rng = np.random.default_rng(i)
    vocabulary = np.array([f"w{j}" for j in range(500)])
    texts = [" ".join(vocabulary[rng.integers(0, 500, words)]) for _ in range(ROWS)]
    vectors = pl.Series("emb.e", rng.normal(size=(ROWS, WIDTH)).astype(np.float32), dtype=pl.Array(pl.Float32, WIDTH))
    return pl.DataFrame({"id": [f"{i}-{j}" for j in range(ROWS)], "text": texts, "emb.e": vectors})


def flipped(path: Path) -> None:
    raw = bytearray(path.read_bytes())
    place = len(raw) // 3
    raw[place : place + 2000] = bytes(b ^ 0xFF for b in raw[place : place + 2000])
    path.write_bytes(raw)


def bad_utf8(path: Path) -> None:
    table = pq.read_table(path)
    raw = [b"fine"] * (ROWS - 1) + [b"\xff\xfe"]
    buffers = pa.array(raw).buffers()
    text = pa.Array.from_buffers(pa.string(), ROWS, buffers)
    pq.write_table(table.set_column(1, "text", text), path)


def number(value: float) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        frame = pl.read_parquet(path)
        vectors = frame["emb.e"].to_numpy().copy()
        vectors[7, 3] = value
        frame.with_columns(pl.Series("emb.e", vectors, dtype=frame["emb.e"].dtype)).write_parquet(path)

    return damage


def narrow(path: Path) -> None:
    frame = pl.read_parquet(path)
    vectors = pl.Series("emb.e", frame["emb.e"].to_numpy()[:, :6], dtype=pl.Array(pl.Float32, 6))
    frame.with_columns(vectors).write_parquet(path)


def bomb(path: Path) -> None:
    pq.write_table(pa.table({"text": ["a" * (80 * MB)] * 2}), path, compression="zstd", use_dictionary=False)


DAMAGES: dict[str, tuple[Sequence[str], Callable[[Path], object]]] = {
    "file cut short": (TEXT, lambda p: p.write_bytes(p.read_bytes()[:-100])),
    "corrupt Parquet pages": (TEXT, flipped),
    "empty file (0 bytes)": (TEXT, lambda p: p.write_bytes(b"")),
    "bad UTF-8": (TEXT, bad_utf8),
    "no text column": (TEXT, lambda p: pl.DataFrame({"body": ["x"]}).write_parquet(p)),
    "text of 200 MB": (TEXT, lambda p: pl.DataFrame({"text": ["x " * (100 * MB)]}).write_parquet(p)),
    "zstd bomb (160 MB in 10 kB)": (TEXT, bomb),
    "NaN in a vector": (VECTORS, number(float("nan"))),
    "infinity in a vector": (VECTORS, number(float("inf"))),
    "vectors of another width": (VECTORS, narrow),
}


def show(fault: str, happened: str, lost: int, same: bool) -> None:
    print(f"| {fault} | {happened} | {lost} | {'yes' if same else 'NO'} |", flush=True)


def corpus(folder: Path, files: int = 6) -> Path:
    folder.mkdir(parents=True)
    for i in range(files):
        frame(i).write_parquet(folder / f"{i}.parquet")
    return folder


def damaged(folder: Path) -> None:
    """Damage one file of six: the others are scored as in a calm run, and all are once it is whole again."""
    data = corpus(folder / "data")
    calm = {specs: folder / f"calm{len(specs)}" for specs in (TEXT, VECTORS)}
    for specs, out in calm.items():
        assert run(command(data, out, specs))[0] == 0
    victim, out = data / "3.parquet", folder / "out"
    whole = victim.read_bytes()
    for fault, (specs, damage) in DAMAGES.items():
        damage(victim)
        code, line = run(command(data, out, specs))
        others = {n: c for n, c in scores(calm[specs]).items() if n != "3.parquet.scores.parquet"}
        aside = code == 1 and "1 of 6 files were set aside" in line and "3.parquet" in line
        rest = rows_of(out) == 5 * ROWS and (specs == VECTORS or scores(out) == others)
        victim.write_bytes(whole)
        learned = ("--restart",) if specs == VECTORS else ()  # centres were learned without it
        code, _ = run(command(data, out, specs, 1, *learned))
        happened = "set aside, the rest done; mended: finished" if aside and rest and code == 0 else f"WRONG: {line}"
        show(fault, happened, 6 * ROWS - rows_of(out), scores(out) == scores(calm[specs]))
        shutil.rmtree(out)
    (data / "big.parquet").write_bytes(b"")
    pl.DataFrame({"text": ["x " * (100 * MB)]}).write_parquet(data / "big.parquet")
    code, line = run(command(data, out, ("length",), 1, "--max-document-mb", "256"))
    once = scores(out)
    run(command(data, out, ("length",), 2, "--max-document-mb", "256", "--restart"))
    show("text of 200 MB, --max-document-mb 256", f"exit {code}", 6 * ROWS + 1 - rows_of(out), scores(out) == once)


def odd(folder: Path) -> None:
    """Files that look wrong and are not: every row gets its score, whatever the number of workers."""
    data = folder / "odd"
    corpus(data, 2)
    nulls = pl.DataFrame({"id": ["same"] * 6, "text": ["a", None, "", "b", None, "c"]})
    with pq.ParquetWriter(data / "groups.parquet", nulls.to_arrow().schema) as sink:
        for part in (nulls[:0], nulls[:2], nulls[:0], nulls[2:], nulls[:0]):
            sink.write_table(part.to_arrow())
    nulls[:0].write_parquet(data / "rows0.parquet")
    results = []
    for workers in (1, 2, 4):
        code, line = run(command(data, folder / f"odd{workers}", TEXT, workers))
        assert code == 0, line
        results.append(scores(folder / f"odd{workers}"))
    same = results[0] == results[1] == results[2]
    lost = 2 * ROWS + 6 - rows_of(folder / "odd1")
    show("null texts, 0-row groups, 0-row file, repeated ids", "all scored; 1, 2 and 4 workers", lost, same)


def begun(data: Path, out: Path, workers: int, done: int = 1) -> subprocess.Popen:
    """Start a job; return when some of its files are done."""
    job = start(data, out, workers)
    while job.poll() is None and len(list(out.glob("*.scores.parquet"))) < done:
        time.sleep(0.01)
    return job


def meanwhile(folder: Path) -> None:
    """Change the input, or kill a worker, while a job runs."""
    data, calm, out = corpus(folder / "busy", 24), folder / "busy-calm", folder / "busy-out"
    assert run(command(data, calm))[0] == 0
    victim = data / "9.parquet"  # the last in order
    whole = victim.read_bytes()
    for fault, change in (
        ("file deleted mid-run", victim.unlink),
        ("file rewritten mid-run", lambda: frame(99, 31).write_parquet(victim)),
    ):
        job = begun(data, out, 1)
        change()
        line = job.communicate()[1].decode().strip().splitlines()[-1]
        happened = "set aside" if job.returncode == 1 and "9.parquet" in line else f"exit {job.returncode}: {line}"
        victim.write_bytes(whole)
        code, line = run(command(data, out))
        if code and "--restart" in line:  # it was rewritten before it was read: then its scores are refused by name
            happened, (code, line) = (
                "scored as rewritten; the old one refused by name",
                run(command(data, out, TEXT, 1, "--restart")),
            )
        show(fault, f"{happened}; put back: exit {code}", 24 * ROWS - rows_of(out), scores(out) == scores(calm))
        shutil.rmtree(out)
    job = begun(data, out, 2)
    children = subprocess.run(["ps", "-o", "pid=,args=", "--ppid", str(job.pid)], capture_output=True, text=True).stdout
    worker = next(line.split()[0] for line in children.splitlines() if "spawn_main" in line)
    os.kill(int(worker), signal.SIGKILL)
    job.communicate()
    lost = 24 * ROWS - rows_of(out)
    show("kill -9 of one of two workers", f"replaced; exit {job.returncode}", lost, scores(out) == scores(calm))
    for path in [*data.rglob("*"), *out.rglob("*")]:
        os.utime(path, (1, 1) if path.is_relative_to(out) else (4e9, 4e9))
    code, line = run(command(data, out))
    again = "nothing done again" if "0 rows scored now" in line else line
    show("clock jumps by decades", f"{again}; exit {code}", 24 * ROWS - rows_of(out), scores(out) == scores(calm))


def disks(folder: Path) -> None:
    """Run out of space, and write where nothing can be written."""
    data, calm = corpus(folder / "disk"), folder / "disk-calm"
    assert run(command(data, calm))[0] == 0
    out, other = folder / "small", folder / "small-copy"
    out.mkdir()
    job, half = " ".join(command(data, out)), sum(map(len, tree(calm).values())) // 2048
    for fault, mount in (
        ("disk full", f"mount -t tmpfs -o size={half}k none {out}"),
        ("output read-only", f"mount -t tmpfs -o ro none {out}"),
    ):
        script = f"{mount} || exit 77; {job}; code=$?; rm -rf {other}; cp -r {out} {other}; exit $code"
        done = subprocess.run(["unshare", "-m", "sh", "-c", script], capture_output=True, text=True)
        if done.returncode == 77 or not other.is_dir():
            print(f"| {fault} | not run: it needs root and `unshare` | - | - |", flush=True)
            continue
        line = done.stderr.strip().splitlines()[-1]
        torn = [name for name, content in scores(other).items() if scores(calm)[name] != content]
        remaining = len(scores(other))
        code, _ = run(command(data, other))
        happened = (
            f"exit {done.returncode}, {line.split(': ', 2)[-1].split('. Free')[0]}; {remaining} of 6 files done, "
        )
        happened += f"{len(torn)} half-written; with space: exit {code}"
        show(fault, happened, 6 * ROWS - rows_of(other), scores(other) == scores(calm))


def kills(folder: Path, count: int, seed: int) -> None:
    """One long file of 150,000 short texts in groups of 20,000 rows, and eight small ones; kill, and kill again."""
    rng, data, calm = random.Random(seed), folder / "kills", folder / "kills-calm"
    corpus(data, 8)
    words = np.array([f"w{i}" for i in range(500)])
    numbers = np.random.default_rng(0)
    short = [" ".join(words[numbers.integers(0, 500, 12)]) for _ in range(1000)]
    pl.DataFrame({"text": short * 150}).write_parquet(data / "long.parquet", row_group_size=20_000)
    began = time.monotonic()
    assert run(command(data, calm))[0] == 0
    span, expected = time.monotonic() - began, tree(calm)
    counts: Counter[str] = Counter()
    out = folder / "kills-out"
    while counts["kills"] < count:
        job = start(data, out, rng.choice([1, 2]))
        try:
            job.wait(rng.uniform(0.1, 1.0) * span)
        except subprocess.TimeoutExpired:
            os.killpg(job.pid, signal.SIGKILL)
            job.wait()
            counts["kills"] += 1
            counts[moment(out)] += 1
            continue
        judge(job, out, expected, counts)
        shutil.rmtree(out)
    judge(start(data, out, 1), out, expected, counts)
    ended, wrong = counts["jobs that ended"], counts["with other bytes"] + counts["with an error"]
    places = ", ".join(f"{counts[name]} {name}" for name in MOMENTS)
    lost = 150_000 + 8 * ROWS - rows_of(out)
    show(
        f"kill -9 at {counts['kills']} random moments", f"{places}; {ended} jobs ended, {wrong} wrong", lost, not wrong
    )


MOMENTS = ("before anything was done", "between files", "inside the long file")


def moment(out: Path) -> str:
    parts = list((out / "_curate").rglob("parts/*/*/*.arrow"))
    return MOMENTS[2 if parts else 1 if list(out.glob("*.scores.parquet")) else 0]


def judge(job: subprocess.Popen, out: Path, expected: dict[str, bytes], counts: Counter) -> None:
    _, line = job.communicate()
    counts["jobs that ended"] += 1
    counts["with an error"] += job.returncode != 0
    counts["with other bytes"] += tree(out) != expected
    if job.returncode:
        print(line.decode()[-500:])


def tiny(folder: Path, count: int) -> None:
    data, out = folder / "tiny", folder / "tiny-out"
    data.mkdir()
    for i in range(count):
        (data / f"{i:05d}.jsonl").write_text(f'{{"text": "document {i}"}}\n')
    results, times = [], []
    for _ in ("scored", "again"):
        began = time.monotonic()
        assert run(command(data, out, ("length",)))[0] == 0
        times.append(time.monotonic() - began)
        results.append(scores(out))
    happened = f"{times[0]:.0f} s; again, all done: {times[1]:.0f} s"
    show(f"{count} tiny files", happened, count - rows_of(out), results[0] == results[1])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--tiny", type=int, default=10_000)
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    with TemporaryDirectory() as name:
        folder = Path(name)
        print("| fault | what happened | rows lost | same bytes |\n|---|---|---|---|", flush=True)
        for part in (damaged, odd, meanwhile, disks):
            part(folder)
        if options.tiny:
            tiny(folder, options.tiny)
        if options.kills:
            kills(folder, options.kills, options.seed)


if __name__ == "__main__":
    main()
