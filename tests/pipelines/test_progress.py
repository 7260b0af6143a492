"""Progress: what is shown, when, where and at what cost."""

import io
import re
import sys
import time

import pytest
from conftest import PROGRESS

from curate import progress
from pipelines.shared import show


@pytest.fixture
def clock(monkeypatch):
    """A clock that a test moves: ``clock[0] += 1``."""
    seconds = [100.0]
    monkeypatch.setattr(show.time, "monotonic", lambda: seconds[0])
    return seconds


def lines_of(capsys):
    result = capsys.readouterr()
    assert result.out == ""
    return result.err.splitlines()


def test_a_phase_under_two_seconds_says_nothing(clock, capsys):
    with show.progress() as report:
        for done in range(11):
            report("rows scored", done, 10)
            clock[0] += 0.15
    assert lines_of(capsys) == []


def test_a_long_phase_has_amount_rate_and_time_left_in_plain_lines(clock, capsys):
    with show.progress() as report:
        for done in range(0, 5001, 50):
            report("rows scored", done, 5000)
            clock[0] += 0.2
    lines = lines_of(capsys)
    assert lines[0] == "rows scored 500/5000 250/s, 18 s left"
    assert lines[-1] == "rows scored 5000/5000 250/s"
    # One at two seconds, one every five seconds, one at the end.
    assert len(lines) == 5
    assert all(PROGRESS.fullmatch(line) for line in lines)


def test_a_phase_that_comes_again_starts_its_clock_again(clock, capsys):
    with show.progress() as report:
        for _ in range(3):
            for done in range(5):
                report("files read", done, 4)
                clock[0] += 0.3
    assert lines_of(capsys) == []


def test_the_end_of_a_phase_is_said_once(clock, capsys):
    with show.progress() as report:
        report("draws fitted", 0, 4)
        clock[0] += 3
        for _ in range(2):
            report("draws fitted", 4, 4)
    assert lines_of(capsys) == ["draws fitted 4/4 1.33/s"]


def test_the_rate_of_a_continued_job_counts_from_where_it_began(clock, capsys):
    with show.progress() as report:
        report("rows scored", 900, 1000)
        clock[0] += 10
        report("rows scored", 950, 1000)
    assert lines_of(capsys) == ["rows scored 950/1000 5/s, 10 s left"]


@pytest.mark.parametrize(
    "seconds, words", [(0.4, "0 s"), (11, "11 s"), (150, "2 min"), (5400, "90 min"), (7800, "2 h 10 min")]
)
def test_times_are_in_the_unit_that_a_person_would_use(seconds, words):
    assert show.duration(seconds) == words


def test_code_deep_inside_a_job_reaches_the_callback_in_force():
    reports = []

    def note(*report: object) -> None:
        reports.append(report)

    with progress.reporting(note):
        with progress.reporting(progress.silent):
            assert list(progress.counted("ab", "letters", 2)) == ["a", "b"]
    progress.report("letters", 1, 2)
    assert reports == [("letters", 0, 2), ("letters", 1, 2), ("letters", 2, 2)]


def test_bars_are_drawn_on_stderr_and_leave_it(monkeypatch, capsys):
    class Terminal(io.StringIO):
        def isatty(self) -> bool:
            return True

    terminal = Terminal()
    monkeypatch.setattr(sys, "stderr", terminal)
    monkeypatch.setattr(show, "QUIET_SECONDS", 0.0)
    monkeypatch.setenv("TERM", "xterm")
    with show.progress() as report:
        for done in range(1, 4):
            report("rows scored", done, 3)
            time.sleep(0.2)
    assert capsys.readouterr().out == ""
    assert re.search(r"rows scored.*1/3", terminal.getvalue())


def test_a_report_costs_next_to_nothing():
    began = time.process_time()
    with show.progress() as report:
        for done in range(100_000):
            report("rows scored", done, 100_000)
    # 5 microseconds would be 0.5 s in a job that reports 100,000 times; most report a few hundred times.
    assert time.process_time() - began < 0.5
