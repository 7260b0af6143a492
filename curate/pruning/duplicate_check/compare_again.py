"""Compare a sample of the removed duplicates again, each with the text that is nearest to it, exactly.

In: score files, decisions and the texts. Out: a table with one row for each sampled removal.
Hashes only propose duplicates, and a chain of near texts may link two that are not alike: of the removals of one public
pipeline, 64 % were false.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import cast

import numpy as np
import polars as pl

from curate import open_sets
from curate.engines import Engine
from curate.engines.local import Local
from curate.progress import counted
from curate.pruning.duplicate_check import nearest_text
from curate.pruning.duplicate_check.nearest_text import Document, NearestPair, NearestText, SampledTexts
from curate.tables import batches, scored
from curate.tables.row_ranges import RowRange
from curate.tables.sample import smallest_hashes
from curate.tables.scored_inputs import line_losses
from curate.tables.shards import Shard

SAMPLED = 16  # removed rows: few enough to read, and a scorer that is mostly wrong does not pass them
REMEDY = "skip the check with --verify 0"  # where an input is gone
SCORER = "duplicates"  # the scorer whose result is checked; the check uses its n-grams and its options
SHOWN_CHARACTERS = 60  # of a text
ROUNDING = 1e-9  # by which a similarity may fall short of the claim


def sampled(
    scores: Path,
    kept: Path,
    by: str,
    *,
    count: int = SAMPLED,
    seed: int = 0,
    engine: Engine | None = None,
    partial: bool = False,
) -> pl.DataFrame:
    """Return a table of ``count`` removed rows, those with the smallest hash of id and ``seed``.

    Columns: removed (id), source, claimed, similarity, of, kept_similarity, of_kept, text. ``claimed`` is 1 - score:
    the similarity at which the row was merged. ``similarity`` is that to the nearest other text ``of``: 1 for equal
    texts, else the exact Jaccard similarity of the n-grams that the scorer compares. ``kept_similarity`` is the
    similarity to the nearest text that is kept. It is smaller if a chain of other texts links the two. All texts are
    read once; texts of files with sampled rows are read twice. The table is empty if the scorer compared texts with
    those of other files.

    Raises:
        SchemaError: if an input of a score file was moved.
    """
    if compares_with_files(scores):
        return pl.DataFrame()
    inputs, engine = _inputs(scores, partial), engine or Local()
    chosen = _chosen(inputs, kept, by, count, seed, engine)
    if not chosen:
        return pl.DataFrame()
    sample = nearest_text.with_ngrams(chosen, int(cast(int, _options(scores)["ngram"])))
    nearest = [NearestPair() for _ in chosen]
    comparison = FileComparison(chosen, sample, kept, by, seed)
    for part in counted(engine.run(comparison, inputs), "files compared", len(inputs)):
        nearest = [pair.or_nearer(other) for pair, other in zip(nearest, part, strict=True)]
    return pl.DataFrame(
        {
            "removed": document.id,
            "source": document.source,
            "claimed": 1 - document.score,
            "similarity": pair.of_all.similarity,
            "of": pair.of_all.id,
            "kept_similarity": pair.of_kept.similarity,
            "of_kept": pair.of_kept.id,
            "text": " ".join(document.text.split())[:SHOWN_CHARACTERS],
        }
        for document, pair in zip(chosen, nearest, strict=True)
    )


def compares_with_files(scores: Path) -> bool:
    """Return whether the scorer compared rows with other files (``against``), and not with each other."""
    return bool(_options(scores)["against"])


def count_false(sample: pl.DataFrame) -> int:
    """Count the rows of a table of `sampled` that have no other text as near as claimed."""
    return 0 if sample.is_empty() else sample.filter(pl.col("similarity") < pl.col("claimed") - ROUNDING).height


@dataclass(frozen=True)
class ScoredText:
    """A score file and its number, the input that it belongs to, and how that is read."""

    number: int
    scores: Shard
    data: Shard
    reading: batches.Reading

    def texts(self) -> Iterator[pl.Series]:
        """Yield the texts, batch by batch; a missing text is empty."""
        for batch in batches.batches(self.data, ("text",), reading=self.reading):
            yield batch["text"].fill_null("")


@dataclass(frozen=True)
class FileComparison:
    """Compares all texts of a file with the documents of a sample."""

    chosen: Sequence[Document]
    sample: SampledTexts
    kept: Path
    by: str
    seed: int

    def __call__(self, source: ScoredText) -> list[NearestPair]:
        """Return for each sampled document what is nearest to it in one file."""
        nearest = [NearestPair() for _ in self.chosen]
        for batch in nearest_text.batched(_documents(source, self.kept, self.by)):
            for document, similarity in nearest_text.compared(batch, self.sample):
                key = int(batches.keys([document.id], self.seed)[0])
                for i in np.flatnonzero(similarity).tolist():
                    if document.id != self.chosen[i].id:
                        text = NearestText(float(similarity[i]), key, document.id)
                        of_kept = text if document.kept else NearestText()
                        nearest[i] = nearest[i].or_nearer(NearestPair(text, of_kept))
        return nearest


def _inputs(scores: Path, partial: bool) -> list[ScoredText]:
    reading = scored.reading(scores)
    pairs = scored.with_inputs(scores, scored.inputs(scores), remedy=REMEDY, partial=partial)
    return [
        ScoredText(number, shard, data, line_losses.aligned(reading, scores, data))
        for number, (shard, data) in enumerate(pairs)
    ]


def _chosen(inputs: Sequence[ScoredText], kept: Path, by: str, count: int, seed: int, engine: Engine) -> list[Document]:
    """Return the removed documents with the smallest hashes of their ids."""
    parts = counted(engine.run(Removed(kept, by, count, seed), inputs), "decision files read", len(inputs))
    # Places are sampled first, without texts: many rows wait until they are sorted, and a text may be a whole book.
    filled = (part for part in parts if part.height)
    sample = smallest_hashes(filled, count, ("source", by, "file", "row"), seed=seed)
    texts: dict[tuple[int, int], str] = {}
    for (number,), part in sample.partition_by("file", as_dict=True).items():
        row = 0
        for batch in inputs[int(number)].texts():
            rows = part["row"].filter(part["row"].is_between(row, row + len(batch), closed="left"))
            texts |= {(int(number), i): batch[i - row] for i in rows}
            row += len(batch)
    places = sample.select("id", "source", by, "file", "row").iter_rows()
    return [Document(name, source, score, texts[file, row], kept=False) for name, source, score, file, row in places]


@dataclass(frozen=True)
class Removed:
    """Samples the places of removed rows in a file: the ``count`` rows with the smallest hashes."""

    kept: Path
    by: str
    count: int
    seed: int

    def __call__(self, source: ScoredText) -> pl.DataFrame:
        """Return the sample of one file."""
        columns = ("source", self.by, "file", "row")
        return smallest_hashes(self._frames(source), self.count, columns, seed=self.seed)

    def _frames(self, source: ScoredText) -> Iterator[pl.DataFrame]:
        row = 0
        for marks, verdict in scored.kept_batches(RowRange(source.scores), self.kept, (self.by,)):
            rows = pl.int_range(row, row + marks.height, eager=True)
            yield marks.with_columns(row=rows, file=pl.lit(source.number)).filter(~verdict)
            row += marks.height


def _documents(source: ScoredText, kept: Path, by: str) -> Iterator[Document]:
    """Yield every scored row of a file with its text and verdict."""
    marked = scored.kept_batches(RowRange(source.scores), kept, (by,))
    for texts, (marks, verdict) in zip(source.texts(), marked, strict=True):
        columns = (marks["id"], marks["source"], marks[by], texts, verdict)
        yield from map(Document._make, zip(*columns, strict=True))


def _options(scores: Path) -> dict[str, object]:
    """Return the options with which the scorer compared texts."""
    options: dict[str, object] = {
        option.name: option.default for option in open_sets.option_parameters("scorers", SCORER)
    }
    for spec in cast(list[str], scored.job(scores).get("scorers", [])):
        name, changed = open_sets.parse(spec)
        if name == SCORER and "name" not in changed:  # with another name it adds another column
            options |= changed
    return options
