"""Say what is done in an output folder, what is left, and why a job would refuse to continue.

Example: curate status scores/
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines._flags import Json


def main(
    folder: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    as_json: Json = False,
) -> None:
    """Show status."""
    import polars as pl

    from curate import score
    from pipelines._show import result, table

    rows = score.status(folder)
    done = sum(row["state"] == "done" for row in rows)
    text = f"{done} of {len(rows)} shards done\n" + table(pl.DataFrame(rows))
    result(as_json, {"done": done, "total": len(rows), "shards": rows}, text)
