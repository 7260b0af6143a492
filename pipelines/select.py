"""Choose how many examples to take of each source, from samples of the sources and of a target.

SOURCES is pools.json, or a folder or glob whose files have a `source` column or folder each. A few hundred rows of each
are enough. Vectors come from emb.<name>, or from --encoder on the text; if all sides have a `label` column, classes are
compared too. Without --runs the mixture at the least optimal-transport distance to the target is taken. --runs is a
table of small trainings with weight.<source>, tokens (counted in examples) and loss.<eval> or metric.<eval> (accuracy
between 0 and 1). plan.json is for `curate export` and `curate materialize`; its tokens follow from the tokens per
example of every source.

Example: curate select sources --target target.parquet --runs runs.csv --budget 20000 --out plan.json
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed, pairs

if TYPE_CHECKING:
    from curate.selection.result import Selection

NOT_RECORDED = ("out", "seed", "as_json")


def main(
    context: typer.Context,
    sources: Annotated[str, typer.Argument(help="pools.json, or samples: a folder or a glob.")],
    target: Annotated[str, typer.Option(help="Samples of what the model shall be good at: a file or folder.")],
    budget: Annotated[float, typer.Option(help="Examples to take in all.")],
    out: Out,
    runs: Annotated[Path | None, typer.Option(help="A run table of small trainings.")] = None,
    evaluation: Annotated[
        str | None, typer.Option("--eval", help="Which loss.<eval> or metric.<eval>; default: the only one.")
    ] = None,
    embedding: Annotated[str | None, typer.Option(help="Which emb.<name> column; default: the only one.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Embed the text instead, as hashed:width=256.")] = None,
    distance: Annotated[
        str, typer.Option(help="transport, or sliced or energy, which are cheaper and rougher.")
    ] = "transport",
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Compare features alone.")] = False,
    samples: Annotated[int, typer.Option(min=2, help="Most rows of a source that are used.")] = 2000,
    max_epochs: Annotated[float | None, typer.Option(help="Most passes over what a source offers.")] = None,
    min_weight: Annotated[list[str] | None, typer.Option(help="SOURCE=SHARE at least; repeat.")] = None,
    max_weight: Annotated[list[str] | None, typer.Option(help="SOURCE=SHARE at most; repeat.")] = None,
    price: Annotated[list[str] | None, typer.Option(help="SOURCE=PRICE of an example; repeat.")] = None,
    money: Annotated[float | None, typer.Option(help="Most to pay in all.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Select sources."""
    from curate.planning.limits import Limits
    from curate.selection.job import select
    from pipelines.shared.show import result

    if not budget >= 1 or not budget.is_integer():  # neither NaN nor infinity is an integer
        raise typer.BadParameter(f"{budget:g} is not a whole number of examples, 1 or more", param_hint="--budget")
    limits = Limits(
        max_epochs, pairs(min_weight or [], "--min-weight"), pairs(max_weight or [], "--max-weight"), money=money
    )
    flags = {name: value for name, value in context.params.items() if name not in NOT_RECORDED}
    flags["eval"] = flags.pop("evaluation")
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
        limits=limits,
        prices=pairs(price or [], "--price"),
        seed=seed,
        arguments=flags,
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
