"""Score every example with pruning metrics and embeddings; one score file per input file.

Example: curate score data/ --scorer length --scorer embedding --scorer prototypes:k=64 --out scores/
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines._flags import Json, Out, Restart, Workers


def main(
    data: Annotated[list[str], typer.Argument(help="Files, folders or globs: Parquet, JSONL (.gz, .zst), Arrow.")],
    scorer: Annotated[list[str], typer.Option(help="NAME or NAME:key=value,...; repeat; they run in this order.")],
    out: Out,
    text_column: Annotated[str, typer.Option(help="The column that holds the text.")] = "text",
    engine: Annotated[str, typer.Option(help="Where to run: local.")] = "local",
    workers: Workers = 1,
    restart: Restart = False,
    as_json: Json = False,
) -> None:
    """Score examples."""
    from curate import score
    from curate.engines.local import Local
    from pipelines._show import progress, result

    if engine != "local":
        raise typer.BadParameter(f"{engine!r}: this version has local", param_hint="--engine")
    with progress() as report:
        rows = score.score(
            data, scorer, out, text_column=text_column, engine=Local(workers), restart=restart, progress=report
        )
    result(as_json, {"rows": rows, "out": str(out)}, f"{rows} rows scored now into {Path(out)}; the rest was done")
