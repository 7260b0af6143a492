"""Show the planned shares, how certain they are, how much data to keep, and trade-offs of evals: plan.json."""

from collections.abc import Iterator, Sequence
from math import inf
from pathlib import Path

import polars as pl

from curate.charts import grid_charts, plan_charts
from curate.errors import first_few
from curate.reporting import plan_tables, records
from curate.reporting.html_page import Section
from curate.reporting.records import KeptBins, ParetoFront, PlannedBudget, PlanRecord


def plan_sections(folder: Path) -> Iterator[Section]:
    """Show a plan in up to four sections, and one more for each Pareto front."""
    record = records.read(folder, "plan", PlanRecord)
    if record is None:
        return
    several = len(record["plans"]) > 1
    shares = plan_tables.shares(record["plans"])
    yield _shares(record, shares)
    if grid := record.get("grid"):
        yield _over_tokens(record, grid)
    if several and ("low" in shares.columns or "near_low" in shares.columns):
        yield _certainty(record, shares)
    if "keep" in record:
        yield _keep(record["keep"], several)
    for front in record.get("front", ()):
        yield _front(front)


def _shares(record: PlanRecord, shares: pl.DataFrame) -> Section:
    """Show the shares of each pool. Charts over budgets need more than one; a single budget has a table instead."""
    plans = record["plans"]
    text = (
        "Predicted loss in nats per token (unless a warning names another unit), with the 90 % interval of a new run. "
        "Gain over a standard mixture: its loss minus that of the plan. Its 90 % interval is of the difference between "
        f"two new runs.{records.estimates(record.get('pools', []))}"
    )
    title, losses, warnings = "Plan: share of each pool", plan_tables.losses(plans), plan_tables.warnings(plans)
    if len(plans) == 1:
        return Section(title, text, [], [losses, shares, warnings])
    # Files without a grid show the shares at the planned budgets alone.
    drawn = (
        [plan_charts.epochs(shares)] if record.get("grid") else [plan_charts.shares(shares), plan_charts.epochs(shares)]
    )
    return Section(title, text, drawn, [losses, warnings])


def _over_tokens(record: PlanRecord, grid: Sequence[PlannedBudget]) -> Section:
    """Show how the best mixture and its loss change with the training tokens."""
    planned, outside = plan_tables.losses_by_size(record["plans"]), plan_tables.outside(grid, record.get("fitted", {}))
    drawn = [
        grid_charts.shares_over_tokens(plan_tables.shares_by_size(grid), planned, outside),
        grid_charts.losses_over_tokens(plan_tables.losses_by_size(grid), planned, outside),
    ]
    return Section("Plan: how the best mixture changes with the training tokens", _grid_text(record, outside), drawn)


def _grid_text(record: PlanRecord, outside: pl.DataFrame) -> str:
    fitted, omitted = record.get("fitted", {}), record.get("grid_omitted", [])
    text = (
        "Above: share of each pool in the best mixture; dashed lines mark the planned budgets. Below: the predicted "
        "loss of that mixture; dots mark the planned budgets, and a band holds 90 % of new runs."
    )
    if "tokens" in fitted and not outside.is_empty():
        low, high = fitted["tokens"]
        text += (
            f" The fitted runs have {low:.2g} to {high:.2g} tokens. What is pale above and grey below lies outside: "
            "there the law is extrapolated."
        )
    largest = fitted["params"][1] if "params" in fitted else inf
    if larger := sorted(
        {entry["budget"]["params"] for entry in record["plans"] if entry["budget"]["params"] > largest}
    ):
        sizes = first_few(f"{params:.2g}" for params in larger)
        text += f" At {sizes} parameters everything is extrapolated: the largest fitted runs have {largest:.2g}."
    if omitted:
        text += f" Token counts without a plan: {len(omitted)}. The first is {omitted[0]['budget']['tokens']:.2g}: "
        text += omitted[0]["reason"]
    return text


def _certainty(record: PlanRecord, shares: pl.DataFrame) -> Section:
    text = "Light band: where 90 % of the bootstrap draws would put the share. "
    if "near_low" in shares.columns:
        within = record["plans"][0].get("within", 0)
        text += f"Dark band: shares of other mixtures whose loss is at most {within:g} nats higher. "
    text += records.sentences(record.get("crossings", []))
    return Section("Plan: how certain each share is", text, [plan_charts.freedom(shares)])


def _keep(keep: KeptBins, several: bool) -> Section:
    curve = pl.DataFrame(keep["curve"], infer_schema_length=None, strict=False)
    paying = [keep["paying"]] if "paying" in keep else []
    text = records.sentences([*keep.get("changes", []), *keep.get("scoring", []), *paying])
    return Section("Plan: how much data to keep", text, [plan_charts.kept(curve)] if several else [], [curve])


def _front(front: ParetoFront) -> Section:
    points = pl.DataFrame(
        {f"loss {name}": records.losses_by_eval(point).get(name) for name in front["evals"]} | point["weights"]
        for point in front["plans"]
    )
    title = f"Plan: trade-off of {' and '.join(front['evals'])} at {front['tokens']:.2g} tokens"
    text = "Pareto front: for each of these mixtures, no other is better for both losses."
    return Section(title, text, [plan_charts.front(points)], [points])
