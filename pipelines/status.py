"""Show which files of a score folder are done and which remain, or whether the job of another folder has ended.

Example: curate status scores/
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json

if TYPE_CHECKING:
    from curate.storage.completion import Completion

SHOWN = 100  # files listed for people; --json lists all
SAID = {"quarantined": "set aside"}  # states whose word in messages is another
ORDER = ("refused", "quarantined", "begun", "to do", "done")  # what needs attention comes first


def main(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The output folder of `curate score`, `prune` or `materialize`, or the folder .runs of `pilot`."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show the state of a score folder."""
    import polars as pl

    from curate.errors import amount
    from curate.scoring.reports import status
    from curate.storage import completion, files
    from curate.tables import scored
    from pipelines.shared.show import result, table

    if not files.exists(scored.record_path(folder)) and (jobs := completion.records(folder)):
        _show_jobs(folder, jobs, as_json)
        return
    rows, learned = status.status(folder), status.learned(folder)
    counts = status.counts(rows)
    ended = (job := completion.read(folder, "score")) is not None and job.ended
    record = {"done": counts.get("done", 0), "total": len(rows), "states": counts, "shards": rows, "refused": learned}
    record["ended"], record["cache_bytes"] = ended, status.cache_bytes(folder)
    lines = [f"{counts.get('done', 0)} of {amount(len(rows), 'file')} done"]
    lines += [f"{count} {SAID.get(state, state)}" for state, count in counts.items() if state != "done"]
    if job is not None and not ended:
        lines.append("the job has not ended: run the same `curate score` again")
    if cache := status.cache_bytes(folder):
        lines.append(
            f"{cache / 1e6:.1f} MB of cache in _curate/parts, which --relearn uses. A job with --no-cache removes it"
        )
    lines += [f"the same command would be refused: {reason}" for reason in learned]
    shown = sorted(rows, key=lambda row: ORDER.index(str(row["state"])))[:SHOWN]
    lines.append(table(pl.DataFrame(shown, infer_schema_length=None)))
    if len(rows) > SHOWN:
        lines.append(f"... {len(rows) - SHOWN} more: --json lists all")
    result(as_json, record, "\n".join(lines))


def _show_jobs(folder: Path, jobs: "Sequence[Completion]", as_json: bool) -> None:
    """Show which jobs have ended in a folder that has no scores."""
    from pipelines.shared.show import result

    lines = [
        f"{job.job}: " + ("ended" if job.ended else f"not ended. Run the same `curate {job.job}` again") for job in jobs
    ]
    result(
        as_json,
        {"jobs": [{"job": job.job, "ended": job.ended, "partial": job.partial} for job in jobs]},
        "\n".join(lines),
    )
