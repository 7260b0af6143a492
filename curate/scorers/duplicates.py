"""Duplicates: exact by hash, near by MinHash, every candidate verified (Broder 1997; Lee et al. 2021, 2107.06499).

Rows are compared with each other, or with the texts of other files (``against``). In the first case the folder of the
corpus, ``OUT/_curate/duplicates``, keeps two files of arrays for each part, ``signatures/PART.npz`` and
``links/PART.npz``. New data are compared with the signatures. If rows are removed, links show which of the others still
belong together. A row is identified by hash(id, seed), as uint64. The arrays of a part are:

- signatures: ``ids`` (n,), ``digests`` (n, 2) of the texts, ``texts`` (w,) row numbers of texts that have words,
  ``bands`` (w, 2 bands) keys of their bands, ``ngrams`` the number of n-grams of all texts;
- links: ``first`` and ``second`` (l,) hashes of ids, ``similarity`` (l,) the exact Jaccard similarity, at least the
  threshold, and ``equal`` (l,) whether the texts have equal bytes. ``second`` is a row of the part, and comes after
  ``first`` in the order of rows. A row that copies another has one link, to the first of all its copies.
"""

from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from functools import cached_property
from typing import ClassVar

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _against
from curate.streaming import minhash
from curate.streaming.by_id import look_up
from curate.streaming.near_duplicates import Bands, find_duplicates
from curate.streaming.near_duplicates.reference import ReferenceTexts, reference_texts
from curate.tables.corpus import Corpus

FORMAT = 2  # since format 2 words are split in the same way in every script, and null texts are never copies
LEARNS_ADDED_FILES = True  # it learns from them without changing the scores of older files
KEEPS_RESULTS = True  # signatures and links are results that later jobs read, not a cache
# The defaults are those of FineWeb, Penedo et al. 2024, arXiv 2406.17557.
BANDS, ROWS, NGRAM, THRESHOLD = 14, 8, 5, 0.75
# Far above what is of use: 1,000 bands take 16 kB a row, and a short text is filled up to the words of an n-gram.
MOST_BANDS = MOST_WORDS = 1000
REFERENCE_ARRAYS = ("digests", "keys", "texts", "members", "offsets")


@dataclass(frozen=True)
class Duplicates:
    """How different a text is from the others; high is original, 0 is an exact copy.

    ``score.duplicates`` (float64, 0 to 1) is 1 minus the Jaccard similarity at which the text is merged into its
    representative. It is 1 for a text without duplicates, and for the representative itself, the text with the smallest
    hash(id, seed). The scores serve every threshold t from ``threshold`` to 1: keep scores > 1 - t. This keeps exactly
    one text of each group of texts that are linked by similarities >= t. A null text always scores 1, because its
    content is unknown. Empty texts are copies of each other.

    Texts that are added later never change older scores: an older text represents a newer one. A new text is merged
    into a group if similarities >= t link it to an older text, or through other new texts to one. No two texts with
    scores > 1 - t are linked by a similarity >= t. Two older texts that only a new text links are both kept.

    ``removed`` is (m,) uint64, the sorted hash(id, seed) of the merged texts, ``scores`` (m,) float64. They are learned
    and stored for each part of the data by itself.

    With ``against``, texts are compared with those of other files, and not with each other. The score is 1 minus the
    similarity to the nearest of them: 0 for a copy of equal bytes, and 1 if no similarity reaches ``threshold``. All
    copies in the data then have the same score. ``digests``, ``keys``, ``texts``, ``members`` and ``offsets`` are those
    of `ReferenceTexts`; they are empty without ``against``.

    Source: Broder 1997; Lee et al. 2021, arXiv 2107.06499.
    """

    removed: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64), repr=False)
    scores: np.ndarray = field(default_factory=lambda: np.zeros(0), repr=False)
    digests: np.ndarray = field(default_factory=lambda: np.zeros((0, 2), np.uint64), repr=False)
    keys: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64), repr=False)
    texts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    members: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64), repr=False)
    offsets: np.ndarray = field(default_factory=lambda: np.zeros(1, np.int64), repr=False)
    bands: int = BANDS
    rows: int = ROWS
    ngram: int = NGRAM
    threshold: float = THRESHOLD
    seed: int = 0
    against: str = ""
    schema = {"score.duplicates": pl.Float64()}
    meanings = {"score.duplicates": "quality"}
    part_arrays: ClassVar[tuple[str, ...]] = ("removed", "scores")

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads: the scores of rows that are compared with each other are learned by id."""
        return ("text",) if self.against else ()

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays that all parts share: those of the texts of ``against``."""
        return {name: getattr(self, name) for name in REFERENCE_ARRAYS} if self.against else {}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch, by its texts with ``against``, else by its ids."""
        if self.against:
            settings = Bands(self.bands, self.rows, self.ngram, self.seed)
            scores = 1 - self._reference.nearest(batch["text"], settings, self.threshold)
        else:
            scores = look_up(batch["id"], self.seed, self.removed, self.scores, otherwise=1.0)
        return pl.DataFrame({"score.duplicates": scores}, schema=dict(self.schema))

    # cached_property writes to __dict__, which a frozen dataclass allows
    @cached_property
    def _reference(self) -> ReferenceTexts:
        return ReferenceTexts(**{name: getattr(self, name) for name in REFERENCE_ARRAYS})


def learn(
    corpus: Corpus,
    *,
    bands: int = BANDS,
    rows: int = ROWS,
    ngram: int = NGRAM,
    threshold: float = THRESHOLD,
    seed: int = 0,
    against: str = "",
    against_columns: str = "",
) -> Duplicates:
    """Store the duplicates of each part of a corpus, or learn the texts of ``against``.

    Texts that share a band are candidates, and the Jaccard similarity of their sets of n-grams is computed exactly. The
    units of n-grams are lower-cased words without punctuation, and single characters in scripts without spaces
    (Chinese, Japanese, Thai, ...). A pair of similarity J is missed with a probability below (1 - J^rows)^bands: with
    the defaults 8 % at J = 0.75 and 0.02 % at 0.88. In a band that over 32 texts share, only a few random pairs of each
    text are compared. Signatures take about 16 x (bands + 2) bytes a row on disk. Work files take about 60 x bands
    bytes a row, and the n-grams of candidates. Texts are read once, and those of parts with candidates twice. Ids must
    be distinct.

    With ``against`` the data are not read to learn, and ids need not be distinct. A worker holds all texts of
    ``against`` as n-grams and bands in memory: about 8 bytes a word, and 1 kB a text. In a band that over 32 of them
    share, 32 are compared. A copy of equal bytes is never missed.

    Options:
        bands: bands of MinHash; more miss fewer pairs, 0 finds exact copies only (default 14, as FineWeb).
        rows: rows of a band; fewer make more candidates (default 8, as FineWeb).
        ngram: words of an n-gram, or characters in scripts without spaces (default 5, as FineWeb).
        threshold: smallest Jaccard similarity of duplicates, in (0, 1] (default 0.75, as FineWeb).
        seed: seed of the hash functions and of who represents a group (default 0).
        against: files, folders or globs of texts, joined by ``+``; the data are compared with them instead of with each
            other (default none).
        against_columns: columns of these files that hold text or lists of text, joined by ``+``; each value is a text
            of its own (default: the column of the texts of the data, or else text).

    Source: the defaults are those of FineWeb, Penedo et al. 2024, arXiv 2406.17557.

    Raises:
        SchemaError: for no rows, or two rows with one id; with ``against``, for a file without words.
    """
    sizes_fit = 0 <= bands <= MOST_BANDS and 0 < rows <= minhash.MOST_ROWS and 0 < ngram <= MOST_WORDS
    if not (0 < threshold <= 1 and sizes_fit):
        raise SchemaError(
            f"duplicates: threshold={threshold} must be in (0, 1], bands={bands} 0 to {MOST_BANDS}, rows={rows} 1 to "
            f"{minhash.MOST_ROWS}, ngram={ngram} 1 to {MOST_WORDS}"
        )
    settings = Bands(bands, rows, ngram, seed)
    if against:
        files = _against.reference_corpus(corpus, against, against_columns, "duplicates")
        reference, counts = reference_texts(files, settings)
        _against.check_words(files, counts, "duplicates")
        for number in range(len(corpus.parts)):
            corpus.store(number, {"removed": np.zeros(0, np.uint64), "scores": np.zeros(0)})
        arrays = {name: getattr(reference, name) for name in REFERENCE_ARRAYS}
        return Duplicates(**arrays, **asdict(settings), threshold=threshold, against=against)
    for number, merges in enumerate(find_duplicates(corpus, settings, threshold)):
        corpus.store(number, {"removed": merges["ids"], "scores": 1.0 - merges["levels"]})
    return Duplicates(seed=seed)
