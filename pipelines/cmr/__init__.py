"""Find how much domain data a continued training can take: the critical mixture ratio.

RUNS has one row a run or checkpoint, and a start row (tokens = 0) with the losses before training. General loss is the
mean of the --general evals ('Pile*' is a pattern; '*' means all but the domain's). It may rise by --tolerance over that
of the start. For every budget the job prints the largest share of the domain that keeps to this, its interval, a share
that is safe, the share that is best for the domain, the gain, passes over the corpora, and the trade-off.

Example: curate cmr runs.csv --general '*' --domain python --pool python --tolerance 0.02,0.05 --out cmr.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed, pairs

LAWS = "replay,replay:checkpoints=true,dcpt:repeats=true"
NOT_RECORDED = ("out", "seed", "as_json")


def main(
    context: typer.Context,
    runs: Annotated[Path, typer.Argument(help="A run table, Parquet or CSV, with a start row (tokens = 0).")],
    general: Annotated[str, typer.Option(help="EVAL[,EVAL...] or patterns; their mean is the general loss.")],
    domain: Annotated[str, typer.Option(help="EVAL of the domain: its loss is in the column loss.EVAL.")],
    pool: Annotated[str, typer.Option(help="The domain's pool; its share is in the column weight.POOL.")],
    tolerance: Annotated[
        str, typer.Option(help="How far general loss may rise over the start's, in nats; several as 0,0.02,0.05.")
    ],
    out: Out,
    relative: Annotated[
        bool, typer.Option("--relative", help="Read tolerances as shares of the start's loss.")
    ] = False,
    budget: Annotated[
        str | None, typer.Option(help="TOKENS:PARAMS[,...]; default: 1/4 to 4 times the longest run.")
    ] = None,
    pools: Annotated[Path | None, typer.Option(help="pools.json with unique tokens; default: the run table's.")] = None,
    replay: Annotated[
        list[str] | None,
        typer.Option(help="POOL=SHARE of what is not the domain (repeat), or best. Default: as in the runs."),
    ] = None,
    start_loss: Annotated[list[str] | None, typer.Option(help="EVAL[@PARAMS]=LOSS before training; repeat.")] = None,
    law: Annotated[
        str, typer.Option(help="NAME[,NAME...]: the law that best predicts left-out shares and lengths is kept.")
    ] = LAWS,
    largest: Annotated[float | None, typer.Option(help="Largest share to examine; default: the largest run.")] = None,
    width: Annotated[
        float | None,
        typer.Option(min=1e-6, max=1, help="Suggest runs that would narrow the critical ratio to this width."),
    ] = None,
    limited: Annotated[
        str | None, typer.Option(help="TOKENS:PARAMS: best share of so many unique domain tokens, seen once.")
    ] = None,
    compute: Annotated[str | None, typer.Option(help="FLOPS[,...]: best model size for each, at --share.")] = None,
    share: Annotated[float | None, typer.Option(min=0, max=1, help="The domain's share for --compute.")] = None,
    fits: Annotated[
        Path | None, typer.Option(help="Folder for general.json and domain.json, the laws for `curate predict`.")
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Run the procedure of Gu et al. 2024 too.")] = False,
    where: Annotated[str | None, typer.Option(help="Use only rows where this SQL condition holds.")] = None,
    starts: Annotated[int, typer.Option(min=1, help="Starting points of each fit.")] = 16,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap refits.")] = 200,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find critical mixture ratios."""
    from curate import open_sets
    from curate.continual.job import cmr
    from curate.pool.pool import parse_budget
    from pipelines.cmr.words import text
    from pipelines.shared.show import result

    if (compute is None) != (share is None):
        raise typer.BadParameter("--compute and --share go together")
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
        laws=open_sets.split(law),
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
        arguments={name: value for name, value in context.params.items() if name not in NOT_RECORDED},
    )
    ratios.save(out)
    if fits is not None:
        ratios.save_fits(fits)
    result(as_json, ratios.to_json() | {"out": str(out)}, text(ratios))


def _numbers(text: str, flag: str) -> list[float]:
    try:
        return [float(item) for item in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not NUMBER[,NUMBER...]", param_hint=flag) from None
