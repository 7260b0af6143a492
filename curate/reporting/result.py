"""The result of `report`: the sections of a page, as a table, a chart and one HTML file."""

from dataclasses import dataclass
from html import escape
from pathlib import Path

import polars as pl

from curate.charts.chart import Chart
from curate.reporting import html_page
from curate.reporting.html_page import Section
from curate.storage import files, s3

TITLE = "curate report"
FRAME_HEIGHT = 800  # pixels of the page in a notebook, which shows it in a frame of its own


@dataclass(frozen=True, repr=False)
class Report:
    """The sections that show the results in a folder; ``page`` is the HTML page of all of them."""

    folder: Path
    sections: tuple[Section, ...]

    def __repr__(self) -> str:
        """Return the number of sections and the folder, on one line."""
        return f"Report({len(self.sections)} sections of {s3.shown(self.folder)})"

    def _repr_html_(self) -> str:
        """Return the page in a frame, for notebooks: its styles must not reach the rest of the notebook."""
        return f'<iframe srcdoc="{escape(self.page)}" width="100%" height="{FRAME_HEIGHT}" frameborder="0"></iframe>'

    @property
    def page(self) -> str:
        """The HTML page, which holds everything that it shows."""
        return html_page.page(TITLE, self.sections)

    def table(self) -> pl.DataFrame:
        """Return one row a section: its title, and how many charts, tables and quotes it has."""
        rows = [(s.title, len(s.charts), len(s.tables), len(s.quotes)) for s in self.sections]
        schema = {"title": pl.String, "charts": pl.Int64, "tables": pl.Int64, "quotes": pl.Int64}
        return pl.DataFrame(rows, schema=schema, orient="row")

    def chart(self) -> Chart | None:
        """Return the first chart of the page, or None if no section has one."""
        return next((chart for section in self.sections for chart in section.charts), None)

    def save(self, path: str | Path) -> None:
        """Write the page to ``path``, whole or not at all."""
        files.write_text(Path(path), self.page)
