"""Optimize the mixture for one or more compute budgets: shares, epochs, predicted loss and gain with intervals.

--group keeps pools together under or over a share (names or patterns: "web.de,books.de<=0.3", "*.cc-by>=0.5").
--target of a fit of several evals: mean, worst (largest excess over what each eval could have at best), worst:loss
(largest loss), or EVAL=WEIGHT,... --prior pulls the mixture towards proportional, uniform, tau=T, unimax[=CAP] or
POOL=SHARE,... --money is paid for unique tokens at the pools' cost_per_token.

Example: curate plan fit.json --pools pools.json --frontier 1e9:1e12 --params 1e9 --max-epochs 8 --out plan.json
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed

if TYPE_CHECKING:
    from collections.abc import Sequence

    from curate.planning.aims import Aim
    from curate.planning.limits import Limits
    from curate.pool.pool import Budget, Pool
    from curate.runs.predictor import Predictor


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
    fixed: Annotated[list[str], typer.Option(help="POOL=SHARE; repeat.")] = [],  # noqa: B006
    group: Annotated[list[str], typer.Option(help="POOL,POOL...<=SHARE or >=SHARE; repeat.")] = [],  # noqa: B006
    ordered: Annotated[str | None, typer.Option(help="POOL,POOL,...: none more than the one before.")] = None,
    money: Annotated[float | None, typer.Option(help="Most to pay, in the unit of cost_per_token.")] = None,
    target: Annotated[str, typer.Option(help="mean, worst, worst:loss, or EVAL[=WEIGHT],...")] = "mean",
    pareto: Annotated[str | None, typer.Option(help="EVAL,EVAL: also the front of these two.")] = None,
    robust: Annotated[float | None, typer.Option(help="Minimise this quantile over draws, such as 0.9.")] = None,
    prior: Annotated[str | None, typer.Option(help="A mixture to stay near; see above.")] = None,
    strength: Annotated[float, typer.Option(help="Nats of loss a nat of divergence from --prior is worth.")] = 0.05,
    within: Annotated[
        float, typer.Option(min=0, help="Nats that near-optimal mixtures may lose; 0: no ranges.")
    ] = 1e-3,
    draws: Annotated[int, typer.Option(min=0, help="Bootstrap draws that are planned too; 0: none.")] = 40,
    keep_curve: Annotated[
        bool, typer.Option("--keep-curve", help="Pools are bins of one score: how many to keep at which compute.")
    ] = False,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Plan mixtures."""
    from dataclasses import replace

    from curate.fitting import fit_files
    from curate.planning import plan
    from curate.planning.details import keep_curve as keep
    from curate.pool import baselines
    from curate.pool.pool import load_pools, to_json
    from curate.storage import artifacts
    from pipelines.plan import extras
    from pipelines.plan.words import summary
    from pipelines.shared.show import result

    budgets = _budgets(budget, frontier, params)
    known = load_pools(pools)
    limits = _limits(max_epochs, min_weight, max_weight, fixed, group, ordered, money)
    whole = fit_files.load(fit)
    fitted, aim = _aim(whole, known, budgets, target, robust, prior, strength)
    both = _both(whole, pareto)
    bins = keep.by_score(known) if keep_curve else ()
    plans = plan.frontier(fitted, known, budgets, limits, aim=aim, seed=seed)
    rows = plan.to_json(plans)
    found = extras.Extras(fitted, known, limits, aim, seed)
    found.ranges(rows, plans, within)
    crossings = found.entries(rows, budgets, draws)
    arguments = {"fit": fit, "pools": pools, "budget": budget, "frontier": frontier, "params": params,
                 "max_epochs": max_epochs, "min_weight": min_weight, "max_weight": max_weight, "fixed": fixed,
                 "group": group, "ordered": ordered, "money": money, "target": target, "pareto": pareto,
                 "robust": robust, "prior": prior, "strength": strength, "within": within, "draws": draws,
                 "keep_curve": keep_curve}  # fmt: skip
    more = {
        "crossings": crossings,
        "front": replace(found, fit=whole).front(budgets, both) if both else None,
        "keep": found.keep(budgets, bins) if bins else None,
    }
    record = {
        "plans": rows,
        **{name: value for name, value in more.items() if value is not None},
        "baselines": {name: baselines.named(known, shares) for name, shares in baselines.fixed(known).items()},
        "pools": to_json(known),
        "made_by": artifacts.made_by(arguments, [fit, pools], seed),
    }
    artifacts.save(out, "plan", record)
    shown = {name: value for name, value in record.items() if name not in ("pools", "made_by", "baselines")}
    result(as_json, {**shown, "out": str(out)}, summary(plans, record))


def _budgets(budget: str | None, frontier: str | None, params: float | None) -> "list[Budget]":
    import numpy as np

    from curate.pool.pool import Budget, parse_budget

    if (budget is None) == (frontier is None):
        raise typer.BadParameter("give exactly one of --budget and --frontier")
    if budget is not None:
        if params is not None:
            raise typer.BadParameter("--budget has parameters of its own: it is for --frontier", param_hint="--params")
        return [parse_budget(item) for item in budget.split(",")]
    if params is None:
        raise typer.BadParameter("--frontier needs --params")
    low, _, high = (frontier or "").partition(":")
    try:
        decades = np.log10(float(high) / float(low))
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{frontier!r} is not LOW:HIGH", param_hint="--frontier") from None
    if not 0 < decades < float("inf"):
        raise typer.BadParameter(
            f"{frontier!r}: LOW must be positive and under HIGH, both finite", param_hint="--frontier"
        )
    return [Budget(float(t), params) for t in np.geomspace(float(low), float(high), max(2, round(2 * decades) + 1))]


def _limits(
    max_epochs: float | None,
    min_weight: list[str],
    max_weight: list[str],
    fixed: list[str],
    group: list[str],
    ordered: str | None,
    money: float | None,
) -> "Limits":
    from curate.planning.limits import Limits
    from pipelines.shared.flags import pairs

    return Limits(
        max_epochs,
        pairs(min_weight, "--min-weight"),
        pairs(max_weight, "--max-weight"),
        pairs(fixed, "--fixed"),
        tuple(_group(item) for item in group),
        _ordered(ordered),
        money,
    )


def _both(fit: "Predictor", pareto: str | None) -> tuple[str, str] | None:
    """Read the two evals of --pareto, which --target need not name."""
    from curate.planning import aims

    if pareto is None:
        return None
    names = pareto.split(",")
    known = [part.eval for part in aims.evals(fit)]
    if len(set(names)) != 2 or len(names) != 2 or not set(names) <= set(known):
        said = f"{pareto!r} is not EVAL,EVAL, two of those of the fit: {', '.join(known)}"
        raise typer.BadParameter(said, param_hint="--pareto")
    return names[0], names[1]


def _ordered(text: str | None) -> tuple[str, ...]:
    names = tuple(name.strip() for name in text.split(",")) if text else ()
    if repeated := [name for name in names if names.count(name) > 1]:
        raise typer.BadParameter(f"{repeated[0]!r} is given twice", param_hint="--ordered")
    return names


def _group(text: str):  # noqa: ANN202
    from curate.planning.limits import Group

    for sign in ("<=", ">="):
        names, found, share = text.rpartition(sign)
        if found and names:
            try:
                value = float(share)
            except ValueError:
                break
            pools = tuple(name.strip() for name in names.split(","))
            return Group(pools, high=value) if sign == "<=" else Group(pools, low=value)
    raise typer.BadParameter(f"{text!r} is not POOL,POOL...<=SHARE or >=SHARE", param_hint="--group")


def _aim(
    fit: "Predictor",
    pools: "Sequence[Pool]",
    budgets: "Sequence[Budget]",
    target: str,
    robust: float | None,
    prior: str | None,
    strength: float,
) -> "tuple[Predictor, Aim]":
    from curate.planning import aims
    from pipelines.shared.mixtures import Reader

    if prior is not None and prior.partition("=")[0] == "plan" and "," not in prior:
        raise typer.BadParameter(f"{prior!r}: write the plan's shares, as POOL=SHARE,...", param_hint="--prior")
    near = None if prior is None else Reader(pools).read(prior, max(b.tokens for b in budgets), "--prior")
    worst = {"worst": "regret", "worst:loss": "loss"}.get(target)
    aim = aims.Aim(worst, robust, near, strength if near else 0.0)
    if worst or target == "mean":
        return fit, aim
    weights = {}
    for item in target.split(","):
        name, equals, value = item.partition("=")
        if name in weights:
            raise typer.BadParameter(f"{name!r} is given twice", param_hint="--target")
        try:
            weights[name] = float(value) if equals else 1.0
        except ValueError:
            raise typer.BadParameter(f"{item!r} is not EVAL or EVAL=WEIGHT", param_hint="--target") from None
    return aims.weighted(fit, weights), aim
