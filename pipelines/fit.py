"""Fit laws to a run table, compare them on runs held out, and save the best with its bootstrap draws.

Several evals (--eval a,b) are fitted together and give their mean. --stack weights the laws instead of choosing one.
--by COLUMN fits every corpus by itself and says which to take at which compute. --explain says what is not known.

Curves that are not laws of mixtures: --law downstream reads metric.<eval> from a loss (--on LOSS); --law annealing
fits the loss over a learning-rate schedule (columns step and lr), --law relearn also over continued training (column
continued: 0 before, 1 after). --law pruning_curves finds the best share of the data to keep at each size (column keep).

Example: curate fit runs.parquet --law utility_smooth,ces,chinchilla --eval prose --explain --out fit.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed

# What --json prints of the record, where the fit has it.
PRINTED = ("compared", "notes", "crossings", "best_shares", "decay")


def main(
    runs: Annotated[Path, typer.Argument(help="A run table, Parquet or CSV.")],
    law: Annotated[
        str,
        typer.Option(
            help="NAME[,NAME...] (see curate list laws), options as NAME:key=value; a class of your own is "
            "path/to/file.py:ClassName. The best on held-out runs is kept."
        ),
    ],
    evaluation: Annotated[
        str, typer.Option("--eval", help="The loss.<eval> to fit. Several are fitted together and give their mean.")
    ],
    out: Out,
    where: Annotated[str | None, typer.Option(help="Only rows for which this SQL condition holds.")] = None,
    holdout: Annotated[
        str, typer.Option(help="Runs to hold out: largest, rolling, random or mixture, a share as in random:0.2.")
    ] = "largest",
    stack: Annotated[
        bool, typer.Option("--stack", help="Weight the laws by held-out error instead of choosing one.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say what was chosen, what is not known, and which runs would help.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Fit each value of this column by itself, and compare them.")] = None,
    on: Annotated[
        str | None, typer.Option(help="With --law downstream: the loss.<on> from which metric.<eval> is read.")
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="The column distance.<target> that the law transport reads.")
    ] = None,
    tokens_per_param: Annotated[
        float, typer.Option(help="With --by: tokens per parameter along the curves that are compared.")
    ] = 20.0,
    starts: Annotated[int, typer.Option(min=1, help="Starting points of each fit.")] = 32,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap refits.")] = 200,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit laws."""
    from curate import open_sets
    from curate.fitting import job
    from pipelines.shared.show import result, table

    # The function refuses these too, but on the command line they are wrong usage: exit code 2.
    if message := job.stands_alone(open_sets.split(law), evaluation.split(","), by):
        raise typer.BadParameter(message)
    report = job.fit(
        runs,
        law=law,
        eval=evaluation,
        where=where,
        holdout=holdout,
        stack=stack,
        explain=explain,
        by=by,
        on=on,
        target=target,
        tokens_per_param=tokens_per_param,
        starts=starts,
        draws=draws,
        seed=seed,
    )
    report.save(out)
    printed = {name: report.record[name] for name in PRINTED if name in report.record}
    texts = [part if isinstance(part, str) else table(part) for part in report.shown]
    # A heading, which ends in a colon, stands directly above its table.
    text = "\n\n".join(texts).replace(":\n\n", ":\n")
    result(as_json, printed | {"law": report.law, "out": str(out)}, text)
