"""Decide which examples to keep by one score; a reason per row and a removal table per source.

Example: curate prune scores/ --by score.prototypes --keep 0.7 --rule easy --balance source --out kept/
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed, pairs

if TYPE_CHECKING:
    from curate.pruning.prune import Pruned

RULE = (
    "hard keeps the highest scores, easy the lowest, middle those nearest the median. threshold keeps all from --keep "
    "up. stratified keeps some of every part of the score's range. sample draws at random, favouring high scores. auto "
    "keeps hard or easy examples, by how many rows there are for each dimension of the data."
)
BALANCE = (
    "none; source, label, cluster or cluster.NAME: keep a floor of each group's share (:FLOOR, 0.5 unless given), or a "
    "quota (:even the same number of all, label:recall by --recall); dbp:TAU:LEAST: clusters by their complexity."
)
GUARD = (
    "Stop, and write nothing, if a source keeps less than 1 - this of what it would if all sources were pruned alike. "
    "At 0.5 and --keep 0.3 a source may lose 85 % of its rows; with --rule threshold 50 %. 1: never stop."
)


def main(
    scores: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    by: Annotated[str, typer.Option(help="The score column, such as score.prototypes.")],
    keep: Annotated[
        float,
        typer.Option(
            help="Share of rows to keep, such as 0.3. (With --rule threshold: the lowest score that is kept.)"
        ),
    ],
    out: Out,
    rule: Annotated[str, typer.Option(help=RULE)] = "hard",
    balance: Annotated[str, typer.Option(help=BALANCE)] = "none",
    dimension: Annotated[
        float | None,
        typer.Option(
            help="For --rule auto: the intrinsic dimension of the data. It is estimated if you do not give it."
        ),
    ] = None,
    embedding: Annotated[
        str,
        typer.Option(help="For --rule auto: the column of vectors in the score files to estimate the dimension from."),
    ] = "",
    hard_end: Annotated[
        str,
        typer.Option(help="For --rule auto: high or low, whichever scores mark hard examples. Most scorers are known."),
    ] = "",
    trim: Annotated[
        str,
        typer.Option(
            help="Drop this share of the highest scores first: they are often label noise. (low:SHARE: of the lowest "
            "scores. With --rule auto: of the hardest.)"
        ),
    ] = "0",
    temperature: Annotated[
        str,
        typer.Option(help="For --rule sample: in standard deviations of the score, or raw:T in units of the score."),
    ] = "2",
    recall: Annotated[
        list[str] | None, typer.Option(help="CLASS=RECALL on held-out data, for --balance label:recall.")
    ] = None,
    max_source_removal: Annotated[float, typer.Option(help=GUARD)] = 0.5,
    verify: Annotated[
        int,
        typer.Option(min=0, help="With --by score.duplicates: compare this many removed rows again, exactly."),
    ] = 16,
    materialize: Annotated[
        bool, typer.Option("--materialize", help="Also write the kept rows, in the format in which they came.")
    ] = False,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows in each file of --materialize.")] = 100_000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Prune examples."""
    from curate.pruning.prune import prune
    from curate.pruning.source_guard import SourceNearlyGone
    from pipelines.shared.show import progress, result, table, warn

    with progress() as report:
        try:
            pruned = prune(
                scores,
                out,
                by=by,
                keep=keep,
                rule=rule,
                balance=balance,
                dimension=dimension,
                embedding=embedding,
                hard_end=hard_end,
                trim=trim,
                temperature=temperature,
                recall=pairs(recall, "--recall") if recall else None,
                max_source_removal=max_source_removal,
                verify=verify,
                materialize=materialize,
                shard_rows=shard_rows,
                seed=seed,
                progress=report,
            )
        except SourceNearlyGone as error:
            typer.echo(table(error.table), err=True)
            raise
    warn(pruned.warnings)
    result(as_json, pruned.record(), "\n".join(text(pruned)))


def text(pruned: "Pruned") -> list[str]:
    """Return the lines that people read: the choice of auto, tables of what was removed, and what to use next."""
    from curate.pruning.decisions import POOLS
    from curate.pruning.duplicate_check import count_false
    from pipelines.shared.show import table

    lines = []
    if (advice := pruned.advice) is not None:
        lines += [*advice.lines(), "errors that theory predicts, by share kept:", table(advice.table()), ""]
    lines.append(table(pruned.table()))
    if pruned.by_label is not None:
        lines += ["", table(pruned.by_label)]
    if (verified := pruned.verified) is not None:
        wrong = count_false(verified)
        lines += ["", f"{verified.height} removed rows compared again: {wrong} have no other text as near as claimed"]
        lines += [] if verified.is_empty() else [table(verified)]
    if pruned.pools is not None:
        lines += ["", pruned.shift, f"pools of what is kept: {pruned.out / POOLS}"]
    return lines
