"""Show how far the job of a folder came: its files, the steps of a run, or whether it has ended.

A file of a score folder is done, begun, still to do, set aside because it cannot be read, or refused because it or the
job changed. The column `why` gives the reason, or the number of bad lines. The size of the cache of scorers that learn
is shown too.

Example: curate status scores/
"""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json

if TYPE_CHECKING:
    from curate.recipe.run_status import RunStatus
    from curate.storage.completion import Completion

SHOWN = 100  # files listed for people; --json lists all
LEAST_MEGABYTES = 0.1  # a smaller size is shown in kB
WORDS = {"quarantined": "set aside"}  # states that messages call by other words
ORDER = ("refused", "quarantined", "begun", "to do", "done")  # what needs attention comes first


def main(
    folder: Annotated[
        Path,
        typer.Argument(
            help="The output folder of `curate score`, `run`, `prune` or `materialize`, or the folder .runs of `pilot`."
        ),
    ],
    as_json: Json = False,
) -> None:
    """Show how far the job of a folder came."""
    import polars as pl

    from curate.errors import SchemaError, amount
    from curate.recipe import run_status
    from curate.scoring.reports import status
    from curate.storage import completion, files
    from curate.tables import scored
    from pipelines.shared.show import result, table

    if run_status.has_run(folder):
        _show_run(run_status.run_status(folder), as_json)
        return
    if not files.exists(scored.record_path(folder)) and (jobs := completion.records(folder)):
        _show_jobs(folder, jobs, as_json)
        return
    if not files.exists(scored.record_path(folder)):
        raise SchemaError(
            f"{folder} has no record of a job. Name the --out of a job that has begun. One that stopped at once has "
            "recorded nothing"
        )
    rows, learned = status.status(folder), status.learned(folder)
    counts = status.counts(rows)
    ended = (job := completion.read(folder, "score")) is not None and job.ended
    record = {"done": counts.get("done", 0), "total": len(rows), "states": counts, "shards": rows, "refused": learned}
    record["ended"], record["cache_bytes"] = ended, status.cache_bytes(folder)
    lines = [f"{counts.get('done', 0)} of {amount(len(rows), 'file')} done"]
    lines += [f"{count} {WORDS.get(state, state)}" for state, count in counts.items() if state != "done"]
    if job is not None and not ended:
        lines.append("the job has not ended: run the same `curate score` again")
    elif counts.get("to do"):
        lines.append("the same `curate score` scores the files that are still to do")
    if cache := status.cache_bytes(folder):
        size = f"{cache / 1e6:.1f} MB" if cache >= LEAST_MEGABYTES * 1e6 else f"{cache / 1e3:.1f} kB"
        use = "only --relearn uses it" if ended else "the job goes on from it"
        lines.append(f"{size} of cache in _curate/parts: {use}. --no-cache removes it at the end of a job")
    lines += [f"the same command would be refused: {reason}" for reason in learned]
    shown = sorted(rows, key=lambda row: ORDER.index(str(row["state"])))[:SHOWN]
    frame = pl.DataFrame(shown, infer_schema_length=None).rename({"shard": "file"})
    lines.append(table(frame.with_columns(pl.col("state").replace(WORDS))))
    if len(rows) > SHOWN:
        lines.append(f"... {len(rows) - SHOWN} more: --json lists all")
    result(as_json, record, "\n".join(lines))


def _show_run(status: "RunStatus", as_json: bool) -> None:
    """Show how far each step of a recipe came, and what is next."""
    import polars as pl

    from pipelines.shared.show import result, table

    frame = status.table()
    # A step whose rows are not known shows a dash, and most steps have nothing to explain.
    shown = frame.with_columns(pl.col("why").replace("", None))
    shown = shown if shown["why"].count() else shown.drop("why")
    result(as_json, status.record(), f"{table(shown)}\n{status.next_line}")


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
