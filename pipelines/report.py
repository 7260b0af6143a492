"""Write one HTML page that shows the results in a folder: scores, pools, pilots, law, plan, schedule, check.

The page holds everything that it shows, so that one file can be sent or kept.

Example: curate report demo-out --out report.html
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out

FILES = "scores/, kept/, pools.json, runs.parquet with fit.json, plan.json, schedule.json, cmr.json, check.json"


def main(
    folder: Annotated[Path, typer.Argument(help=f"Folder with any of {FILES}.")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Write the report."""
    from curate.reporting.report import report
    from pipelines.shared.show import progress, result

    with progress():
        page = report(folder, out)
    titles = page.table()["title"].to_list()
    result(as_json, {"sections": titles, "out": str(out)}, f"{len(titles)} sections in {out}")
