"""Do all steps of a recipe: score, prune, pools and materialize, as one job that can be continued.

--init looks at your data and writes a recipe for it, with comments. A run writes OUT/scores, OUT/kept, OUT/pools.json
and OUT/train. The same command continues a run that was stopped. After an edit of the recipe, it does again what the
edit changes.

Example: curate run --init data/ && curate run recipe.toml --out out/
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.engine_options import Address, EngineName, EngineWorkers, GpusPerWorker, RuntimeEnv
from pipelines.shared.flags import Json, Restart, TakeOver

if TYPE_CHECKING:
    from curate.recipe.result import RecipeResult, StepDone

RECIPE = "recipe.toml"  # where --init writes, unless --out says otherwise


def main(
    recipe: Annotated[
        list[str], typer.Argument(help="The recipe, a TOML file. With --init: files, folders or globs of data.")
    ],
    out: Annotated[
        str,
        typer.Option(
            "--out",
            show_default=False,
            help=f"Folder to write. Default: the key `out` of the recipe. With --init: the recipe to write ({RECIPE}).",
        ),
    ] = "",
    init: Annotated[
        bool, typer.Option("--init", help="Look at a sample of the data, and write a recipe for it. Nothing is run.")
    ] = False,
    columns: Annotated[
        str,
        typer.Option(
            metavar="ROLE=COLUMN,...",
            help='With --init: columns that you know, such as text="Raw Content",id=DocID. The others are guessed.',
        ),
    ] = "",
    force: Annotated[bool, typer.Option("--force", help="With --init: replace a recipe that exists.")] = False,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Say what each step would do, and why. With --init: show the recipe. Write nothing.",
        ),
    ] = False,
    engine: EngineName = "local",
    workers: EngineWorkers = None,
    address: Address = "",
    runtime_env: RuntimeEnv = "",
    gpus_per_worker: GpusPerWorker = 0.0,
    restart: Restart = False,
    take_over: TakeOver = False,
    as_json: Json = False,
) -> None:
    """Run a recipe."""
    from curate.errors import files_set_aside
    from curate.pruning.source_guard import SourceNearlyGone
    from curate.recipe.job import run
    from curate.scoring.reports.result import Scored
    from pipelines.shared import engine_options
    from pipelines.shared.show import failed, notes, progress, result, table, warn

    if init:
        _init(recipe, columns, "" if dry_run else out or RECIPE, force=force, as_json=as_json)
        return
    for flag, value in {"--columns": columns, "--force": force}.items():
        if value:
            raise typer.BadParameter("only --init has this option. A recipe has its columns in [data]", param_hint=flag)
    if len(recipe) > 1:
        raise typer.BadParameter(f"one recipe at a time, not {len(recipe)}. Data are named in the recipe, in [data]")
    with progress() as report:
        try:
            ran = run(
                recipe[0],
                out,
                dry_run=dry_run,
                restart=restart,
                engine=engine_options.engine(engine, workers, address, runtime_env, gpus_per_worker),
                take_over=take_over,
                progress=report,
            )
        except SourceNearlyGone as error:
            typer.echo(table(error.table), err=True)
            raise
    warn(ran.warnings)
    for done in ran.steps:
        notes(getattr(done.result, "notes", ()))
    notes(ran.notes)
    result(as_json, ran.record(), "\n".join(text(ran)))
    for done in ran.steps:
        if isinstance(done.result, Scored) and (aside := done.result.quarantined):
            first = next(iter(aside.values()))
            failed(
                f"{files_set_aside(len(aside), done.result.shards)}, and all steps left out what is in them. Repair "
                "what was set aside, and run the same command again. "
                f"The {'first ' * (len(aside) > 1)}reason: {first}"
            )


def text(ran: "RecipeResult") -> list[str]:
    """Return the lines that people read: each step with its state, and what its command would print."""
    from curate.recipe.commands import command
    from curate.storage import s3

    if ran.nothing_to_do:
        places = ", ".join(s3.shown(done.step.out) for done in ran.steps)
        return [f"nothing to do: all {len(ran.steps)} steps were done before, and nothing has changed ({places})"]
    lines = []
    for done in ran.steps:
        why = f" ({done.why})" if done.why else ""
        lines += [f"{done.step}: {ran.state(done)}{why}"]
        lines += [f"    {command(done.step)}"] if ran.dry_run else _details(done)
    return lines


def _details(done: "StepDone") -> list[str]:
    """Return what the command of a step prints when it has ended."""
    from curate.pruning.make_pools import Pools
    from curate.pruning.pruned import Pruned
    from curate.scoring.reports.result import Scored
    from curate.training_set.draw import TrainingSet
    from pipelines import prune
    from pipelines.shared.show import table

    match done.result:
        case Scored():
            return [f"{done.result.rows} rows scored now into {done.step.out}", ""]
        case Pruned():
            return [*prune.text(done.result), ""]
        case Pools():
            return [table(done.result.table(), 6, done.result.tokens_noun), ""]
        case TrainingSet():
            return [table(done.result.table(), tokens=done.result.tokens_noun), ""]
    return []


def _init(data: list[str], columns: str, out: str, *, force: bool, as_json: bool) -> None:
    """Write a recipe for the data; only show it if ``out`` is empty."""
    from curate.recipe.proposal.propose import propose
    from pipelines.shared.show import progress, result

    with progress():
        proposal = propose(data, columns=columns, beside=Path(out).parent)
    if not out:
        result(as_json, proposal.record(), proposal.text)
        return
    proposal.save(out, force=force)
    lines = [*proposal.lines, f"wrote {out}. Read it, change what you like, and run it: curate run {out} --out OUT"]
    result(as_json, {**proposal.record(), "out": out}, "\n".join(lines))
