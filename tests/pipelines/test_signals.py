"""Ctrl-C, SIGTERM and SIGHUP end every job within two seconds, and nothing of it remains but finished work."""

import json
import os
import random
import signal
import subprocess
import sys
import time
import uuid
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest
from conftest import console, tree

from curate import processes
from pipelines.shared import signals
from pipelines.shared.signals import message

# What a job has to end on a machine that runs nothing else; `slowness` says how many times longer another one takes.
SECONDS = 2.0
CODES = {signal.SIGINT: 130, signal.SIGTERM: 143, signal.SIGHUP: 129}
MARK = "CURATE_TEST_MARK"
linux = pytest.mark.skipif(not Path("/proc/self/environ").exists(), reason="reads /proc")
pytestmark = linux

# The program of a trainer, with a child, both of which do not end by themselves.
PROGRAM = """
import subprocess, sys, time
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(600)"])
open(sys.argv[1] + "/" + str(child.pid), "w").close()
time.sleep(600)
"""


# A scorer that takes a minute for the files below on two workers, however fast the machine is.
SLOW_SCORER = """
import time
from dataclasses import dataclass
import polars as pl

@dataclass(frozen=True)
class SlowScorer:
    \'\'\'Wait, and give every row 0; high means nothing.\'\'\'

    needs = ("text",)
    schema = {"score.slow_scorer": pl.Float64()}
    meanings = {"score.slow_scorer": "quality"}

    def __call__(self, batch):
        open("scoring", "w").close()
        time.sleep(0.005 * batch.height)
        return pl.DataFrame({"score.slow_scorer": [0.0] * batch.height})
"""


@pytest.fixture(scope="module")
def data(tmp_path_factory):
    """More files than workers, and a trainer of the user's own."""
    folder = tmp_path_factory.mktemp("work")
    rng = random.Random(0)
    words = [f"word{i}" for i in range(2000)]
    (folder / "in").mkdir()
    for k in range(24):
        source = "ab"[k % 2]
        texts = (" ".join(rng.choices(words, k=60)) for _ in range(1000))
        rows = [{"id": f"{k}-{i}", "text": text, "source": source} for i, text in enumerate(texts)]
        (folder / "in" / f"{k}.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    (folder / "program.py").write_text(PROGRAM)
    (folder / "slow_scorer.py").write_text(SLOW_SCORER)
    (folder / "started").mkdir()
    pools = [{"name": name, "tokens": 1e6, "where": ["in"], "filter": {"source": name}} for name in "ab"]
    (folder / "two.json").write_text(json.dumps({"format": 2, "pools": pools}))
    return folder


@pytest.fixture(scope="module")
def work(data):
    """What every job needs to run for some seconds."""

    def done(*words):
        subprocess.run(console(*words), cwd=data, check=True, capture_output=True)

    done("score", "in", "--scorer", "length", "--scorer", "compression", "--out", "sc")
    done("pools", "sc", "--out", "pools.json")
    rng = random.Random(0)
    lines = ["run,params,tokens,weight.a,weight.b,loss.e0,loss.e1,loss.e2,loss.e3"]
    for i in range(60):
        share, size, tokens = rng.random(), 10 ** rng.uniform(5, 7), 10 ** rng.uniform(7, 9)
        loss = 2 + 400 / size**0.4 + 300 / tokens**0.35 + 0.2 * (share - 0.3) ** 2
        numbers = [size, tokens, share, 1 - share, *(loss + 0.01 * k for k in range(4))]
        lines.append(",".join([f"r{i}", *map(str, numbers)]))
    (data / "runs.csv").write_text("\n".join(lines) + "\n")
    done("fit", "runs.csv", "--eval", "e0", "--law", "ces", "--starts", 2, "--draws", 4, "--out", "fit.json")
    return data


JOBS = {
    "score": "score in --scorer compression --scorer repetition --out OUT/sc --workers WORKERS",
    "slow": "score in --scorer duplicates --scorer slow_scorer.py:SlowScorer --out OUT/sc --workers WORKERS",
    "learn": "score in --scorer duplicates --out OUT/sc --workers WORKERS",
    "prune": "prune sc --by score.compression --keep 0.5 --materialize --shard-rows 500 --out OUT/kept",
    "pools": "pools sc --by score.compression --bins 5 --out OUT/pools.json",
    "describe": "describe in --sample 6000 --out OUT/d.json",
    "materialize": "materialize pools.json --shard-rows 500 --out OUT/train --workers WORKERS",
    "pilot": "pilot pools.json --runs 32 --params 1e5 --tokens 2e6 --out OUT/runs.parquet --workers WORKERS",
    "program": "pilot two.json --runs 8 --trainer command:PYTHON~program.py~started --out OUT/runs.parquet "
    "--workers WORKERS",
    "fit": "fit runs.csv --eval e0,e1,e2,e3 --law ces,mixture_ces,utility_smooth,chinchilla --out OUT/fit.json",
    "plan": "plan fit.json --pools pools.json --frontier 1e16:1e20 --params 1e6 --out OUT/plan.json",
    "report": "report . --out OUT/report.html",
}
WORKERS = {name: [1, 2, 5] if "WORKERS" in line else [1] for name, line in JOBS.items()}


def command(name, out, workers=1):
    words = JOBS[name].replace("OUT", str(out)).replace("WORKERS", str(workers)).split(" ")
    return console(*[word.replace("~", " ").replace("PYTHON", sys.executable) for word in words])


def marked(mark):
    """The processes of a job, by a variable of their environment, which they all inherit; not those that ended."""
    pids = []
    for path in Path("/proc").glob("[0-9]*/environ"):
        try:
            if f"{MARK}={mark}".encode() in path.read_bytes() and processes.is_alive(int(path.parent.name)):
                pids.append(int(path.parent.name))
        except OSError:
            continue
    return pids


def shared_memory(mark):
    """The entries in shared memory that the processes of a job use."""
    used = set()
    for pid in marked(mark):
        try:
            lines = Path(f"/proc/{pid}/maps").read_text().splitlines()
        except OSError:
            continue
        used.update(line.rpartition("/")[2] for line in lines if "/dev/shm/" in line)
    return used


def soon(check, seconds=1.5):
    """Whether something holds within some seconds."""
    until = time.monotonic() + seconds
    while not check():
        if time.monotonic() > until:
            return False
        time.sleep(0.05)
    return True


def slowness():
    """How many times longer a program takes at this moment because others use the processors; 1 if none does."""
    began, used = time.monotonic(), time.process_time()
    while time.process_time() - used < 0.1:
        pass
    return max(1.0, (time.monotonic() - began) / 0.1)


def hears(pid):
    """Whether a process handles SIGTERM by now, by the mask of the signals that it catches."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    mask = next((int(line.split()[1], 16) for line in lines if line.startswith("SigCgt")), 0)
    return bool(mask >> (signal.SIGTERM - 1) & 1)


def listen():
    """Undo what ``nohup`` and shells in the background do: signals that are ignored stay so in a new process."""
    for number in CODES:
        signal.signal(number, signal.SIG_DFL)


@contextmanager
def running(words, folder, scratch, group=False):
    """Start a job with its own mark and scratch folder. It is killed at the end of the block at the latest."""
    mark = uuid.uuid4().hex
    scratch.mkdir(exist_ok=True)
    environment = os.environ | {MARK: mark, "TMPDIR": str(scratch)}
    with subprocess.Popen(
        words, cwd=folder, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
        start_new_session=True, preexec_fn=listen,
    ) as job:  # fmt: skip
        try:
            yield job, mark
        finally:
            for pid in marked(mark):
                os.kill(pid, signal.SIGKILL)


def heard(job, number, stderr):
    """What is wrong with the exit code of a job that a signal ended, and with what it said."""
    problems = []
    if job.returncode != CODES[number]:
        problems.append(f"exit {job.returncode}")
    if "was interrupted by" not in (stderr.splitlines() or [""])[-1]:
        problems.append(f"said {stderr[-300:]!r} at last")
    if "Traceback" in stderr or "resource_tracker" in stderr:
        problems.append(f"said {stderr[-600:]!r}")
    return problems


def stopped(words, folder, tmp_path, *, number, wait, whole_group=False):
    """Send a signal to a job that handles signals, once ``wait()`` has returned.

    Return what is wrong with its end, or None if it had ended before.
    """
    problems = []
    with running(words, folder, tmp_path / "scratch") as (job, mark):
        soon(lambda: job.poll() is not None or hears(job.pid), seconds=60)
        wait()
        if job.poll() is not None:
            return None
        memory = shared_memory(mark)
        began = time.monotonic()
        (os.killpg if whole_group else os.kill)(job.pid, number)
        try:
            job.wait(60)
        except subprocess.TimeoutExpired:
            return [f"runs after 60 s: {words}"]
        seconds, slow = time.monotonic() - began, slowness()
        if seconds > SECONDS * slow:
            problems.append(f"took {seconds:.2f} s, where others make programs {slow:.1f} times slower")
        problems += heard(job, number, job.stderr.read())
        # On a busy machine the time for cleaning up may end before all is clean.
        if slow > 1.2 and seconds >= signals.END_SECONDS:
            return problems
        if not soon(lambda: not marked(mark), seconds=1.5 * slow):
            problems.append(f"orphans {marked(mark)}")
    if left_over := sorted(p.name for p in (tmp_path / "scratch").iterdir()):
        problems.append(f"scratch {left_over}")
    if left_over := sorted(memory.intersection(os.listdir("/dev/shm"))):
        problems.append(f"shared memory {left_over}")
    if temporary := [p.name for p in (tmp_path / "out").rglob(".*")]:
        problems.append(f"temporary {temporary}")
    return problems


@pytest.mark.slow
@pytest.mark.parametrize("name, workers", [(name, n) for name, numbers in WORKERS.items() for n in numbers])
def test_every_job_ends_at_a_random_moment(work, tmp_path, name, workers):
    rng = random.Random(f"{name} {workers}")
    wrong, signals_sent = [], 0
    for attempt, number in enumerate(CODES):
        # A terminal sends Ctrl-C to the workers too, and some tools do so with every signal.
        after, group = rng.uniform(0.5, 6), (attempt + workers) % 2 == 1
        words, wait = command(name, tmp_path / "out", workers), partial(time.sleep, after)
        problems = stopped(words, work, tmp_path, number=number, wait=wait, whole_group=group)
        signals_sent += problems is not None
        if problems:
            wrong.append(f"{number.name} after {after:.2f} s: {problems}")
    assert not wrong and signals_sent


# A terminal sends Ctrl-C and SIGHUP to all processes of a job, also to the helper of `multiprocessing`.
@pytest.mark.parametrize("number", CODES, ids=lambda number: number.name)
def test_a_job_with_workers_ends_in_time_and_cleans_up(data, tmp_path, number):
    scoring = data / "scoring"
    scoring.unlink(missing_ok=True)
    words, wait = command("slow", tmp_path / "out", 2), partial(soon, scoring.exists, 120)
    assert stopped(words, data, tmp_path, number=number, wait=wait, whole_group=number != signal.SIGTERM) == []
    assert scoring.exists(), "it was to be stopped while its workers score"


TRAINS = """
import sys
from curate.engines.local import Local
from curate.pool.pool import Budget
from curate.trainers.command import Command
from pipelines.shared import signals

def train(seed):
    return Command(f"{sys.executable} program.py started").train({"a": 1.0}, Budget(1, 1), seed=seed)

if __name__ == "__main__":
    with signals.handled(["pilot", "pools.json"]):
        list(Local(int(sys.argv[1])).run(train, range(8)))
"""


@pytest.mark.parametrize("workers", [1, 2])
def test_the_programs_of_trainers_end_too(data, tmp_path, workers):
    started = data / "started"
    for path in started.iterdir():
        path.unlink()
    (data / "trains.py").write_text(TRAINS)
    with running([sys.executable, "trains.py", str(workers)], data, tmp_path / "scratch") as (job, mark):
        assert soon(lambda: len(list(started.iterdir())) >= workers, seconds=120)
        # The job, the workers and their helper, and for each a program with its child.
        assert len(marked(mark)) == (3 if workers == 1 else 8)
        began = time.monotonic()
        job.send_signal(signal.SIGTERM)
        assert job.wait(20) == 143
        assert time.monotonic() - began < SECONDS * (slow := slowness())
        assert soon(lambda: not marked(mark), seconds=1.5 * slow), "orphans"
        assert "The runs that are trained are kept" in job.stderr.read()


@pytest.mark.slow
@pytest.mark.parametrize("name, workers", [("score", 1), ("score", 2), ("learn", 2), ("materialize", 2)])
def test_a_job_that_was_stopped_again_and_again_ends_with_the_same_bytes(work, tmp_path, name, workers):
    subprocess.run(command(name, tmp_path / "calm", workers), cwd=work, check=True, capture_output=True)
    rng = random.Random(name)
    for attempt in range(4):
        number, wait = list(CODES)[attempt % 3], partial(time.sleep, rng.uniform(1.5, 7))
        assert not stopped(command(name, tmp_path / "out", workers), work, tmp_path, number=number, wait=wait)
    subprocess.run(command(name, tmp_path / "out", workers), cwd=work, check=True, capture_output=True)
    calm, out = tree(tmp_path / "calm"), tree(tmp_path / "out")
    assert {n for n in calm if n.endswith(".parquet")} == {n for n in out if n.endswith(".parquet")}
    assert all(out[n] == calm[n] for n in calm if n.endswith(".parquet"))


def test_signals_that_are_ignored_stay_ignored(data, tmp_path):
    """As under nohup, and for Ctrl-C in the background of a shell script."""
    words = ["nohup", *command("describe", tmp_path / "out")]
    with running(words, data, tmp_path / "scratch") as (job, _):
        # Until `nohup` has become the command, the signal would end it.
        assert soon(lambda: hears(job.pid), seconds=60)
        while job.poll() is None:
            job.send_signal(signal.SIGHUP)
            time.sleep(0.1)
        assert job.returncode == 0, job.stderr.read()


HOLDS_THE_LINE = """
import sys, time
from pipelines.shared import signals
with signals.handled(["fit", "x"]):
    print("ready", flush=True)
    {body}
"""


@pytest.mark.parametrize(
    "body", ["import numpy as np; a = np.ones((4000, 4000)); [a @ a for _ in range(100)]", "time.sleep(99)"]
)
def test_a_long_call_of_a_library_does_not_delay_the_end(body):
    words = [sys.executable, "-c", HOLDS_THE_LINE.format(body=body)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(words, **pipes, text=True, preexec_fn=listen) as job:
        assert job.stdout.readline() == "ready\n"
        time.sleep(1)
        began = time.monotonic()
        job.send_signal(signal.SIGINT)
        assert job.wait(20) == 130
        assert time.monotonic() - began < SECONDS * slowness()
        assert job.stderr.read().endswith(
            "curate: fit was interrupted by Ctrl-C. It has written nothing yet: run the same command again.\n"
        )


def test_handlers_are_those_of_before_afterwards():
    before = [signal.getsignal(number) for number in CODES]
    with signals.handled(["fit"]):
        assert [signal.getsignal(number) for number in CODES] != before
    assert [signal.getsignal(number) for number in CODES] == before


@pytest.mark.parametrize(
    "words, expected",
    [
        (["score", "in", "--out", "o"], "score was interrupted by Ctrl-C. The files that are scored are kept"),
        (["score", "in", "--dry-run"], "score was interrupted by Ctrl-C. It has written nothing yet"),
        (["--debug", "prune", "sc"], "prune was interrupted by Ctrl-C. Its decisions are incomplete"),
        (["--help"], "curate: interrupted by Ctrl-C."),
    ],
)
def test_the_message_says_what_is_kept(words, expected):
    assert expected in message(signal.SIGINT, words)
    assert "\n" not in message(signal.SIGINT, words)
