"""Show how much domain data a continued training can take: cmr.json."""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import cast

import polars as pl

from curate.reporting import records
from curate.reporting.html_page import Section
from curate.reporting.records import RatiosRecord

COLUMNS = ("tolerance", "ceiling", "share", "low", "high", "safe", "best", "note")


def critical_ratio_section(folder: Path) -> Iterator[Section]:
    """Show the critical ratio of each tolerance and budget, and the warnings."""
    record = records.read(folder, "cmr", RatiosRecord)
    if record is None:
        return
    rows = [
        {"tokens": cast(Mapping[str, float], ratio["budget"])["tokens"]} | {name: ratio[name] for name in COLUMNS}
        for ratio in record["ratios"]
    ]
    # The first ratios may be null, so that all rows decide the type of a column.
    table = pl.DataFrame(rows, infer_schema_length=None)
    text = (
        f"Share: the largest share of {record['ratios'][0]['pool']} that keeps general loss under the ceiling, with "
        "its 90 % interval. Safe: up to this share even the upper bound of a new run is under the ceiling. Best: the "
        "share with the lowest domain loss under the ceiling. Losses are in nats per token."
    )
    yield Section("Critical mixture ratios", text, [], [table, *records.warning_tables(record)])
