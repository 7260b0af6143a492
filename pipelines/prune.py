"""Decide which examples to keep by one score; a reason per row and a removal table per source.

Example: curate prune scores/ --by score.prototypes --keep 0.7 --rule easy --balance source --out kept/
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed, pairs

RULE = (
    "hard (highest scores), easy (lowest), auto (hard or easy, by how plenty data are in each dimension), middle, "
    "threshold, stratified (all parts of the score's range), sample (a draw that favours high scores)."
)
BALANCE = (
    "none; source, label, cluster or cluster.NAME: a floor of each one's share (:FLOOR, 0.5), or a quota (:even, or "
    "label:recall); dbp:TAU:LEAST: clusters by complexity."
)
GUARD = (
    "Stop, writing nothing, if a source keeps less than 1 - this of what it would if all were pruned alike: at 0.5 and "
    "--keep 0.3 if it loses over 85 %, with --rule threshold over 50 %. 1: never stop."
)


def main(
    scores: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    by: Annotated[str, typer.Option(help="The score column, such as score.prototypes.")],
    keep: Annotated[float, typer.Option(help="Share of rows to keep; for --rule threshold the lowest score kept.")],
    out: Out,
    rule: Annotated[str, typer.Option(help=RULE)] = "hard",
    balance: Annotated[str, typer.Option(help=BALANCE)] = "none",
    dimension: Annotated[
        float | None, typer.Option(help="For --rule auto: the data's intrinsic dimension; else estimated.")
    ] = None,
    embedding: Annotated[
        str, typer.Option(help="For --rule auto: vectors in the score files to estimate it from.")
    ] = "",
    hard_end: Annotated[
        str, typer.Option(help="For --rule auto: whether high or low scores are the hard examples; known for most.")
    ] = "",
    trim: Annotated[
        str,
        typer.Option(
            help="Drop this share of the highest scores (low:SHARE: lowest; --rule auto: hardest): label noise."
        ),
    ] = "0",
    temperature: Annotated[
        str, typer.Option(help="Of --rule sample, in standard deviations of the score, or raw:T; inf draws at random.")
    ] = "2",
    recall: Annotated[
        list[str] | None, typer.Option(help="CLASS=RECALL on held-out data, for --balance label:recall.")
    ] = None,
    max_source_removal: Annotated[float, typer.Option(help=GUARD)] = 0.5,
    verify: Annotated[
        int, typer.Option(min=0, help="With --by score.duplicates: removed rows that are compared again, exactly.")
    ] = 16,
    materialize: Annotated[
        bool, typer.Option("--materialize", help="Also write the kept rows, as they came in.")
    ] = False,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows a file of --materialize.")] = 100_000,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Prune examples."""
    from curate.pruning import duplicate_check, prune, source_guard
    from curate.pruning.kept_rows import materialize as kept_rows
    from pipelines.shared.show import progress, result, table, warn

    with progress() as report:
        try:
            pruned = prune.prune(
                scores, by, out, keep=keep, rule=rule, balance=balance, trim=trim, temperature=temperature,
                recall=pairs(recall, "--recall") if recall else None, dimension=dimension,
                embedding=embedding, hard_end=hard_end, max_source_removal=max_source_removal, seed=seed,
                progress=report,
            )  # fmt: skip
        except source_guard.TooMuch as stop:
            typer.echo(table(stop.table), err=True)
            raise
        checked = duplicate_check.sampled(scores, out, by, count=verify, seed=seed) if by == COPIES and verify else None
        if materialize:
            kept_rows(scores, out, out / "rows", shard_rows=shard_rows, progress=report)
    record: dict[str, object] = {"by_source": pruned.table().to_dicts(), "out": str(out), "rule": pruned.rule.name}
    said = []
    if pruned.advice is not None:
        record["auto"] = {"choice": pruned.advice.choice, "why": list(pruned.advice.lines())}
        record["curve"] = pruned.advice.table().to_dicts()
        said += [*pruned.advice.lines(), "errors in the model by share kept:", table(pruned.advice.table()), ""]
    said.append(table(pruned.table()))
    if pruned.by_label is not None:
        record["by_label"] = pruned.by_label.to_dicts()
        said += ["", table(pruned.by_label)]
    if checked is not None:
        record["verified"] = checked.to_dicts()
        wrong = duplicate_check.false(checked)
        said += ["", f"{checked.height} removed rows compared again: {wrong} without a text as near as claimed"]
        said += [] if checked.is_empty() else [table(checked)]
        if wrong:
            warn([f"{wrong} of {checked.height} sampled removals are no duplicates by exact comparison"])
    record["shift"] = source_guard.shift(pruned.table())
    if pruned.table()["tokens_kept"].sum():
        said += ["", source_guard.shift(pruned.table()), f"pools of what is kept: {out / prune.POOLS}"]
    else:
        warn([f"nothing is kept: there is no {out / prune.POOLS}"])
    result(as_json, record, "\n".join(said))


COPIES = "score.duplicates"
