"""Fit laws to a run table, compare them on held-out runs, and save their average or the best with bootstrap draws.

Without --eval, all losses of the table are fitted together, and the fit predicts each of them and their mean. --stack
keeps a weighted sum of the laws instead of the best one. --by COLUMN fits the runs of each corpus separately and says
which corpus is best at each compute. --explain says which laws the prediction rests on, what the runs cannot determine,
and which three new runs would help most.

Columns metric.NAME hold downstream metrics, such as an error rate. Each is fitted as a function of the losses. Then
`curate predict --metric NAME` and `curate plan --metric NAME` predict the losses of a mixture, and the metric from
these losses. --metric chooses the metrics, and --on the losses that they are predicted from. In a table without losses,
--eval metric.NAME fits a law over recipes to the metric itself.

Five values of --law fit a curve instead of a law of mixtures. downstream predicts metric.<eval> from the measured loss
of a run (--on LOSS), without a law of the loss. annealing and multi_power predict the loss at each step of a
learning-rate schedule (columns step and lr). They fit all trainings together, which are runs of one model with
different schedules. Then `curate predict` reads other schedules. relearn fits the loss over a schedule with continued
training (column continued: 0 before it, 1 during it). pruning_curves finds the best share of the data to keep at each
size of data (column keep).

Tables of other programs become run tables by --map, which computes columns, and by --from, which knows the files of
some programs. docs/files.md lists the columns of a run table.

A row is a finished run or a checkpoint of a training. If the columns planned_tokens or lr show how long the trainings
were planned, all rows are fitted, with a term for unfinished runs. Otherwise, and where the column lr shows that the
learning rate falls only towards the end of the trainings, the last row of each training is fitted.
--checkpoints says which rows are of one training.

Without --law, the job takes laws that suit what varies in the runs: size, tokens, mixture or repetition. It predicts
each size from the smaller ones, and averages the laws. The more a law's errors differ between the runs of one size, the
less it counts. Each new size also has an error that all its runs share. The expected error and the intervals of losses
contain it, at its usual size on public runs. An empty loss means "not measured": the fit of that eval leaves the row
out.

Example: curate fit runs.parquet --law utility_smooth,ces,chinchilla --eval prose --explain --out fit.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import From, Json, Map, Out, Seed, WhichCheckpoints

# What --json prints of the record, where the fit has it.
PRINTED = ("compared", "notes", "crossings", "best_shares", "decay")


def main(
    runs: Annotated[
        list[Path],
        typer.Argument(help="Run tables: Parquet, Arrow, CSV or JSON. Several are joined; their columns may differ."),
    ],
    out: Out,
    law: Annotated[
        str,
        typer.Option(
            help="NAME[,NAME...] (see curate list laws), options as NAME:key=value; a class of your own is "
            "path/to/file.py:ClassName. Of several laws, the one with the smallest expected error is kept. auto: "
            "average laws that suit what varies in the runs."
        ),
    ] = "auto",
    evaluation: Annotated[
        str | None,
        typer.Option(
            "--eval",
            help="EVAL[,EVAL...]: the columns loss.EVAL to fit. Several are fitted together, and the fit predicts each "
            "of them and their mean. Default, and all: every loss column. --by and curves take one eval.",
        ),
    ] = None,
    map: Map = None,
    source: From = None,
    where: Annotated[str | None, typer.Option(help="Use only rows for which this SQL condition holds.")] = None,
    holdout: Annotated[
        str | None,
        typer.Option(
            help="Which runs to hold out: rolling, largest, random or mixture; all but rolling take a share, as in "
            "random:0.2. Default: rolling, which predicts each size from the smaller ones, or, if all runs have one "
            "size, the longer trainings. At one budget: mixture, or random with fewer than five mixtures."
        ),
    ] = None,
    stack: Annotated[
        bool,
        typer.Option(
            "--stack", help="Keep a weighted sum of the laws, by their held-out errors, instead of the best law."
        ),
    ] = False,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say which law was chosen, what the runs cannot determine, and which new runs would help."
        ),
    ] = False,
    by: Annotated[
        str | None,
        typer.Option(
            help="Column that names the corpus of each run. Each corpus is fitted separately, and they are compared."
        ),
    ] = None,
    on: Annotated[
        str | None,
        typer.Option(
            help="EVAL[,EVAL...]: the columns loss.EVAL that metrics are predicted from. Default: those of --eval."
        ),
    ] = None,
    metric: Annotated[
        str,
        typer.Option(
            help="NAME[,NAME...]: the columns metric.NAME to fit as functions of the losses. none: no metric. auto: if "
            "the table has at most 8 metrics, all that the runs determine."
        ),
    ] = "auto",
    target: Annotated[
        str | None, typer.Option(help="The column distance.<target> that the law transport reads.")
    ] = None,
    tokens_per_param: Annotated[
        float, typer.Option(help="With --by: training tokens per parameter at which the corpora are compared.")
    ] = 20.0,
    starts: Annotated[int, typer.Option(min=1, help="Number of starting points of each fit.")] = 32,
    draws: Annotated[int, typer.Option(min=1, help="Number of bootstrap refits, from which intervals come.")] = 200,
    envelope: Annotated[
        str | None,
        typer.Option(
            help="COLUMN[,COLUMN], such as lr,batch_tokens: replace the runs that differ in these columns alone by the "
            "minimum of a quadratic in their logarithms. Each loss has its own minimum."
        ),
    ] = None,
    metric_kind: Annotated[
        str | None,
        typer.Option(
            help="With --eval metric.NAME: error or accuracy (a rate between 0 and 1), or positive (less is better, "
            "such as bits per byte). Default: what the values and their trend show."
        ),
    ] = None,
    seed: Seed = 0,
    checkpoints: WhichCheckpoints = "auto",
    as_json: Json = False,
) -> None:
    """Fit laws."""
    from curate import open_sets, written_names
    from curate.fitting import job
    from curate.fitting.jobs import questions
    from pipelines.shared.show import progress, result, table

    # The function refuses these too, but on the command line they are wrong usage: exit code 2.
    specs, evals = open_sets.split(law), written_names.names(evaluation or "")
    if message := questions.why_not(specs, evals, written_names.names(metric), by):
        raise typer.BadParameter(message)
    with progress():
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
            metric=metric,
            target=target,
            tokens_per_param=tokens_per_param,
            starts=starts,
            draws=draws,
            seed=seed,
            checkpoints=checkpoints,
            map=map,
            source=source,
            envelope=envelope,
            metric_kind=metric_kind,
        )
    report.save(out)
    printed = {name: report.record[name] for name in PRINTED if name in report.record}
    if report.metrics:
        printed |= {"metrics": {name: curve.summary() for name, curve in report.metrics.items()}}
    texts = [part if isinstance(part, str) else table(part) for part in report.shown]
    # A heading, which ends in a colon, stands directly above its table.
    text = "\n\n".join(texts).replace(":\n\n", ":\n")
    result(as_json, printed | {"law": report.law, "out": str(out)}, text)
