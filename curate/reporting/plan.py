"""Show the planned shares, how certain they are, how much data to keep, and trade-offs of evals: plan.json."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from curate import charts
from curate.reporting import plan_tables, records
from curate.reporting.html_page import Section
from curate.reporting.records import KeptBins, ParetoFront, PlanRecord


def plan_sections(folder: Path) -> Iterator[Section]:
    """Show a plan in up to three sections, and one more for each Pareto front."""
    record = records.read(folder, "plan", PlanRecord)
    if record is None:
        return
    several = len(record["plans"]) > 1
    shares = plan_tables.shares(record["plans"])
    yield _shares(record, shares)
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
        "two new runs."
    )
    title, losses, warnings = "Plan: share of each pool", plan_tables.losses(plans), plan_tables.warnings(plans)
    if len(plans) > 1:
        return Section(title, text, [charts.shares(shares), charts.epochs(shares)], [losses, warnings])
    return Section(title, text, [], [losses, shares, warnings])


def _certainty(record: PlanRecord, shares: pl.DataFrame) -> Section:
    text = "Light band: where 90 % of the bootstrap draws would put the share. "
    if "near_low" in shares.columns:
        within = record["plans"][0].get("within", 0)
        text += f"Dark band: shares of other mixtures whose loss is at most {within:g} nats higher. "
    text += records.sentences(record.get("crossings", []))
    return Section("Plan: how certain each share is", text, [charts.freedom(shares)])


def _keep(keep: KeptBins, several: bool) -> Section:
    curve = pl.DataFrame(keep["curve"], infer_schema_length=None, strict=False)
    text = records.sentences(keep.get("changes", []))
    return Section("Plan: how much data to keep", text, [charts.kept(curve)] if several else [], [curve])


def _front(front: ParetoFront) -> Section:
    points = pl.DataFrame(
        {f"loss {name}": loss for name, (loss, _, _) in point["losses"].items()} | point["weights"]
        for point in front["plans"]
    )
    title = f"Plan: trade-off of {' and '.join(front['evals'])} at {front['tokens']:.2g} tokens"
    text = "Pareto front: for each of these mixtures, no other is better for both losses."
    return Section(title, text, [charts.front(points)], [points])
