"""What is measured on samples: where vectors come from, labels, and sources.

In: sampled rows. Out: vectors, and records of measures.
"""

from collections import Counter
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from curate import open_sets
from curate.description import measures
from curate.description.rows import Rows
from curate.description.sampling import Drawn, draw
from curate.encoders import Encoder, encode
from curate.errors import SchemaError
from curate.tables import batches

SHARPNESS_ROWS = 1000  # rows over whose pairs label sharpness is taken, as in Konz and Mazurowski (arXiv 2401.08865)
LEAST_SOURCE_ROWS = 10  # sampled rows of each source that an overlap needs


def least_rows(neighbours: int) -> int:
    """Return the rows that a sample must have: half of it must have enough neighbours too."""
    return 2 * neighbours + 2


@dataclass(frozen=True)
class VectorSource:
    """Where vectors come from: a column of them, or a column that the ``encoder`` reads."""

    column: str
    encoder: str = ""

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns to read beside the identity."""
        return () if self.column in batches.IDENTITY else (self.column,)

    def __call__(self, rows: pl.DataFrame) -> np.ndarray:
        """Return the (n, d) vectors of sampled rows."""
        if not self.encoder:
            return rows[self.column].to_numpy() if rows.height else np.zeros((0, 1), np.float32)
        return encode(cast(Encoder, open_sets.build("encoders", self.encoder)), rows[self.column])


@dataclass(frozen=True)
class Sampling:
    """How many rows are looked at, how many neighbours of each, and the seed of the sample."""

    rows: int
    neighbours: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse numbers with which no dimension can be estimated."""
        if self.neighbours < 2 or self.rows < least_rows(self.neighbours):
            raise SchemaError(
                f"describe: neighbours={self.neighbours} must be at least 2, sample={self.rows} at least "
                f"{least_rows(self.neighbours)}"
            )


@dataclass(frozen=True)
class LabelMeasures:
    """Label sharpness over ``rows`` rows; ``conflicts`` equal rows have another label than their first copy."""

    sharpness: float | None = None
    rows: int = 0
    conflicts: int = 0
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class SourceMeasures:
    """A table of sources and of their overlap; empty and None if there is one source, or too many to measure."""

    table: pl.DataFrame
    overlap: pl.DataFrame | None
    notes: tuple[str, ...] = ()


def label_measures(x: np.ndarray, first: np.ndarray, labels: pl.Series | None) -> LabelMeasures:
    """Measure labels (n,) on the different vectors ``x[first]``; notes say what could not be measured."""
    if labels is None:
        return LabelMeasures(notes=("no label column, so label sharpness is not measured",))
    if nulls := labels.null_count():
        return LabelMeasures(notes=(f"label is null in {nulls} rows of the sample: no label sharpness",))
    names = labels.cast(pl.String).to_list()
    label_of: dict[bytes, str] = {}
    # adding 0.0 makes -0.0 equal to 0.0 in bytes
    conflicts = sum(
        label_of.setdefault((row + 0.0).tobytes(), name) != name for row, name in zip(x, names, strict=True)
    )
    rows = first[:SHARPNESS_ROWS]
    sharpness = measures.sharpness(x[rows], [names[i] for i in rows])
    notes: tuple[str, ...] = () if sharpness is not None else ("all labels are equal: no label sharpness",)
    if conflicts:
        notes += (f"{conflicts} rows equal another row but have another label: label sharpness is a lower bound",)
    return LabelMeasures(sharpness, len(rows), conflicts, notes)


def draw_of_sources(
    rows: Rows, vectors_of: VectorSource, counts: Counter[str], sampling: Sampling
) -> pl.DataFrame | None:
    """Draw equally many rows of each source; None if there is one source, or too many to measure."""
    if len(counts) < 2 or len(counts) > sampling.rows // LEAST_SOURCE_ROWS:
        return None
    drawn = Drawn(sampling.rows // len(counts), (vectors_of.column,), counts, sampling.seed, "source")
    return draw(rows, vectors_of.needs, ("id", "source"), drawn)


def source_measures(
    drawn: pl.DataFrame | None, vectors_of: VectorSource, counts: Counter[str], sampling: Sampling
) -> SourceMeasures:
    """Measure each source and their overlap on what `draw_of_sources` drew."""
    if drawn is None:
        note = f"{len(counts)} sources: too many for {LEAST_SOURCE_ROWS} sampled rows of each. Raise --sample"
        return SourceMeasures(pl.DataFrame(), None, (note,) if len(counts) > 1 else ())
    x, source_of = vectors_of(drawn), np.array(drawn["source"].to_list(), dtype=str)
    kept, lines = np.zeros(len(x), bool), []
    for name in sorted(counts):
        members = np.flatnonzero(source_of == name)
        # rows equal to another of their own source are left out; equal rows of two sources are overlap
        members = members[measures.distinct(x[members])]
        kept[members] = True
        enough = len(members) >= sampling.neighbours + 2
        size = measures.dimension(measures.neighbours(x[members], sampling.neighbours)[0]) if enough else None
        lines.append((name, counts[name], len(members), size, measures.vendi(x[members])))
    table = pl.DataFrame(lines, schema=["source", "rows", "sample", "dimension", "vendi"], orient="row")
    _, nearest = measures.neighbours(x[kept], 1)
    names, shares = measures.overlap(nearest[:, 0], source_of[kept].tolist())
    overlap = pl.DataFrame({"source": names, **{f"in {name}": shares[:, i] for i, name in enumerate(names)}})
    return SourceMeasures(table, overlap)
