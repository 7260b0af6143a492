"""Compare a sample of the removed duplicates again, each with the text that is nearest to it, exactly.

In: score files, decisions and the texts. Out: a table with one row for each sampled removal.
Hashes only propose duplicates, and a chain of near texts may link two that are not alike: of the removals of one public
pipeline, 64 % were false.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple, cast

import numpy as np
import polars as pl

from curate import open_sets
from curate.streaming import ngrams
from curate.tables import batches, scored
from curate.tables.sample import smallest_hashes
from curate.tables.shards import Shard

SAMPLED = 16  # removed rows: few enough to read, and a scorer that is mostly wrong does not pass them
NGRAM = 5  # words: the default of the scorer `duplicates`
SHOWN_CHARACTERS = 60  # of a text
ROUNDING = 1e-9  # by which a similarity may fall short of the claim


class Document(NamedTuple):
    """One row with its text."""

    id: str
    source: str
    score: float
    text: str
    kept: bool


@dataclass(frozen=True)
class NearestText:
    """The text nearest to a removed one so far: its Jaccard similarity, hash and id. The smallest hash wins a tie."""

    similarity: float = 0.0
    key: int = 1 << 64
    id: str = "-"

    def or_nearer(self, other: "NearestText") -> "NearestText":
        """Return the nearer of two texts."""
        return min(self, other, key=lambda text: (-text.similarity, text.key))


@dataclass(frozen=True)
class Sample:
    """Sampled removals with their n-grams: a sorted ``vocabulary`` (grams,), and ``members`` (grams, sampled) bool."""

    documents: Sequence[Document]
    n: int
    vocabulary: np.ndarray
    members: np.ndarray


def sampled(scores: Path, kept: Path, by: str, *, count: int = SAMPLED, seed: int = 0) -> pl.DataFrame:
    """Return a table of ``count`` removed rows, those with the smallest hash of id and ``seed``.

    Columns: removed (id), source, claimed, similarity, of, kept_similarity, of_kept, text. ``claimed`` is 1 - score:
    the similarity at which the row was merged. ``similarity`` is the exact Jaccard similarity of word n-grams to the
    nearest other text ``of``; ``kept_similarity`` is that to the nearest text that is kept. The latter is smaller where
    a chain of texts links the two. All texts are read once, and those of files with sampled rows twice.

    Raises:
        SchemaError: if an input of a score file was moved.
    """
    inputs = _inputs(scores)
    chosen = _chosen(inputs, kept, by, count, seed)
    if not chosen:
        return pl.DataFrame()
    sample = _with_ngrams(chosen, _ngram(scores))
    nearest = [NearestText() for _ in chosen]
    nearest_kept = [NearestText() for _ in chosen]
    for batch in _batched(_documents(inputs, kept, by)):
        for document, similarity in _compared(batch, sample):
            key = int(batches.keys([document.id], seed)[0])
            for i in np.flatnonzero(similarity):
                if document.id == chosen[i].id:
                    continue
                text = NearestText(float(similarity[i]), key, document.id)
                nearest[i] = nearest[i].or_nearer(text)
                if document.kept:
                    nearest_kept[i] = nearest_kept[i].or_nearer(text)
    return pl.DataFrame(
        {
            "removed": document.id,
            "source": document.source,
            "claimed": 1 - document.score,
            "similarity": near.similarity,
            "of": near.id,
            "kept_similarity": near_kept.similarity,
            "of_kept": near_kept.id,
            "text": " ".join(document.text.split())[:SHOWN_CHARACTERS],
        }
        for document, near, near_kept in zip(chosen, nearest, nearest_kept, strict=True)
    )


def count_false(sample: pl.DataFrame) -> int:
    """Count the rows of a table of `sampled` that have no other text as near as claimed."""
    return 0 if sample.is_empty() else sample.filter(pl.col("similarity") < pl.col("claimed") - ROUNDING).height


@dataclass(frozen=True)
class ScoredText:
    """A score file, the input that it belongs to, and how that is read."""

    scores: Shard
    data: Shard
    reading: batches.Reading

    def texts(self) -> Iterator[pl.Series]:
        """Yield the texts, batch by batch; a missing text is empty."""
        for batch in batches.batches(self.data, ("text",), reading=self.reading):
            yield batch["text"].fill_null("")


def _inputs(scores: Path) -> list[ScoredText]:
    reading = batches.Reading(text_column=str(scored.job(scores)["text_column"]))
    pairs = scored.with_inputs(scores, scored.inputs(scores), remedy="skip the check with --verify 0")
    return [ScoredText(shard, data, reading) for shard, data in pairs]


def _chosen(inputs: Sequence[ScoredText], kept: Path, by: str, count: int, seed: int) -> list[Document]:
    """Return the removed documents with the smallest hashes of their ids."""

    def removed() -> Iterator[pl.DataFrame]:
        for number, source in enumerate(inputs):
            row = 0
            for marks, verdict in scored.kept_batches(source.scores, kept, (by,)):
                rows = pl.int_range(row, row + marks.height, eager=True)
                yield marks.with_columns(row=rows, file=pl.lit(number)).filter(~verdict)
                row += marks.height

    # Places are sampled first, without texts: many rows wait until they are sorted, and a text may be a whole book.
    sample = smallest_hashes(removed(), count, ("source", by, "file", "row"), seed=seed)
    texts: dict[tuple[int, int], str] = {}
    for (number,), part in sample.partition_by("file", as_dict=True).items():
        row = 0
        for batch in inputs[int(number)].texts():
            rows = part["row"].filter(part["row"].is_between(row, row + len(batch), closed="left"))
            texts |= {(int(number), i): batch[i - row] for i in rows}
            row += len(batch)
    places = sample.select("id", "source", by, "file", "row").iter_rows()
    return [Document(name, source, score, texts[file, row], kept=False) for name, source, score, file, row in places]


def _documents(inputs: Sequence[ScoredText], kept: Path, by: str) -> Iterator[Document]:
    """Yield every scored row with its text and verdict."""
    for source in inputs:
        marked = scored.kept_batches(source.scores, kept, (by,))
        for texts, (marks, verdict) in zip(source.texts(), marked, strict=True):
            columns = (marks["id"], marks["source"], marks[by], texts, verdict)
            yield from map(Document._make, zip(*columns, strict=True))


def _with_ngrams(documents: Sequence[Document], n: int) -> Sample:
    sets = [_ngrams_of(document.text, n) for document in documents]
    vocabulary = np.unique(np.concatenate(sets))
    return Sample(documents, n, vocabulary, np.stack([np.isin(vocabulary, grams) for grams in sets], axis=1))


def _batched(documents: Iterator[Document]) -> Iterator[list[Document]]:
    """Yield as many documents at a time as the n-grams of a batch may come from."""
    batch: list[Document] = []
    characters = 0
    for document in documents:
        batch.append(document)
        characters += len(document.text)
        if characters > ngrams.PIECE or len(batch) == ngrams.PIECE_TEXTS:
            yield batch
            batch, characters = [], 0
    if batch:
        yield batch


def _compared(batch: list[Document], sample: Sample) -> Iterator[tuple[Document, np.ndarray]]:
    """Yield the documents that share an n-gram with the sample, with their similarities (sampled,) to it."""
    texts = pl.Series([document.text for document in batch])
    grams = ngrams.ngrams(ngrams.words(texts), sample.n, short=True)
    place = np.minimum(np.searchsorted(sample.vocabulary, grams.values), len(sample.vocabulary) - 1)
    sizes = sample.members.sum(axis=0)
    for i in np.unique(grams.owner[sample.vocabulary[place] == grams.values]).tolist():
        distinct = np.unique(grams.values[grams.offsets[i] : grams.offsets[i + 1]])
        shared = sample.members[np.isin(sample.vocabulary, distinct)].sum(axis=0)
        yield batch[i], shared / (len(distinct) + sizes - shared)


def _ngrams_of(text: str, n: int) -> np.ndarray:
    return np.unique(ngrams.ngrams(ngrams.words(pl.Series([text])), n, short=True).values)


def _ngram(scores: Path) -> int:
    """Return how many words an n-gram had when `duplicates` compared texts."""
    for spec in cast(list[str], scored.job(scores).get("scorers", [])):
        name, options = open_sets.parse(spec)
        if name == "duplicates":
            return int(options.get("ngram", NGRAM))
    return NGRAM
