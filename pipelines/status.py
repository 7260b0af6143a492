"""Show which files of a score folder are done and which remain, and whether the job can continue.

Example: curate status scores/
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json

SHOWN = 100  # files listed for people; --json lists all
ORDER = ("refused", "quarantined", "begun", "to do", "done")  # what needs attention comes first


def main(
    folder: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    as_json: Json = False,
) -> None:
    """Show the state of a score folder."""
    import polars as pl

    from curate.scoring import status
    from pipelines.shared.show import result, table

    rows, learned = status.status(folder), status.learned(folder)
    counts = status.counts(rows)
    record = {"done": counts.get("done", 0), "total": len(rows), "states": counts, "shards": rows, "refused": learned}
    lines = [f"{counts.get('done', 0)} of {len(rows)} shards done"]
    lines += [f"{count} {state}" for state, count in counts.items() if state != "done"]
    lines += [f"the same command would be refused: {reason}" for reason in learned]
    shown = sorted(rows, key=lambda row: ORDER.index(str(row["state"])))[:SHOWN]
    lines.append(table(pl.DataFrame(shown, infer_schema_length=None)))
    if len(rows) > SHOWN:
        lines.append(f"... {len(rows) - SHOWN} more: --json lists all")
    result(as_json, record, "\n".join(lines))
