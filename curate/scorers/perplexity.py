"""Perplexity under an n-gram model that is learned from the data: a hierarchical Dirichlet model of hashed counts.

The model is that of MacKay and Peto (1995, "A hierarchical Dirichlet language model"). Counts only add, so what is
learned does not depend on the order of the texts, and tables of a fixed size bound the memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _target
from curate.tables.batches import Stream
from curate.words import ngrams
from curate.words.ngrams import BASE, Grams, mix

FORMAT = 2  # since format 2 words are split in the same way in every script
UNITS = ("word", "byte")
BYTES = 257  # values of a byte, and the mark before the first byte of a text
MOST = 1 << 32  # units that a 32-bit count may see


@dataclass(frozen=True)
class Perplexity:
    """How predictable a text is under an n-gram model; high is predictable, that is of low perplexity, and easy.

    ``score.perplexity`` (float64, nats, <= 0) is the mean log probability of a unit (a word or byte) given those before
    it in its text; the perplexity is exp(-score). Which end to keep depends on the data. In Marion et al. 2023 (arXiv
    2309.04564) the middle is best (``--rule middle``). In Ankner et al. 2024 (2405.20541) high or middle perplexity is
    best, depending on the data set. CCNet (1911.00359) keeps low perplexity under a model of clean text, which drops
    noise. Words are lower-cased. A run of punctuation is a word, and so is each character of a script without spaces.
    Words with the same hash modulo ``cells`` are not distinguished. A null text, or one without units, gets the score
    of unknown units: -log of the number of different units. ``counts`` (order, cells) uint32 counts k-grams, and
    ``contexts`` (order, cells) counts the k - 1 units before the last one.

    Source: MacKay and Peto 1995, "A hierarchical Dirichlet language model".
    """

    counts: np.ndarray = field(repr=False)
    contexts: np.ndarray = field(repr=False)
    unit: Literal["word", "byte"] = "word"
    concentration: float = 30.0
    needs = ("text",)
    schema = {"score.perplexity": pl.Float64()}
    meanings = {"score.perplexity": "easiness"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"counts": self.counts, "contexts": self.contexts}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        order, cells = self.counts.shape
        vocabulary = BYTES - 1 if self.unit == "byte" else cells
        scores = [np.zeros(0)]
        for piece in ngrams.pieces(batch["text"]):
            units = _units(piece, self.unit)
            share = np.full(len(units.values), 1.0 / vocabulary)
            for k, (gram_cells, context_cells) in enumerate(_cells_by_order(units, order, cells)):
                context = self.contexts[k, context_cells]
                # a count above that of its context comes from another k-gram in the same cell
                count = np.minimum(self.counts[k, gram_cells], context)
                share = (count + self.concentration * share) / (context + self.concentration)
            total = np.bincount(units.owner, np.log(share), minlength=len(piece))
            empty = units.counts == 0
            scores.append(np.where(empty, -np.log(vocabulary), total / np.maximum(units.counts, 1)))
        return pl.DataFrame({"score.perplexity": np.concatenate(scores)}, schema=dict(self.schema))


def learn(
    stream: Stream,
    *,
    target: str = "",
    target_column: str = "text",
    unit: Literal["word", "byte"] = "word",
    order: int = 3,
    bits: int = 22,
    concentration: float = 30.0,
) -> Perplexity:
    """Return the n-gram model of the target's texts, or of the data if there is no target.

    It counts k-grams, k = 1 to ``order``. p_k(u | h) = (count(h u) + concentration p_{k-1}(u | shorter h)) / (count(h)
    + concentration), and p_0 is uniform. Memory is 8 x order x 2^bits bytes: 100 MB with the defaults. A model of the
    data itself knows its texts by heart, copies most of all: remove duplicates first.

    Options:
        target: file, folder or glob of texts to learn from (default: the data itself).
        target_column: the column of the target that holds its texts (default text).
        unit: word or byte (default word).
        order: length of the longest k-gram in units (default 3).
        bits: base-2 logarithm of the cells of a table, 8 to 32; keep 2^bits above the number of distinct k-grams, or
            those that share a cell look more frequent than they are (default 22).
        concentration: weight of the shorter context, in units (default 30).

    Raises:
        SchemaError: if there are no units to learn from, or 2^32 and more.
    """
    if unit not in UNITS or order < 1 or not 8 <= bits <= 32 or concentration <= 0:
        raise SchemaError(
            f"perplexity: unit={unit} must be word or byte, order={order} at least 1, bits={bits} 8 to 32, "
            f"concentration={concentration} positive"
        )
    cells, seen = 1 << bits, 0
    counts, contexts = np.zeros((order, cells), np.uint32), np.zeros((order, cells), np.uint32)
    data_texts = (batch["text"] for batch in stream(("text",)))
    for texts in _target.texts(target, target_column, "perplexity") if target else data_texts:
        for piece in ngrams.pieces(texts):
            units = _units(piece, unit)
            seen += len(units.values)
            for k, (gram_cells, context_cells) in enumerate(_cells_by_order(units, order, cells)):
                np.add.at(counts[k], gram_cells, np.uint32(1))
                np.add.at(contexts[k], context_cells, np.uint32(1))
    if not 0 < seen < MOST:
        raise SchemaError(
            f"perplexity: {target or 'the data'} has {seen} {unit}s to learn from; it needs 1 to {MOST - 1}. "
            "Name another target=PATH"
        )
    return Perplexity(counts, contexts, unit, concentration)


def _units(texts: pl.Series, unit: str) -> Grams:
    if unit == "word":
        return ngrams.words(texts, marks=True)
    letters = ngrams.characters(texts)
    return Grams(letters.values + np.uint64(1), letters.offsets)  # 0 is the mark before the first byte


def _cells_by_order(units: Grams, order: int, cells: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield, for k = 1 to ``order``, two cells for each unit: of the k-gram that ends there, and of its context."""
    mask = np.uint64(cells - 1)
    # each text begins after ``order`` marks of value 0, so that its first units have a context of full length
    start = np.repeat(units.offsets[:-1], order)
    padded = np.insert(units.values, start, np.uint64(0))
    positions = np.arange(len(units.values)) + order * (units.owner + 1)
    rolling = np.zeros_like(padded)  # the hash of the k units that end at each position
    for k in range(order):
        before = rolling[positions - 1]
        rolling[1:] = rolling[:-1] * BASE
        rolling += padded
        context = _cells(before, mask) if k else np.zeros(len(positions), np.int64)
        yield _cells(rolling[positions], mask), context


def _cells(hashes: np.ndarray, mask: np.uint64) -> np.ndarray:
    return np.asarray(mix(hashes) & mask).astype(np.int64)
