"""Scripts of users that start workers: with and without a guard, and what is typed into Python."""

import json
import os
import re
import subprocess
import sys

import pytest

import curate

OWN = """
from curate.engines.local import Local

def double(x):
    return 2 * x
"""
RUN = "print(sorted(Local(2).run(double, range(3))))"
GUARDED = f"""{OWN}
if __name__ == "__main__":
    with Local(2).session() as session:
        for function in (abs, double, abs):
            print(sorted(session.run(function, range(3))))
"""
SCORING = """
import curate
from curate.engines.local import Local
print("running")
print(curate.score("data", "length", "out", engine=Local(2)).rows)
"""


def run(code, folder, *, script=True):
    (folder / "script.py").write_text(code)
    environment = {**os.environ, "PYTHONPATH": os.path.dirname(os.path.dirname(curate.__file__))}
    command, stdin = ([sys.executable, "script.py"], None) if script else ([sys.executable, "-"], code)
    return subprocess.run(
        command, cwd=folder, env=environment, input=stdin, capture_output=True, text=True, check=False
    )


def test_a_script_without_a_guard_scores_with_workers(tmp_path):
    (tmp_path / "data").mkdir()
    for name in "ab":
        (tmp_path / "data" / f"{name}.jsonl").write_text(json.dumps({"id": name, "text": "one two"}))
    done = run(SCORING, tmp_path)
    assert (done.stdout, done.stderr) == ("running\n2\n", "")


def test_a_function_of_a_guarded_script_runs_in_workers(tmp_path):
    done = run(GUARDED, tmp_path)
    assert (done.stdout, done.stderr) == ("[0, 1, 2]\n[0, 2, 4]\n[0, 1, 2]\n", "")


@pytest.mark.parametrize(
    "script, message",
    [
        (True, 'script.py starts worker processes, .* under `if __name__ == "__main__":`, or use one process: '),
        (False, "worker processes cannot import what is defined in a notebook or typed into Python. "),
    ],
)
def test_otherwise_one_error_says_what_to_change(script, message, tmp_path):
    done = run(f"{OWN}\n{RUN}", tmp_path, script=script)
    assert done.returncode == 1
    errors = done.stderr.splitlines()
    assert sum(line.startswith("Traceback") for line in errors) == 1
    assert re.search(message, errors[-1])
