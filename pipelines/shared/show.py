"""Print what a job has to say: progress and warnings on stderr, results on stdout as a table or as JSON."""

import json
import sys
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, nullcontext
from typing import NoReturn

import polars as pl
import typer
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn

from curate.progress import Progress as Callback
from curate.progress import reporting
from curate.shown import escaped, escaped_lines
from curate.storage.s3 import spelled

QUIET_SECONDS = 2.0  # a phase that is over sooner is not worth a line
PLAIN_SECONDS = 5.0  # between progress lines where there is no terminal: a log of an hour has 720
DRAWN_SECONDS = 0.1  # between two drawings of a bar: more cannot be seen, and would cost time


class ReportedPhase:
    """One phase of a job: what it counts, and its speed since its first report."""

    def __init__(self, done: int, clock: float) -> None:
        """Begin at ``done``, which is not 0 where a job continues."""
        self.began, self.first, self.done, self.shown = clock, done, done, clock - PLAIN_SECONDS

    def speed(self, done: int, total: int, clock: float) -> str:
        """Return the speed and the time that is left, such as ``350/s, 11 s left``; empty while nothing is known."""
        seconds, count = clock - self.began, done - self.first
        if count <= 0 or seconds <= 0:
            return ""
        rate = f"{count / seconds:.3g}/s"
        return rate if done >= total else f"{rate}, {duration((total - done) * seconds / count)} left"


def duration(seconds: float) -> str:
    """Return a time in seconds as ``11 s``, ``3 min`` or ``2 h 10 min``."""
    if seconds < 99.5:
        return f"{seconds:.0f} s"
    minutes = round(seconds / 60)
    return f"{minutes} min" if minutes < 100 else f"{minutes // 60} h {minutes % 60} min"


class ReportedPhases:
    """The phases of a job by name. ``show`` prints one; it is called seldom, however often a job reports."""

    def __init__(self, show: Callable[[str, int, int, str], None], every: float) -> None:
        """Call ``show(what, done, total, speed)`` at most once in ``every`` seconds, and at the end of a phase."""
        self.show, self.every, self.phases = show, every, dict[str, ReportedPhase]()

    def __call__(self, what: str, done: int, total: int) -> None:
        """Note a report, and show it if it is time. This is the callback that a job gets."""
        clock = time.monotonic()
        phase = self.phases.get(what)
        if phase is None or done < phase.done:  # a phase may come again, as the passes over the data do
            phase = self.phases[what] = ReportedPhase(done, clock)
        elif done == phase.done >= total:  # its end was shown
            return
        phase.done = done
        last = done >= total
        if clock - phase.began < QUIET_SECONDS or not (last or clock - phase.shown >= self.every):
            return
        phase.shown = clock
        self.show(what, done, total, phase.speed(done, total, clock))


@contextmanager
def progress() -> Iterator[Callback]:
    """Yield a progress callback, and put it in force: a bar on a terminal, else a plain line every few seconds.

    All of it goes to stderr, and nothing is shown of a phase that lasts less than two seconds.
    """
    with (
        _bars() if sys.stderr.isatty() else nullcontext(ReportedPhases(_line, PLAIN_SECONDS)) as phases,
        reporting(phases),
    ):
        yield phases


def _line(what: str, done: int, total: int, speed: str) -> None:
    typer.echo(f"{escaped(what)} {done}/{total} {speed}".rstrip(), err=True)


@contextmanager
def _bars() -> Iterator[ReportedPhases]:
    # A name such as [red] is no colour.
    name = TextColumn("{task.description}", markup=False)
    columns = (name, BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[speed]}"))
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        tasks: dict[str, TaskID] = {}

        def draw(what: str, done: int, total: int, speed: str) -> None:
            if what not in tasks:
                tasks[what] = bars.add_task(escaped(what), total=total, speed="")
            # A phase that has ended leaves the screen to the next.
            bars.update(tasks[what], completed=done, total=total, speed=speed, visible=done < total)

        yield ReportedPhases(draw, DRAWN_SECONDS)


def table(frame: pl.DataFrame, digits: int = 4, tokens: str = "tokens") -> str:
    """Return a frame as aligned plain text, one line a row: control characters in names and values are escaped.

    ``tokens`` is the title of the column ``tokens``, which tells whether these are estimates.
    """
    header = [escaped(tokens if name == "tokens" else name) for name in frame.columns]
    shown = [[_cell(value, digits) for value in row] for row in frame.rows()]
    widths = [max(map(len, column)) for column in zip(header, *shown, strict=True)]
    numeric = [dtype.is_numeric() for dtype in frame.dtypes]
    lines = []
    for row in [header, *shown]:
        cells = [c.rjust(w) if n else c.ljust(w) for c, w, n in zip(row, widths, numeric, strict=True)]
        lines.append("  ".join(cells).rstrip())
    return "\n".join(lines)


def _cell(value: object, digits: int) -> str:
    if value is None:
        return "-"
    return f"{value:.{digits}g}" if isinstance(value, float) else escaped(str(value))


def result(as_json: bool, record: Mapping[str, object], text: str) -> None:
    """Print a job's result: one JSON object for machines, or text for people."""
    typer.echo(spelled(json.dumps(record, sort_keys=True) if as_json else escaped_lines(text)))


def heading(text: str) -> None:
    """Print the title of a stage."""
    typer.echo(f"\n== {escaped(text)}")


def warn(lines: Sequence[str]) -> None:
    """Print warnings on stderr, one a line."""
    for line in lines:
        typer.echo(escaped(spelled(f"warning: {line}")), err=True)


def notes(lines: Sequence[str]) -> None:
    """Print notes of a job on stderr, one on each line."""
    for line in lines:
        typer.echo(escaped(spelled(f"note: {line}")), err=True)


def failed(message: str) -> NoReturn:
    """Print one line on stderr after an incomplete result, and end with exit code 1."""
    typer.echo(escaped(spelled(f"curate: {message}")), err=True)
    raise typer.Exit(1)
