"""Train a few dozen small models on varied mixtures of the pools, and write their run table.

Example: curate pilot pools.json --target prose=heldout/ --runs 32 --params 1e5 --tokens 4e5 --out runs.parquet

Pools that were scored are read as they were scored, and so are targets that have the same columns. For other files
--columns names the columns.

A stopped job continues where it ended when the same command runs again.
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Columns, Join, Json, Out, Render, Restart, Seed, TakeOver, TextColumn, count

Targets = Annotated[
    list[str] | None,
    typer.Option(help="NAME=DATA: held-out examples on which the loss.NAME is measured. May be repeated."),
]


def main(
    pools: Annotated[Path, typer.Argument(help="The pools.json to draw mixtures from.")],
    out: Out,
    runs: Annotated[int, typer.Option(min=1, help="How many models to train.")] = 32,
    params: Annotated[
        float, typer.Option(parser=count, metavar="NUMBER", help="Number of parameters of each model, such as 1M.")
    ] = 1e6,
    tokens: Annotated[
        float,
        typer.Option(
            parser=count,
            metavar="NUMBER",
            help="Training tokens of the longest runs. Other runs are 2, 4 and 8 times shorter.",
        ),
    ] = 1e7,
    method: Annotated[
        str, typer.Option("--method", "--design", help="How mixtures are chosen: dirichlet, simplex or optimal.")
    ] = "dirichlet",
    trainer: Annotated[
        str,
        typer.Option(
            help="What is trained: tiny, linear, command:PROGRAM, or a class of your own, path/to/file.py:ClassName; "
            "options as in tiny:rate=0.004."
        ),
    ] = "tiny",
    target: Targets = None,
    columns: Columns = "",
    text_column: TextColumn = "text",
    join: Join = "",
    render: Render = "",
    workers: Annotated[
        int | None,
        typer.Option(
            min=1,
            show_default=False,
            help="Number of processes on this machine; 1 starts no other process. Default: one for each core that the "
            "job may use. A job of about a second starts no other process. If the trainer is a program or a class of "
            "your own, the default is 1, because it may use all cores or a GPU itself.",
        ),
    ] = None,
    seed: Seed = 0,
    restart: Restart = False,
    take_over: TakeOver = False,
    as_json: Json = False,
) -> None:
    """Parse the flags, train the pilot runs and print how many there are."""
    from curate.runs.pilots import pilot
    from pipelines.shared.show import notes, progress, result

    targets = {}
    for item in target or []:
        # At the first "=": the user makes up the name, and a path may hold "=", as in data/lang=de.
        name, _, path = item.partition("=")
        if not (name and path):
            raise typer.BadParameter(f"{item!r} is not NAME=DATA", param_hint="--target")
        if name in targets:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--target")
        targets[name] = path
    with progress() as report:
        table = pilot(
            pools,
            out,
            targets=targets,
            runs=runs,
            params=params,
            tokens=tokens,
            method=method,
            trainer=trainer,
            columns=columns,
            text_column=text_column,
            join=join,
            render=render,
            workers=_workers(trainer) if workers is None else workers,
            seed=seed,
            restart=restart,
            take_over=take_over,
            progress=report,
        )
    result(as_json, {"runs": len(table), "out": str(out)}, f"{len(table)} runs in {out}")
    notes(table.notes)


def _workers(trainer: str) -> int:
    """Return the default of --workers for a trainer. 0 lets the engine choose a number up to all cores."""
    from curate import open_sets

    ours = set(open_sets.names("trainers")) - {"command"}
    return 0 if trainer.partition(":")[0] in ours else 1
