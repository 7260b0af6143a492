"""Agreement of sources on a text: Alrashed and Orabona 2025, "Mix, MinHash, and Match", arXiv 2512.18834."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import ClassVar

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming.by_id import look_up
from curate.streaming.near_duplicates import settings_of_links
from curate.streaming.near_duplicates.sources import number_of_sources, sources_of_groups
from curate.tables.corpus import Corpus

LEARNS_ADDED_FILES = True  # it learns from them without changing the scores of older files
KEEPS_RESULTS = True  # a job to which files are added needs the sources of older rows
READS_RESULTS_OF = "duplicates"  # the scorer whose links it reads
# With the option against, `duplicates` compares rows with other files, and stores no links. With name, its links lie in
# a folder of their own.
WITHOUT_LINKS = ("against", "name")


@dataclass(frozen=True)
class Agreement:
    """How many other sources have the same text, or nearly the same; high is what several sources kept.

    ``score.agreement`` (float64, whole numbers from 0 on) counts the sources, apart from the row's own, whose rows are
    in the row's group of duplicates. A group is all rows that links of the scorer ``duplicates`` connect, directly or
    through other rows. Give sources that were collected independently, such as several crawls: what each of them kept
    is more likely good text. Copies within one source count nothing. A row without links scores 0, and so does a null
    text. Empty texts are copies of each other, and count too.

    Files that are added later never change older scores. Their rows are grouped with all older rows and with each
    other.

    ``rows`` is (m,) uint64, the sorted hash(id, seed) of the rows that score above 0, ``counts`` (m,) int64. They are
    learned and stored for each part of the data by itself. ``seed`` () is that of ``duplicates``, and ``sources`` () is
    the number of sources of the data.

    Source: Alrashed and Orabona 2025, arXiv 2512.18834, which keeps the texts of two sources or more.
    """

    seed: np.ndarray = field(repr=False)
    sources: np.ndarray = field(repr=False)
    rows: np.ndarray = field(default_factory=lambda: np.zeros(0, np.uint64), repr=False)
    counts: np.ndarray = field(default_factory=lambda: np.zeros(0, np.int64), repr=False)
    needs = ()
    schema = {"score.agreement": pl.Float64()}
    meanings = {"score.agreement": "quality"}
    part_arrays: ClassVar[tuple[str, ...]] = ("rows", "counts")

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays that all parts share, to be saved."""
        return {"seed": self.seed, "sources": self.sources}

    @property
    def notes(self) -> tuple[str, ...]:
        """A line if the data have one source, so that there is nothing to agree."""
        if int(self.sources) > 1:
            return ()
        return (
            "agreement: all rows have the same source, so every score is 0. Name the sources in a column source, or "
            "put the files of each source into a folder of its own",
        )

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], int(self.seed), self.rows, self.counts, otherwise=0.0)
        return pl.DataFrame({"score.agreement": scores}, schema=dict(self.schema))


def check_scorers(others: Sequence[tuple[str, Mapping[str, object]]]) -> None:
    """Check that the job has the scorer whose links are read. ``others`` are its scorers with their options.

    Raises:
        SchemaError: if it has not.
    """
    if not any(name == READS_RESULTS_OF and not any(map(options.get, WITHOUT_LINKS)) for name, options in others):
        raise SchemaError(
            "agreement counts sources by the links that the scorer duplicates finds between rows. Add --scorer "
            "duplicates, without against= and name="
        )


def learn(corpus: Corpus, *, threshold: float = 0.0) -> Agreement:
    """Count the sources of each group of duplicates. Ids, sources and links are read, and no texts.

    A worker holds the ids, sources and links of one part, or those of about half a million rows. A group of m rows
    takes about 50 m bytes in one of them.

    Options:
        threshold: smallest similarity of links that connect rows, from the threshold of ``duplicates`` to 1; 0 takes
            all links (default 0).

    Raises:
        SchemaError: if the job has no links, or ``threshold`` is below that of ``duplicates``.
    """
    settings, least = settings_of_links(corpus.out)
    if threshold and not least <= threshold <= 1:
        raise SchemaError(
            f"agreement: threshold={threshold:g} must be {least:g} to 1, since duplicates stored links from {least:g} "
            "on. Give duplicates a smaller threshold, or leave this one out"
        )
    for number, part in enumerate(sources_of_groups(corpus, threshold)):
        corpus.store(number, {"rows": part["ids"], "counts": part["others"]})
    return Agreement(np.array(settings.seed, np.int64), np.array(number_of_sources(corpus), np.int64))
