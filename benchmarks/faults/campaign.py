"""Break every job in every way that we know, and count what is lost. One line for each kind of fault.

    python benchmarks/faults/campaign.py               short: some 4 minutes on two cores
    python benchmarks/faults/campaign.py --kills 10    long: ten kills of every job, and all damaged files

A loss is one of these: exit code 0 with wrong or missing rows and no word about it; a traceback, or a failure without
one clear line; other bytes than an undisturbed run, after the same command ran again; a process that outlives its job.
The exit code is 1 if anything was lost.
"""

import argparse
import os
import random
import resource
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from importlib.util import find_spec
from pathlib import Path
from tempfile import TemporaryDirectory

import polars as pl
import pyarrow.parquet as pq

sys.path.insert(0, str(Path(__file__).parent))
from jobs import FILES, LONG_ROWS, ROWS, Bench, Ended, Job, Ledger, collected, end

ENDS_IN = 2.0  # seconds in which a job must end after a signal; more on a machine that is busy, see `grace`
TRIES = 4  # to kill a job before it ends, for each kill
KILLED = ("score", "prune", "pools", "materialize", "describe", "pilot", "fit", "plan")
# The jobs that each part of the campaign breaks, with those whose results they read.
JOBS_OF_PARTS = {
    "kills": KILLED,
    "signals": ("score", "pools", "materialize", "pilot"),
    "workers": ("score", "pools", "materialize"),
    "disks": ("score", "prune", "pools", "materialize", "describe"),
    "environments": ("score", "prune", "pools", "materialize", "fit"),
    "damaged": ("score",),
    "together": ("score", "prune"),
    "changed": ("score", "prune", "pools", "materialize"),
    "store": ("score",),
}
ENVIRONMENTS: tuple[dict[str, str], ...] = (
    {"PYTHONHASHSEED": "1", "TZ": "Asia/Kathmandu"},
    {"PYTHONHASHSEED": "2", "OMP_NUM_THREADS": "2", "POLARS_MAX_THREADS": "1", "LC_ALL": "tr_TR.UTF-8"},
)


def kills(bench: Bench, ledger: Ledger, count: int, rng: random.Random) -> None:
    """kill -9 of a job and its workers at random moments, several times, until the same command ends."""
    for name in KILLED:
        job, killed, seconds = bench.jobs[name], 0, bench.seconds[name]
        for _ in range(TRIES * count):
            began, process = time.monotonic(), bench.start(job.command())
            try:
                process.communicate(timeout=rng.uniform(0.1, 0.9) * seconds)
            except subprocess.TimeoutExpired:
                end(process, signal.SIGKILL)
                process.communicate()
                killed += 1
            else:  # it was faster than the calm run
                seconds = time.monotonic() - began
                bench.clear()
            if killed == count:
                break
        ledger.line(f"kill -9: {name}", killed, "continued by the same command", bench.continued(job))
        bench.clear()


def signals(bench: Bench, ledger: Ledger, rng: random.Random, everything: bool) -> None:
    """SIGTERM and SIGINT to the job alone: it ends soon, with its workers, and says how to go on."""
    for name in ("score", "materialize", "pilot"):
        for sign, code in ((signal.SIGTERM, 143), (signal.SIGINT, 130)):
            if not everything and (name, sign) in (("materialize", signal.SIGINT), ("pilot", signal.SIGTERM)):
                continue
            job, losses = bench.jobs[name], []
            process = bench.start(job.command())
            time.sleep(rng.uniform(0.4, 0.8) * bench.seconds[name])
            process.send_signal(sign)
            began = time.monotonic()
            try:
                out, err = process.communicate(timeout=30)
                losses += Ended(process.returncode, out, err).losses((0, code))
            except subprocess.TimeoutExpired:
                losses.append("does not end within 30 s")
            seconds = time.monotonic() - began
            if seconds > ENDS_IN + grace(bench):
                losses.append(f"ended after {seconds:.1f} s")
            if alive(process.pid):
                losses.append("workers outlive the job")
                end(process, signal.SIGKILL)
            happened = f"exit {process.returncode} after {seconds:.1f} s; continued"
            ledger.line(f"{sign.name}: {name}", 1, happened, losses + bench.continued(job))
            bench.clear()


def grace(bench: Bench) -> float:
    """Return how much longer this machine may take to end a job: what a command takes here beside an idle machine."""
    return max(0.0, min(bench.seconds.values()) - 1.0)


def alive(group: int) -> bool:
    """Return whether a process of this group is left; those that only wait to be collected do not count."""
    listed = subprocess.run(["ps", "-e", "-o", "pgid=,stat="], capture_output=True, text=True).stdout
    return any(line.split()[0] == str(group) and "Z" not in line.split()[1] for line in listed.splitlines())


def workers(bench: Bench, ledger: Ledger) -> None:
    """kill -9 of one of two workers: it is replaced, and the job ends as if nothing had happened."""
    for name in ("score", "materialize"):
        job, killed = bench.jobs[name], 0
        process = bench.start(job.command())
        until = time.monotonic() + 60
        while process.poll() is None and not killed and time.monotonic() < until:
            command = ["ps", "-o", "pid=,args=", "--ppid", str(process.pid)]
            children = subprocess.run(command, capture_output=True, text=True).stdout.splitlines()
            for line in children:
                if "spawn_main" in line:
                    os.kill(int(line.split()[0]), signal.SIGKILL)
                    killed = 1
                    break
        losses = collected(process).losses()
        same = bench.tree(job) == bench.calm[name]
        ledger.line(f"a worker killed: {name}", killed, "replaced", losses + ([] if same else ["other bytes"]))
        bench.clear()


def disks(bench: Bench, ledger: Ledger, everything: bool) -> None:
    """A full disk, for results and for work files: one line, and the same command continues when there is room."""
    for name, kilobytes in (("score", (16, 400)), ("prune", (16, 300)), ("materialize", (16, 300)), ("describe", (0,))):
        for size in kilobytes if everything else kilobytes[-1:]:
            disk(bench, ledger, bench.jobs[name], f"disk of {size} kB for --out: {name}", "out", size)
    for size in (16, 500, 3000) if everything else (500,):
        disk(bench, ledger, bench.jobs["score"], f"disk of {size} kB for work files: score", "scratch", size)

    def no_large_file() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (60_000, 60_000))

    def few_handles() -> None:
        resource.setrlimit(resource.RLIMIT_NOFILE, (24, 24))

    for fault, limit in (("no file over 60 kB", no_large_file), ("24 open files", few_handles)):
        for name in ("score", "prune", "materialize") if everything else ("materialize",):
            job = bench.jobs[name]
            ended = bench.run(job, limits=limit)
            ledger.line(f"{fault}: {name}", 1, f"exit {ended.code}", ended.losses((0, 1)) + bench.continued(job))
            bench.clear()


def disk(bench: Bench, ledger: Ledger, job: Job, fault: str, folder: str, size: int) -> None:
    """Run a job with a small disk mounted at ``folder``, where only this job sees it; that needs root."""
    for name in ("out", "scratch", "saved"):
        shutil.rmtree(bench.folder / name, ignore_errors=True)
        (bench.folder / name).mkdir()
    words = " ".join(f"'{word}'" for word in job.command())
    # What was written is saved before the disk goes with its name space.
    script = (
        f"mount -t tmpfs -o size={max(size, 4)}k none {folder} || exit 77; "
        + ("head -c 100000 /dev/zero > out/filler 2>/dev/null; " if size == 0 else "")
        + f"{words}; code=$?; rm -f out/filler; cp -r out/. saved/; exit $code"
    )
    ended = bench.run_words(
        ["unshare", "-m", "sh", "-c", script], TMPDIR=str(bench.folder / "scratch") if folder == "scratch" else "/tmp"
    )
    if ended.code == 77 or "unshare" in ended.err:
        print(f"| {fault} | 0 | not run: it needs root and `unshare` | 0 |", flush=True)
        return
    shutil.rmtree(bench.folder / "out")
    (bench.folder / "saved").rename(bench.folder / "out")
    losses = ended.losses((0, 1))
    if ended.code and "cannot write" not in ended.err:
        losses.append(f"the line does not say what cannot be written: {ended.last[:150]}")
    ledger.line(fault, 1, f"exit {ended.code}; with room: continued", losses + bench.continued(job))
    bench.clear()


def environments(bench: Bench, ledger: Ledger) -> None:
    """Other hash seeds, workers, threads, languages and time zones: the same bytes."""
    for number, environment in enumerate(ENVIRONMENTS, start=1):
        losses = []
        for name in ("score", "prune", "materialize", "fit"):
            job = bench.jobs[name]
            one_worker = ("--workers", "1") if "--workers" in job.words else ()
            losses += [f"{name}: {loss}" for loss in bench.run(job, *one_worker, **environment).losses()]
            if bench.tree(job) != bench.calm[name]:
                losses.append(f"{name}: other bytes")
            bench.clear()
        ledger.line(f"environment {number}: {', '.join(environment)}", 4, "the same bytes", losses)


def damaged(bench: Bench, ledger: Ledger, everything: bool) -> None:
    """Damaged files: named and set aside, or refused; the other rows are scored; mended, the job ends as calm."""
    victim = bench.folder / "data" / "3.parquet"
    whole, stat = victim.read_bytes(), victim.stat()

    def flipped(path: Path) -> None:
        raw = bytearray(whole)
        raw[2000:4000] = bytes(byte ^ 0xFF for byte in raw[2000:4000])
        path.write_bytes(raw)

    damages: dict[str, Callable[[Path], object]] = {
        "file cut short": lambda path: path.write_bytes(whole[:-100]),
        "corrupt pages": flipped,
        "empty file": lambda path: path.write_bytes(b""),
        "a folder in its place": lambda path: (path.unlink(), path.mkdir()),
        "text of numbers": lambda path: pl.DataFrame({"text": [1.5] * ROWS}).write_parquet(path),
        "text of lists": lambda path: pl.DataFrame({"text": [["a"]] * ROWS}).write_parquet(path),
    }
    job = bench.jobs["score"]
    for fault, damage in list(damages.items())[: None if everything else 3]:
        damage(victim)
        ended = bench.run(job)
        losses = ended.losses((0, 1))
        if "3.parquet" not in ended.err + ended.out:
            losses.append("the file is not named")
        scored = sum(pq.read_metadata(path).num_rows for path in (bench.folder / job.out).rglob("*.scores.parquet"))
        if ended.code == 1 and scored not in (0, LONG_ROWS + (FILES - 1) * ROWS):
            losses.append(f"{scored} rows were scored")
        if victim.is_dir():
            victim.rmdir()
        victim.write_bytes(whole)
        os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
        # What was learned without the file is not learned again unasked.
        losses += bench.continued(job, "--restart")
        ledger.line(f"damaged: {fault}", 1, f"exit {ended.code}; mended: continued", losses)
        bench.clear()


def together(bench: Bench, ledger: Ledger) -> None:
    """Two jobs in one folder at a time: the folder holds the result of one of them, never a mixture."""
    prune = bench.jobs["prune"]
    other = tuple("0.3" if word == "0.5" else word for word in prune.command())
    assert bench.run_words(other).code == 0
    results = [bench.calm["prune"], bench.tree(prune)]
    bench.clear()
    for _ in range(2):
        both = [bench.start(words) for words in (prune.command(), other)]
        ended = [collected(process) for process in both]
        losses = [loss for each in ended for loss in each.losses((0, 1))]
        if bench.tree(prune) not in results:
            losses.append("a mixture of two decisions")
        if all(each.code for each in ended):
            losses.append("neither ended")
        ledger.line("two prunes in one folder", 1, f"exits {ended[0].code} and {ended[1].code}", losses)
        bench.clear()


def changed(bench: Bench, ledger: Ledger) -> None:
    """Inputs that change after they were scored, and scores that are not complete: refused with a reason."""
    victim = bench.folder / "data" / "2.parquet"
    whole, stat = victim.read_bytes(), victim.stat()
    pl.read_parquet(victim).with_columns(text=pl.lit("other")).write_parquet(victim)
    for name in ("prune", "materialize"):
        ended = bench.run(bench.jobs[name])
        losses = ended.losses((1,)) or ([] if victim.name in ended.last else [f"no file is named: {ended.last[:120]}"])
        ledger.line(f"a file rewritten since it was scored: {name}", 1, f"exit {ended.code}", losses)
        bench.clear()
    victim.write_bytes(whole)
    os.utime(victim, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    process = bench.start(bench.jobs["score"].command())
    scores = bench.folder / "out" / "scores"
    while process.poll() is None and not list(scores.glob("*.scores.parquet")):
        time.sleep(0.01)
    end(process, signal.SIGKILL)
    process.communicate()
    command = [word.replace("in/scores", "out/scores") for word in bench.jobs["prune"].command()]
    ended = bench.run_words(command)
    happened = f"exit {ended.code}: {ended.last[:60]}"
    ledger.line("prune of half-scored data", 1, happened, ended.losses((1,)))
    bench.clear()


def store(bench: Bench, ledger: Ledger, rng: random.Random) -> None:
    """One request in ten to an S3 store fails: 500, 503, or a connection that is refused or cut."""
    if find_spec("moto") is None:
        print("| S3, one request in ten fails | 0 | not run: moto is not installed | 0 |", flush=True)
        return
    sys.path.insert(0, str(Path(__file__).parents[2] / "tests"))
    import s3

    broken = 0

    def verdict(method: str, path: str) -> str:
        nonlocal broken
        if rng.random() > 0.1:
            return ""
        broken += 1
        # An upload that is cut makes the client wait until it gives the connection up, so it is refused instead.
        return rng.choice(["500", "503", "refuse", "cut" if method == "GET" else "refuse"])

    with s3.server() as url, s3.proxy(url) as proxy:
        s3.request(url, "PUT", f"/{s3.BUCKET}")
        for path in (bench.folder / "data").glob("*.parquet"):
            s3.request(url, "PUT", f"/{s3.BUCKET}/data/{path.name}", path.read_bytes())
        proxy.verdict = verdict
        words = [word.replace("out/", "s3://data/") if word.startswith("out/") else word for word in
                 bench.jobs["score"].command()]  # fmt: skip
        words[words.index("data")] = "s3://data/data"
        ended = bench.run_words(words, AWS_ENDPOINT_URL=proxy.url, **s3.ENVIRONMENT)
        losses = ended.losses()
        for name, content in bench.calm["score"].items():
            if s3.request(url, "GET", f"/{s3.BUCKET}/scores/{name}")[1] != content:
                losses.append(f"{name} has other bytes")
    ledger.line("S3, one request in ten fails: score", broken, f"exit {ended.code}", losses)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--kills", type=int, default=1, help="kills of each job; over 1 also runs the longer parts")
    parser.add_argument("--parts", default="", help="only these, separated by commas, such as kills,disks")
    parser.add_argument("--seed", type=int, default=0)
    options = parser.parse_args()
    everything = options.kills > 1
    rng, ledger = random.Random(options.seed), Ledger()
    began = time.monotonic()
    with TemporaryDirectory() as name:
        chosen = options.parts.split(",") if options.parts else list(JOBS_OF_PARTS)
        bench = Bench(Path(name) / "bench", {job for part in chosen for job in JOBS_OF_PARTS[part]})
        print("| fault | times | what happened | losses |\n|---|---|---|---|", flush=True)
        parts: dict[str, Callable[[], None]] = {
            "kills": lambda: kills(bench, ledger, options.kills, rng),
            "signals": lambda: signals(bench, ledger, rng, everything),
            "workers": lambda: workers(bench, ledger),
            "disks": lambda: disks(bench, ledger, everything),
            "environments": lambda: environments(bench, ledger),
            "damaged": lambda: damaged(bench, ledger, everything),
            "together": lambda: together(bench, ledger),
            "changed": lambda: changed(bench, ledger),
            "store": lambda: store(bench, ledger, rng),
        }
        for part in chosen:
            parts[part]()
    seconds = time.monotonic() - began
    for loss in ledger.losses:
        print(f"LOST {loss}", flush=True)
    print(f"{ledger.faults} faults, {len(ledger.losses)} losses, {seconds:.0f} s", flush=True)
    sys.exit(bool(ledger.losses))


if __name__ == "__main__":
    main()
