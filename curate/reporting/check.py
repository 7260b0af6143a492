"""Show whether the losses of trained plans agree with their predictions: check.json."""

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import polars as pl

from curate.charts import run_charts
from curate.errors import SchemaError
from curate.reporting import records
from curate.reporting.html_page import Section
from curate.reporting.records import CheckRecord
from curate.storage import s3

COLUMNS = ("mixture", "predicted", "low", "high", "measured", "inside")


def check_section(folder: Path) -> Iterator[Section]:
    """Show predicted and measured loss of the plan and the baselines."""
    record = records.read(folder, "check", CheckRecord)
    if record is None:
        return
    names = [str(row["mixture"]) for row in record["rows"]]
    if "plan" not in names or len(set(names)) < 2:
        raise SchemaError(
            f"{s3.shown(folder)}/check.json compares {', '.join(names)}: it needs the mixture plan and one other"
        )
    frame = pl.DataFrame(record["rows"]).select(COLUMNS)
    text = (
        f"The plan and the baselines were trained on {record['tokens']:.3g} tokens, more than any pilot saw. Blue: "
        f"predicted loss with its 90 % interval. Orange: measured loss, mean over seeds. {verdict(record['rows'])}."
    )
    yield Section(
        "Check: does the measured loss agree with the prediction?", text, [run_charts.checked(frame)], [frame]
    )


def verdict(rows: Sequence[Mapping[str, object]]) -> str:
    """Return one line that says whether the plan won, and by how much.

    ``rows``: one a mixture, with its name ``mixture``, its loss ``measured`` (nats per byte), and ``inside``, whether
    that loss lies in the predicted interval. The mixture ``plan`` is compared with the others.
    """
    measured = {str(row["mixture"]): float(str(row["measured"])) for row in rows}
    others = {name: loss for name, loss in measured.items() if name != "plan"}
    rival = min(others, key=lambda name: others[name])
    gap = others[rival] - measured["plan"]
    beaten = sum(loss > measured["plan"] for loss in others.values())
    inside = sum(bool(row["inside"]) for row in rows)
    return (
        f"measured: the plan beats {beaten} of {len(others)} baselines; against the best of them ({rival}) it is "
        f"{abs(gap):.4f} nats per byte {'better' if gap > 0 else 'WORSE'}; "
        f"{inside} of {len(rows)} measured losses lie inside the 90 % interval"
    )
