"""Work files are gone when their job has ended: at its end, after an error, and after kill -9 by the next job."""

import os
import subprocess
import sys
import tempfile

import pytest

from curate import processes
from curate.storage import scratch
from curate.storage.scratch import scratch_folder


@pytest.fixture
def place(tmp_path, monkeypatch):
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(scratch, "_swept", set())
    return tmp_path


def leave(place, name):
    (place / name / "deep").mkdir(parents=True)
    (place / name / "deep" / "file").write_text("x")
    return place / name


@pytest.fixture
def gone():
    """The id of a process that has ended."""
    process = subprocess.Popen([sys.executable, "-c", ""])
    process.wait()
    return process.pid


def test_a_folder_names_its_process_and_is_gone_at_the_end(place):
    with scratch_folder() as folder:
        assert folder.parent == place and folder.name.startswith(f"curate-{processes.host()}-{os.getpid()}-")
        (folder / "file").write_text("x")
    with pytest.raises(KeyboardInterrupt), scratch_folder() as folder:
        (folder / "file").write_text("x")
        raise KeyboardInterrupt
    assert not list(place.iterdir())


def test_what_a_killed_process_left_is_removed_by_the_next(place, gone):
    leave(place, f"curate-{processes.host()}-{gone}-abc_123")
    with scratch_folder() as folder:
        assert list(place.iterdir()) == [folder]


def test_folders_of_others_are_left_alone(place, gone):
    host = processes.host()
    names = [f"curate-0123abcd-{gone}-abc", f"curate-{host}-{os.getppid()}-abc", f"curate-{host}-{gone}", "tmpabc"]
    others = [leave(place, name) for name in names]
    target = leave(place, "target")
    link = place / f"curate-{host}-{gone}-link"
    link.symlink_to(target)
    assert scratch.sweep(place) == 0
    assert all((path / "deep" / "file").exists() for path in (*others, target, link))


@pytest.mark.skipif(os.getuid() != 0, reason="only root can make a folder of another user")
def test_folders_of_other_users_are_left_alone(place, gone):
    theirs = leave(place, f"curate-{processes.host()}-{gone}-abc")
    os.chown(theirs, 12345, 12345)
    assert scratch.sweep(place) == 0 and theirs.exists()


def test_a_process_that_ends_removes_its_folders_and_those_of_its_workers(place):
    theirs = leave(place, f"curate-{processes.host()}-{os.getppid()}-abc")
    with scratch_folder() as folder:
        scratch.remove_all({os.getppid()})
        assert not folder.exists() and not theirs.exists()


def test_a_job_that_writes_a_folder_sweeps_too(place, gone, cli, corpus, tmp_path):
    left_over = leave(place, f"curate-{processes.host()}-{gone}-abc")
    assert cli("score", corpus, "--scorer", "length", "--out", tmp_path / "out").code == 0
    assert not left_over.exists()
