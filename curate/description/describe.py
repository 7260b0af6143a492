"""The job ``describe``: measure a data set on a sample of its rows.

In: files or a table in memory. Out: a ``Description``.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import cast

import numpy as np
import polars as pl

from curate import open_sets
from curate.description import measures
from curate.description.result import Description, Provenance
from curate.description.rows import Data, Rows, data_names, from_shards, open_rows
from curate.encoders import Encoder
from curate.errors import SchemaError
from curate.streaming.sample import smallest_hashes
from curate.tables import batches, vectors
from curate.tables.shards import Shard

SHARPNESS_ROWS = 1000  # rows over whose pairs label sharpness is taken, as in Konz and Mazurowski (arXiv 2401.08865)
LEAST_SOURCE_ROWS = 10  # sampled rows of each source that an overlap needs


def describe(
    data: Data,
    *,
    embedding: str = "",
    encoder: str = "hashed",
    text_column: str = "text",
    sample: int = 5000,
    neighbours: int = 20,
    seed: int = 0,
) -> Description:
    """Measure intrinsic dimension, variety, label sharpness and the overlap of sources.

    ``data`` is a path (file, folder, glob or s3://...), a list of paths, or a table in memory (polars, pandas,
    pyarrow). The measures are of vectors: those of the column ``embedding``, or those that ``encoder``, NAME or
    NAME:key=value,..., makes of the column that it reads. They are taken on the ``sample`` rows with the smallest
    hash(id, seed), the dimensions over the ``neighbours`` nearest rows of each. Memory is the vectors and texts of the
    sample and a block of distances; time grows with the square of ``sample``.

    Raises:
        SchemaError: for a missing column, or too few different vectors for so many neighbours.
    """
    _check_options(embedding, sample, neighbours)
    vectors_of = VectorSource(embedding) if embedding else VectorSource(_column_of(encoder), encoder)
    rows = open_rows(data, vectors_of.needs, text_column)
    columns = (*vectors_of.needs, *(["label"] if rows.labelled else []))
    counts = _rows_by_source(rows)
    drawn = smallest_hashes(rows.read(columns, ("id", "source")), sample, ("source", *columns), seed=seed)
    x = vectors_of(drawn)
    first = measures.distinct(x)
    # half of the sample must have enough neighbours too
    if len(first) < (least := 2 * neighbours + 2):
        raise SchemaError(
            f"{len(first)} different vectors in a sample of {len(x)} rows of {counts.total()}; {neighbours} neighbours "
            f"need at least {least}. Raise --sample or lower --neighbours"
        )
    halves = [measures.neighbours(x[part], neighbours)[0] for part in (first, first[: (len(first) + 1) // 2])]
    labels = _label_measures(x, first, drawn["label"] if rows.labelled else None)
    sources, overlap, notes = pl.DataFrame(), None, labels.notes
    if 1 < len(counts) <= sample // LEAST_SOURCE_ROWS:
        batches_to_draw = rows.read(vectors_of.needs, ("id", "source"))
        parts = smallest_hashes(batches_to_draw, sample // len(counts), (vectors_of.column,), seed=seed, by="source")
        sources, overlap = _by_source(vectors_of(parts), parts["source"], counts, neighbours)
    elif len(counts) > 1:
        notes += (f"{len(counts)} sources: too many for {LEAST_SOURCE_ROWS} sampled rows of each. Raise --sample",)
    options: dict[str, object] = {"embedding": embedding, "encoder": encoder, "text_column": text_column}
    options |= {"sample": sample, "neighbours": neighbours}
    return Description(
        rows=counts.total(),
        sample=len(x),
        duplicates=len(x) - len(first),
        conflicts=labels.conflicts,
        dimension=(measures.dimension(halves[0]), measures.dimension(halves[1])),
        two_nn=(measures.two_nn(halves[0]), measures.two_nn(halves[1])),
        vendi=measures.vendi(x[first]),
        sharpness=labels.sharpness,
        sharpness_rows=labels.rows,
        sources=sources,
        overlap=overlap,
        notes=notes,
        provenance=Provenance({"data": data_names(data), **options}, rows.inputs, dict(rows.tables), seed),
    )


def dimension(
    shards: Sequence[Shard], column: str, *, sample: int = 5000, neighbours: int = 20, seed: int = 0
) -> float:
    """Return the intrinsic dimension of a vector column, by maximum likelihood; equal rows are left out.

    Raises:
        SchemaError: if the sample has too few different vectors.
    """
    batches_to_draw = from_shards(shards, (column,)).read((column,), ("id",))
    x = VectorSource(column)(smallest_hashes(batches_to_draw, sample, (column,), seed=seed))
    x = x[measures.distinct(x)]
    if len(x) < neighbours + 2:
        raise SchemaError(
            f"{column} has {len(x)} different vectors in a sample of {sample} rows; its intrinsic dimension needs "
            f"{neighbours + 2}. Give --dimension"
        )
    return measures.dimension(measures.neighbours(x, neighbours)[0])


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
        built = cast(Encoder, open_sets.build("encoders", self.encoder))
        values = rows[self.column]
        return built.encode((values.fill_null("") if values.dtype == pl.String else values).to_list())


@dataclass(frozen=True)
class LabelMeasures:
    """Label sharpness over ``rows`` rows; ``conflicts`` equal rows have another label than their first copy."""

    sharpness: float | None = None
    rows: int = 0
    conflicts: int = 0
    notes: tuple[str, ...] = ()


def _check_options(embedding: str, sample: int, neighbours: int) -> None:
    if neighbours < 2 or sample < 2 * neighbours + 2:
        raise SchemaError(
            f"describe: neighbours={neighbours} must be at least 2, sample={sample} at least {2 * neighbours + 2}"
        )
    if embedding and not embedding.startswith(vectors.PREFIX):
        raise SchemaError(f"describe: embedding={embedding} is no column of vectors. Those are named emb.<name>")


def _column_of(encoder: str) -> str:
    """Return the column that an encoder reads."""
    column: str = getattr(open_sets.implementation("encoders", open_sets.parse(encoder)[0]), "column", "text")
    return column


def _rows_by_source(rows: Rows) -> Counter[str]:
    counts: Counter[str] = Counter()
    for batch in rows.read((), ("source",)):
        counts.update(dict(batch["source"].value_counts().iter_rows()))
    return counts


def _label_measures(x: np.ndarray, first: np.ndarray, labels: pl.Series | None) -> LabelMeasures:
    """Measure labels (n,) on the different vectors ``x[first]``; notes say what could not be measured."""
    if labels is None:
        return LabelMeasures(notes=("no label column: no label sharpness",))
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


def _by_source(
    x: np.ndarray, sources: pl.Series, counts: Counter[str], neighbours: int
) -> tuple[pl.DataFrame, pl.DataFrame]:
    """Return a table of sources, and their overlap; rows equal to another of their own source are left out."""
    source_of, kept = np.array(sources.to_list(), dtype=str), np.zeros(len(x), bool)
    rows = []
    for name in sorted(counts):
        members = np.flatnonzero(source_of == name)
        members = members[measures.distinct(x[members])]
        kept[members] = True
        enough = len(members) >= neighbours + 2
        size = measures.dimension(measures.neighbours(x[members], neighbours)[0]) if enough else None
        rows.append((name, counts[name], len(members), size, measures.vendi(x[members])))
    table = pl.DataFrame(rows, schema=["source", "rows", "sample", "dimension", "vendi"], orient="row")
    _, nearest = measures.neighbours(x[kept], 1)
    names, shares = measures.overlap(nearest[:, 0], source_of[kept].tolist())
    overlap = pl.DataFrame({"source": names, **{f"in {name}": shares[:, i] for i, name in enumerate(names)}})
    return table, overlap
