"""Flags that several jobs share."""

from pathlib import Path
from typing import Annotated, Literal

import typer

from curate import written_numbers
from curate.written_names import QUOTING, valued


def count(value: str | float) -> float:
    """Read a number of parameters, tokens or examples from an option. A default is a number already."""
    try:
        return value if isinstance(value, int | float) else written_numbers.number(value)
    except ValueError:
        raise typer.BadParameter(f"{value!r} is not a number, such as 2e10, 20B or 70M") from None


Json = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Partial = Annotated[
    bool,
    typer.Option(
        "--partial",
        help="Use the files that are scored so far, even if `curate score` has not ended. A warning names the files "
        "that are left out.",
    ),
]
Seed = Annotated[int, typer.Option(min=0, help="Seed of every random choice.")]
Restart = Annotated[bool, typer.Option("--restart", help="Delete the results of earlier calls and start over.")]
TakeOver = Annotated[
    bool,
    typer.Option(
        "--take-over",
        help="Take the output folder from a job on another machine at once. If that job still runs, it stops. Without "
        "this flag the folder is taken once that job has given no sign of life for 20 seconds.",
    ),
]
MaxBad = Annotated[
    float,
    typer.Option(
        min=0,
        max=1,
        help="Largest share of all lines of JSON and CSV that may be set aside because they cannot be read. If more "
        "are bad, the job stops.",
    ),
]
Columns = Annotated[
    str,
    typer.Option(
        metavar="NAME=COLUMN,...",
        help="Which columns of the files stand for text, id, source, tokens, label, emb.NAME and so on, as in "
        """'text="Raw Content",id=DocID'. The right side is the name of a column, in double quotes where it holds """
        "a comma, or an SQL expression over columns: source=meta.domain reads the field domain of a struct.",
    ),
]
TextColumn = Annotated[str, typer.Option(help="The column of texts. Short for --columns text=COLUMN.")]
Join = Annotated[
    str,
    typer.Option(
        metavar="COLUMN,...",
        help="Columns of texts that are joined for scoring, with an empty line between them, as in prompt,answer. Rows "
        "are written back as they were.",
    ),
]
Render = Annotated[
    Literal["", "chat"],
    typer.Option(
        metavar="chat",
        show_default=False,
        help="chat: the column of texts holds conversations, which are lists of {role, content} or {from, value}. They "
        "are scored as one text, with lines such as 'user: ...', and written back as they were.",
    ),
]
Workers = Annotated[
    int | None,
    typer.Option(
        min=1,
        show_default=False,
        help="Number of processes on this machine; 1 starts no other process. Default: one for each core that the job "
        "may use. A job of about a second starts no other process.",
    ),
]
WhichCheckpoints = Annotated[
    Literal["auto", "yes", "no"],
    typer.Option(
        "--checkpoints",
        help="auto: rows are checkpoints of one training if the column training, names RUN@STEP, or evenly spaced "
        "tokens of one mixture and size say so. yes: rows of one mixture, size and seed are checkpoints of one "
        "training. no: every row is a finished run.",
    ),
]
Map = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="NAME=SQL",
        help="Compute a column of the run table from other columns, as in 'params=\"N (M)\" * 1e6'. If the right side "
        "is the name of a column, the column is copied. Or a TOML file of such lines. May be repeated.",
    ),
]
From = Annotated[
    str | None,
    typer.Option(
        "--from",
        help="The program that wrote the tables. wandb: an export of Weights & Biases. regmix, swarm: a file of "
        "mixtures and a file of results, or the folder that holds both.",
    ),
]
Out = Annotated[Path, typer.Option("--out", help="File to write.")]
OutFolder = Annotated[Path, typer.Option("--out", help="Folder to write.")]


def texts(items: list[str], flag: str, value: str = "VALUE") -> dict[str, str]:
    """Read NAME=VALUE flags into a dict, each split at its last "=".

    ``value`` is the word for VALUE in error messages.
    """
    result: dict[str, str] = {}
    for item in items:
        name, text = valued(item)
        if name in result:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint=flag)
        if not (text and (name or item.startswith('"'))):
            raise typer.BadParameter(f"{item!r} is not NAME={value}", param_hint=flag)
        result[name] = text
    return result


def pairs(items: list[str], flag: str) -> dict[str, float]:
    """Read NAME=NUMBER flags into a dict."""
    result = {}
    for name, text in texts(items, flag, "NUMBER").items():
        try:
            result[name] = float(text)
        except ValueError:
            raise typer.BadParameter(f"'{name}={text}' is not NAME=NUMBER; {QUOTING}", param_hint=flag) from None
    return result


def optional_pairs(items: list[str], flag: str, default: float = 1.0) -> dict[str, float]:
    """Read NAME or NAME=NUMBER flags into a dict, with ``default`` for a name alone."""
    return pairs([item if valued(item)[1] is not None else f"{item}={default:g}" for item in items], flag)
