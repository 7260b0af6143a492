"""What was measured of a data set, as a record, a table, a chart and a JSON file."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.storage import artifacts

if TYPE_CHECKING:
    from curate.charts import Chart


@dataclass(frozen=True)
class Provenance:
    """What a description was made from: arguments, input files, hashes of tables in memory, seed."""

    arguments: Mapping[str, object]
    inputs: tuple[Path, ...]
    tables: Mapping[str, str]
    seed: int


@dataclass(frozen=True, repr=False)
class Description:
    """Measures of a data set, from a sample of its rows.

    ``sample`` of ``rows`` rows were looked at. ``duplicates`` of them equal another row and are left out; ``conflicts``
    of these have another label than their first copy. ``dimension`` (maximum likelihood) and ``two_nn`` are intrinsic
    dimensions, of the sample and of half of it: estimates grow with the number of rows, and how far the two differ says
    more than an interval, which is narrow beside that bias. ``vendi`` is the Vendi score, a number of rows.
    ``sharpness`` is label sharpness over ``sharpness_rows`` rows; None, with a note, if there are no labels to compare.

    ``sources`` has the columns source, rows, sample, dimension and vendi. ``overlap`` has a row a source, and for every
    source a column with the share of that row's rows whose nearest other row is there. ``notes`` are warnings.
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
    provenance: Provenance = field(default=Provenance({}, (), {}, 0), compare=False)

    def record(self) -> dict[str, object]:
        """Return the measures as JSON can hold them, without what they were made from."""
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
        """Write the measures as JSON, with what they were made from (``curate describe --out``)."""
        made_from = self.provenance
        made_by = artifacts.made_by(made_from.arguments, made_from.inputs, made_from.seed, made_from.tables)
        artifacts.save(Path(path), "description", {**self.record(), "made_by": made_by})

    def table(self) -> pl.DataFrame:
        """Return one measure a row: measure, source (null for the whole data set) and value."""
        whole = [(name, None, float(value)) for name, value in self.record().items() if isinstance(value, int | float)]
        of_source = [
            (measure, row["source"], None if row[measure] is None else float(row[measure]))
            for row in self.sources.to_dicts()
            for measure in ("rows", "sample", "dimension", "vendi")
        ]
        schema = {"measure": pl.String(), "source": pl.String(), "value": pl.Float64()}
        return pl.DataFrame([*whole, *of_source], schema=schema, orient="row")

    def chart(self) -> "Chart":
        """Return a heat map of the overlap of sources; with one source, bars of the intrinsic dimensions."""
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
