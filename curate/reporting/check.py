"""Show whether the losses of trained plans agree with their predictions: check.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

import polars as pl

from curate import charts
from curate.charts import Section
from curate.reporting import records
from curate.reporting.records import CheckRecord
from curate.reporting.verdict import verdict

COLUMNS = ("mixture", "predicted", "low", "high", "measured", "inside")


def check_section(folder: Path) -> Iterator[Section]:
    """Show predicted and measured loss of the plan and the baselines."""
    file = records.read(folder, "check")
    if file is None:
        return
    record = cast(CheckRecord, file)
    frame = pl.DataFrame(record["rows"]).select(COLUMNS)
    text = (
        f"The plan and the baselines were trained on {record['tokens']:.3g} tokens, more than any pilot saw. Blue: "
        f"predicted loss with its 90 % interval. Orange: measured loss, mean over seeds. {verdict(record['rows'])}."
    )
    yield Section("Check: does the measured loss agree with the prediction?", text, [charts.checked(frame)], [frame])
