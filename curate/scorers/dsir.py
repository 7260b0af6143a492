"""Importance weights of hashed n-grams: data selection by importance resampling (Xie et al. 2023, arXiv 2302.03169)."""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _target
from curate.streaming import ngrams
from curate.streaming.ngrams import Grams
from curate.tables.batches import Stream

FLOOR = 1e-8  # added to probabilities by the authors' code, where nothing is smoothed
MOST_BUCKETS = 1 << 28


@dataclass(frozen=True)
class Dsir:
    """``score.dsir``: log p(text) - log q(text) in nats, float64; p learned on the target, q on the data.

    High = more like the target; keep high. p and q are bags of hashed words and word pairs (lower-cased, runs of marks
    are words). A sum over the text as in the paper, so that long texts have the largest and the smallest scores: draw
    with the rule ``sample``, which is the paper's resampling (they drop texts under 100 words first). To take the
    highest instead, use ``normalise=true``: the mean over the text's n-grams. A text without words scores 0.
    ``ratios`` is (b,) float64, log p - log q of each bucket.
    """

    ratios: np.ndarray = field(repr=False)
    normalise: bool = False
    needs = ("text",)
    schema = {"score.dsir": pl.Float64()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"ratios": self.ratios}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores = [np.zeros(0)]
        for piece in ngrams.pieces(batch["text"]):
            total, counts = np.zeros(len(piece)), np.zeros(len(piece), np.int64)
            for grams in _grams(piece):
                found = self.ratios[grams.values % np.uint64(len(self.ratios))]
                total += np.bincount(grams.owner, found, minlength=len(piece))  # adds in reading order, so always alike
                counts += grams.counts
            scores.append(total / np.maximum(counts, 1) if self.normalise else total)
        return pl.DataFrame({"score.dsir": np.concatenate(scores)}, schema=dict(self.schema))


def learn(
    stream: Stream,
    *,
    target: str = "",
    target_column: str = "text",
    buckets: int = 10_000,
    smoothing: float = 1.0,
    normalise: bool = False,
) -> Dsir:
    """Count n-grams in ``buckets`` of the whole stream and of ``target`` (a file, folder or glob; column ``text``).

    ``smoothing`` is added to every count, so that a bucket that the target never uses is worth no more than the data
    can tell; 0 is the authors' code instead, where 1e-8 is added to each share: such a bucket then counts as 18 nats.
    """
    if not (0 < buckets <= MOST_BUCKETS and smoothing >= 0):
        raise SchemaError(f"dsir: buckets={buckets} must be 1 to {MOST_BUCKETS}, smoothing={smoothing} at least 0")
    wanted = _counts(_target.texts(target, target_column, "dsir"), buckets)
    raw = _counts((batch["text"] for batch in stream(("text",))), buckets)
    for counts, what in ((wanted, f"the target {target}"), (raw, "the data")):
        if not counts.any():
            raise SchemaError(f"dsir: {what} has no words to learn from: is its text column the right one?")
    return Dsir(_log_shares(wanted, smoothing) - _log_shares(raw, smoothing), normalise)


def _counts(texts: Iterable[pl.Series], buckets: int) -> np.ndarray:
    counts = np.zeros(buckets, np.int64)
    for column in texts:
        for piece in ngrams.pieces(column):
            for grams in _grams(piece):
                counts += np.bincount((grams.values % np.uint64(buckets)).astype(np.int64), minlength=buckets)
    return counts


def _grams(texts: pl.Series) -> Iterator[Grams]:
    units = ngrams.words(texts, marks=True)
    yield units
    yield ngrams.ngrams(units, 2)


def _log_shares(counts: np.ndarray, smoothing: float) -> np.ndarray:
    shares = (counts + smoothing) / (counts.sum() + smoothing * len(counts))
    return np.asarray(np.log(shares if smoothing else shares + FLOOR))
