"""Find how much domain data a continued training can take: the critical mixture ratio.

RUNS has one row for each run or checkpoint, and a start row (tokens = 0) with the losses before training. The general
loss is the mean over the --general evals. The critical ratio is the largest share of domain data at which this loss
stays within --tolerance of its value at the start. If all runs have one budget, four or more shares are
enough to answer for that budget.

For each budget the job prints the critical ratio with its interval, a share that is safe, the share with the lowest
domain loss, the gain of the domain, the passes over the pools, and how both losses change with the share.

Example: curate cmr runs.csv --general '*' --domain python --pool python --tolerance 0.02,0.05 --out cmr.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import From, Json, Map, Out, Seed, pairs

NOT_RECORDED = ("out", "seed", "as_json")


def main(
    context: typer.Context,
    runs: Annotated[Path, typer.Argument(help="A run table with a start row (tokens = 0).")],
    general: Annotated[
        str,
        typer.Option(
            help="EVAL[,EVAL...]: evals whose mean is the general loss. 'Pile*' is a pattern; '*' is all but "
            "the domain's."
        ),
    ],
    domain: Annotated[str, typer.Option(help="EVAL of the domain: its loss is in the column loss.EVAL.")],
    pool: Annotated[str, typer.Option(help="The domain's pool; its share is in the column weight.POOL.")],
    tolerance: Annotated[
        str,
        typer.Option(
            help="How far the general loss may rise above that of the start, in nats per token. Several: 0,0.02,0.05."
        ),
    ],
    out: Out,
    relative: Annotated[
        bool, typer.Option("--relative", help="Read --tolerance as a share of the general loss at the start.")
    ] = False,
    budget: Annotated[
        str | None,
        typer.Option(
            help="TOKENS:PARAMS[,...]: budgets to examine. Default: 1/4 to 4 times the tokens of the longest run. If "
            "all runs have one budget, only that budget."
        ),
    ] = None,
    pools: Annotated[
        Path | None, typer.Option(help="pools.json, for the unique tokens of pools. Default: those in the run table.")
    ] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option(
            help="POOL=SHARE: share of a pool in the data that is not of the domain. May be repeated. best: the "
            "shares with the lowest general loss. Default: as in the runs."
        ),
    ] = None,
    start_loss: Annotated[
        list[str] | None,
        typer.Option(
            help="EVAL[@PARAMS]=LOSS: loss before training in nats per token, instead of a start row. May be repeated."
        ),
    ] = None,
    law: Annotated[
        str | None,
        typer.Option(
            help="NAME[,NAME...]: laws to fit. The law that best predicts held-out shares and run lengths is kept. "
            "Default: replay, replay:checkpoints=true and dcpt:repeats=true. Default if all runs have the same tokens "
            "and size: cmr, share_logarithm and share_exponential."
        ),
    ] = None,
    largest: Annotated[
        float | None, typer.Option(help="Largest share of the domain to examine. Default: the largest in RUNS.")
    ] = None,
    width: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1, help="Suggest runs that would narrow the critical ratio to this width."),
    ] = None,
    limited: Annotated[
        str | None,
        typer.Option(
            help="TOKENS:PARAMS: also find the best share of this many unique domain tokens that are seen once."
        ),
    ] = None,
    compute: Annotated[
        str | None, typer.Option(help="FLOPS[,...]: also find the best model size for each compute. Needs --share.")
    ] = None,
    share: Annotated[float | None, typer.Option(min=0, max=1, help="With --compute: the share of the domain.")] = None,
    fits: Annotated[
        Path | None,
        typer.Option(
            help="Folder in which to write the fitted laws, general.json and domain.json, for `curate predict`."
        ),
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Also run the procedure of Gu et al. 2024.")] = False,
    map: Map = None,
    source: From = None,
    where: Annotated[str | None, typer.Option(help="Use only rows where this SQL condition holds.")] = None,
    starts: Annotated[int, typer.Option(min=1, help="Number of starting points of each fit.")] = 16,
    draws: Annotated[int, typer.Option(min=1, help="Number of bootstrap refits, from which intervals come.")] = 200,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find critical mixture ratios."""
    from curate import open_sets
    from curate.continual.job import cmr
    from curate.pool.pool import parse_budget
    from pipelines.cmr.words import text
    from pipelines.shared.show import progress, result

    if (compute is None) != (share is None):
        raise typer.BadParameter("--compute and --share go together")
    with progress():
        ratios = cmr(
            runs,
            general=general,
            domain=domain,
            pool=pool,
            tolerance=_numbers(tolerance, "--tolerance"),
            relative=relative,
            budgets=None if budget is None else [parse_budget(item) for item in budget.split(",")],
            pools=pools,
            replay="best" if replay == ["best"] else pairs(replay or [], "--replay") or None,
            start_loss=pairs(start_loss or [], "--start-loss"),
            laws=None if law is None else open_sets.split(law),
            largest=largest,
            width=width,
            limited=None if limited is None else parse_budget(limited),
            compute=[] if compute is None else _numbers(compute, "--compute"),
            share=share,
            published=published,
            where=where,
            starts=starts,
            draws=draws,
            seed=seed,
            map=map,
            source=source,
            arguments={name: value for name, value in context.params.items() if name not in NOT_RECORDED},
        )
    ratios.save(out)
    if fits is not None:
        ratios.save_fits(fits)
    result(as_json, ratios.to_json() | {"out": str(out)}, text(ratios))


def _numbers(text: str, flag: str) -> list[float]:
    from curate import written_numbers

    try:
        return written_numbers.numbers(text)
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not NUMBER[,NUMBER...]", param_hint=flag) from None
