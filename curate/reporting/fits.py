"""Show what was fitted: a law beside its pilots, corpora, or a curve: fit.json."""

from collections.abc import Iterator
from pathlib import Path
from typing import cast

from curate import open_sets
from curate.fitting import fit_files
from curate.fitting.curves.kinds import CURVES
from curate.fitting.fit_json import metric_curve_json
from curate.reporting.corpora import corpora_section
from curate.reporting.curves import curve_section
from curate.reporting.html_page import Section
from curate.reporting.pilots import pilot_sections
from curate.reporting.records import Values
from curate.storage import files


def fit_sections(folder: Path) -> Iterator[Section]:
    """Show the fit of a folder. A law is shown beside its runs, so that it needs runs.parquet too.

    Raises:
        SchemaError: if fit.json is not a fit, or runs.parquet is no table of the runs that were fitted.
    """
    path = folder / "fit.json"
    if not files.exists(path):
        return
    record = fit_files.read(path)
    section = _without_runs(path, record)
    if section is not None:
        yield section
    elif files.exists(folder / "runs.parquet"):
        yield from pilot_sections(fit_files.load(path), folder / "runs.parquet", record)
        # The curves of metrics come after the laws.
        if fit_files.load_metrics(path):
            yield curve_section(metric_curve_json.NAME, record)


def _without_runs(path: Path, record: Values) -> Section | None:
    """Return the section of corpora or of a curve, which needs no runs; None for a law of mixtures.

    Raises:
        SchemaError: if a field is missing or wrong.
    """
    try:
        if "by" in record:
            return corpora_section(record)
        name = open_sets.parse(str(cast(list[Values], record["laws"])[0]["law"]))[0]
        return curve_section(name, record) if name in CURVES else None
    except fit_files.BROKEN as error:
        raise fit_files.broken(path, error) from None
