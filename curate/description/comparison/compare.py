"""Compare two data sets on a sample of the rows of each.

In: the rows of both. Out: a `DataComparison`.
"""

from collections import Counter

import numpy as np
import polars as pl

from curate.description.comparison import clusters, sample_distance, separability, shares
from curate.description.comparison.result import DataComparison
from curate.description.measured import VectorSource
from curate.description.rows import Rows
from curate.description.sampling import Drawn, draw
from curate.errors import SchemaError, amount
from curate.storage.artifacts import Provenance
from curate.tables import batches

WORDS = 15  # shown for each side
LEAST_ROWS = 20  # sampled rows of each data set: with fewer, no fold has rows of both


def compare(
    first: Rows,
    second: Rows,
    counts: tuple[Counter[str], Counter[str]],
    vectors_of: VectorSource,
    *,
    sample: int,
    seed: int,
    provenance: Provenance,
) -> DataComparison:
    """Compare two data sets. ``counts`` are the rows of each by source.

    Raises:
        SchemaError: if a data set has fewer than `LEAST_ROWS` rows.
    """
    drawn = [
        _sample(rows, vectors_of, n.total(), sample, seed) for rows, n in zip((first, second), counts, strict=True)
    ]
    for name, rows in zip(("the data", "--against"), drawn, strict=True):
        if rows.height < LEAST_ROWS:
            raise SchemaError(
                f"{name} has {amount(rows.height, 'row')}; a comparison needs at least {LEAST_ROWS} of each"
            )
    is_second = np.repeat([False, True], [rows.height for rows in drawn])
    vectors = [vectors_of(rows) for rows in drawn]
    if vectors[0].shape[1] != vectors[1].shape[1]:
        raise SchemaError(
            f"{vectors_of.column} has vectors of {vectors[0].shape[1]} numbers in the data and of "
            f"{vectors[1].shape[1]} in --against. Use one encoder for both"
        )
    x = np.concatenate(vectors)
    ids = pl.concat([rows["id"] for rows in drawn])
    texts = None
    if vectors_of.encoder and vectors_of.column == "text":
        texts = pl.concat([rows["text"].cast(pl.String) for rows in drawn])
    features = x if texts is None else separability.of_texts(texts)
    return DataComparison(
        rows=(counts[0].total(), counts[1].total()),
        sample=(drawn[0].height, drawn[1].height),
        separability=separability.separability(features, is_second, _groups(x, texts)),
        distance=sample_distance.sample_distance(vectors[0], vectors[1], seed),
        words=None if texts is None else shares.telling_words(texts, is_second, most=WORDS),
        clusters=clusters.telling_clusters(x, is_second, ids, texts, seed),
        sources=_sources(*counts),
        notes=(*first.warnings, *second.warnings),
        provenance=provenance,
    )


def _sample(rows: Rows, vectors_of: VectorSource, count: int, sample: int, seed: int) -> pl.DataFrame:
    columns = vectors_of.needs
    return draw(rows, columns, ("id",), Drawn(sample, columns, {"": count}, seed))


def _groups(x: np.ndarray, texts: pl.Series | None) -> np.ndarray:
    """Return (n,) numbers that are equal for equal rows, and the same in every process."""
    content = texts.fill_null("") if texts is not None else pl.Series([row.tobytes().hex() for row in x + 0.0])
    return batches.keys(content, 0).astype(np.int64) & np.int64(2**62 - 1)


def _sources(first: Counter[str], second: Counter[str]) -> pl.DataFrame:
    """Return the rows of each source in both data sets, the largest first."""
    names = sorted({*first, *second}, key=lambda name: (-first[name] - second[name], name))
    return pl.DataFrame(
        {"source": names, "first": [first[name] for name in names], "second": [second[name] for name in names]},
        schema={"source": pl.String, "first": pl.Int64, "second": pl.Int64},
    )
