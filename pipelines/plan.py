"""Optimize the mixture for one or more compute budgets: shares, epochs, predicted loss and gain with intervals.

Example: curate plan fit.json --pools pools.json --frontier 1e9:1e12 --params 1e9 --max-epochs 8 --out plan.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines._flags import Json, Out, Seed, pairs


def main(
    fit: Annotated[Path, typer.Argument(help="fit.json")],
    pools: Annotated[Path, typer.Option(help="pools.json")],
    out: Out,
    budget: Annotated[str | None, typer.Option(help="TOKENS:PARAMS[,TOKENS:PARAMS...]")] = None,
    frontier: Annotated[str | None, typer.Option(help="LOW:HIGH tokens; two budgets a decade.")] = None,
    params: Annotated[float | None, typer.Option(help="Model parameters for --frontier.")] = None,
    max_epochs: Annotated[float | None, typer.Option(help="Most passes over any pool.")] = None,
    min_weight: Annotated[list[str], typer.Option(help="POOL=SHARE; repeat.")] = [],  # noqa: B006
    max_weight: Annotated[list[str], typer.Option(help="POOL=SHARE; repeat.")] = [],  # noqa: B006
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Plan mixtures."""
    from curate import artifacts, plan, predictors, schedules
    from curate.limits import Limits
    from curate.pools import load_pools
    from pipelines._show import result

    budgets = _budgets(budget, frontier, params)
    fitted, known = predictors.load(fit), load_pools(pools)
    low, high = pairs(min_weight, "--min-weight"), pairs(max_weight, "--max-weight")
    plans = plan.frontier(fitted, known, budgets, Limits(max_epochs, low, high), seed=seed)
    arguments = {"fit": fit, "pools": pools, "budget": budget, "frontier": frontier, "params": params,
                 "max_epochs": max_epochs, "min_weight": min_weight, "max_weight": max_weight}  # fmt: skip
    record = {
        "plans": plan.to_json(plans),
        "baselines": {
            n: dict(zip([p.name for p in known], w.tolist(), strict=True)) for n, w in schedules.fixed(known).items()
        },
        "made_by": artifacts.made_by(arguments, [fit, pools], seed),
    }
    artifacts.save(out, record)
    result(as_json, {"plans": record["plans"], "out": str(out)}, summary(plans))


def _budgets(budget: str | None, frontier: str | None, params: float | None):  # noqa: ANN202
    import numpy as np

    from curate.pools import Budget, parse_budget

    if (budget is None) == (frontier is None):
        raise typer.BadParameter("give exactly one of --budget and --frontier")
    if budget is not None:
        return [parse_budget(item) for item in budget.split(",")]
    if params is None:
        raise typer.BadParameter("--frontier needs --params")
    low, _, high = (frontier or "").partition(":")
    try:
        decades = np.log10(float(high) / float(low))
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{frontier!r} is not LOW:HIGH", param_hint="--frontier") from None
    if not decades > 0:
        raise typer.BadParameter(f"{frontier!r}: LOW must be positive and under HIGH", param_hint="--frontier")
    return [Budget(float(t), params) for t in np.geomspace(float(low), float(high), round(2 * decades) + 1)]


def summary(plans) -> str:  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Return plans as text: one line a budget, shares with epochs."""
    import polars as pl

    from pipelines._show import table

    rows = []
    for one in plans:
        row = {"tokens": f"{one.budget.tokens:.2g}", "params": f"{one.budget.params:.2g}"}
        row |= {n: f"{w:.3f} ({one.epochs[n]:.2g}x)" if w >= 5e-4 else "-" for n, w in one.weights.items()}
        row |= {"loss": f"{one.loss:.4f}", "90 %": f"{one.low:.3f} to {one.high:.3f}"}
        row |= {f"over {name}": f"{g:.3f} ({low:.3f} to {high:.3f})" for name, (g, low, high) in one.gains.items()}
        rows.append(row)
    notes = [f"at {one.budget.tokens:.2g} tokens: {note}" for one in plans for note in one.limits]
    head = "shares of training tokens (passes over the pool); loss and gain over baselines in nats per token (90 %)"
    return "\n".join([head, table(pl.DataFrame(rows)), *notes])
