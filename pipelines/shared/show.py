"""Print what a job has to say: progress and warnings on stderr, results on stdout as a table or as JSON."""

import json
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import NoReturn

import polars as pl
import typer
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from curate.progress import Progress as Callback
from curate.shown import escaped, escaped_lines
from curate.storage.s3 import spelled

PLAIN_SECONDS = 5.0  # between progress lines where there is no terminal: a log of an hour has 720


class _Rates:
    """The speed of each kind of work since its first report."""

    def __init__(self) -> None:
        self.first: dict[str, tuple[float, int]] = {}

    def text(self, what: str, done: int) -> str:
        """Return the speed, such as ``12.5/s``; empty at the first report."""
        began, before = self.first.setdefault(what, (time.monotonic(), done))
        seconds = time.monotonic() - began
        return f"{(done - before) / seconds:.3g}/s" if done > before and seconds > 0 else ""


@contextmanager
def progress() -> Iterator[Callback]:
    """Yield a progress callback: a bar on a terminal, else a plain line every few seconds and at the end."""
    if sys.stderr.isatty():
        rate_column = TextColumn("{task.fields[rate]}")
        columns = (
            TextColumn("{task.description}", markup=False),  # a name such as [red] is no colour
            BarColumn(),
            MofNCompleteColumn(),
            rate_column,
            TimeRemainingColumn(),
        )
        with Progress(*columns, transient=True) as bar:
            tasks, rates = {}, _Rates()

            def draw(what: str, done: int, total: int) -> None:
                if what not in tasks:
                    tasks[what] = bar.add_task(escaped(what), total=total, rate="")
                bar.update(tasks[what], completed=done, total=total, rate=rates.text(what, done))

            yield draw
        return
    last: dict[str, float] = {}
    rates = _Rates()

    def line(what: str, done: int, total: int) -> None:
        clock, rate = time.monotonic(), rates.text(what, done)
        if done == total or clock - last.get(what, clock - PLAIN_SECONDS) >= PLAIN_SECONDS:
            last[what] = clock
            typer.echo(f"{escaped(what)} {done}/{total} {rate}".rstrip(), err=True)

    yield line


def table(frame: pl.DataFrame, digits: int = 4) -> str:
    """Return a frame as aligned plain text, one line a row: control characters in names and values are escaped."""
    header = list(map(escaped, frame.columns))
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
