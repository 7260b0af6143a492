"""Hold what tells two data sets apart, and show it as tables, a chart or a JSON file."""

from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

import polars as pl

from curate.description.comparison.sample_distance import SampleDistance
from curate.description.comparison.separability import Separability
from curate.storage import artifacts
from curate.storage.artifacts import Provenance

if TYPE_CHECKING:
    from curate.charts.chart import Chart


@dataclass(frozen=True, repr=False)
class DataComparison:
    """How a first data set differs from a second one, on a sample of the rows of each.

    Attributes:
        rows: number of rows of each.
        sample: number of sampled rows of each.
        separability: how well a classifier tells their rows apart; None if too few rows differ to train one.
        distance: the optimal-transport distance of the samples.
        words: columns word, first, second (shares of the rows that have it) and z. Only words whose shares differ more
            than chance allows. None where vectors were compared, not texts.
        clusters: columns cluster, first, second (shares of the rows), z, differs, words and row.
        sources: columns source, first and second (rows).
        notes: warnings.
        provenance: the arguments, input files and seed of the job.
    """

    rows: tuple[int, int]
    sample: tuple[int, int]
    separability: Separability | None
    distance: SampleDistance
    words: pl.DataFrame | None
    clusters: pl.DataFrame
    sources: pl.DataFrame
    notes: tuple[str, ...]
    provenance: Provenance = field(default=Provenance({}), compare=False)

    def record(self) -> dict[str, object]:
        """Return the comparison as fields of the JSON file, without ``made_by``."""
        return {
            "rows": self.rows[0],
            "rows_against": self.rows[1],
            "sample": list(self.sample),
            "separability": None if self.separability is None else asdict(self.separability),
            "distance": asdict(self.distance),
            "words": None if self.words is None else self.words.to_dicts(),
            "clusters": self.clusters.to_dicts(),
            "sources": self.sources.to_dicts(),
            "notes": list(self.notes),
        }

    def save(self, path: str | Path) -> None:
        """Write the comparison and how it was made to a JSON file, like ``curate describe --against --out``."""
        artifacts.save(Path(path), "description", {**self.record(), "made_by": self.provenance.made_by()})

    def table(self) -> pl.DataFrame:
        """Return one row for each word and each cluster that differs: kind, name, first, second and z."""
        parts = [
            self.clusters.filter("differs").select(
                kind=pl.lit("cluster"), name="words", first="first", second="second", z="z"
            )
        ]
        if self.words is not None:
            parts.append(self.words.select(kind=pl.lit("word"), name="word", first="first", second="second", z="z"))
        return pl.concat(parts)

    def chart(self) -> "Chart":
        """Return bars of the share of each cluster in both data sets."""
        from curate.description.chart import of_clusters

        return of_clusters(self.clusters)

    @property
    def verdict(self) -> str:
        """Return one line on how well the data sets can be told apart."""
        measured = self.separability
        if measured is None:
            return "Too few rows differ to train a classifier."
        text = (
            f"A classifier tells rows of the two data sets apart with an AUC of {measured.auc:.3f} "
            f"(90 %: {measured.low:.3f} to {measured.high:.3f}); 0.5 is chance, and 1 is always right."
        )
        return text + (" On these samples the two cannot be told apart." if measured.low <= 0.5 else "")

    def __repr__(self) -> str:
        """Return the sizes and the verdict, on two lines."""
        return f"DataComparison of {self.rows[0]} rows with {self.rows[1]} rows\n{self.verdict}"

    def _repr_html_(self) -> str:
        """Return the verdict and the table, for a notebook."""
        return f"<p>{self.verdict}</p>{self.table()._repr_html_()}"
