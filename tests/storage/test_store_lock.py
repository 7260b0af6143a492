"""One job writes below a prefix of a store: against a real S3 server, with real processes."""

import http.client
import signal
import subprocess
import sys
import time
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import pytest
import s3

from curate.errors import Interrupted
from curate.storage import atomic, files
from curate.storage import s3 as stores
from curate.storage.locks import lock_record, store_lock
from curate.storage.locks.lock import FolderBusy, held, running

pytestmark = [pytest.mark.slow, s3.needs_moto]
OUT = Path(f"s3://{s3.BUCKET}/out")
HOLD = """
import time
from pathlib import Path
from curate.storage.locks.lock import held
with held(Path("s3://data/out"), "prune"):
    print("held", flush=True)
    time.sleep(600)
"""
RACE = """
import os, random, sys, time
from pathlib import Path
from curate.storage.locks import lock_record
from curate.storage.locks.lock import FolderBusy, held
lock_record.LOOK_SECONDS = 0.05
inside, times = Path(sys.argv[1]) / "inside", 0
until = time.monotonic() + 8
while time.monotonic() < until:
    try:
        with held(Path("s3://data/race"), "score"):
            descriptor = os.open(inside, os.O_CREAT | os.O_EXCL)  # fails if another job is inside
            time.sleep(0.01)
            os.close(descriptor)
            inside.unlink()
            times += 1
    except FolderBusy:
        time.sleep(random.random() / 50)
print(times)
"""


@pytest.fixture(scope="module")
def server():
    with s3.server() as url:
        assert s3.request(url, "PUT", f"/{s3.BUCKET}")[0] == 200
        yield url


@pytest.fixture(autouse=True)
def store(server, monkeypatch):
    for name, value in {**s3.ENVIRONMENT, "AWS_ENDPOINT_URL": server, "AWS_MAX_ATTEMPTS": "4"}.items():
        monkeypatch.setenv(name, value)
    for key in s3.keys(server):
        s3.request(server, "DELETE", f"/{s3.BUCKET}/{key}")
    return server


@pytest.fixture
def quick(monkeypatch):
    monkeypatch.setattr(lock_record, "BEAT_SECONDS", 0.5)
    monkeypatch.setattr(lock_record, "LOOK_SECONDS", 0.1)


@pytest.fixture
def elsewhere():
    return replace(lock_record.this_process("score"), host="far", machine="0123abcd", process=77, token="0000")


def put(holder):
    stores.write(lock_record.record(holder), OUT / "_curate" / ".lock" / f"{holder.token}.json")


@contextmanager
def holding():
    with subprocess.Popen([sys.executable, "-c", HOLD], stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout.readline() == "held\n"
            yield process
        finally:
            process.kill()


def test_our_library_writes_without_the_condition_that_the_server_knows(store):
    """This is why claims are listed. When this test fails, one conditional request can take their place."""
    for content in (b"1", b"2"):
        with stores._store().open_output_stream(f"{s3.BUCKET}/x", metadata={"If-None-Match": "*"}) as sink:
            sink.write(content)
    assert stores.read(Path("s3://data/x")) == b"2"
    authorization = "AWS4-HMAC-SHA256 Credential=A/20260101/us-east-1/s3/aws4_request, SignedHeaders=host, Signature=0"
    connection = http.client.HTTPConnection(store.removeprefix("http://"), timeout=60)
    connection.request("PUT", "/data/x", b"3", {"If-None-Match": "*", "Authorization": authorization})
    assert connection.getresponse().status == 412
    connection.close()


def test_the_second_process_is_refused_until_the_first_is_killed(store):
    with holding() as first:
        with pytest.raises(FolderBusy, match=rf"^another job writes in s3://data/out: prune, process {first.pid}"):
            with held(OUT, "score"):
                pass
        with pytest.raises(FolderBusy), held(OUT, "score", take_over=True):
            pass
        assert running(OUT).process == first.pid
        first.send_signal(signal.SIGKILL)
        first.wait()
        assert running(OUT) is None
        began = time.monotonic()
        with held(OUT, "score"):
            assert running(OUT).job == "score"
        assert time.monotonic() - began < lock_record.BEAT_SECONDS
    assert running(OUT) is None and s3.keys(store) == []


def test_never_two_jobs_hold_a_prefix(tmp_path):
    command = [sys.executable, "-c", RACE, str(tmp_path)]
    jobs = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) for _ in range(4)]
    result = [job.communicate(timeout=200) for job in jobs]
    assert all(job.returncode == 0 for job in jobs), "".join(err[-800:] for _, err in result)
    assert sum(int(out) for out, _ in result) >= 1, result


def test_a_claim_of_another_machine_is_taken_over_when_its_counter_stands_still(quick, elsewhere):
    for settled in (True, False):
        put(replace(elsewhere, settled=settled))
        began = time.monotonic()
        with held(OUT, "prune"):
            assert time.monotonic() - began > 1


def test_a_claim_of_another_machine_whose_counter_moves_is_respected(quick, elsewhere):
    put(elsewhere)

    # A job is told of its wait at each look, so the counter moves after the first look, however busy the machine is.
    def beats(what, done, total):
        put(replace(elsewhere, beat=1))

    message = "score, process 77 on host far, .*If it no longer runs, take the folder over with --take-over"
    with pytest.raises(FolderBusy, match=message), held(OUT, "prune", progress=beats):
        pass
    assert [other.beat for _, content in store_lock._claims(OUT) if (other := lock_record.read_holder(content))] == [1]


def test_take_over_does_not_wait_and_the_other_job_writes_no_more(quick, elsewhere):
    put(elsewhere)
    with held(OUT, "prune", take_over=True):
        files.write_text(OUT / "x", "mine")
        stores.remove(next(path for path, _ in store_lock._claims(OUT)))
        put(elsewhere)
        until = time.monotonic() + 10
        while not atomic.LOST and time.monotonic() < until:
            time.sleep(0.05)
        with pytest.raises(Interrupted, match="score, process 77 on host far"):
            files.write_text(OUT / "x", "late")
    assert files.read_text(OUT / "x") == "mine"
    assert [path.name for path, _ in store_lock._claims(OUT)] == ["0000.json"]
