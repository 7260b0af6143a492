"""Learn to tell two samples of texts apart: hashed words and word pairs, and logistic regression.

In: good texts and bad texts. Out: a weight for each bucket, and the AUC of the model on texts that it did not learn
from.

A text of n words and pairs has the value 1 / sqrt(n) in the bucket of each, so that its vector has about unit length.
In our tests this told texts apart better than their share 1 / n, which fastText uses (docs/decisions.md).
"""

import warnings
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import polars as pl
from scipy.sparse import csr_matrix

from curate.errors import SchemaError, amount
from curate.streaming.roc_area import area, interval
from curate.words import ngrams
from curate.words.ngrams import Grams

LEAST_TEXTS = 10  # of each sample: one for the choice of the penalty, one for the test, and a few to learn from
# The beginning of a text from which it is learned, in characters and in words: 10,000 texts of each sample then take
# at most 20 million n-grams, or 250 MB.
CHARACTERS, WORDS = 16_000, 500
# Shares of each sample for the choice of the penalty, and for the test.
HELD_OUT = 0.1
# Inverse penalties of scikit-learn's LogisticRegression. With vectors of unit length, the best was 10 or 100.
PENALTIES = (1.0, 10.0, 100.0)
LEVEL = 0.95  # probability that the AUC of all texts lies within the interval
MOST_STEPS = 200  # of the solver; our tests took 10 to 30


@dataclass(frozen=True)
class Learned:
    """A model: ``weights`` (b,) of the buckets, ``bias``, and how well it does.

    ``auc`` is the chance that a good text scores above a bad one, among texts that were not learned from; ``low`` and
    ``high`` are its 95 % interval. ``tested`` and ``learned`` are numbers of good and of bad texts.
    """

    weights: np.ndarray
    bias: float
    penalty: float
    auc: float
    low: float
    high: float
    tested: tuple[int, int]
    learned: tuple[int, int]


def learn(good: pl.Series, bad: pl.Series, buckets: int) -> Learned:
    """Learn from good and bad texts in a random order; the last ones are held out.

    A tenth of each chooses the penalty, by the likelihood. Another tenth tests the model, which learns from all others.

    Raises:
        SchemaError: if there are fewer than ten good or bad texts.
    """
    good_rows, bad_rows = _vectors(good, buckets), _vectors(bad, buckets)
    for rows, what in ((good_rows, "good"), (bad_rows, "bad")):
        if rows.shape[0] < LEAST_TEXTS:
            raise SchemaError(
                f"classifier: {amount(rows.shape[0], 'text')} with words in the {what} sample, and {LEAST_TEXTS} are "
                "needed. Name more files, or check that their text column is the right one"
            )
    # Most buckets are empty: the model gets those that occur.
    used = np.unique(np.concatenate((good_rows.indices, bad_rows.indices)))
    parts = [_split(rows, used) for rows in (good_rows, bad_rows)]
    train, choose, test = (_joined(*pair) for pair in zip(*parts, strict=True))
    penalty = _best_penalty(train, choose)
    weights, bias = _fitted(_stacked(train, choose), penalty)
    scores, labels = test[0] @ weights, test[1]
    positive, negative = scores[labels == 1], scores[labels == 0]
    auc = area(positive, negative)
    low, high = interval(auc, len(positive), len(negative), LEVEL)
    full = np.zeros(buckets)
    full[used] = weights
    learned = [
        rows.shape[0] - len(tests) for rows, tests in zip((good_rows, bad_rows), (positive, negative), strict=True)
    ]
    return Learned(full, bias, penalty, auc, low, high, (len(positive), len(negative)), (learned[0], learned[1]))


def evidence(words: Grams, weights: np.ndarray) -> np.ndarray:
    """Return the log odds of each of n texts without the bias, (n,) float64, in the same way for every batch."""
    total = np.zeros(len(words.counts))
    counts = np.zeros(len(words.counts), np.int64)
    for grams, buckets in _buckets(words, len(weights)):
        # bincount adds in reading order.
        total += np.bincount(grams.owner, weights[buckets], minlength=len(total))
        counts += grams.counts
    return total / np.sqrt(np.maximum(counts, 1))


# The vectors of texts, and 1 for each good text and 0 for each bad one.
Sample = tuple[csr_matrix, np.ndarray]


def _vectors(texts: pl.Series, buckets: int) -> csr_matrix:
    """Return a row for each text that has words, from its first words."""
    columns, counts = [np.zeros(0, np.int32)], [np.zeros(0, np.int64)]
    for piece in ngrams.pieces(texts):
        words = _first(ngrams.words(piece, marks=True))
        pairs = [(grams.owner, places.astype(np.int32)) for grams, places in _buckets(words, buckets)]
        owner, places = (np.concatenate(arrays) for arrays in zip(*pairs, strict=True))
        columns.append(places[np.argsort(owner, kind="stable")])
        counts.append(np.bincount(owner, minlength=len(words.counts)))
    sizes = np.concatenate(counts)
    sizes = sizes[sizes > 0]
    values = np.repeat(1 / np.sqrt(sizes), sizes)
    return csr_matrix((values, np.concatenate(columns), np.concatenate(([0], np.cumsum(sizes)))), (len(sizes), buckets))


def _first(words: Grams) -> Grams:
    """Return the first words of each text."""
    place = np.arange(len(words.values)) - np.repeat(words.offsets[:-1], words.counts)
    return Grams(words.values[place < WORDS], np.concatenate(([0], np.cumsum(np.minimum(words.counts, WORDS)))))


def _buckets(words: Grams, buckets: int) -> Iterator[tuple[Grams, np.ndarray]]:
    """Yield the words and the word pairs of texts, each with its buckets."""
    for grams in (words, ngrams.ngrams(words, 2)):
        yield grams, (grams.values % np.uint64(buckets)).view(np.int64)


def _split(rows: csr_matrix, used: np.ndarray) -> tuple[csr_matrix, csr_matrix, csr_matrix]:
    """Return the rows to learn from, to choose the penalty by and to test with, with the columns ``used`` only."""
    small = csr_matrix((rows.data, np.searchsorted(used, rows.indices), rows.indptr), (rows.shape[0], len(used)))
    held = max(1, round(HELD_OUT * rows.shape[0]))
    return small[: -2 * held], small[-2 * held : -held], small[-held:]


def _joined(good: csr_matrix, bad: csr_matrix) -> Sample:
    from scipy.sparse import vstack

    return vstack([good, bad], format="csr"), np.repeat([1, 0], [good.shape[0], bad.shape[0]])


def _stacked(first: Sample, second: Sample) -> Sample:
    from scipy.sparse import vstack

    return vstack([first[0], second[0]], format="csr"), np.concatenate((first[1], second[1]))


def _best_penalty(train: Sample, choose: Sample) -> float:
    """Return the penalty under which the held-out texts are most likely; of equal ones the stronger."""

    def loss(penalty: float) -> float:
        weights, bias = _fitted(train, penalty)
        odds, labels = choose[0] @ weights + bias, choose[1]
        losses = np.logaddexp(0, np.where(labels == 1, -odds, odds))
        return float(losses[labels == 1].mean() + losses[labels == 0].mean())

    return min(PENALTIES, key=loss)


def _fitted(sample: Sample, penalty: float) -> tuple[np.ndarray, float]:
    """Return the weights (u,) and the bias of logistic regression; both samples count alike, whatever their sizes."""
    from sklearn.linear_model import LogisticRegression
    from threadpoolctl import threadpool_limits

    model = LogisticRegression(C=penalty, class_weight="balanced", max_iter=MOST_STEPS)
    # On several threads the sums of the solver depend on their number.
    with threadpool_limits(1), warnings.catch_warnings():
        # A model that is not quite at its optimum is as good as any: the test says how good.
        warnings.simplefilter("ignore")
        model.fit(*sample)
    return model.coef_[0], float(model.intercept_[0])
