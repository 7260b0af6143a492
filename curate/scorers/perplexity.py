"""Perplexity under an n-gram model learned here: hashed counts, orders interpolated by hierarchical Dirichlet priors.

The model of MacKay and Peto (1995, "A hierarchical Dirichlet language model"). Counts only add, so what is learned does
not depend on the order of the texts, and tables of a fixed size bound the memory.
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.scorers import _target
from curate.streaming import ngrams
from curate.streaming.ngrams import BASE, Grams, mix
from curate.tables.batches import Stream

UNITS = ("word", "byte")
BYTES = 257  # values of a byte, and the mark before a text's first
MOST = 1 << 32  # units that a 32-bit count may have seen


@dataclass(frozen=True)
class Perplexity:
    """``score.perplexity``: mean log probability of a unit given those before it in its text, float64, nats <= 0.

    High = predictable, low perplexity; perplexity is exp(-score). Which end to keep depends on the data: the middle is
    best in Marion et al. 2023 (arXiv 2309.04564; rule ``middle``), high or middle perplexity by data set in Ankner et
    al. 2024 (2405.20541), and low perplexity to a clean target drops noise (CCNet, 1911.00359). Units are words
    (lower-cased, runs of marks are words, each its hash modulo the cells) or bytes. A text without units scores as
    units that the model knows nothing of: -log of how many different ones there are.
    ``counts`` (order, cells) uint32 are of k-grams, ``contexts`` (order, cells) of what stands before their last unit.
    """

    counts: np.ndarray = field(repr=False)
    contexts: np.ndarray = field(repr=False)
    unit: Literal["word", "byte"] = "word"
    concentration: float = 30.0
    needs = ("text",)
    schema = {"score.perplexity": pl.Float64()}

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
            for k, (grams, before) in enumerate(_slots(units, order, cells)):
                context = self.contexts[k, before]
                count = np.minimum(self.counts[k, grams], context)  # more than the context has is another k-gram's
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
    """Count k-grams, k = 1 to ``order``, of ``target`` (file, folder or glob of examples); without one, of the stream.

    p_k(u | h) = (count(h u) + concentration p_{k-1}(u | shorter h)) / (count(h) + concentration), and p_0 is uniform.
    Memory is 8 x order x 2^bits bytes (100 MB). Keep 2^bits above the number of distinct k-grams, or those that share a
    cell look more frequent than they are. A model of the stream itself knows its texts by heart, copies most of all:
    remove duplicates first.
    """
    if unit not in UNITS or order < 1 or not 8 <= bits <= 32 or concentration <= 0:
        raise SchemaError(
            f"perplexity: unit={unit} must be word or byte, order={order} at least 1, bits={bits} 8 to 32, "
            f"concentration={concentration} positive"
        )
    cells, seen = 1 << bits, 0
    counts, contexts = np.zeros((order, cells), np.uint32), np.zeros((order, cells), np.uint32)
    own = (batch["text"] for batch in stream(("text",)))
    for texts in _target.texts(target, target_column, "perplexity") if target else own:
        for piece in ngrams.pieces(texts):
            units = _units(piece, unit)
            seen += len(units.values)
            for k, (grams, before) in enumerate(_slots(units, order, cells)):
                np.add.at(counts[k], grams, np.uint32(1))
                np.add.at(contexts[k], before, np.uint32(1))
    if not 0 < seen < MOST:
        raise SchemaError(
            f"perplexity: {target or 'the data'} has {seen} {unit}s to learn from; it needs 1 to {MOST - 1}: "
            "name another target=PATH"
        )
    return Perplexity(counts, contexts, unit, concentration)


def _units(texts: pl.Series, unit: str) -> Grams:
    if unit == "word":
        return ngrams.words(texts, marks=True)
    found = ngrams.characters(texts)
    return Grams(found.values + np.uint64(1), found.offsets)  # 0 is the mark before the first


def _slots(units: Grams, order: int, cells: int) -> Iterator[tuple[np.ndarray, np.ndarray]]:
    """Yield for k = 1 to ``order`` the cells of the k-gram that ends at each unit, and of the k-1 units before it."""
    mask = np.uint64(cells - 1)
    start = np.repeat(units.offsets[:-1], order)  # each text begins after ``order`` marks, of value 0
    padded = np.insert(units.values, start, np.uint64(0))
    at = np.arange(len(units.values)) + order * (units.owner + 1)
    rolling = np.zeros_like(padded)  # of the k units that end here
    for k in range(order):
        before = rolling[at - 1]
        rolling[1:] = rolling[:-1] * BASE
        rolling += padded
        yield _cells(rolling[at], mask), _cells(before, mask) if k else np.zeros(len(at), np.int64)


def _cells(hashes: np.ndarray, mask: np.uint64) -> np.ndarray:
    return np.asarray(mix(hashes) & mask).astype(np.int64)
