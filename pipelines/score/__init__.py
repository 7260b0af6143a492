"""Score every example with pruning metrics and embeddings; one score file per input file.

Example: curate score data/ --scorer length --scorer embedding --scorer prototypes:k=64 --out scores/
"""

from collections.abc import Mapping
from contextlib import nullcontext
from pathlib import Path
from typing import Annotated, Literal

import typer

from pipelines.shared.flags import Json, Out, Restart


def main(
    data: Annotated[
        list[str], typer.Argument(help="Files, folders, globs or s3://...: Parquet, JSONL (.gz, .zst), Arrow.")
    ],
    scorer: Annotated[list[str], typer.Option(help="NAME or NAME:key=value,...; repeat; they run in this order.")],
    out: Out,
    text_column: Annotated[str, typer.Option(help="The column that holds the text.")] = "text",
    on_error: Annotated[
        Literal["quarantine", "fail"],
        typer.Option(help="quarantine: set a bad file aside with its reason and do the rest; fail: stop."),
    ] = "quarantine",
    max_document_mb: Annotated[float, typer.Option(min=0.001, help="The longest text accepted.")] = 64,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Look, score a sample, forecast; write nothing.")] = False,
    engine: Annotated[Literal["local", "ray"], typer.Option(help="Where to run.")] = "local",
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes: 1 if not given; on Ray one a core of the cluster.")
    ] = None,
    address: Annotated[str, typer.Option(help="The Ray cluster; none: RAY_ADDRESS, else this machine.")] = "",
    restart: Restart = False,
    as_json: Json = False,
) -> None:
    """Score examples."""
    from curate.engines.local import Local
    from curate.engines.ray import Ray, connected
    from curate.scoring import score
    from pipelines.score.forecast import forecast
    from pipelines.shared.show import failed, progress, result, warn

    if address and engine != "ray":
        raise typer.BadParameter("only --engine ray has one", param_hint="--address")
    document_bytes = int(max_document_mb * 2**20)
    if dry_run:
        record, text = forecast(data, scorer, out, text_column=text_column, document_bytes=document_bytes)
        result(as_json, record, text)
        return
    on = Ray(workers or 0, address) if engine == "ray" else Local(workers or 1)
    cluster = connected(address, workers or 0) if engine == "ray" else nullcontext()  # one for all stages
    with cluster, progress() as report:
        done = score.score(
            data, scorer, out, text_column=text_column, document_bytes=document_bytes,
            quarantine=on_error == "quarantine", engine=on, restart=restart, progress=report,
        )  # fmt: skip
    warn(done.warnings)
    record = {"rows": done.rows, "out": str(out), "shards": done.shards, "quarantined": dict(done.quarantined)}
    text = f"{done.rows} rows scored now into {Path(out)}; what was done is kept"
    if done.quarantined:
        text = f"{done.rows} rows scored now into {Path(out)}; {len(done.quarantined)} of {done.shards} files set aside"
    result(as_json, record, text)
    if done.quarantined:
        failed(_summary(done.quarantined, done.shards))


def _summary(aside: Mapping[str, str], shards: int) -> str:
    first, *rest = aside.values()
    more = f" (and {len(rest)} more: see `curate status`)" if rest else ""
    return (
        f"{len(aside)} of {shards} files were set aside, the rest is done; mend and run the same again: {first}{more}"
    )
