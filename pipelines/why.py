"""Tell why rows were kept or removed: every score, requirement and rule behind their fate.

The scores stand beside the share of all rows with a lower value. For a row with near copies, their ids and fates are
shown too.

Example: curate why kept/ data/part-0.jsonl:17
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.engine_options import Address, EngineName, EngineWorkers, RuntimeEnv
from pipelines.shared.flags import Json


def main(
    folder: Annotated[Path, typer.Argument(help="The --out of `curate prune`, `curate run` or `curate score`.")],
    ids: Annotated[list[str], typer.Argument(help="Ids of rows, as in the column id of the score files.")],
    scores: Annotated[
        Path | None, typer.Option(help="The folder of the scores, if it was moved since it was pruned.")
    ] = None,
    engine: EngineName = "local",
    workers: EngineWorkers = None,
    address: Address = "",
    runtime_env: RuntimeEnv = "",
    as_json: Json = False,
) -> None:
    """Tell why rows were kept or removed."""
    from curate.answers.why import why
    from pipelines.shared import engine_options
    from pipelines.shared.show import progress, result

    with progress():
        fates = why(folder, ids, scores=scores, engine=engine_options.engine(engine, workers, address, runtime_env))
    result(as_json, fates.record(), repr(fates))
