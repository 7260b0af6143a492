"""What every job promises, checked for every file of ``pipelines``."""

import ast
import re

import pytest

from pipelines.shared.cli import jobs, source

EVERY = pytest.mark.parametrize("job", jobs())


def squeezed(text):
    return re.sub(r"\s+", " ", text)


def example(job):
    return next(line.strip() for line in ast.get_docstring(source(job)).splitlines() if line.startswith("Example: "))


@EVERY
def test_its_docstring_has_a_headline_and_an_example(job):
    lines = ast.get_docstring(source(job)).splitlines()
    assert lines[0].endswith(".")
    assert len(lines[0]) <= 120
    assert lines[1] == ""
    assert example(job).startswith(f"Example: curate {job}")


@EVERY
def test_it_has_a_main_and_imports_nothing_heavy_on_top(job):
    body = source(job).body
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in body)
    names = [a.name for n in body if isinstance(n, ast.Import) for a in n.names] + [
        n.module for n in body if isinstance(n, ast.ImportFrom)
    ]
    assert not {name.split(".")[0] for name in names} & {"torch", "polars", "numpy", "pyarrow", "altair", "curate"}


@EVERY
def test_help_shows_the_example_and_every_flag_in_it_exists(job, cli, monkeypatch):
    monkeypatch.setenv("COLUMNS", "200")
    result = cli(job, "--help")
    assert result.code == 0
    assert squeezed(example(job)) in squeezed(result.out)
    for flag in {"--json", *re.findall(r"--[a-z-]+", example(job))}:
        assert re.search(rf"{flag}\b", result.out.split("Options:")[1]), f"{job} has no {flag}"


def test_help_lists_every_job(cli):
    result = cli("--help")
    assert result.code == 0
    assert all(f"\n  {job} " in result.out for job in jobs())


@pytest.mark.parametrize(
    "arguments",
    [["nosuch"], ["fit"], ["fit", "x", "--nosuch"], ["--nosuch"], ["plan", "f", "--pools", "p", "--out", "o"]],
)
def test_wrong_usage_exits_with_2(cli, arguments):
    result = cli(*arguments)
    assert result.code == 2
    assert "Traceback" not in result.err


def test_version(cli):
    from curate import __version__

    assert cli("--version").out.strip() == __version__
