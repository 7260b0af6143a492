"""The job `report`: show everything that a folder of results holds on one page."""

from pathlib import Path

from curate.errors import SchemaError
from curate.progress import counted
from curate.reporting.check import check_section
from curate.reporting.critical_ratios import critical_ratio_section
from curate.reporting.fits import fit_sections
from curate.reporting.plan import plan_sections
from curate.reporting.pools import pool_section, removal_section
from curate.reporting.result import Report
from curate.reporting.schedule import schedule_section
from curate.reporting.scores import score_sections
from curate.storage import s3

# The files that a report shows, as the error about an empty folder names them.
FILES = "scores/, pools.json, kept/, runs.parquet with fit.json, plan.json, schedule.json, cmr.json, check.json"
# From the answers back to the data that they rest on: a reader wants the answers first.
PARTS = (
    check_section,
    plan_sections,
    schedule_section,
    critical_ratio_section,
    fit_sections,
    pool_section,
    removal_section,
    score_sections,
)


def report(folder: str | Path, out: str | Path | None = None) -> Report:
    """Show the results in a folder on one page, and write it to ``out`` if that is named.

    Args:
        folder: with any of the files that the other jobs write: scores/, kept/, pools.json, runs.parquet, fit.json,
            plan.json, schedule.json, cmr.json, check.json.
        out: the HTML file to write; it needs no other file and no network.

    Raises:
        SchemaError: if the folder has none of these, or one of them cannot be read.
    """
    path = Path(folder)
    sections = tuple(section for part in counted(PARTS, "sections looked for", len(PARTS)) for section in part(path))
    if not sections:
        raise SchemaError(f"{s3.shown(path)} holds none of {FILES}")
    result = Report(path, sections)
    if out is not None:
        result.save(out)
    return result
