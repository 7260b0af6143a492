"""Whatever ends a job is one line on stderr and an exit code that says whose mistake it " "was."""

import errno
import os
import re
import subprocess
import sys
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context

import polars as pl
import pytest
from conftest import console

from curate.errors import SchemaError
from curate.pool.pool import Pool
from pipelines.shared import cli as console_script
from pipelines.shared.failures import failure


def raised(error, call=None):
    """The exception as a job would raise it."""
    try:
        call() if call else (_ for _ in ()).throw(error)
    except BaseException as caught:
        return caught


def test_an_unknown_exception_is_a_bug_of_ours_with_its_place():
    error = raised(None, lambda: Pool("a", "words"))
    ending = failure(error, "plan")
    assert ending.code == 70
    assert re.fullmatch(
        r"this is a bug in curate: TypeError in pool\.py:\d+ \(must be real number, not str\); run "
        r"again with --debug "
        r"and report it",
        ending.message,
    )


def broken_in_a_worker(_):
    return Pool("a", "words")


def test_the_place_of_a_mistake_in_a_worker_process_is_that_of_the_worker():
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        error = raised(None, pool.submit(broken_in_a_worker, 0).result)
    assert re.search(r"TypeError in pool\.py:\d+ ", failure(error, "plan").message)


def test_the_text_of_an_unknown_exception_is_shortened_and_escaped():
    message = failure(raised(RuntimeError("a\x1b" + "x" * 500 + "\nsecond line")), "fit").message
    assert "second" not in message
    assert r"a\x1bxxx" in message
    assert len(message) < 300


@pytest.mark.parametrize(
    ("error", "message"),
    [
        (
            FileNotFoundError(errno.ENOENT, "No such file or directory", "a.json"),
            "a.json: No such file or directory: check the path",
        ),
        (
            PermissionError(errno.EACCES, "Permission denied", "x"),
            "x: Permission denied: check who may read and write it",
        ),
        (IsADirectoryError(errno.EISDIR, "Is a directory", "x"), "x: Is a directory: give a file, not a folder"),
        (
            OSError(errno.ENOSPC, "No space left on device", "o"),
            "o: No space left on device: free some space and run the same command again",
        ),
        (OSError("Couldn't deserialize thrift\nmore"), "Couldn't deserialize thrift"),
        (OSError(), "OSError"),
        (OSError(errno.ENOENT, "No such file", "a\nb"), "a b: No such file: check the path"),
        (
            MemoryError(),
            "there is not enough memory. Lower --workers, give smaller inputs, or use a machine with more memory",
        ),
        (SchemaError("two\nlines \x1b[2J"), r"two lines \x1b[2J"),
        (
            pl.exceptions.ComputeError("Input/output error (os error 5): a.parquet"),
            "Input/output error (os error 5): a.parquet",
        ),
        (
            FileNotFoundError("No such file or directory (os error 2): a.parquet"),
            "No such file or directory (os error 2): a.parquet: check the path",
        ),
    ],
)
def test_what_the_user_can_change_is_one_line_and_exit_1(error, message):
    ending = failure(error, "fit")
    assert (ending.code, ending.message) == (1, message)


@pytest.mark.parametrize(
    "error",
    [
        OSError(errno.EMFILE, "Too many open files", "a.parquet"),
        pl.exceptions.ComputeError("Too many open files (os error 24)"),
        pl.exceptions.PanicException("called `unwrap()` on an `Err` value: Os { code: 24, kind: TooManyOpenFiles }"),
        OSError(errno.ENFILE, "Too many open files in system", "a.parquet"),
    ],
)
def test_too_many_open_files_are_no_fault_of_one_file(error):
    ending = failure(error, "fit")
    assert ending.code == 1
    assert ending.message.startswith("too many files are open at a time (the limit is ")
    assert "a.parquet" not in ending.message


@pytest.mark.parametrize(
    "error",
    [
        RecursionError("maximum recursion depth exceeded"),
        UnicodeDecodeError("utf-8", b"\xff", 0, 1, "x"),
        ValueError(),
        KeyError("a"),
        pl.exceptions.ComputeError("x"),
    ],
)
def test_other_exceptions_are_bugs(error):
    ending = failure(raised(error), "fit")
    assert ending.code == 70
    assert "\n" not in ending.message


def _job_that_raises(monkeypatch, error):
    def invoke(_):
        raise error

    monkeypatch.setattr(console_script, "_invoke", invoke)


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ZeroDivisionError("x"), 70),
        (OSError(5, "I/O error", "f"), 1),
        (MemoryError(), 1),
        (SchemaError("s"), 1),
        (KeyboardInterrupt(), 130),
    ],
)
def test_every_ending_of_the_console_script_is_one_line(cli, monkeypatch, error, code):
    _job_that_raises(monkeypatch, error)
    output = cli("fit", "runs")
    assert (output.code, output.out) == (code, "")
    assert len(output.err.splitlines()) == 1
    assert output.err.startswith("curate: ")


@pytest.mark.parametrize(("error", "code"), [(ZeroDivisionError("x"), 70), (SchemaError("s"), 1)])
def test_debug_shows_the_traceback_and_keeps_the_exit_code(cli, monkeypatch, error, code):
    _job_that_raises(monkeypatch, error)
    output = cli("fit", "runs", "--debug")
    assert output.code == code
    assert "Traceback (most recent call last)" in output.err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (
            ["prune", "x", "--bins", "3"],
            "`curate prune` has no option --bins; it is an option of `curate demo`, `curate pools`. "
            "See curate prune --help",
        ),
        (
            ["prune", "x", "keep", "3", "--by", "a", "--keep", "1", "--out", "o"],
            "Got unexpected extra argument(s) (keep 3); did you mean '--keep'? See curate prune --help",
        ),
        (["prune", "x", "-keep", "3"], "there is no option -keep; did you mean '--keep'? See curate prune --help"),
        (["prune", "x", "--keeep=3"], "there is no option --keeep; did you mean '--keep'? See curate prune --help"),
        (
            ["list", "scorer"],
            "Invalid value for 'kind': 'scorer' is not one of 'scorers', 'laws', 'encoders', "
            "'exports', 'trainers', 'engines', 'rules'; did you mean 'scorers'? See curate list --help",
        ),
        (["prune", "x", "--out"], "Option '--out' requires an argument. See curate prune --help"),
        (
            ["prune", "x", "\x1b[2J", "--by", "a", "--keep", "1", "--out", "o"],
            r"Got unexpected extra argument (\x1b[2J). See curate prune --help",
        ),
    ],
)
def test_wrong_usage_names_the_nearest_option(cli, words, message):
    output = cli(*words)
    assert output.code == 2
    assert output.err.replace("argument(s)", "argument") == f"curate: {message}\n".replace("argument(s)", "argument")


def test_a_reader_that_stops_reading_is_no_error():
    command = " ".join(console("list", "scorers"))
    done = subprocess.run(["bash", "-c", f"set -o pipefail; {command} | true"], capture_output=True, text=True)
    assert done.stderr == ""
    assert done.returncode in (0, 1)


def test_a_terminal_without_utf_8_shows_escapes():
    done = subprocess.run(
        console("status", "naïve-汉"), capture_output=True, env=os.environ | {"PYTHONIOENCODING": "latin-1"}
    )
    assert done.returncode == 1
    assert b"na\xefve-\\u6c49" in done.stderr
    assert len(done.stderr.splitlines()) == 1


def test_warnings_of_libraries_stay_off_stderr(monkeypatch):
    code = (
        "import sys, warnings, logging; from pipelines.shared import cli\n"
        "cli.quiet(debug='--debug' in sys.argv)\n"
        "warnings.warn('noise'); logging.getLogger('transformers').error('noise')\n"
        "class Broken:\n    def __del__(self): raise ValueError('noise')\n"
        "Broken()\n"
    )
    run = [sys.executable, "-c", code]
    assert subprocess.run(run, capture_output=True, text=True).stderr == ""
    assert subprocess.run([*run, "--debug"], capture_output=True, text=True).stderr.count("noise") >= 3
