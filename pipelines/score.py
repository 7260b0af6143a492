"""Score every row with pruning metrics and embeddings, into one score file for each input file.

The same command continues a job that stopped. It also scores files that were added since. `curate status` shows what is
done.

Example: curate score data/ --scorer length --scorer embedding --scorer prototypes:k=64 --out scores/
"""

from collections.abc import Mapping
from typing import Annotated, Literal

import typer

from pipelines.shared import engine_options
from pipelines.shared.engine_options import Address, EngineName, EngineWorkers, GpusPerWorker, RuntimeEnv
from pipelines.shared.flags import Columns, Join, Json, MaxBad, OutFolder, Render, Restart, TakeOver, TextColumn


def main(
    data: Annotated[
        list[str],
        typer.Argument(help="Files, folders, globs or s3:// addresses: Parquet, JSON, CSV, TSV (.gz, .zst), Arrow."),
    ],
    scorer: Annotated[
        list[str],
        typer.Option(
            help="A scorer: NAME or NAME:key=value,... (see curate list scorers), or a class of your own, "
            "path/to/file.py:ClassName. Repeat it, in any order. name=WORD names its columns, so that a job may have a "
            "scorer twice."
        ),
    ],
    out: OutFolder,
    columns: Columns = "",
    text_column: TextColumn = "text",
    join: Join = "",
    render: Render = "",
    carry: Annotated[
        list[str] | None,
        typer.Option(
            metavar="COLUMN",
            help="A column of the data to copy into the score files, such as conversation: text of up to 4,096 bytes, "
            "numbers, booleans, dates or times. `curate prune` can then cap it, or name it in --require. Repeat it for "
            "further columns.",
        ),
    ] = None,
    on_error: Annotated[
        Literal["quarantine", "fail"],
        typer.Option(
            help="quarantine: set a bad file aside with the reason, score the others, and exit with 1. fail: stop."
        ),
    ] = "quarantine",
    max_document_mb: Annotated[
        float, typer.Option(min=0.001, help="Longest text that is accepted, in MB. A longer one is bad.")
    ] = 64,
    max_bad: MaxBad = 0.001,
    dtype: Annotated[
        str,
        typer.Option(help="Type of vectors in fixed-size binary: float32 or float16. Default: what the files record."),
    ] = "",
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Score a sample and forecast time, memory and output. Write nothing.")
    ] = False,
    engine: EngineName = "local",
    workers: EngineWorkers = None,
    address: Address = "",
    runtime_env: RuntimeEnv = "",
    gpus_per_worker: GpusPerWorker = 0.0,
    restart: Restart = False,
    relearn: Annotated[
        bool,
        typer.Option(
            "--relearn",
            help="Let scorers learn again from all files, also from those that were added later. All rows get new "
            "scores.",
        ),
    ] = False,
    no_cache: Annotated[
        bool,
        typer.Option(
            "--no-cache",
            help="At the end, remove the cache of scorers that learn (OUT/_curate/parts), which only --relearn would "
            "use again. Results stay.",
        ),
    ] = False,
    take_over: TakeOver = False,
    as_json: Json = False,
) -> None:
    """Score every row."""
    runner = engine_options.engine(engine, workers, address, runtime_env, gpus_per_worker)
    document_bytes = int(max_document_mb * 2**20)
    if dry_run:
        from curate.scoring.reports.forecast import forecast
        from curate.tables.mapping.options import mapping
        from curate.tables.reading import Reading
        from pipelines.shared.show import result

        text_column, mapped = mapping(columns, text_column, join, render)
        reading = Reading(text_column, document_bytes=document_bytes, dtype=dtype, mapping=mapped)
        expected = forecast(data, scorer, reading, out, carry=carry or ())
        result(as_json, expected.record(), str(expected))
        return
    # The workers start first: this process takes most of a second for its own imports.
    with engine_options.started(runner, "curate.scoring.worker") as session:
        from curate.scoring.score import score
        from curate.tables.token_counts import TOKENS
        from pipelines.shared.show import failed, notes, progress, result, warn

        with progress() as report:
            scored = score(
                data,
                scorer,
                out,
                carry=carry or (),
                text_column=text_column,
                columns=columns,
                join=join,
                render=render,
                document_bytes=document_bytes,
                dtype=dtype,
                max_bad=max_bad,
                on_error=on_error,
                engine=session,
                restart=restart,
                relearn=relearn,
                cache=not no_cache,
                take_over=take_over,
                progress=report,
            )
    warn(scored.warnings)
    notes(scored.notes)
    aside = scored.quarantined
    record = {"rows": scored.rows, "out": str(out), "shards": scored.shards, "quarantined": dict(aside)}
    record |= {"notes": list(scored.notes), "warnings": list(scored.warnings), "bad_lines": dict(scored.bad_lines)}
    rest = f"{len(aside)} of {scored.shards} files set aside" if aside else "what was done before is kept"
    estimates = "" if scored.tokens_noun == TOKENS else f"; sizes are in {scored.tokens_noun}, an estimate"
    result(as_json, record, f"{scored.rows} rows scored now into {out}; {rest}{estimates}")
    if aside:
        failed(_summary(aside, scored.shards))


def _summary(aside: Mapping[str, str], shards: int) -> str:
    from curate.errors import files_set_aside

    first, *others = aside.values()
    rest = "" if len(aside) == shards else ", and the rest is scored"
    more = ". `curate status` shows the other reasons" if others else ""
    return (
        f"{files_set_aside(len(aside), shards)}{rest}. Repair what was set aside, and run the same command again. "
        f"The {'first ' if others else ''}reason: {first}{more}"
    )
