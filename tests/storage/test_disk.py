"""A disk that is full, read-only or over its quota, and a process that may open no more files."""

import errno
import os
import resource
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from curate.errors import CurateError
from curate.storage import disk_arrays, disk_errors
from curate.storage.atomic import replacing, write_text

LIMIT = 100_000  # bytes of the largest file, in the process that `limited` starts


def limited(code: str, folder: Path) -> subprocess.CompletedProcess[str]:
    """Run code where no file can be larger than LIMIT, which the system reports as it reports a full disk."""
    return subprocess.run(
        [sys.executable, "-c", code, str(folder)],
        capture_output=True,
        text=True,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (LIMIT, LIMIT)),
    )


@pytest.mark.parametrize("npy", [False, True])
def test_a_mapped_array_has_its_space_before_it_is_written(tmp_path, npy):
    array = disk_arrays.new_mapped(tmp_path / "a", np.int64, (100_000,), npy=npy)
    blocks = os.stat(tmp_path / "a").st_blocks * 512
    assert blocks >= array.nbytes
    assert not array.any()
    array[:] = np.arange(100_000)
    array.flush()
    again = np.load(tmp_path / "a") if npy else np.fromfile(tmp_path / "a", np.int64)
    assert np.array_equal(again, np.arange(100_000))


def test_space_is_reserved_where_the_system_has_no_call_for_it(tmp_path, monkeypatch):
    def unsupported(*_: int) -> None:
        raise OSError(errno.EOPNOTSUPP, "not supported")

    monkeypatch.setattr(os, "posix_fallocate", unsupported)
    array = disk_arrays.new_mapped(tmp_path / "a", np.int16, (disk_arrays.BLOCK,), npy=True)
    assert os.stat(tmp_path / "a").st_blocks * 512 >= array.nbytes
    assert np.array_equal(np.load(tmp_path / "a"), np.zeros(disk_arrays.BLOCK, np.int16))


@pytest.mark.parametrize("npy", [False, True])
def test_a_mapped_array_without_room_is_one_line(tmp_path, npy):
    code = (
        "import sys; from pathlib import Path; from curate.storage import disk_arrays\n"
        f"a = disk_arrays.new_mapped(Path(sys.argv[1]) / 'a', 'int64', (1_000_000,), npy={npy})\n"
        "a[:] = 1"
    )
    done = limited(code, tmp_path)
    assert done.returncode == 1
    assert "CurateError: cannot write" in done.stderr.splitlines()[-1]


def test_numbers_that_do_not_fit_are_an_error_also_at_the_end(tmp_path):
    """`ndarray.tofile` leaves a short file without a word."""
    for count in (LIMIT // 8 + 1, 4 * LIMIT):
        code = (
            "import sys, numpy as np; from pathlib import Path; from curate.storage import disk_arrays\n"
            "with (Path(sys.argv[1]) / 'a').open('wb') as file:\n"
            f"    disk_arrays.append(file, np.zeros({count}))"
        )
        done = limited(code, tmp_path)
        assert done.returncode == 1
        assert "OSError" in done.stderr


@pytest.mark.parametrize("array", [np.zeros((0, 3)), np.arange(6.0).reshape(2, 3), np.arange(6).reshape(2, 3).T])
def test_arrays_are_appended_row_by_row(tmp_path, array):
    with (tmp_path / "a").open("wb") as file:
        disk_arrays.append(file, array)
        disk_arrays.append(file, array)
    assert np.array_equal(np.fromfile(tmp_path / "a", array.dtype), np.concatenate([array.ravel()] * 2))


@pytest.mark.parametrize(
    ("error", "words"),
    [
        (OSError(errno.ENOSPC, "Error writing bytes to file. Detail: x"), "no space left on its disk ("),
        (OSError(errno.EDQUOT, "x"), "the disk quota is used up. Free some space"),
        (OSError(errno.EROFS, "x"), "its disk is read-only. Repair"),
        (OSError(errno.EFBIG, "x"), "ulimit -f"),
        (OSError("No space left on device (os error 28)"), "no space left on its disk ("),
    ],
)
def test_a_disk_that_refuses_is_named_with_what_to_do(tmp_path, error, words):
    path = tmp_path / "not yet" / "a.parquet"
    message = str(disk_errors.of_the_machine(error, path))
    assert message.startswith(f"cannot write {path}: {words}") or words in message
    assert message.endswith("the same command then continues")


def test_the_space_that_is_missing_is_named(tmp_path):
    error = OSError(errno.ENOSPC, "x")
    message = str(disk_errors.refusal_to_write(error, tmp_path / "a", needs=1 << 60))
    assert f"Free {(1 << 60) // disk_errors.MB // 10**6}"[:8] in message


@pytest.mark.parametrize("error", [OSError(errno.EACCES, "x"), FileNotFoundError(2, "x", "input"), ValueError("x")])
def test_other_errors_are_not_blamed_on_the_disk(tmp_path, error):
    assert disk_errors.of_the_machine(error, tmp_path / "a") is None
    with pytest.raises(type(error)), replacing(tmp_path / "a"):
        raise error


def test_too_many_open_files_say_how_many_are_allowed(tmp_path):
    limit = resource.getrlimit(resource.RLIMIT_NOFILE)[0]
    with pytest.raises(CurateError, match=f"the limit is {limit}.*ulimit -n"), replacing(tmp_path / "a"):
        raise OSError(errno.EMFILE, "x")


@pytest.mark.parametrize("call", ["fsync", "open"])
def test_a_disk_that_is_full_only_when_it_is_synced(tmp_path, monkeypatch, call):
    (tmp_path / "a").write_text("old")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(os, call, full)
    with pytest.raises(CurateError, match="cannot write .*no space left"):
        write_text(tmp_path / "b", "new")
    assert [path.name for path in tmp_path.iterdir() if path.name != "b"] == ["a"]
