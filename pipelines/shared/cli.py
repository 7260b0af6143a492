"""The console script ``curate``: finds the jobs, and turns every expected error into one line.

In: the words of the command line. Out: the exit code: 0 done, 1 failed, 2 wrong usage, 70 a mistake in curate itself,
130 interrupted by Ctrl-C (143 by SIGTERM, 129 by SIGHUP).
"""

# ruff: noqa: E402
# First of all, because the next step opens a pipe.
from pipelines.shared import streams

streams.open_closed()

# Until signals are handled, Ctrl-C is a traceback, and importing Typer takes half a second.
from pipelines.shared import signals

signals.start()

import ast
import logging
import os
import sys
import threading
import traceback
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager, suppress
from importlib import import_module
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, cast

import typer
from typer.core import TyperGroup

from curate import __version__
from curate.open_sets import nearest
from pipelines.shared import failures
from pipelines.shared.usage import usage_line

if TYPE_CHECKING:
    from typer.core import TyperCommand

FOLDER = Path(__file__).parent.parent
# Typer exports only this subclass of the class of all usage errors.
UsageError = cast(type[typer.BadParameter], typer.BadParameter.__bases__[0])

# What keeps Python, transformers and its libraries from writing to stderr.
QUIET = {
    "PYTHONWARNINGS": "ignore",
    "TRANSFORMERS_VERBOSITY": "critical",
    "HF_HUB_DISABLE_PROGRESS_BARS": "1",
    "TOKENIZERS_PARALLELISM": "false",
}


def jobs() -> list[str]:
    """Return the names of all jobs: the files and folders of ``pipelines``, but for what the jobs share.

    A test checks that each has a ``main``; parsing all of them here would slow down every command.
    """
    paths = [*FOLDER.glob("*.py"), *FOLDER.glob("*/__init__.py")]
    names = {path.parent.name if path.stem == "__init__" else path.stem for path in paths}
    return sorted(names - {FOLDER.name, "shared"})


def source(job: str) -> ast.Module:
    """Return the syntax tree of the file that holds a job's ``main``, without importing it."""
    path = FOLDER / f"{job}.py"
    return ast.parse((path if path.exists() else FOLDER / job / "__init__.py").read_text(encoding="utf-8"))


def headline(job: str) -> str:
    """Return the first line of a job's docstring without importing it."""
    return (ast.get_docstring(source(job)) or "").split("\n")[0]


class HelpPage(Protocol):
    """The part of Typer's help formatter that lists the jobs; Typer does not export its class."""

    def section(self, name: str) -> AbstractContextManager[None]:
        """Open a section with a heading."""
        ...

    def write_dl(self, rows: Sequence[tuple[str, str]]) -> None:
        """Write a list of names and what they mean."""
        ...


class Jobs(TyperGroup):
    """A command group that imports a job only when it is run."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the names of all jobs."""
        return jobs()

    def get_command(self, ctx: typer.Context, cmd_name: str) -> "TyperCommand | None":  # type: ignore[override]
        """Import one job and wrap its ``main``. An unknown name is an error that suggests the nearest job."""
        if cmd_name not in jobs():
            ctx.fail(f"there is no job {cmd_name!r}{nearest(cmd_name, jobs())}")
        job = import_module(f"pipelines.{cmd_name}")
        single = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        single.command(name=cmd_name, help=job.__doc__)(job.main)
        return typer.main.get_command(single)  # type: ignore[return-value]

    def format_commands(self, ctx: typer.Context, formatter: HelpPage) -> None:  # type: ignore[override]
        """List the jobs from their files."""
        with formatter.section("Jobs"):
            formatter.write_dl([(name, headline(name)) for name in jobs()])


app = typer.Typer(cls=Jobs, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Which data to train on, in what ratio, for the compute you have.

    Every error is one line on stderr. Write --debug anywhere on the line to see the traceback instead.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def run(*words: object) -> None:
    """Run one command, such as ``run("fit", "runs.csv", "--out", "fit.json")``; errors are raised.

    Raises:
        CurateError: the job failed for a reason that the user can change.
    """
    if code := _invoke(list(map(str, words))):
        raise typer.Exit(code)


def main() -> None:
    """Run the console script."""
    words = sys.argv[1:]
    quiet(debug="--debug" in words)
    with signals.handled(words):
        code = exit_code(words)
    sys.exit(code)


def quiet(*, debug: bool) -> None:
    """Keep everything but our own lines off stderr, unless ``debug`` is set."""
    for stream in (sys.stdout, sys.stderr):
        # A terminal without UTF-8 shows what it lacks as an escape. Otherwise one letter would end the job.
        if isinstance(stream, TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")
    if debug or sys.flags.dev_mode:
        return
    # Worker processes inherit the variables.
    for name, value in QUIET.items():
        os.environ.setdefault(name, value)
    if not sys.warnoptions:
        warnings.simplefilter("ignore")
    logging.disable(logging.CRITICAL)
    # Python prints the traceback of an exception that nobody can catch, such as one in a destructor.
    sys.unraisablehook = lambda _: None
    threading.excepthook = lambda _: None


def exit_code(words: Sequence[str]) -> int:
    """Run one command line, print its error if there is one, and return the exit code."""
    debug = "--debug" in words
    arguments = [word for word in words if word != "--debug"] or ["--help"]
    try:
        code = _invoke(arguments)
        # What is still in the buffer may be the first thing that a closed pipe refuses.
        sys.stdout.flush()
        return code
    except UsageError as error:
        _say(usage_line(error, arguments, jobs(), source))
        return failures.WRONG_USAGE
    except (KeyboardInterrupt, typer.Abort):
        _say("interrupted. What is finished is kept; the same command continues.")
        return 130
    except (SystemExit, GeneratorExit):
        raise
    except BaseException as error:  # a panic of polars is no Exception
        if debug and not isinstance(error, BrokenPipeError):
            traceback.print_exception(error)
        ending = failures.failure(error, arguments[0])
        if not ending.message:
            # Python would try once more to write what is in the buffer, and print that it could not.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        elif not debug:
            _say(ending.message)
        return ending.code


def _say(message: str) -> None:
    # Where stderr is closed too, the exit code is all that can be said.
    with suppress(BrokenPipeError):
        typer.echo(f"curate: {message}", err=True)


def _invoke(arguments: list[str]) -> int:
    # Not standalone, Typer returns the code of ``typer.Exit`` and raises usage errors.
    return app(args=arguments, prog_name="curate", standalone_mode=False) or 0
