"""Importance weights of hashed n-grams: data selection by importance resampling (Xie et al. 2023, arXiv 2302.03169)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import Scorer, _target, _words
from curate.streaming import key_counts
from curate.tables.corpus import Corpus, PartRows
from curate.words import ngrams

FORMAT = 2  # since format 2 words are split in the same way in every script
FLOOR = 1e-8  # the authors' code adds it to probabilities, where nothing is smoothed
MOST_BUCKETS = 1 << 28  # 2 GB of ratios


@dataclass(frozen=True)
class Dsir:
    """How much more likely a text is under the target than under the data; high is like the target.

    ``score.dsir`` (float64, nats, any sign) is log p(text) - log q(text). p is learned from the target and q from the
    data; both are bags of hashed words and word pairs. Words are lower-cased, and a run of punctuation is a word, as in
    the authors' code. In a script without spaces each character is a word; in the authors' code the whole run of
    characters is one. The score is a sum over the text, as in the paper, so long texts have the largest and the
    smallest scores. For this reason, draw with ``--rule sample``, the resampling of the paper (the authors first drop
    texts under 100 words). To keep the highest scores instead, use ``normalise=true``. A null text, or one without
    words, scores 0. ``ratios`` (b,) float64 is log p - log q of each bucket.

    Source: Xie et al. 2023, arXiv 2302.03169.
    """

    ratios: np.ndarray = field(repr=False)
    normalise: bool = False
    needs = ("text",)
    computed = (_words.COLUMN,)
    schema = {"score.dsir": pl.Float64()}
    meanings = {"score.dsir": "quality"}

    @property
    def log_weights(self) -> tuple[str, ...]:
        """Columns that hold the logarithm of an importance weight; none if ``normalise`` takes the mean over a text."""
        return () if self.normalise else ("score.dsir",)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"ratios": self.ratios}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [np.zeros(0)]
        for words in _words.of_batch(batch):
            texts = len(words.counts)
            total, counts = np.zeros(texts), np.zeros(texts, np.int64)
            for grams in (words, ngrams.ngrams(words, 2)):
                ratios = self.ratios[(grams.values % np.uint64(len(self.ratios))).view(np.int64)]
                # bincount adds in reading order, so a text gets the same sum in every batch
                total += np.bincount(grams.owner, ratios, minlength=texts)
                counts += grams.counts
            scores.append(total / np.maximum(counts, 1) if self.normalise else total)
        return pl.DataFrame({"score.dsir": np.concatenate(scores)}, schema=dict(self.schema))


def prepares(options: Mapping[str, object]) -> tuple[Scorer, ...]:
    """Return what is computed of every row before `learn`: the words, which are read twice."""
    return (_words.WordHashes(),)


def learn(
    corpus: Corpus,
    *,
    target: str = "",
    target_column: str = "",
    buckets: int = 10_000,
    smoothing: float = 1.0,
    normalise: bool = False,
) -> Dsir:
    """Return the scorer with the log ratio of each bucket of n-grams, target over data.

    Options:
        target: files, folders or globs, joined by +, of texts like those that are wanted (required).
        target_column: the column of the target that holds its texts (default: that of the data, or else text).
        buckets: buckets into which n-grams are hashed (default 10000).
        smoothing: this number is added to the count of every bucket. Without it, a single n-gram that the target never
            uses could decide the score of a text. 0 adds 1e-8 to the share of each bucket instead, as the authors' code
            does. Then such an n-gram can lower the score by up to 18 nats (default 1).
        normalise: the mean over the n-grams of a text instead of the sum (default false).

    Raises:
        SchemaError: if there is no target, or the target or the data have no words.
    """
    if not (0 < buckets <= MOST_BUCKETS and smoothing >= 0):
        raise SchemaError(f"dsir: buckets={buckets} must be 1 to {MOST_BUCKETS}, smoothing={smoothing} at least 0")
    wanted = _target.corpus_of_target(corpus, target, target_column, "dsir")
    target_counts, data_counts = _counts(wanted, buckets), _counts(corpus, buckets)
    for counts, what in ((target_counts, f"the target {target}"), (data_counts, "the data")):
        if not counts.any():
            raise SchemaError(f"dsir: {what} has no words to learn from. Check that its text column is the right one")
    return Dsir(_log_shares(target_counts, smoothing) - _log_shares(data_counts, smoothing), normalise)


def _counts(corpus: Corpus, buckets: int) -> np.ndarray:
    """Return how many n-grams of the texts fall into each bucket, (b,) int64."""
    counted = key_counts.count(
        corpus, partial(_buckets, buckets), needs=_words.needs(corpus), tables=1, limit=buckets, name="buckets"
    )
    return np.asarray(counted.tables(1, buckets, np.uint64)[0], np.int64)


def _buckets(buckets: int, rows: PartRows) -> Iterator[list[np.ndarray]]:
    """Yield the buckets of the n-grams of a part, piece by piece."""
    for batch in rows.batches():
        for words in _words.of_batch(batch):
            for grams in (words, ngrams.ngrams(words, 2)):
                yield [(grams.values % np.uint64(buckets)).view(np.int64)]


def _log_shares(counts: np.ndarray, smoothing: float) -> np.ndarray:
    shares = (counts + smoothing) / (counts.sum() + smoothing * len(counts))
    return np.asarray(np.log(shares if smoothing else shares + FLOOR))
