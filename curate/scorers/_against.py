"""Texts of reference files with which a scorer compares: the rows of ``against=``, such as a benchmark.

In: files, folders or globs, joined by "+", and the columns that hold texts. Out: a corpus with a part for each file and
column, which are read on the engine of the data.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace

import polars as pl

from curate.errors import SchemaError, first_few
from curate.scorers._target import JOIN, TargetPart, listed, names_texts, row_ranges
from curate.storage import files
from curate.tables import batches
from curate.tables.corpus import Corpus
from curate.tables.corpus.corpus import EXCHANGES
from curate.tables.readers import head
from curate.tables.reading import Reading
from curate.tables.shards import Shard

TEXT = "text"


@dataclass(frozen=True)
class ReferencePart(TargetPart):
    """Rows of a reference file, whose column ``column`` holds texts or lists of texts."""

    column: str = TEXT

    @property
    def name(self) -> str:
        """A name that changes with the file, its stamp, the rows and the column."""
        return files.text_hash(f"{self.column} {super().name}")

    def batches(self, needs: Sequence[str]) -> Iterator[pl.DataFrame]:
        """Yield the column ``text``, a text in each row and no nulls; a list gives a row for each of its texts."""
        for batch in super().batches((self.column,)):
            texts = batch[self.column].rename(TEXT)
            texts = texts.explode() if isinstance(texts.dtype, pl.List) else texts
            if texts.dtype not in (pl.String, pl.Null):
                raise SchemaError(
                    f"{self.shards[0].path}: {self.column} is {batch[self.column].dtype}, not text. Name columns of "
                    f"text or of lists of text, such as {TEXT}"
                )
            yield pl.DataFrame([texts.cast(pl.String).drop_nulls()])


def reference_corpus(data: Corpus, against: str, columns: str, scorer: str) -> Corpus:
    """Return the texts of reference files as a corpus that runs on the engine of the data.

    ``against`` and ``columns`` are lists joined by "+". A file needs only one of the columns. Without columns, texts
    are read as those of the data, or from ``text`` in a file that lacks their column.

    Raises:
        SchemaError: if ``against`` is empty or names no files, or a file has none of the columns.
    """
    if not against:
        raise SchemaError(f"{scorer} has no texts to compare with. Name files that hold them: {scorer}:against=FILES")
    names = list(filter(None, columns.split(JOIN)))
    # Columns that are named here are read under the names that they have in the files.
    reading = Reading() if names else data.reading.of_other_files()
    parts = [
        part for shard in batches.shards(listed(against)) for part in _parts(shard, names or [TEXT], reading, scorer)
    ]
    return replace(data, parts=parts, folder=data.folder / EXCHANGES / "against", total=None)


def check_words(corpus: Corpus, counts: Sequence[int], scorer: str) -> None:
    """Check that every reference file has words. ``counts`` (p,) are the words of the parts.

    Raises:
        SchemaError: with the first file without words.
    """
    words: dict[str, int] = {}
    for part, count in zip(corpus.parts, counts, strict=True):
        assert isinstance(part, ReferencePart)
        path = str(part.shards[0].path)
        words[path] = words.get(path, 0) + count
    empty = [path for path, count in words.items() if not count]
    if empty:
        columns = dict.fromkeys(part.column for part in corpus.parts if isinstance(part, ReferencePart))
        raise SchemaError(
            f"{scorer}: {empty[0]} has no words in {' and '.join(columns)}, so nothing can be compared with it. Name "
            "its columns of text with against_columns=, or leave the file out"
        )


def _parts(shard: Shard, names: Sequence[str], reading: Reading, scorer: str) -> list[ReferencePart]:
    """Return the parts of a file: its rows, in several ranges if it is long, for each of the columns that it has."""
    shard_head = head(shard, names, reading.whole_mapping)
    present = shard_head.columns
    # A file of lines without any line has no columns. It is read, and has no words then.
    chosen = [name for name in names if name in present] if present else list(names)
    if not chosen:
        remedy = names_texts(f"{scorer}:against=...,against_columns=question+answer")
        if len(names) == 1:
            batches.require(shard, names, shard_head, remedy)
        raise SchemaError(f"{shard.path} has no column {' or '.join(names)}; it has {first_few(present)}. {remedy}")
    ranges = row_ranges(shard)
    return [ReferencePart((shard,), reading, start, stop, column=name) for name in chosen for start, stop in ranges]
