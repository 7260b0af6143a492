"""Find clusters of rows that make up different shares of the two data sets.

In: vectors of the rows, and which data set each row is of. Out: a table with one line for each cluster.
"""

import numpy as np
import polars as pl

from curate.description.comparison.shares import bound, telling_words, z_values
from curate.streaming.vectors import kmeans

CLUSTERS = 12  # few enough to read
ITERATIONS = 20  # of k-means, as many as the scorer `prototypes` takes by default
LEAST_ROWS = 30  # rows for each cluster: with fewer, shares say nothing
WORDS = 5  # that describe a cluster


def telling_clusters(
    vectors: np.ndarray, is_second: np.ndarray, ids: pl.Series, texts: pl.Series | None, seed: int
) -> pl.DataFrame:
    """Return one line for each cluster of vectors (n, d), those with the clearest difference first.

    Columns: cluster, first and second (shares of the rows), z, differs (more than chance allows), words (the most
    telling ones, "" without texts), row (the id of the row nearest to the centre).
    """
    points = kmeans.quantise(vectors)
    directions = len(np.unique(points[points.any(axis=1)], axis=0))
    k = min(CLUSTERS, len(points) // LEAST_ROWS, directions)
    if k < 2:
        return pl.DataFrame(
            schema={
                **{"cluster": pl.Int64, "first": pl.Float64, "second": pl.Float64, "z": pl.Float64},
                **{"differs": pl.Boolean, "words": pl.String, "row": pl.String},
            }
        )
    start = kmeans.best_start(points, k, iterations=ITERATIONS, count=kmeans.MOST_STARTS, seed=seed)

    def summed(centres: np.ndarray, share: float) -> tuple[np.ndarray, np.ndarray]:
        return kmeans.sums_of_blocks(kmeans.in_blocks(points[: max(k, round(share * len(points)))]), centres)

    centres = kmeans.learn(summed, start, rows=len(points), iterations=ITERATIONS).centres
    cluster, cosine = kmeans.nearest(vectors, centres)
    rows = (int((~is_second).sum()), int(is_second.sum()))
    first = np.bincount(cluster[~is_second], minlength=k)
    second = np.bincount(cluster[is_second], minlength=k)
    z = z_values(first, second, rows)
    # Of rows that are equally near, the first in the order of the sample is shown.
    nearest = [int(np.argmax(np.where(cluster == c, cosine, -np.inf))) for c in range(k)]
    table = pl.DataFrame(
        {
            "cluster": np.arange(k),
            "first": first / max(1, rows[0]),
            "second": second / max(1, rows[1]),
            "z": z,
            "differs": np.abs(z) > bound(k),
            "words": [_words(texts, cluster == c) for c in range(k)],
            "row": [str(ids[row]) for row in nearest],
        }
    )
    return table.filter(pl.Series(first + second) > 0).sort(-pl.col("z").abs(), "cluster")


def _words(texts: pl.Series | None, inside: np.ndarray) -> str:
    """Return the words that tell the rows of a cluster from all others."""
    if texts is None:
        return ""
    words = telling_words(texts, inside, most=WORDS).filter(pl.col("z") > 0)
    return ", ".join(words["word"].to_list())
