"""Hold the measures of a data set, and show them as a table, a chart or a JSON file."""

from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.storage import artifacts
from curate.storage.artifacts import Provenance

if TYPE_CHECKING:
    from curate.charts.chart import Chart


@dataclass(frozen=True, repr=False)
class Description:
    """Measures of a data set, taken on a sample of its rows.

    Attributes:
        rows: number of rows of the data set.
        sample: number of rows in the sample.
        duplicates: rows of the sample that equal an earlier one. They are left out.
        conflicts: duplicates whose label differs from that of their first copy.
        dimension: intrinsic dimension by maximum likelihood, of the whole sample and of half of it. Estimates grow with
            the number of rows, so the difference of the two says more than an interval, which would be narrower.
        two_nn: intrinsic dimension by TwoNN, likewise of the sample and of half of it.
        vendi: Vendi score, the effective number of different rows.
        sharpness: label sharpness; None, with a warning in ``notes``, if there are no labels to compare.
        sharpness_rows: number of rows from which the sharpness was measured.
        sources: columns source, rows, sample, dimension and vendi.
        overlap: one row and one column for each source. A cell is the share of the row source's rows whose nearest
            other row is in the column source. None with one source, or too many to measure.
        notes: warnings.
        provenance: the arguments, input files and seed of the job.
    """

    rows: int
    sample: int
    duplicates: int
    conflicts: int
    dimension: tuple[float, float]
    two_nn: tuple[float, float]
    vendi: float
    sharpness: float | None
    sharpness_rows: int
    sources: pl.DataFrame
    overlap: pl.DataFrame | None
    notes: tuple[str, ...]
    provenance: Provenance = field(default=Provenance({}), compare=False)

    def record(self) -> dict[str, object]:
        """Return the measures as fields of the JSON file, without ``made_by``."""
        dimension, dimension_half = self.dimension
        two_nn, two_nn_half = self.two_nn
        return {
            "rows": self.rows,
            "sample": self.sample,
            "duplicates": self.duplicates,
            "conflicts": self.conflicts,
            "dimension": dimension,
            "dimension_half": dimension_half,
            "two_nn": two_nn,
            "two_nn_half": two_nn_half,
            "vendi": self.vendi,
            "sharpness": self.sharpness,
            "sharpness_rows": self.sharpness_rows,
            "notes": list(self.notes),
            "sources": self.sources.to_dicts(),
            "overlap": None if self.overlap is None else self.overlap.to_dicts(),
        }

    def save(self, path: str | Path) -> None:
        """Write the measures and how they were made to a JSON file, like ``curate describe --out``."""
        artifacts.save(Path(path), "description", {**self.record(), "made_by": self.provenance.made_by()})

    def table(self) -> pl.DataFrame:
        """Return a table with one measure in each row: measure, source (null for the whole data set) and value."""
        whole = [(name, None, float(value)) for name, value in self.record().items() if isinstance(value, int | float)]
        of_source = [
            (measure, row["source"], None if row[measure] is None else float(row[measure]))
            for row in self.sources.to_dicts()
            for measure in ("rows", "sample", "dimension", "vendi")
        ]
        schema = {"measure": pl.String(), "source": pl.String(), "value": pl.Float64()}
        return pl.DataFrame([*whole, *of_source], schema=schema, orient="row")

    def chart(self) -> "Chart":
        """Return a heat map of the overlap of sources. With one source, return bars of the intrinsic dimensions."""
        from curate.description.chart import of_dimensions, of_overlap

        return of_dimensions(self.dimension, self.two_nn) if self.overlap is None else of_overlap(self.overlap)

    def __repr__(self) -> str:
        """Return the sizes and the main measures, on two lines."""
        sharpness = "" if self.sharpness is None else f", label sharpness {self.sharpness:.3g}"
        return (
            f"Description of {self.rows} rows: {self.sample} sampled, {self.duplicates} duplicates\n"
            f"dimension {self.dimension[0]:.3g} (TwoNN {self.two_nn[0]:.3g}), Vendi score {self.vendi:.3g}{sharpness}"
        )

    def _repr_html_(self) -> str:
        """Return the table, and the overlap of sources, for a notebook."""
        overlap = "" if self.overlap is None else self.overlap._repr_html_()
        return self.table()._repr_html_() + overlap
