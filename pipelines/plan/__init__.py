"""Find the best mixture of pools for one or more compute budgets.

The plan gives the share of training tokens of each pool, the passes over it, the predicted loss, and the gain over
simple mixtures. It also says how far each share may move, and at which budgets pools enter or leave the mixture.
plan.json also has plans at 16 token counts, from a third of the smallest to three times the largest planned tokens.
`curate report` draws them.

--group limits the sum of several shares. Pools are names or patterns: "web.de,books.de<=0.3", "*.cc-by>=0.5".

--target chooses what is minimised if the fit has several evals. mean: their mean loss. worst: the largest excess of a
loss over the lowest that this eval could have. worst:loss: the largest loss. EVAL=WEIGHT,...: a weighted sum.
metric.NAME: the downstream metric NAME. The mean loss that it is predicted from is minimised.

--metric NAME also predicts the downstream metric NAME, such as an error rate, from the losses. Its interval covers the
uncertainty of the laws, the uncertainty of the curve from loss to metric, and the noise of a run.

--prior names a mixture to stay near: proportional, uniform, tau=T (temperature), unimax[=CAP], or POOL=SHARE,...

--money is the highest price of the data, at the cost_per_token of each pool. A token that is seen several times is paid
for once.

Example: curate plan fit.json --pools pools.json --frontier 1e9:1e12 --params 1e9 --max-epochs 8 --out plan.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed, count

NOTHING: list[str] = []  # the default of options that may be repeated


def main(
    fit: Annotated[Path, typer.Argument(help="The fit.json that `curate fit` wrote.")],
    pools: Annotated[Path, typer.Option(help="The pools.json that `curate pools` wrote.")],
    out: Out,
    budget: Annotated[
        str | None,
        typer.Option(help="TOKENS:PARAMS of one or more budgets, separated by commas, such as 2e10:1e9 or 20B:1B."),
    ] = None,
    frontier: Annotated[
        str | None, typer.Option(help="LOW:HIGH training tokens. Plan two budgets in each factor of ten.")
    ] = None,
    params: Annotated[
        float | None, typer.Option(parser=count, metavar="NUMBER", help="Model parameters for --frontier.")
    ] = None,
    max_epochs: Annotated[float | None, typer.Option(help="Largest number of passes over a pool.")] = None,
    min_weight: Annotated[
        list[str], typer.Option(help="POOL=SHARE: smallest share of a pool. May be repeated.")
    ] = NOTHING,
    max_weight: Annotated[
        list[str], typer.Option(help="POOL=SHARE: largest share of a pool. May be repeated.")
    ] = NOTHING,
    fixed: Annotated[list[str], typer.Option(help="POOL=SHARE: exact share of a pool. May be repeated.")] = NOTHING,
    group: Annotated[
        list[str], typer.Option(help="POOL,POOL...<=SHARE or >=SHARE limits the sum of their shares. May be repeated.")
    ] = NOTHING,
    ordered: Annotated[
        str | None, typer.Option(help="POOL,POOL,...: no pool gets a larger share than the one before it.")
    ] = None,
    money: Annotated[
        float | None, typer.Option(help="Highest price of the data, in the currency of cost_per_token.")
    ] = None,
    target: Annotated[
        str,
        typer.Option(help="What to minimise: mean, worst, worst:loss, EVAL[=WEIGHT],... or metric.NAME; see above."),
    ] = "mean",
    metric: Annotated[
        str | None,
        typer.Option(help="NAME: also predict the downstream metric metric.NAME, from the losses."),
    ] = None,
    pareto: Annotated[str | None, typer.Option(help="EVAL,EVAL: also find the Pareto front of these two.")] = None,
    robust: Annotated[
        float | None,
        typer.Option(help="Minimise this quantile of the loss over bootstrap draws, such as 0.9, instead of the loss."),
    ] = None,
    prior: Annotated[str | None, typer.Option(help="A mixture to stay near; see above.")] = None,
    strength: Annotated[float, typer.Option(help="Nats of loss that one nat of divergence from --prior costs.")] = 0.05,
    within: Annotated[
        float,
        typer.Option(
            min=0,
            help="How far above the lowest loss near-optimal mixtures may be, in nats per token. 0: omit them.",
        ),
    ] = 1e-3,
    draws: Annotated[int, typer.Option(min=0, help="Number of bootstrap draws to plan as well. 0 for none.")] = 40,
    keep_curve: Annotated[
        bool, typer.Option("--keep-curve", help="Also say how many pools to keep. The pools must be bins of one score.")
    ] = False,
    score_cost: Annotated[
        float | None,
        typer.Option(
            help="With --keep-curve: the compute of scoring a token over that of training on it once, such as 0.05. "
            "Also says where scoring pays."
        ),
    ] = None,
    scored_tokens: Annotated[
        float | None,
        typer.Option(
            parser=count,
            metavar="NUMBER",
            help="With --score-cost: how many tokens are scored, if more than the pools hold.",
        ),
    ] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Plan mixtures."""
    options = dict(locals())  # must come first: plan.json records every option as it was given

    from dataclasses import replace

    from curate.fitting.plan_job import plan
    from pipelines.plan import options as read
    from pipelines.shared.show import progress, result

    budgets = read.budgets(budget, frontier, params)
    with progress():
        plans = plan(
            fit,
            pools,
            budgets,
            limits=read.limits(max_epochs, min_weight, max_weight, fixed, group, ordered, money),
            target=read.target(target),
            pareto=read.two_evals(pareto),
            robust=robust,
            prior=read.prior(prior, pools, budgets),
            strength=strength,
            within=within,
            draws=draws,
            keep_curve=keep_curve,
            metric=metric,
            score_cost=score_cost,
            scored_tokens=scored_tokens,
            seed=seed,
        )
    arguments = {name: value for name, value in options.items() if name not in ("out", "seed", "as_json")}
    plans = replace(plans, origin=replace(plans.origin, arguments=arguments))
    plans.save(out)
    shown = {k: v for k, v in plans.record().items() if k not in ("pools", "made_by", "baselines", "grid")}
    result(as_json, {**shown, "out": str(out)}, plans.summary())
