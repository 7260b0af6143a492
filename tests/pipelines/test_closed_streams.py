"""Commands whose input, output or errors are closed when they start."""

import subprocess

import pytest
from conftest import console, documents


@pytest.mark.parametrize("closed", ["<&-", ">&-", "2>&-", "<&- >&- 2>&-"])
def test_a_command_with_closed_streams_does_its_work(closed, tmp_path):
    (tmp_path / "data").mkdir()
    for name in "ab":
        documents(5, ord(name)).write_parquet(tmp_path / "data" / f"{name}.parquet")
    words = console("score", "data", "--scorer", "length", "--out", "out", "--workers", 2)
    shell = ["sh", "-c", f'exec "$@" {closed}', "sh", *words]
    done = subprocess.run(shell, cwd=tmp_path, capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (0, "")
    assert bool(done.stdout) == (closed in ("<&-", "2>&-"))
    assert len(list((tmp_path / "out").glob("*.scores.parquet"))) == 2


def test_an_error_with_closed_streams_keeps_its_exit_code(tmp_path):
    shell = [
        "sh",
        "-c",
        'exec "$@" <&- >&- 2>&-',
        "sh",
        *console("score", "absent", "--scorer", "length", "--out", "o"),
    ]
    assert subprocess.run(shell, cwd=tmp_path, check=False, timeout=60).returncode == 1
