"""One job writes in a folder: on this machine, on others, after kill -9, on file systems without locks."""

import errno
import json
import os
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import asdict, replace

import pytest
from conftest import one_line, tree

from curate import processes
from curate.errors import Interrupted, SchemaError
from curate.storage import atomic, files
from curate.storage.locks import file_lock, lock_record
from curate.storage.locks.lock import FolderBusy, held, running

HOLD = """
import sys, time
from pathlib import Path
from curate.storage.locks.lock import held
with held(Path(sys.argv[1]), "prune"):
    print("held", flush=True)
    time.sleep(600)
"""


@contextmanager
def holding(folder, prelude=""):
    """A process that holds the folder, until it is killed at the end of the block at the latest."""
    command = [sys.executable, "-c", prelude + HOLD, str(folder)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def file_of(folder):
    return folder / "_curate" / ".lock"


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock_record, "BEAT_SECONDS", 0.3)
    monkeypatch.setattr(lock_record, "LOOK_SECONDS", 0.05)


@pytest.fixture
def elsewhere():
    """The record of a job on another machine."""
    return replace(lock_record.this_process("score"), host="far", machine="0123abcd", process=77, token="theirs")


def put(folder, holder):
    file_of(folder).parent.mkdir(parents=True, exist_ok=True)
    file_of(folder).write_bytes(lock_record.record(holder))


def test_the_second_job_of_a_process_is_refused_and_told_who_holds_the_folder(tmp_path):
    with held(tmp_path, "prune"):
        with pytest.raises(FolderBusy, match=f"prune, process {os.getpid()} on host .*or give another --out"):
            with held(tmp_path, "score"):
                pass
        with pytest.raises(FolderBusy), held(tmp_path / "." / "x" / "..", "score"):
            pass
    with held(tmp_path, "score"):
        pass


def test_the_second_process_is_refused_until_the_first_ends_even_by_kill_9(tmp_path):
    for number in (signal.SIGKILL, signal.SIGTERM):
        with holding(tmp_path) as first:
            with pytest.raises(FolderBusy, match=f"prune, process {first.pid} on host"), held(tmp_path, "score"):
                pass
            # A process that runs on this machine keeps its folder.
            with pytest.raises(FolderBusy), held(tmp_path, "score", take_over=True):
                pass
            assert running(tmp_path).process == first.pid
            first.send_signal(number)
            first.wait()
        assert file_of(tmp_path).exists()
        assert running(tmp_path) is None
        began = time.monotonic()
        with held(tmp_path, "score"):
            assert time.monotonic() - began < lock_record.BEAT_SECONDS
        assert running(tmp_path) is None and not file_of(tmp_path).exists()


def test_nothing_of_the_lock_remains(tmp_path):
    with held(tmp_path / "a" / "b", "score"):
        assert running(tmp_path / "a" / "b").job == "score"
        assert files.listed(str(tmp_path)) == []
        empty = files.content_hash(tmp_path)
        assert tree(tmp_path) == {}
    assert list(tmp_path.iterdir()) == []
    assert files.content_hash(tmp_path) == empty
    with held(tmp_path / "a", "score"):
        files.write_text(tmp_path / "a" / "x", "1")
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["a", "x"]


def test_a_refused_job_changes_nothing(tmp_path):
    with holding(tmp_path):
        before = sorted(tmp_path.rglob("*"))
        with pytest.raises(FolderBusy), held(tmp_path, "score"):
            pass
        assert sorted(tmp_path.rglob("*")) == before


RACE = """
import os, sys, time
from pathlib import Path
from curate.storage.locks.lock import FolderBusy, held
out, times = Path(sys.argv[1]), 0
inside = out.parent / "inside"
until = time.monotonic() + float(sys.argv[2])
while time.monotonic() < until:
    try:
        with held(out, "score"):
            descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)  # fails if another job is inside
            time.sleep(0.002)
            os.close(descriptor)
            inside.unlink()
            times += 1
    except FolderBusy:
        pass
print(times)
"""


def race(tmp_path, seconds, prelude=""):
    command = [sys.executable, "-c", prelude + RACE, str(tmp_path / "out"), str(seconds)]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    result = [job.communicate(timeout=120) for job in jobs]
    assert all(job.returncode == 0 for job in jobs), result
    return [int(out) for out, _ in result]


def test_never_two_jobs_hold_a_folder(tmp_path):
    assert sum(race(tmp_path, 2)) > 20


def test_a_lock_of_another_machine_is_taken_over_when_its_counter_stands_still(tmp_path, quick, elsewhere):
    put(tmp_path, elsewhere)
    assert running(tmp_path) == elsewhere
    began = time.monotonic()
    with held(tmp_path, "prune"):
        assert time.monotonic() - began > 0.6
        assert running(tmp_path).job == "prune"


def test_a_lock_of_another_machine_whose_counter_moves_is_respected(tmp_path, quick, elsewhere):
    put(tmp_path, elsewhere)

    # A job is told of its wait at each look, so the counter moves after the first look, however busy the machine is.
    def beats(what, done, total):
        put(tmp_path, replace(elsewhere, beat=1))

    message = "score, process 77 on host far, .*If it no longer runs, take the folder over with --take-over"
    with pytest.raises(FolderBusy, match=message), held(tmp_path, "prune", progress=beats):
        pass
    assert lock_record.read_holder(file_of(tmp_path).read_bytes()).beat == 1


def test_take_over_does_not_wait(tmp_path, elsewhere):
    put(tmp_path, elsewhere)
    began = time.monotonic()
    with held(tmp_path, "prune", take_over=True):
        assert time.monotonic() - began < lock_record.BEAT_SECONDS


@pytest.mark.parametrize("how", ["taken", "removed"])
def test_a_job_that_lost_its_folder_writes_no_more(tmp_path, quick, elsewhere, how):
    with held(tmp_path, "prune"):
        files.write_text(tmp_path / "x", "mine")
        put(tmp_path, elsewhere) if how == "taken" else file_of(tmp_path).unlink()
        until = time.monotonic() + 5
        while not atomic.LOST and time.monotonic() < until:
            time.sleep(0.05)
        with pytest.raises(Interrupted, match="score, process 77" if how == "taken" else "was removed"):
            files.write_text(tmp_path / "x", "late")
    assert (tmp_path / "x").read_text() == "mine"
    # The lock of the other job is not ours to remove.
    assert file_of(tmp_path).exists() == (how == "taken")
    put(tmp_path, elsewhere)
    with held(tmp_path, "prune", take_over=True):
        files.write_text(tmp_path / "x", "again")


def test_without_locks_of_the_system_the_record_decides(tmp_path, monkeypatch):
    prelude = """
import fcntl
def no_locks(*_):
    raise OSError(37, "No locks available")
fcntl.flock = no_locks
"""

    def no_locks(*_):
        raise OSError(errno.ENOLCK, "No locks available")

    monkeypatch.setattr(file_lock.fcntl, "flock", no_locks)
    with holding(tmp_path, prelude) as first:
        assert running(tmp_path).process == first.pid
        with pytest.raises(FolderBusy, match=f"process {first.pid}"), held(tmp_path, "score"):
            pass
    assert running(tmp_path) is None
    with held(tmp_path, "score"):
        pass
    assert sum(race(tmp_path, 1, prelude)) > 5


def test_a_later_process_with_the_same_id_is_not_the_holder(tmp_path):
    put(tmp_path, replace(lock_record.this_process("score"), process=os.getppid(), birth="1"))
    with held(tmp_path, "prune"):
        pass


def test_a_damaged_record_stops_nobody(tmp_path):
    for content in (b"", b"{", b'{"job": 1}', b"\xff" * 2000):
        file_of(tmp_path).parent.mkdir(exist_ok=True)
        file_of(tmp_path).write_bytes(content)
        assert running(tmp_path) is None
        with held(tmp_path, "score"):
            assert running(tmp_path).job == "score"


def test_a_child_of_the_job_does_not_keep_the_lock(tmp_path):
    with held(tmp_path, "score"):
        child = os.fork()
        if not child:
            time.sleep(30)
            os._exit(0)
    with held(tmp_path, "prune"):
        pass
    os.kill(child, signal.SIGKILL)
    os.waitpid(child, 0)


def test_what_cannot_be_locked_is_one_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(SchemaError, match="is not a folder"), held(tmp_path / "file", "score"):
        pass
    with pytest.raises(Exception, match="cannot write .*Not a directory"), held(tmp_path / "file" / "x", "score"):
        pass


def test_the_record_is_small_and_names_the_process():
    holder = lock_record.this_process("materialize")
    assert len(lock_record.record(replace(holder, host="x" * 255))) == lock_record.RECORD_BYTES
    assert lock_record.read_holder(lock_record.record(holder)) == holder
    assert json.loads(lock_record.record(holder)) == asdict(holder)
    assert holder.is_local and holder.is_alive
    assert not replace(holder, birth="1").is_alive or not processes.birth(os.getpid())


@pytest.mark.parametrize("change", [{"process": "x"}, {"process": None}, {"host": 5}, {"beat": "1"}, {"job": []}])
def test_a_damaged_record_names_no_process(tmp_path, elsewhere, change):
    put(tmp_path, elsewhere)
    damaged = json.dumps(asdict(lock_record.this_process("score")) | change)
    assert lock_record.read_holder(damaged) is None
    file_of(tmp_path).write_text(damaged)
    assert running(tmp_path) is None
    with held(tmp_path, "prune"):
        pass


@pytest.mark.parametrize("job", ["score", "prune", "materialize", "pilot"])
def test_every_job_that_writes_a_folder_is_refused_in_one_line(cli, tmp_path, corpus, job):
    scores, pools = tmp_path / "scores", tmp_path / "pools.json"
    assert cli("score", corpus, "--scorer", "length", "--out", scores).code == 0
    assert cli("pools", scores, "--out", pools).code == 0
    out = tmp_path / "out"
    commands = {
        "score": ["score", corpus, "--scorer", "length", "--out", out],
        "prune": ["prune", scores, "--by", "score.length", "--keep", 0.5, "--out", out],
        "materialize": ["materialize", pools, "--out", out],
        "pilot": ["pilot", pools, "--runs", 4, "--params", 1e4, "--tokens", 1e3, "--out", tmp_path / "runs.parquet"],
    }
    folder = tmp_path / "runs.runs" if job == "pilot" else out
    with holding(folder) as first:
        assert f"another job writes in {folder}: prune, process {first.pid}" in one_line(cli(*commands[job]))
        assert [p for p in folder.rglob("*") if p.is_file()] == [file_of(folder)]
    done = cli(*commands[job])
    assert done.code == 0, done.err
    assert not file_of(folder).exists()
