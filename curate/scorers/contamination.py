"""Share of a text that does not occur in benchmark texts (Brown et al. 2020, arXiv 2005.14165, appendix C)."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import polars as pl
import pyarrow as pa

from curate.errors import SchemaError, amount
from curate.scorers import _against
from curate.streaming.reference_ngrams import ReferenceNgrams, reference_ngrams
from curate.tables.corpus import Corpus
from curate.words import ngrams
from curate.words.ngrams import Grams
from curate.words.places import word_places

LEARNS_ADDED_FILES = True  # it learns from the benchmark alone, so added files change nothing
MOST_WORDS = 1000  # of an n-gram: far above those of the literature, 8 to 50, and quick to hash
MOST_SPANS = 100  # spans that are stored of a text: enough to judge it, and at most 800 bytes


@dataclass(frozen=True)
class Contamination:
    """How little of a text occurs in benchmark texts; high is clean, and 0 means that all of it occurs there.

    ``score.contamination`` (float64, 0 to 1) is 1 minus the share of the text's n-grams that occur in a benchmark text.
    An n-gram is a run of ``n`` words, lower-cased and without punctuation. In scripts without spaces (Chinese,
    Japanese, Thai, ...) a word is a single character. A text of fewer than n words counts as one n-gram. A benchmark
    text of fewer than n words, but at least ``shortest``, is searched for as a whole: it occurs in every n-gram that
    contains all of it. A null text, or one without words, scores 1. N-grams are compared by 64-bit hashes: among 10^9
    n-grams of the data and 10^6 of the benchmark, a match by chance has a probability of 5e-5.

    ``spans.contamination`` says where the matches lie: a list of structs with ``start`` and ``end`` (int32), which
    count characters, so that ``text[start:end]`` is a match. Matches that overlap or follow each other are one span.
    Only the first 100 spans of a text are stored.

    ``sizes``, ``counts``, ``grams`` and ``heads`` are those of `ReferenceNgrams`. ``texts`` (2,) int64 counts the
    benchmark's texts: those that are searched for, and those that are too short.

    Source: Brown et al. 2020 (GPT-3), arXiv 2005.14165, appendix C, which searches for runs of 8 to 13 words.
    """

    sizes: np.ndarray = field(repr=False)
    counts: np.ndarray = field(repr=False)
    grams: np.ndarray = field(repr=False)
    heads: np.ndarray = field(repr=False)
    texts: np.ndarray = field(repr=False)
    n: int = 13
    shortest: int = 8
    needs = ("text",)
    schema = {
        "score.contamination": pl.Float64(),
        "spans.contamination": pl.List(pl.Struct({"start": pl.Int32(), "end": pl.Int32()})),
    }
    meanings = {"score.contamination": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {name: getattr(self, name) for name in ("sizes", "counts", "grams", "heads", "texts")}

    @property
    def notes(self) -> tuple[str, ...]:
        """A line on benchmark texts that are not searched for."""
        searched, too_short = self.texts.tolist()
        if not too_short:
            return ()
        return (
            f"contamination leaves out {too_short} of {amount(searched + too_short, 'benchmark text')}, with fewer "
            f"than {self.shortest} words: so few words occur by chance. Give shortest= to search for them too",
        )

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        scores, spans = [np.zeros(0)], [np.zeros((0, 3), np.int64)]
        first = 0
        for piece in ngrams.pieces(batch["text"]):
            words = ngrams.words(piece)
            starts, ends = self._reference.matches(words)
            # Most pieces of most data have no match.
            score = np.ones(len(piece))
            if len(starts):
                score -= _matched_shares(words, starts, ends, self.n)
                spans.append(_spans(piece, words, starts, ends) + [first, 0, 0])
            scores.append(score)
            first += len(piece)
        columns = [np.concatenate(scores), _lists(np.concatenate(spans), batch.height)]
        return pl.DataFrame(columns, schema=dict(self.schema))

    # cached_property writes to __dict__, which a frozen dataclass allows
    @cached_property
    def _reference(self) -> ReferenceNgrams:
        return ReferenceNgrams(self.sizes, self.counts, self.grams, self.heads, self.n, self.shortest)


def learn(
    corpus: Corpus, *, against: str = "", against_columns: str = "", n: int = 13, shortest: int = 8
) -> Contamination:
    """Return the scorer with the n-grams of the benchmark. The data themselves are not read.

    A worker holds 16 to 24 bytes for each different n-gram of the benchmark in memory.

    Options:
        against: files, folders or globs of benchmark texts, joined by ``+`` (required).
        against_columns: columns of the benchmark that hold text or lists of text, joined by ``+``. Each value is a text
            of its own, so that no n-gram crosses from a question to its answer. A file may lack some of the columns
            (default: the column of the texts of the data, or else text).
        n: words of an n-gram (default 13, as GPT-3).
        shortest: words that a benchmark text needs so that it is searched for (default 8, as GPT-3).

    Raises:
        SchemaError: if there is no benchmark, a file of it has no words, or all its texts are too short.
    """
    if not 0 < shortest <= n <= MOST_WORDS:
        raise SchemaError(
            f"contamination: shortest={shortest} must be at least 1, and n={n} at least shortest and at most "
            f"{MOST_WORDS}"
        )
    benchmark = _against.reference_corpus(corpus, against, against_columns, "contamination")
    reference, texts = reference_ngrams(benchmark, n, shortest)
    _against.check_words(benchmark, texts.words, "contamination")
    if not texts.searched:
        raise SchemaError(
            f"contamination: none of the {amount(texts.too_short, 'text')} of {against} has {shortest} words or more. "
            "Give a smaller shortest=, or a column of longer texts by against_columns="
        )
    counts = np.array([texts.searched, texts.too_short], np.int64)
    return Contamination(
        reference.sizes, reference.counts, reference.grams, reference.heads, counts, n=n, shortest=shortest
    )


def _matched_shares(words: Grams, starts: np.ndarray, ends: np.ndarray, n: int) -> np.ndarray:
    """Return the share of the n-grams of each text that contain a match, (t,) float64. A match is no longer than n."""
    text = np.searchsorted(words.offsets, starts, side="right") - 1
    width = np.minimum(n, words.counts)
    first, last = words.offsets[:-1], words.offsets[1:] - width
    # n-grams that begin from `low` to `high` contain the match
    low, high = np.maximum(first[text], ends - width[text]), np.minimum(starts, last[text])
    covered = _covered(low, high + 1, len(words.values))
    matched = np.bincount(words.owner[covered], minlength=len(words.counts))
    return np.asarray(matched / np.maximum(1, words.counts - width + 1))


def _spans(piece: pl.Series, words: Grams, starts: np.ndarray, ends: np.ndarray) -> np.ndarray:
    """Return the spans (s, 3) of texts, in order: the number of the text, and the places of characters."""
    spans: list[tuple[int, int, int]] = []
    covered = _covered(starts, ends, len(words.values))
    text = np.searchsorted(words.offsets, covered, side="right") - 1
    texts, edges = np.unique(text, return_index=True)
    for number, matched in zip(texts.tolist(), np.split(covered, edges[1:]), strict=True):
        inside = matched - words.offsets[number]
        # A span ends where the next word that matches does not follow.
        breaks = np.flatnonzero(np.diff(inside) > 1)
        first, last = inside[np.append(0, breaks + 1)], inside[np.append(breaks, len(inside) - 1)]
        places = word_places(piece[number])
        pairs = zip(places[first, 0].tolist(), places[last, 1].tolist(), strict=True)
        spans += [(number, start, end) for start, end in pairs][:MOST_SPANS]
    return np.array(spans, np.int64).reshape(-1, 3)


def _lists(spans: np.ndarray, rows: int) -> pl.Series:
    """Return a column with the list of spans of each row, from spans (s, 3) in the order of rows."""
    offsets = np.searchsorted(spans[:, 0], np.arange(rows + 1))
    fields = [pa.array(spans[:, i].astype(np.int32)) for i in (1, 2)]
    structs = pa.StructArray.from_arrays(fields, names=["start", "end"])
    return pl.Series(pl.from_arrow(pa.LargeListArray.from_arrays(pa.array(offsets, pa.int64()), structs)))


def _covered(starts: np.ndarray, ends: np.ndarray, count: int) -> np.ndarray:
    """Return which of the numbers below ``count`` lie in a range [start, end), in rising order."""
    changes = np.bincount(starts, minlength=count + 1) - np.bincount(ends, minlength=count + 1)
    return np.flatnonzero(np.cumsum(changes[:count]) > 0)
