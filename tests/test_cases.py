"""Run the cases: real inputs and faults, each a folder with a `check` that a user could run.

A check runs the installed command `curate` on a copy of its inputs. It exits with 0 only if what the file `expect` says
holds. Run one by hand with `PATH=$PWD/.venv/bin:$PATH python tests/cases/NAME/check`.
"""

import os
import subprocess
import sys
from pathlib import Path

import pytest

CASES = Path(__file__).parent / "cases"
# Those that take over 15 seconds on two cores.
SLOW = {"29-run-table-endings", "35-cmr-start-without-weights", "44-two-prunes-one-folder"}
NAMES = sorted(check.parent.name for check in CASES.glob("*/check"))


def test_there_are_cases_and_the_slow_ones_exist():
    assert NAMES
    assert set(NAMES) >= SLOW


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow) if n in SLOW else n for n in NAMES])
def test_case(name):
    # The command of the environment that runs the tests comes first.
    path = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", "")])
    check = [sys.executable, str(CASES / name / "check")]
    done = subprocess.run(check, env=os.environ | {"PATH": path}, capture_output=True, text=True, timeout=900)
    expected = (CASES / name / "expect").read_text(encoding="utf-8")
    assert done.returncode == 0, f"{done.stdout}{done.stderr}\nexpected: {expected}"
