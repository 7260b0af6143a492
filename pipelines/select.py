"""Choose how many examples to take of each source, from samples of the sources and of a target.

SOURCES is pools.json, or samples: a folder or glob of files. A column `source`, or the folder of a file, names its
source. A few hundred rows of each source are enough. --columns names columns of the sources; a target with the same
columns is read in the same way. The vectors to compare are the column emb.<name>, or are made from
the text by --encoder. If the target and all sources have a column `label`, classes are compared too.

Without --runs, the mixture with the smallest optimal-transport distance to the target is chosen. --runs is a table of
small trainings with the columns weight.<source>, tokens (here: the number of examples) and loss.<eval> or
metric.<eval> (accuracy, 0 to 1).

The result, plan.json, can be given to `curate export` and `curate materialize`. Its token counts are computed from the
tokens per example of each source.

Example: curate select sources --target target.parquet --encoder hashed --runs runs.csv --budget 20000 --out plan.json
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Columns, From, Join, Json, Map, Out, Render, Seed, TextColumn, count, pairs

if TYPE_CHECKING:
    from curate.selection.result import Selection

NOT_RECORDED = ("out", "seed", "as_json")


def main(
    context: typer.Context,
    sources: Annotated[str, typer.Argument(help="pools.json, or a folder or glob of samples.")],
    target: Annotated[
        str, typer.Option(help="File or folder with samples of the data on which the model should be good.")
    ],
    budget: Annotated[
        float, typer.Option(parser=count, metavar="NUMBER", help="Number of examples to take in total, such as 20k.")
    ],
    out: Out,
    runs: Annotated[Path | None, typer.Option(help="Run table of small trainings; see above.")] = None,
    evaluation: Annotated[
        str | None,
        typer.Option("--eval", help="With --runs: EVAL of the column loss.EVAL or metric.EVAL. Default: the only one."),
    ] = None,
    embedding: Annotated[str | None, typer.Option(help="Column of vectors, emb.NAME. Default: the only one.")] = None,
    encoder: Annotated[
        str | None,
        typer.Option(
            help="Encoder that makes vectors from the text, such as hashed:width=256, instead of --embedding."
        ),
    ] = None,
    distance: Annotated[
        str, typer.Option(help="transport; or sliced or energy, which are faster and less exact.")
    ] = "transport",
    no_labels: Annotated[
        bool, typer.Option("--no-labels", help="Compare vectors only, even if there are labels.")
    ] = False,
    columns: Columns = "",
    text_column: TextColumn = "text",
    join: Join = "",
    render: Render = "",
    samples: Annotated[int, typer.Option(min=2, help="Largest number of rows of a source that are used.")] = 2000,
    max_epochs: Annotated[
        float | None, typer.Option(help="Largest number of passes over the examples of a source.")
    ] = None,
    min_weight: Annotated[
        list[str] | None, typer.Option(help="SOURCE=SHARE: smallest share of a source. May be repeated.")
    ] = None,
    max_weight: Annotated[
        list[str] | None, typer.Option(help="SOURCE=SHARE: largest share of a source. May be repeated.")
    ] = None,
    price: Annotated[
        list[str] | None, typer.Option(help="SOURCE=PRICE: price of one example, in any currency. May be repeated.")
    ] = None,
    money: Annotated[
        float | None, typer.Option(help="Highest price of all examples together, in the same currency.")
    ] = None,
    map: Map = None,
    source: From = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Choose how many examples to take of each source."""
    from curate.planning.limits import Limits
    from curate.selection.job import select
    from pipelines.shared.show import progress, result

    if not budget >= 1 or not budget.is_integer():  # neither NaN nor infinity is an integer
        raise typer.BadParameter(f"{budget:g} must be a whole number of examples, 1 or more", param_hint="--budget")
    limits = Limits(
        max_epochs, pairs(min_weight or [], "--min-weight"), pairs(max_weight or [], "--max-weight"), money=money
    )
    flags = {name: value for name, value in context.params.items() if name not in NOT_RECORDED}
    flags["eval"] = flags.pop("evaluation")
    with progress():
        selection = select(
            sources,
            target=target,
            budget=budget,
            runs=runs,
            eval=evaluation,
            embedding=embedding,
            encoder=encoder,
            distance=distance,
            labels=False if no_labels else None,
            sample=samples,
            columns=columns,
            text_column=text_column,
            join=join,
            render=render,
            limits=limits,
            prices=pairs(price or [], "--price"),
            seed=seed,
            arguments=flags,
            map=map,
            source=source,
        )
    selection.save(out)
    record = selection.to_json()
    shown = {name: record[name] for name in ("plans", "chosen", "compared")}
    result(as_json, {**shown, "out": str(out)}, _text(selection, budget))


def _text(selection: "Selection", budget: float) -> str:
    from pipelines.shared.show import table

    choice, problem, pilots = selection.choice, selection.problem, selection.pilots
    classes = "classes compared" if problem.pool.group is not None else "features alone"
    head = (
        f"{round(budget):,} examples from {len(problem.names)} sources, by {len(problem.source)} samples of them and "
        f"{len(problem.target_rows)} of the target ({classes})"
    )
    legend = "Compared (distance in units of the target's spread"
    if pilots is not None:
        error = "error" if pilots.top else "loss"
        legend += f"; {pilots.eval} as {error} with 90 % intervals; gain: how much lower that of the chosen mixture is"
    parts = [head, f"Chosen: {choice.chosen} ({choice.form}). Reason: {choice.why}.", table(selection.table())]
    parts += ["", f"{legend}):", table(selection.compared())]
    if choice.errors:
        errors = ", ".join(f"{name} {error:.3g}" for name, error in choice.errors.items())
        parts += ["", f"Mean absolute error on left-out pilots: {errors}"]
    return "\n".join([*parts, *selection.warnings])
