"""Tables of a plan.json: shares, losses and warnings."""

from collections.abc import Mapping, Sequence

import polars as pl

from curate.errors import first_few
from curate.reporting import records
from curate.reporting.records import PlannedBudget

MOST_POOLS = 12  # in a picture of shares: more areas and colours cannot be told apart


def shares(plans: Sequence[PlannedBudget]) -> pl.DataFrame:
    """Return one row a budget and pool: tokens, pool, weight, epochs, and the bounds of the share that the plan has.

    ``low`` and ``high`` bound it over bootstrap draws; ``near_low`` and ``near_high`` among near-optimal mixtures.
    """
    rows: list[dict[str, object]] = []
    for plan in plans:
        drawn, near = plan.get("shares"), plan.get("ranges")
        for pool, weight in plan["weights"].items():
            row: dict[str, object] = {"tokens": plan["budget"]["tokens"], "pool": pool, "weight": weight}
            row["epochs"] = plan["epochs"][pool]
            if drawn is not None:
                row |= {"low": drawn[pool][0], "high": drawn[pool][1]}
            if near is not None:
                row |= {"near_low": near[pool][0], "near_high": near[pool][1]}
            rows.append(row)
    return pl.DataFrame(rows)


def losses(plans: Sequence[PlannedBudget]) -> pl.DataFrame:
    """Return one row a budget: predicted loss, and gains over the standard mixtures, each with its interval."""
    return pl.DataFrame(
        {"tokens": _tokens(plan), "predicted loss": _interval(plan["loss"], plan["low"], plan["high"])}
        | {f"gain over {name}": _interval(*gain) for name, gain in plan["gains"].items()}
        | _metric(plan)
        for plan in plans
    )


def shares_by_size(grid: Sequence[PlannedBudget]) -> pl.DataFrame:
    """Return one row a point and pool: tokens, size, pool, place, others, weight, epochs.

    ``size`` names the parameters in words. ``place`` is the order of the pools, the largest first. Beyond
    `MOST_POOLS` pools, the smallest are added up in one row, where ``others`` is true and the passes are null.
    """
    largest: dict[str, float] = {}
    for plan in grid:
        for pool, weight in plan["weights"].items():
            largest[pool] = max(largest.get(pool, 0.0), weight)
    # Of equal pools the first by name comes first, so that files with other orders give the same picture.
    ranked = sorted(largest, key=lambda pool: (-largest[pool], pool))
    shown = ranked if len(ranked) <= MOST_POOLS else ranked[: MOST_POOLS - 1]
    rows: list[dict[str, object]] = []
    for plan in grid:
        point = {"tokens": plan["budget"]["tokens"], "size": _size(plan)}
        for place, pool in enumerate(shown):
            entry = {"pool": pool, "place": place, "others": False, "weight": plan["weights"].get(pool, 0.0)}
            rows.append(point | entry | {"epochs": plan["epochs"].get(pool)})
        if others := ranked[len(shown) :]:
            weight = sum(plan["weights"].get(pool, 0.0) for pool in others)
            entry = {"pool": f"{len(others)} other pools", "place": len(shown), "others": True, "weight": weight}
            rows.append(point | entry | {"epochs": None})
    return pl.DataFrame(rows, infer_schema_length=None)


def losses_by_size(plans: Sequence[PlannedBudget]) -> pl.DataFrame:
    """Return one row a plan: tokens, size (the parameters in words), and loss, low and high in nats per token."""
    return pl.DataFrame(
        {"tokens": plan["budget"]["tokens"], "size": _size(plan)}
        | {name: plan[name] for name in ("loss", "low", "high")}
        for plan in plans
    )


def outside(grid: Sequence[PlannedBudget], fitted: Mapping[str, tuple[float, float]]) -> pl.DataFrame:
    """Return the parts of a grid outside the fitted tokens, with start and end; up to two rows."""
    tokens = [plan["budget"]["tokens"] for plan in grid]
    first, last = min(tokens), max(tokens)
    low, high = fitted.get("tokens", (first, last))
    rows = [(first, min(low, last))] if first < low else []
    rows += [(max(high, first), last)] if high < last else []
    return pl.DataFrame(rows, schema={"start": pl.Float64, "end": pl.Float64}, orient="row")


def warnings(plans: Sequence[PlannedBudget]) -> pl.DataFrame:
    """Return one row a budget: the limits that shaped the plan, and its warnings."""
    rows = [
        {"tokens": _tokens(plan), "warnings": first_few(records.warning_lines(plan), separator="; ")} for plan in plans
    ]
    return pl.DataFrame(rows).rename({"warnings": "limits that shaped this plan, and warnings"})


def _size(plan: PlannedBudget) -> str:
    return f"{plan['budget']['params']:.3g} parameters"


def _metric(plan: PlannedBudget) -> dict[str, str]:
    """Return the columns of the predicted metric, with intervals in its unit; none if the plan has no metric."""
    if (metric := plan.get("metric")) is None:
        return {}
    name = f"metric.{metric['name']}"
    value, low, high = (f"{metric[key]:.4g}" for key in ("value", "low", "high"))
    gain, gain_low, gain_high = (f"{metric[key]:.4g}" for key in ("gain", "gain_low", "gain_high"))
    return {
        name: f"{value} ({low} to {high})",
        f"{name}: gain over proportional": f"{gain} ({gain_low} to {gain_high})",
    }


def _tokens(plan: PlannedBudget) -> str:
    return f"{plan['budget']['tokens']:.2e}"


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"
