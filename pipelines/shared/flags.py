"""Flags that several jobs share."""

from pathlib import Path
from typing import Annotated

import typer

Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
Restart = Annotated[bool, typer.Option("--restart", help="Delete the results of earlier calls and start over.")]
Workers = Annotated[int, typer.Option(min=1, help="Number of processes on this machine.")]
Out = Annotated[Path, typer.Option("--out", help="File to write.")]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write.")]


def pairs(items: list[str], flag: str) -> dict[str, float]:
    """Read NAME=NUMBER flags into a dict."""
    result = {}
    for item in items:
        name, equals, value = item.partition("=")
        if name in result:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=flag)
        try:
            result[name] = float(value)
        except ValueError:
            equals = ""
        if not equals:
            raise typer.BadParameter(f"{item!r} is not NAME=NUMBER", param_hint=flag)
    return result
