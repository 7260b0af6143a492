"""The console script: finds the jobs by file name, turns a CurateError into one line and exit code 1."""

import ast
import sys
from importlib import import_module
from pathlib import Path

import typer
from typer.core import TyperGroup

from curate import __version__
from curate.errors import CurateError
from curate.storage.s3 import spelled

FOLDER = Path(__file__).parent.parent


def jobs() -> list[str]:
    """Return the names of all jobs: the files and folders of ``pipelines``, but for what they share."""
    names = {p.stem for p in FOLDER.glob("*.py")} | {p.parent.name for p in FOLDER.glob("*/__init__.py")}
    return sorted(names - {"__init__", "shared"})


def source(job: str) -> ast.Module:
    """Return the syntax tree of the file that holds a job's ``main``, without importing it."""
    path = FOLDER / f"{job}.py"
    return ast.parse((path if path.exists() else FOLDER / job / "__init__.py").read_text(encoding="utf-8"))


def headline(job: str) -> str:
    """Return the first line of a job's docstring without importing it."""
    return (ast.get_docstring(source(job)) or "").split("\n")[0]


class Jobs(TyperGroup):
    """A command group that imports a job only when it is run."""

    def list_commands(self, ctx: typer.Context) -> list[str]:  # type: ignore[override]
        """Return the names of all jobs."""
        return jobs()

    def get_command(self, ctx: typer.Context, cmd_name: str):  # type: ignore[override]  # noqa: ANN201
        """Import one job and wrap its ``main``."""
        if cmd_name not in jobs():
            return None
        one = typer.Typer(add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
        one.command(name=cmd_name, help=import_module(f"pipelines.{cmd_name}").__doc__)(
            import_module(f"pipelines.{cmd_name}").main
        )
        return typer.main.get_command(one)

    def format_commands(self, ctx: typer.Context, formatter) -> None:  # type: ignore[override, no-untyped-def]  # noqa: ANN001
        """List the jobs from their files."""
        with formatter.section("Jobs"):
            formatter.write_dl([(name, headline(name)) for name in jobs()])


app = typer.Typer(
    cls=Jobs, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None, no_args_is_help=True
)


@app.callback(invoke_without_command=True)
def root(version: bool = typer.Option(False, "--version", help="Print the version.")) -> None:
    """Which data to train on, in what ratio, for the compute you have.

    Errors are one line on stderr and exit code 1; --debug anywhere on the line shows the traceback instead.
    """
    if version:
        typer.echo(__version__)
        raise typer.Exit


def main() -> None:
    """Run the console script."""
    debug = "--debug" in sys.argv
    arguments = [a for a in sys.argv[1:] if a != "--debug"]
    try:
        app(args=arguments)
    except CurateError as error:
        if debug:
            raise
        typer.echo(spelled(f"curate: {error}"), err=True)
        sys.exit(1)
    except KeyboardInterrupt:
        typer.echo("curate: interrupted; what is finished is kept, the same command continues", err=True)
        sys.exit(130)
