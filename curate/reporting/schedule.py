"""Show the shares over the course of training: schedule.json."""

from collections.abc import Iterator
from pathlib import Path

import polars as pl

from curate.reporting import records
from curate.reporting.html_page import Section
from curate.reporting.records import ScheduleRecord


def schedule_section(folder: Path) -> Iterator[Section]:
    """Show the shares in each part of training, and the warnings."""
    record = records.read(folder, "schedule", ScheduleRecord)
    if record is None:
        return
    phases = pl.DataFrame({"from": p["from"], "to": p["to"]} | p["weights"] for p in record["phases"])
    text = "Shares of the pools in each part of training, from 0 (start) to 1 (end)."
    text += records.estimates(record.get("pools", []))
    yield Section("Schedule: shares over training", text, [], [phases, *records.warning_tables(record)])
