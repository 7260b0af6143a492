"""Decide which examples to keep, by conditions and by one score, and count what each source loses.

One decision file for each score file gives the reason for each row. --require removes the rows that fail a condition.
--by and --keep then rank the remaining rows, and keep a share of them.

Example: curate prune scores/ --require 'score.length > 100' --require 'score.duplicates >= 0.25' --by score.dsir
--keep 0.3 --out kept/
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.engine_options import Address, EngineName, EngineWorkers, RuntimeEnv
from pipelines.shared.flags import (
    Json,
    OutFolder,
    Partial,
    Seed,
    TakeOver,
    count,
    pairs,
    texts,
)

if TYPE_CHECKING:
    from curate.pruning.pruned import Pruned

RULE = (
    "top keeps the highest scores. It needs a quality score, and is the default for one. hard keeps the hardest rows, "
    "and easy the easiest. auto chooses hard or easy: it compares the number of rows with the intrinsic dimension of "
    "the data. These three need a hardness or easiness score, which has no default rule. The other rules accept any "
    "score. middle keeps the scores nearest the median. threshold keeps all scores from --keep up. stratified keeps "
    "scores from all parts of the range. sample draws at random and favours high scores, whatever they mean."
)
BALANCE = (
    "Which groups to protect: none, source, label, cluster or cluster.NAME. Each group keeps at least half of what it "
    "would if all were pruned alike; GROUP:FLOOR sets another part. GROUP:even keeps the same number of rows of each "
    "group. label:recall keeps rows of each class in proportion to 1 minus the --recall of the class, rounded down. "
    "dbp:TAU:LEAST keeps rows of each cluster in proportion to exp(score.density / TAU), and at least LEAST rows. "
    "The default of TAU is 0.1, and that of LEAST is 1."
)
CAP = (
    "COLUMN=K keeps at most K rows of each value of a column, such as conversation=1; COLUMN=Ktokens keeps at most K "
    "tokens, such as source=2e9tokens. The best rows by --by are kept, or without --by random ones. COLUMN=even gives "
    "every value the same part of the budget, as far as it has rows. Each row without a value counts as a value of its "
    "own. Caps apply before the budget, in the order in which they are given. May be repeated for other columns."
)
GUARD = (
    "Stop, and write nothing, if a source loses far more rows than the others. Each source must keep at least 1 minus "
    "this share of what it would keep if all were pruned alike. At 0.5 and --keep 0.3 a source may lose 85 % of its "
    "rows; with --rule threshold 50 %. 1: never stop."
)
REQUIRE = (
    "A condition in SQL that every kept row must meet, such as 'score.length > 100'. It may name columns of the scores "
    "and of the inputs: 'score.dsir / tokens > 0.1', \"meta.lang = 'en'\". A row with a missing value fails. May be "
    "repeated; the first condition that a row fails is its reason. 'score.duplicates >= 0.25' is applied last, to "
    "groups of duplicates among the rows that meet the other conditions."
)


def main(
    scores: Annotated[Path, typer.Argument(help="A folder made by `curate score`.")],
    out: OutFolder,
    require: Annotated[list[str] | None, typer.Option(metavar="EXPRESSION", help=REQUIRE)] = None,
    by: Annotated[
        str,
        typer.Option(
            help="The column by which the rows that meet all conditions are ranked: a score, such as score.prototypes, "
            "or tokens. Without it, --cap and the budget keep rows at random."
        ),
    ] = "",
    keep: Annotated[
        float | None,
        typer.Option(
            help="Share of these rows to keep, such as 0.3. (With --rule threshold: the lowest score that is kept.)"
        ),
    ] = None,
    keep_rows: Annotated[
        str, typer.Option(metavar="N", help="Number of rows to keep, such as 5e6 or 5M, in place of --keep.")
    ] = "",
    keep_tokens: Annotated[
        str,
        typer.Option(
            metavar="N",
            help="Number of tokens to keep, such as 20e9 or 20B, in place of --keep. Rows are kept in the order of the "
            "rule, up to the row that would cross this number.",
        ),
    ] = "",
    cap: Annotated[list[str] | None, typer.Option(help=CAP)] = None,
    rule: Annotated[str, typer.Option(help=RULE)] = "",
    meaning: Annotated[
        list[str] | None,
        typer.Option(
            help="NAME=quality, NAME=hardness or NAME=easiness: a high score is better, harder or easier. The "
            "rules top, hard, easy and auto need it if the score files record no meaning. It overrides a recorded "
            "meaning. May be repeated."
        ),
    ] = None,
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
    trim: Annotated[
        str,
        typer.Option(help="Share of the rows to drop first, such as 0.1: the hardest, which are often mislabelled."),
    ] = "0",
    temperature: Annotated[
        str,
        typer.Option(
            help="For --rule sample: temperature in standard deviations of the score, or raw:T in units of the score. "
            "Near 0 the highest scores are kept; below 0 low scores are favoured. Default: 2. Default for a score that "
            "is the logarithm of an importance weight (dsir): raw:1."
        ),
    ] = "",
    hard_end: Annotated[str, typer.Option(hidden=True)] = "",
    recall: Annotated[
        list[str] | None,
        typer.Option(help="For --balance label:recall: CLASS=RECALL of a class on held-out data. May be repeated."),
    ] = None,
    max_source_removal: Annotated[float, typer.Option(help=GUARD)] = 0.5,
    verify: Annotated[
        int,
        typer.Option(
            min=0, help="With --by score.duplicates: check the similarity of this many removed rows exactly. 0: none."
        ),
    ] = 16,
    materialize: Annotated[
        bool,
        typer.Option(
            "--materialize",
            help="Also write the kept rows to OUT/rows, a folder that `datasets.load_dataset` reads. JSON stays JSON "
            "lines with its very bytes; Parquet, Arrow, CSV and TSV become Parquet.",
        ),
    ] = False,
    format_name: Annotated[
        str,
        typer.Option(
            "--format",
            help="parquet or jsonl: the format of --materialize. Needed if some inputs are JSON and others are not.",
        ),
    ] = "",
    partial: Partial = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Decide everything, print what would be removed, and write nothing.")
    ] = False,
    shard_rows: Annotated[int, typer.Option(min=1, help="Rows in each file of --materialize.")] = 100_000,
    seed: Seed = 0,
    engine: EngineName = "local",
    workers: EngineWorkers = None,
    address: Address = "",
    runtime_env: RuntimeEnv = "",
    take_over: TakeOver = False,
    as_json: Json = False,
) -> None:
    """Prune examples."""
    from curate.pruning.prune import prune
    from curate.pruning.source_guard import SourceNearlyGone
    from curate.storage.completion import ROWS
    from pipelines.shared import engine_options
    from pipelines.shared.show import progress, result, table, warn

    if hard_end:
        raise typer.BadParameter(
            "this option was removed. The meaning of a score says which end is hard. If the score files record no "
            "meaning, give --meaning NAME=hardness (high is harder) or --meaning NAME=easiness (high is easier)",
            param_hint="--hard-end",
        )
    with progress() as report:
        try:
            pruned = prune(
                scores,
                out,
                require=require or (),
                by=by,
                keep=keep,
                keep_rows=count(keep_rows) if keep_rows else None,
                keep_tokens=count(keep_tokens) if keep_tokens else None,
                cap=cap or (),
                rule=rule,
                balance=balance,
                dimension=dimension,
                embedding=embedding,
                meaning=texts(meaning, "--meaning", "MEANING") if meaning else None,
                trim=trim,
                temperature=temperature,
                recall=pairs(recall, "--recall") if recall else None,
                max_source_removal=max_source_removal,
                verify=verify,
                materialize=materialize,
                format_name=format_name,
                partial=partial,
                dry_run=dry_run,
                shard_rows=shard_rows,
                seed=seed,
                engine=engine_options.engine(engine, workers, address, runtime_env),
                take_over=take_over,
                progress=report,
            )
        except SourceNearlyGone as error:
            typer.echo(table(error.table), err=True)
            raise
    warn(pruned.warnings)
    lines = text(pruned)
    if materialize and not dry_run:
        lines += ["", f"kept rows, as `datasets.load_dataset` reads them: {out / ROWS}"]
    result(as_json, pruned.record(), "\n".join(lines))


def text(pruned: "Pruned") -> list[str]:
    """Return the lines that people read: the choice of auto, tables of what was removed, and what to use next."""
    from curate.errors import amount
    from curate.pruning.decisions import POOLS
    from curate.pruning.duplicate_check.compare_again import count_false
    from pipelines.shared.show import table

    lines = [pruned.sentence, ""]
    if (advice := pruned.advice) is not None:
        lines += [*advice.lines(), "errors that theory predicts, by share kept:", table(advice.table()), ""]
    tokens = pruned.removal.tokens_noun
    lines += [pruned.summary, ""]
    if pruned.removal.requirements:
        lines += [table(pruned.removal.by_reason_in_all, tokens=tokens), ""]
    lines += [table(pruned.table(), tokens=tokens)]
    if pruned.by_label is not None:
        lines += ["", table(pruned.by_label, tokens=pruned.removal.tokens_noun)]
    if (verified := pruned.verified) is not None:
        wrong = count_false(verified)
        result = f"{wrong} have no other text as similar as their score says" if wrong else "no score is wrong"
        lines += ["", f"{amount(verified.height, 'removed row')} compared exactly with all other texts: {result}"]
        lines += [] if verified.is_empty() else [table(verified)]
    if pruned.removal.total["tokens_kept"]:
        lines += ["", pruned.shift]
    if pruned.pools is not None and pruned.out is not None:
        lines += [f"pools of what is kept: {pruned.out / POOLS}"]
    if pruned.dry_run:
        if not pruned.removal.examples.is_empty():
            lines += ["", "examples of removed rows:", table(pruned.removal.examples)]
        lines += ["", "this was a dry run: nothing was written"]
    return lines
