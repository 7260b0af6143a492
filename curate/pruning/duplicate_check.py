"""A sample of the duplicates that pruning removed, each beside the text that is nearest to it, by exact similarity.

Hashes propose duplicates and a chain may link texts that are not alike: one public pipeline's removals were 64 % false.
"""

import heapq
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate import open_sets
from curate.errors import SchemaError
from curate.streaming import ngrams
from curate.tables import batches, scored

SAMPLED = 16
NGRAM = 5  # words, where the scorer was not told otherwise
SHOWN = 60  # characters of a text
Row = tuple[str, str, float, str, bool]  # id, source, score, text, kept


@dataclass(frozen=True)
class Near:
    """The nearest text to a removed one so far: Jaccard similarity, key (the smallest wins a tie), id."""

    similarity: float = 0.0
    key: int = 1 << 64
    id: str = "-"


def sampled(scores: Path, kept: Path, by: str, *, count: int = SAMPLED, seed: int = 0) -> pl.DataFrame:
    """Return ``count`` removed rows: id, source, claimed, similarity, of, kept_similarity, of_kept, text.

    Rows with the smallest hash(id, seed). ``claimed`` is 1 - score, the similarity at which the row was merged;
    ``similarity`` the exact Jaccard similarity of word n-grams to the nearest other text ``of`` in the data, and
    ``kept_similarity`` to the nearest that is kept: less where a chain of texts links the two. Reads the texts twice.
    """
    chosen = _chosen(scores, kept, by, count, seed)
    if not chosen:
        return pl.DataFrame()
    n = _ngram(scores)
    sets = [_set(row[3], n) for row in chosen]
    vocabulary = np.unique(np.concatenate(sets))
    member = np.stack([np.isin(vocabulary, one) for one in sets], axis=1)  # (grams, sampled)
    near = [[Near(), Near()] for _ in chosen]
    for batch in _batched(_texts(scores, kept, by)):
        for found, similarity in _compared(batch, vocabulary, member, n):
            name, good = batch[found][0], batch[found][4]
            key = int(batches.keys([name], seed)[0])
            for i in np.flatnonzero(similarity):
                if name != chosen[i][0]:
                    for which in (0, 1) if good else (0,):
                        now = Near(float(similarity[i]), key, name)
                        near[i][which] = min(near[i][which], now, key=lambda one: (-one.similarity, one.key))
    return pl.DataFrame(
        {"removed": name, "source": source, "claimed": 1 - score, "similarity": every.similarity, "of": every.id,
         "kept_similarity": left.similarity, "of_kept": left.id, "text": " ".join(text.split())[:SHOWN]}
        for (name, source, score, text, _), (every, left) in zip(chosen, near, strict=True)
    )  # fmt: skip


def false(found: pl.DataFrame) -> int:
    """Count the rows of ``sampled`` with no other text as near as claimed."""
    return 0 if found.is_empty() else found.filter(pl.col("similarity") < pl.col("claimed") - 1e-9).height


def _texts(scores: Path, kept: Path, by: str) -> Iterator[Row]:
    """Yield id, source, score, text and verdict of every row."""
    job = scored.job(scores)
    inputs = {shard.relative: shard for shard in batches.shards(cast(list[str], job["data"]))}
    for shard in scored.score_files(scores):
        if shard.relative not in inputs:
            raise SchemaError(f"{shard.path} has no input {shard.relative} any more: was it moved? Give --verify 0")
        data = batches.batches(
            inputs[shard.relative], ("text",), reading=batches.Reading(text_column=str(job["text_column"]))
        )
        for batch, (mark, verdict) in zip(data, scored.kept_batches(shard, kept, (by,)), strict=True):
            texts = batch["text"].fill_null("").to_list()
            yield from zip(mark["id"], mark["source"], mark[by], texts, verdict, strict=True)


def _chosen(scores: Path, kept: Path, by: str, count: int, seed: int) -> list[Row]:
    """Return the removed rows with the smallest keys."""
    heap: list[tuple[int, Row]] = []
    for row in _texts(scores, kept, by):
        if row[4]:
            continue
        key = -int(batches.keys([row[0]], seed)[0])
        if len(heap) < count:
            heapq.heappush(heap, (key, row))
        elif key > heap[0][0]:
            heapq.heapreplace(heap, (key, row))
    return [row for _, row in sorted(heap, reverse=True)]


def _batched(found: Iterator[Row]) -> Iterator[list[Row]]:
    held: list[Row] = []
    size = 0
    for row in found:
        held.append(row)
        size += len(row[3])
        if size > ngrams.PIECE or len(held) == ngrams.PIECE_TEXTS:
            yield held
            held, size = [], 0
    if held:
        yield held


def _compared(batch: list[Row], vocabulary: np.ndarray, member: np.ndarray, n: int) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the texts of a batch that share an n-gram with a sampled one, with their (sampled,) similarities."""
    grams = ngrams.ngrams(ngrams.words(pl.Series([row[3] for row in batch])), n, short=True)
    at = np.minimum(np.searchsorted(vocabulary, grams.values), len(vocabulary) - 1)
    for i in np.unique(grams.owner[vocabulary[at] == grams.values]).tolist():
        mine = np.unique(grams.values[grams.offsets[i] : grams.offsets[i + 1]])
        shared = member[np.isin(vocabulary, mine)].sum(axis=0)
        yield i, shared / (len(mine) + member.sum(axis=0) - shared)


def _set(text: str, n: int) -> np.ndarray:
    return np.unique(ngrams.ngrams(ngrams.words(pl.Series([text])), n, short=True).values)


def _ngram(scores: Path) -> int:
    """Return the words of an n-gram that the scorer was told to compare."""
    for spec in cast(list[str], scored.job(scores).get("scorers", [])):
        name, options = open_sets.parse(spec)
        if name == "duplicates":
            return int(options.get("ngram", NGRAM))
    return NGRAM
