"""The benchmarks of fits and plans start: what they import exists, and `--help` says what they measure."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]
PROGRAMS = sorted(path for room in ("fitting", "planning") for path in (ROOT / "benchmarks" / room).glob("*.py"))


@pytest.mark.slow
@pytest.mark.parametrize("program", PROGRAMS, ids=lambda path: f"{path.parent.name}/{path.stem}")
def test_a_benchmark_starts(program):
    environment = os.environ | {"PYTHONPATH": str(ROOT)}
    command = [sys.executable, str(program), "--help"]
    reply = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=300, check=False)
    assert reply.returncode == 0, reply.stderr
    assert reply.stdout.startswith(f"usage: {program.name}")
