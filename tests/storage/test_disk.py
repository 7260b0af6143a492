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
