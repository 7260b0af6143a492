"""The fault campaign in its short version: no job loses anything, whatever breaks."""

import subprocess
import sys
from pathlib import Path

import pytest

CAMPAIGN = Path(__file__).parents[1] / "benchmarks" / "faults" / "campaign.py"


@pytest.mark.slow
def test_nothing_is_lost_whatever_breaks(record_property):
    done = subprocess.run([sys.executable, str(CAMPAIGN)], capture_output=True, text=True, timeout=3000)
    record_property("counts", "fault campaign: " + (done.stdout.splitlines() or ["nothing"])[-1])
    assert done.returncode == 0, f"{done.stdout}{done.stderr}"
