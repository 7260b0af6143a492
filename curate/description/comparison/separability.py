"""Measure how well a classifier tells the rows of two data sets apart.

In: features of the rows, and which data set each row is of. Out: the area under the ROC curve (AUC), on rows that the
classifier was not trained on.
"""

from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from curate.streaming.roc_area import area, interval
from curate.words import ngrams

FOLDS = 5  # parts of the rows; each is judged by a classifier that was trained on the others
BUCKETS = 1 << 16  # of hashed words: with 5,000 texts on each side few frequent words share one
STEPS = 1000  # most steps of the classifier; it needs far fewer
LEVEL = 0.9  # probability that the AUC of all rows lies within the interval


@dataclass(frozen=True)
class Separability:
    """The AUC with its 90 % interval: 0.5 is chance, and 1 is right about every pair of rows."""

    auc: float
    low: float
    high: float


def of_texts(texts: pl.Series) -> csr_matrix:
    """Return the (n, BUCKETS) features of texts: square roots of the counts of hashed words, each row of length 1."""
    parts = []
    for piece in ngrams.pieces(texts):
        words = ngrams.words(piece, marks=True)
        bucket = (words.values % np.uint64(BUCKETS)).astype(np.int64)
        counts = csr_matrix((np.ones(len(bucket)), bucket, words.offsets), shape=(len(piece), BUCKETS))
        counts.sum_duplicates()
        parts.append(counts)
    from scipy.sparse import vstack

    features = vstack(parts, format="csr") if parts else csr_matrix((0, BUCKETS))
    lengths = np.sqrt(np.asarray(features.sum(axis=1)).ravel())
    features.data = np.sqrt(features.data) / np.repeat(np.where(lengths > 0, lengths, 1.0), np.diff(features.indptr))
    return features


def separability(features: np.ndarray | csr_matrix, is_second: np.ndarray, group: np.ndarray) -> Separability | None:
    """Return how well logistic regression tells two data sets apart; None if one has too few rows.

    Args:
        features: (n, d) features of the rows of both.
        is_second: (n,) booleans, true for the rows of the second data set.
        group: (n,) numbers that are equal where two rows are equal. Rows of a group are in one fold. Otherwise a
            classifier would be trained on a copy of a row that it is then tested on.
    """
    from sklearn.linear_model import LogisticRegression

    fold = group % FOLDS
    areas = []
    for number in range(FOLDS):
        held_out = fold == number
        trained, truth = is_second[~held_out], is_second[held_out]
        if len(np.unique(trained)) < 2 or min(truth.sum(), (~truth).sum()) < 2:
            return None
        # Rows of a data set that is smaller in the sample count more, so that both sides weigh the same.
        model = LogisticRegression(max_iter=STEPS, class_weight="balanced").fit(features[~held_out], trained)
        values = model.decision_function(features[held_out])
        areas.append(area(values[truth], values[~truth]))
    mean = float(np.mean(areas))
    return Separability(mean, *interval(mean, int(is_second.sum()), int((~is_second).sum()), LEVEL))
