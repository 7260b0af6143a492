"""Read the options of `curate plan` from text; wrong usage is a `typer.BadParameter`."""

from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import typer

from curate import written_names, written_numbers
from curate.planning.limits import Group, Limits
from curate.pool.mixture_rules import MixtureRule
from curate.pool.pool import Budget, load_pools, parse_budget
from pipelines.shared import mixtures
from pipelines.shared.flags import optional_pairs, pairs


def budgets(budget: str | None, frontier: str | None, params: float | None) -> list[Budget]:
    """Return the budgets of --budget, or those of --frontier: two a decade of tokens."""
    if (budget is None) == (frontier is None):
        raise typer.BadParameter("give exactly one of --budget and --frontier")
    if budget is not None:
        if params is not None:
            raise typer.BadParameter("--params is for --frontier; --budget has TOKENS:PARAMS", param_hint="--params")
        return [parse_budget(item) for item in budget.split(",")]
    if params is None:
        raise typer.BadParameter("--frontier needs --params")
    low, _, high = (frontier or "").partition(":")
    try:
        ends = written_numbers.number(low), written_numbers.number(high)
        decades = np.log10(ends[1] / ends[0])
    except (ValueError, ZeroDivisionError):
        raise typer.BadParameter(f"{frontier!r} is not LOW:HIGH", param_hint="--frontier") from None
    if not 0 < decades < float("inf"):
        raise typer.BadParameter(
            f"{frontier!r}: LOW must be positive and under HIGH, both finite", param_hint="--frontier"
        )
    return [Budget(float(t), params) for t in np.geomspace(*ends, max(2, round(2 * decades) + 1))]


def limits(
    max_epochs: float | None,
    min_weight: list[str],
    max_weight: list[str],
    fixed: list[str],
    group: list[str],
    ordered: str | None,
    money: float | None,
) -> Limits:
    """Return the limits of the options with these names."""
    return Limits(
        max_epochs,
        pairs(min_weight, "--min-weight"),
        pairs(max_weight, "--max-weight"),
        pairs(fixed, "--fixed"),
        tuple(_group(item) for item in group),
        _ordered(ordered),
        money,
    )


def _ordered(text: str | None) -> tuple[str, ...]:
    names = tuple(written_names.names(text)) if text else ()
    if repeated := [name for name in names if names.count(name) > 1]:
        raise typer.BadParameter(f"{repeated[0]!r} is given twice", param_hint="--ordered")
    return names


def _group(text: str) -> Group:
    for sign in ("<=", ">="):
        names, separator, share = text.rpartition(sign)
        if separator and names:
            try:
                value = float(share)
            except ValueError:
                break
            pools = tuple(written_names.names(names))
            return Group(pools, high=value) if sign == "<=" else Group(pools, low=value)
    raise typer.BadParameter(f"{text!r} is not POOL,POOL...<=SHARE or >=SHARE", param_hint="--group")


def target(text: str) -> str | Mapping[str, float]:
    """Return mean, worst, worst:loss and metric.NAME unchanged, and EVAL[=WEIGHT],... as weights by eval."""
    metric = text.startswith("metric.") and "," not in text and "=" not in text
    if metric or text in ("mean", "worst", "worst:loss"):
        return text
    return optional_pairs(written_names.split(text), "--target")


def two_evals(text: str | None) -> tuple[str, str] | None:
    """Return the two evals of --pareto, which --target need not name."""
    if text is None:
        return None
    names = written_names.names(text)
    if len(names) != 2 or names[0] == names[1]:
        raise typer.BadParameter(f"{text!r} is not EVAL,EVAL: give two different evals", param_hint="--pareto")
    return names[0], names[1]


def prior(text: str | None, pools: Path, budgets: Sequence[Budget]) -> Mapping[str, float] | None:
    """Return the mixture of --prior. A rule that depends on the budget is read for the largest one."""
    if text is None:
        return None
    if isinstance(rule := mixtures.parse(text, "--prior"), MixtureRule) and rule.name == "plan":
        raise typer.BadParameter(f"{text!r}: write the plan's shares, as POOL=SHARE,...", param_hint="--prior")
    return mixtures.shares(text, load_pools(pools), max(budget.tokens for budget in budgets), "--prior")
