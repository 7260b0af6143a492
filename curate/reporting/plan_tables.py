"""Tables of a plan.json: shares, losses and warnings."""

from collections.abc import Sequence

import polars as pl

from curate.errors import first_few
from curate.reporting import records
from curate.reporting.records import PlannedBudget


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


def warnings(plans: Sequence[PlannedBudget]) -> pl.DataFrame:
    """Return one row a budget: the limits that shaped the plan, and its warnings."""
    rows = [
        {"tokens": _tokens(plan), "warnings": first_few(records.warning_lines(plan), separator="; ")} for plan in plans
    ]
    return pl.DataFrame(rows).rename({"warnings": "limits that shaped this plan, and warnings"})


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
