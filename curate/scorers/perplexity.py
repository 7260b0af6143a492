"""Perplexity under an n-gram model that is learned from the data: a hierarchical Dirichlet model of hashed counts.

The model is that of MacKay and Peto (1995, "A hierarchical Dirichlet language model"). Counts only add, so what is
learned does not depend on the order of the texts, and tables of a fixed size bound the memory.
"""

import math
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import Scorer, _target, _words
from curate.streaming import key_counts
from curate.tables.corpus import Corpus, PartRows
from curate.words import ngrams
from curate.words.ngrams import BASE, MIX, Grams

FORMAT = 3  # since format 3 tables are as large as the data needs, and the end of a text counts as a unit
UNITS = ("word", "byte")
# The number of different units, of which the end of a text is one. Words that were never seen share what the model
# gives to unknown words, so their number only shifts scores; it is fixed, so that scores do not depend on table sizes.
VOCABULARY = {"word": 1 << 22, "byte": 257}
LEAST_BITS, MOST_BITS = 10, 32
# Different k-grams for each cell of a table. Above it, so many share a cell that rankings suffer: see the table of
# benchmarks/scorers/ngram_tables.py.
LARGEST_LOAD = 0.5


@dataclass(frozen=True)
class Perplexity:
    """How predictable a text is under an n-gram model; high is predictable, that is of low perplexity, and easy.

    ``score.perplexity`` (float64, nats, <= 0) is the mean log probability of a unit (a word or byte) given those before
    it in its text; the perplexity is exp(-score). Which end to keep depends on the data. In Marion et al. 2023 (arXiv
    2309.04564) the middle is best (``--rule middle``). In Ankner et al. 2024 (2405.20541) high or middle perplexity is
    best, depending on the data set. CCNet (1911.00359) keeps low perplexity under a model of clean text, which drops
    noise. Words are lower-cased. A run of punctuation is a word, and so is each character of a script without spaces.
    A null text, or one without units, gets the score of unknown units: -log of the number of different units.

    ``counts`` (order, cells) uint32 counts k-grams; those that share a cell are not distinguished. ``learned_units``
    and ``learned_texts`` (1,) int64 are the units and the texts in the data, and ``different`` (order,) int64 estimates
    the number of different k-grams.

    Source: MacKay and Peto 1995, "A hierarchical Dirichlet language model".
    """

    counts: np.ndarray = field(repr=False)
    learned_units: np.ndarray = field(repr=False)
    learned_texts: np.ndarray = field(repr=False)
    different: np.ndarray = field(repr=False)
    unit: Literal["word", "byte"] = "word"
    concentration: float = 30.0
    needs = ("text",)
    schema = {"score.perplexity": pl.Float64()}
    meanings = {"score.perplexity": "easiness"}

    @property
    def computed(self) -> tuple[str, ...]:
        """The column that it reads instead of texts, where a job has computed it."""
        return (_words.COLUMN,) if self.unit == "word" else ()

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {
            "counts": self.counts,
            "learned_units": self.learned_units,
            "learned_texts": self.learned_texts,
            "different": self.different,
        }

    @property
    def notes(self) -> tuple[str, ...]:
        """A warning if the load of the fullest table is above 0.5."""
        order, cells = self.counts.shape
        k = int(np.argmax(self.different))
        different = int(self.different[k])
        if different <= LARGEST_LOAD * cells:
            return ()
        bits = _bits_for(different)
        # If a table has no empty cell, only a lower bound of the number is known.
        about = "at least" if different == _different(cells, cells) else "about"
        rounded = f"{float(f'{different:.2g}'):,.0f}"
        return (
            f"perplexity: its tables are too small, so rare words seem frequent. {about.capitalize()} {rounded} "
            f"different n-grams of {k + 1} {self.unit}s share {cells:,} cells, {different / cells:.2g} for each cell. "
            f"More than {LARGEST_LOAD} is too many. Give bits={bits} ({_size(4 * order * 2**bits)} in every worker), "
            "or learn from fewer texts with target=PATH",
        )

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        vocabulary = VOCABULARY[self.unit]
        scores = [np.zeros(0)]
        for units in _units(batch, self.unit):
            total = np.bincount(units.owner, np.log(self._shares(units)), minlength=len(units.counts))
            empty = units.counts == 0
            scores.append(np.where(empty, -np.log(vocabulary), total / np.maximum(units.counts, 1)))
        return pl.DataFrame({"score.perplexity": np.concatenate(scores)}, schema=dict(self.schema))

    def _shares(self, units: Grams) -> np.ndarray:
        """Return the probability of each unit given those before it, (w,) float64."""
        texts, size = float(self.learned_texts[0]), len(units.values)
        # The end of a text is a unit that is never scored: the probabilities of the units and of the end sum to 1.
        context = np.full(size, self.learned_units[0] + texts)
        shorter = context
        share = np.full(size, 1.0 / VOCABULARY[self.unit])
        for table, hashes in zip(self.counts, _hashes(units, len(self.counts)), strict=True):
            count = table.take(_cells(hashes, len(table)).astype(np.int64)).astype(np.float64)
            # A k-gram that is more frequent than its first or its last k - 1 units shares its cell with another one.
            np.minimum(count, context, out=count)
            np.minimum(count, shorter, out=count)
            share *= self.concentration
            share += count
            context += self.concentration
            share /= context
            # The context of the next order is this k-gram, one unit earlier; no unit stands before a text's first.
            shorter, context = count, np.empty(size)
            context[1:] = count[:-1]
            context[_first_units(units)] = texts
        return share


def prepares(options: Mapping[str, object]) -> tuple[Scorer, ...]:
    """Return what is computed of every row before `learn`: the words, if they are read twice."""
    # With a target, the words of the data are read only once.
    return () if options.get("target") or options.get("unit", "word") != "word" else (_words.WordHashes(),)


def learn(
    corpus: Corpus,
    *,
    target: str = "",
    target_column: str = "",
    unit: Literal["word", "byte"] = "word",
    order: int = 3,
    bits: int = 0,
    max_bits: int = 27,
    concentration: float = 30.0,
) -> Perplexity:
    """Return the n-gram model of the target's texts, or of the data if there is no target.

    It counts k-grams, k = 1 to ``order``. p_k(u | h) = (count(h u) + concentration p_{k-1}(u | shorter h)) / (count(h)
    + concentration), and p_0 is uniform. The end of a text counts as a unit. Every worker holds 4 x order x 2^bits
    bytes: at most 1.6 GB with the defaults. A count stops at 2^32 - 1. A model of the data itself knows its texts by
    heart, copies most of all: remove duplicates first.

    Options:
        target: files, folders or globs, joined by +, of texts to learn from (default: the data itself).
        target_column: the column of the target that holds its texts (default: that of the data, or else text).
        unit: word or byte (default word).
        order: length of the longest k-gram in units (default 3).
        bits: base-2 logarithm of the cells in the table of each k, 10 to 32. With 0 the different k-grams are counted,
            and the table has two to four cells for each; if several share a cell, they look more frequent than they
            are (default 0).
        max_bits: the largest ``bits`` that ``bits=0`` chooses. A note tells if the data needs more (default 27).
        concentration: weight of the shorter context, in units (default 30).

    Raises:
        SchemaError: if there are no units to learn from.
    """
    if unit not in UNITS or order < 1 or concentration <= 0:
        raise SchemaError(
            f"perplexity: unit={unit} must be word or byte, order={order} at least 1, "
            f"concentration={concentration} positive"
        )
    sizes = range(LEAST_BITS, MOST_BITS + 1)
    if bits not in (0, *sizes) or max_bits not in sizes:
        raise SchemaError(
            f"perplexity: bits={bits} must be 0 or {LEAST_BITS} to {MOST_BITS}, and max_bits={max_bits} must be "
            f"{LEAST_BITS} to {MOST_BITS}"
        )
    source = _target.corpus_of_target(corpus, target, target_column, "perplexity") if target else corpus
    limit = 1 << (bits or max_bits)
    needs = _words.needs(source) if unit == "word" else ("text",)
    # Keys of k-grams are the cells of a table of this size, and cells of a smaller table are their upper bits.
    ngram_counts = key_counts.count(
        source, partial(_part_keys, unit, order, limit), needs=needs, tables=order + 1, limit=limit, name="ngrams"
    )
    # The counts of single units sum to all units. The last table counts texts.
    units, texts = ngram_counts.sums[0], ngram_counts.sums[order]
    if not units:
        raise SchemaError(
            f"perplexity: {target or 'the data'} has 0 {unit}s to learn from. Check that its text column is the right "
            "one, or name another target=PATH"
        )
    different = [_different(int(count), limit) for count in ngram_counts.different[:order]]
    cells = 1 << (bits or min(_bits_for(max(different)), max_bits))
    counts = ngram_counts.tables(order, cells, np.uint32)
    return Perplexity(counts, np.array([units]), np.array([texts]), np.array(different), unit, concentration)


def _different(filled: int, cells: int) -> int:
    """Estimate the number of different k-grams from the cells that they fill (linear counting, Whang et al. 1990)."""
    # If all cells are filled, half a cell counts as empty.
    return round(-cells * math.log1p(-min(filled, cells - 0.5) / cells))


def _bits_for(different: int) -> int:
    """Return the base-2 logarithm of the cells of the smallest table with a load of at most 0.5."""
    return max(LEAST_BITS, math.ceil(different / LARGEST_LOAD - 1).bit_length())


def _size(count: float) -> str:
    return f"{count / 1e9:.1f} GB" if count >= 1e9 else f"{count / 1e6:.1f} MB"


def _part_keys(unit: str, order: int, limit: int, rows: PartRows) -> Iterator[list[np.ndarray]]:
    """Yield the keys of the k-grams of a part, piece by piece: an array for each k, and one more for texts.

    The last array has the key 0 once for each text that has units.
    """
    for batch in rows.batches():
        for units in _units(batch, unit):
            keys = [_cells(hashes, limit) for hashes in _hashes(units, order)]
            yield [*keys, np.zeros(len(_first_units(units)), np.uint32)]


def _units(batch: pl.DataFrame, unit: str) -> Iterator[Grams]:
    """Yield the units of the texts of a batch, some texts at a time."""
    if unit == "word":
        yield from _words.of_batch(batch)
        return
    for piece in ngrams.pieces(batch["text"]):
        letters = ngrams.characters(piece)
        # 0 stands for what comes before the first byte.
        yield Grams(letters.values + np.uint64(1), letters.offsets)


def _first_units(units: Grams) -> np.ndarray:
    """Return the place of the first unit of each text that has any."""
    return units.offsets[:-1][units.counts > 0]


def _hashes(units: Grams, order: int) -> Iterator[np.ndarray]:
    """Yield, for k = 1 to ``order``, the hash of the k units that end at each unit, (w,) uint32.

    Near the start of a text it is the hash of the units since the start.
    """
    first_units = _first_units(units)
    rolling = units.values
    for k in range(order):
        if k:
            before = np.empty_like(rolling)
            before[1:] = rolling[:-1]
            before[first_units] = 0
            before *= BASE
            before += units.values
            rolling = before
        # Multiplying spreads the lower bits into the upper ones, which are the cell.
        scrambled = rolling ^ (rolling >> np.uint64(32))
        scrambled *= MIX
        scrambled >>= np.uint64(32)
        yield scrambled.astype(np.uint32)


def _cells(hashes: np.ndarray, cells: int) -> np.ndarray:
    """Return the cell of each hash in a table of 2^b cells: its upper b bits."""
    return hashes >> np.uint32(33 - cells.bit_length()) if cells < 1 << 32 else hashes
