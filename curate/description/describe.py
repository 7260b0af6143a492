"""The job ``describe``: measure a data set on a sample of its rows.

In: files or a table in memory. Out: a ``Description``.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, overload

import polars as pl

from curate import open_sets
from curate.description import measures
from curate.description.measured import (
    Sampling,
    VectorSource,
    draw_of_sources,
    label_measures,
    least_rows,
    source_measures,
)
from curate.description.result import Description
from curate.description.rows import Data, Rows, data_names, from_shards, open_rows
from curate.description.sampling import Drawn, draw
from curate.encoders import column_of
from curate.engines import Engine
from curate.engines.local import Local
from curate.errors import SchemaError
from curate.storage.artifacts import Provenance
from curate.tables import readers
from curate.tables.columns import vectors
from curate.tables.mapping import options as mapping_options
from curate.tables.reading import Reading
from curate.tables.shards import Shard

NO_COLUMN_AGAINST = "Rename the column: --against is read by the names that the data have, or by those that jobs use"

if TYPE_CHECKING:
    from curate.description.comparison.result import DataComparison


@overload
def describe(
    data: Data,
    *,
    against: None = None,
    embedding: str = "",
    encoder: str = "hashed",
    text_column: str = "text",
    columns: str | Mapping[str, str] = "",
    join: str | Sequence[str] = (),
    render: str = "",
    dtype: str = "",
    sample: int = 5000,
    neighbours: int = 20,
    seed: int = 0,
    engine: Engine | None = None,
) -> Description: ...


@overload
def describe(
    data: Data,
    *,
    against: Data,
    embedding: str = "",
    encoder: str = "hashed",
    text_column: str = "text",
    columns: str | Mapping[str, str] = "",
    join: str | Sequence[str] = (),
    render: str = "",
    dtype: str = "",
    sample: int = 5000,
    neighbours: int = 20,
    seed: int = 0,
    engine: Engine | None = None,
) -> "DataComparison": ...


def describe(
    data: Data,
    *,
    against: Data | None = None,
    embedding: str = "",
    encoder: str = "hashed",
    text_column: str = "text",
    columns: str | Mapping[str, str] = "",
    join: str | Sequence[str] = (),
    render: str = "",
    dtype: str = "",
    sample: int = 5000,
    neighbours: int = 20,
    seed: int = 0,
    engine: Engine | None = None,
) -> "Description | DataComparison":
    """Measure intrinsic dimension, variety, label sharpness and the overlap of sources; or compare two data sets.

    With ``against``, the result says how the data differ from another data set: how well a classifier tells their rows
    apart, which words and clusters tell them apart, and how far apart they lie by optimal transport.

    Args:
        data: a path (file, folder, glob or s3://...), a list of paths, or a table in memory (polars, pandas, pyarrow).
        against: another data set to compare with, such as what pruning kept, or a test set.
        embedding: the column of vectors to measure, such as emb.hashed. Empty: use ``encoder``.
        encoder: NAME or NAME:key=value,... of the encoder that makes the vectors from the column that it reads.
        text_column: the column of texts.
        columns: which columns of the data stand for ``text``, ``id``, ``source`` and ``label``, as for `curate.score`.
        join: columns of texts that are joined to one text, as for `curate.score`.
        render: ``chat`` if the column of texts holds conversations, as for `curate.score`.
        dtype: type of vectors in fixed-size binary, ``float32`` or ``float16``; empty: what the files record.
        sample: number of rows to measure: those with the smallest hash(id, seed). Time grows with its square. Memory
            holds the vectors and texts of these rows, and a block of their distances.
        neighbours: number of nearest rows from which the dimensions are estimated.
        seed: seed of the sample.
        engine: where to read files; None reads them in this process. The result does not depend on it.

    Raises:
        SchemaError: if a column is missing, or the sample has too few different vectors for ``neighbours``.
    """
    sampling = Sampling(sample, neighbours, seed)
    text_column, mapping = mapping_options.mapping(columns, text_column, join, render)
    reading = Reading(text_column=text_column, dtype=dtype, mapping=mapping)
    if embedding and not embedding.startswith(vectors.PREFIX):
        raise SchemaError(
            f"describe: embedding={embedding} is not a column of vectors. Such columns are named emb.<name>"
        )
    vectors_of = VectorSource(embedding) if embedding else VectorSource(column_of(open_sets.parse(encoder)[0]), encoder)
    options: dict[str, object] = {"embedding": embedding, "encoder": encoder, "text_column": text_column}
    options |= {"sample": sample, "neighbours": neighbours, **({"dtype": dtype} if dtype else {}), **mapping.record()}
    # One set of workers for all readings: starting them takes seconds.
    with (engine or Local()).session() as session:
        rows = open_rows(data, vectors_of.needs, reading, session)
        if against is not None:
            # `prune` imports this file for the dimension alone, and loads nothing more for that.
            from curate.description.comparison.compare import compare

            others = open_rows(against, vectors_of.needs, reading.of_other_files(), session, NO_COLUMN_AGAINST)
            arguments = {"data": data_names(data), "against": data_names(against), **options}
            tables = {"data": dict(rows.tables), "against": dict(others.tables)}
            hashes = {name: value for name, of in tables.items() for value in of.values()}
            provenance = Provenance(arguments, (*rows.inputs, *others.inputs), hashes, seed)
            both = (_rows_by_source(rows), _rows_by_source(others))
            return compare(rows, others, both, vectors_of, sample=sample, seed=seed, provenance=provenance)
        counts = _rows_by_source(rows)
        read = (*vectors_of.needs, *(["label"] if rows.labelled else []))
        wanted = Drawn(sample, ("source", *read), {"": counts.total()}, seed)
        drawn = draw(rows, read, ("id", "source"), wanted)
        of_each = draw_of_sources(rows, vectors_of, counts, sampling)
    x = vectors_of(drawn)
    first = measures.distinct(x)
    _check_enough(len(first), len(x), counts.total(), neighbours)
    # estimates grow with the number of rows: those on half of the sample show how far they still move
    halves = [measures.neighbours(x[part], neighbours)[0] for part in (first, first[: (len(first) + 1) // 2])]
    of_labels = label_measures(x, first, drawn["label"] if rows.labelled else None)
    of_sources = source_measures(of_each, vectors_of, counts, sampling)
    return Description(
        rows=counts.total(),
        sample=len(x),
        duplicates=len(x) - len(first),
        conflicts=of_labels.conflicts,
        dimension=(measures.dimension(halves[0]), measures.dimension(halves[1])),
        two_nn=(measures.two_nn(halves[0]), measures.two_nn(halves[1])),
        vendi=measures.vendi(x[first]),
        sharpness=of_labels.sharpness,
        sharpness_rows=of_labels.rows,
        sources=of_sources.table,
        overlap=of_sources.overlap,
        notes=rows.warnings + of_labels.notes + of_sources.notes,
        provenance=Provenance({"data": data_names(data), **options}, rows.inputs, dict(rows.tables), seed),
    )


def dimension(
    shards: Sequence[Shard],
    column: str,
    *,
    sample: int = 5000,
    neighbours: int = 20,
    seed: int = 0,
    engine: Engine | None = None,
) -> float:
    """Return the intrinsic dimension of a column of vectors in score files, estimated by maximum likelihood.

    Of equal rows only one counts.

    Raises:
        SchemaError: if the sample has too few different vectors.
    """
    rows = from_shards(shards, (column,), engine or Local())
    count = sum(readers.head(shard).rows or 0 for shard in shards)
    x = VectorSource(column)(draw(rows, (column,), ("id",), Drawn(sample, (column,), {"": count}, seed)))
    x = x[measures.distinct(x)]
    if len(x) < neighbours + 2:
        raise SchemaError(
            f"{column} has {len(x)} different vectors in a sample of {sample} rows; its intrinsic dimension needs "
            f"{neighbours + 2}. Give --dimension"
        )
    return measures.dimension(measures.neighbours(x, neighbours)[0])


def _check_enough(distinct: int, sampled: int, rows: int, neighbours: int) -> None:
    if distinct < (least := least_rows(neighbours)):
        raise SchemaError(
            f"{distinct} different vectors in a sample of {sampled} rows of {rows}; {neighbours} neighbours need at "
            f"least {least}. Raise --sample or lower --neighbours"
        )


def _rows_by_source(rows: Rows) -> Counter[str]:
    counts: Counter[str] = Counter()
    for part in rows.map(_count_sources, (), ("source",)):
        counts.update(part)
    return counts


def _count_sources(batches: Iterator[pl.DataFrame]) -> Counter[str]:
    counts: Counter[str] = Counter()
    for batch in batches:
        counts.update(dict(batch["source"].value_counts().iter_rows()))
    return counts
