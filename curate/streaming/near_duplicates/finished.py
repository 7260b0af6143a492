"""Record which generations of the data are finished. Their links and merges are kept, and never change again.

In: a corpus and the settings. Out: the first generation that is not finished, and a record for later jobs.
"""

from collections.abc import Sequence
from dataclasses import astuple, dataclass
from pathlib import Path

import numpy as np

from curate.storage import files
from curate.streaming.near_duplicates.signatures import SIGNATURES, Bands
from curate.tables.corpus import Arrays, Corpus, array_files
from curate.tables.corpus.corpus import EXCHANGES, kept_path

# Names under which the results of parts are kept.
LINKS_OF_PART = "links"
MERGES_OF_PART = "merges"
RECORD = "finished.npz"


@dataclass(frozen=True)
class KeptNames:
    """Names under which a learner keeps results of parts.

    Those of ``of_rows`` follow from the rows of the part alone, and those of ``of_generation`` from all rows of its
    generation and of older ones.
    """

    of_rows: Sequence[str]
    of_generation: Sequence[str]


DUPLICATES = KeptNames((SIGNATURES,), (LINKS_OF_PART, MERGES_OF_PART))


def settings_array(settings: Bands, threshold: float) -> np.ndarray:
    """Return the settings of the scorer ``duplicates`` as the record has them."""
    return np.array([*astuple(settings), threshold], np.float64)


def first_unfinished(corpus: Corpus, settings: np.ndarray, names: KeptNames = DUPLICATES) -> int:
    """Return the first generation that is not finished, and remove results that cannot be used.

    These are the results ``of_generation`` of generations that are not finished: a killed job may have made them from
    fewer parts. If the settings, an array of numbers, are other ones, all results are removed.
    """
    generations = _generations(corpus)
    path, first = corpus.folder / RECORD, 0
    record = array_files.read_arrays(path) if files.exists(path) else {}
    if not record or not np.array_equal(record["settings"], settings):
        for name in (*names.of_rows, *names.of_generation, EXCHANGES):
            files.remove(corpus.folder / name)
        _write(corpus, settings, 0)
    else:
        present = np.array([part.name for part in corpus.parts], np.str_)
        while (record["generations"] == first).any() and (
            set(present[generations == first]) == set(record["parts"][record["generations"] == first])
        ):
            first += 1
    for part in corpus.parts:
        if part.generation >= first:
            for name in names.of_generation:
                files.remove(kept_path(corpus.folder, name, part))
    return first


def record_finished(corpus: Corpus, settings: np.ndarray) -> None:
    """Record that all generations of a corpus are finished."""
    _write(corpus, settings, int(_generations(corpus).max()) + 1)


def recorded_settings(folder: Path) -> tuple[Bands, float] | None:
    """Return the settings and the threshold of the finished generations in a folder; None if none is finished."""
    path = folder / RECORD
    record = array_files.read_arrays(path) if files.exists(path) else {}
    if not record or not len(record["parts"]):
        return None
    bands, rows, ngram, seed, threshold = record["settings"].tolist()
    return Bands(int(bands), int(rows), int(ngram), int(seed)), threshold


def finished_parts(folder: Path) -> tuple[tuple[str, int], ...]:
    """Return the names of the parts of the finished generations in a folder, each with its generation."""
    path = folder / RECORD
    record = array_files.read_arrays(path) if files.exists(path) else {"parts": np.zeros(0), "generations": np.zeros(0)}
    return tuple(zip(record["parts"].tolist(), record["generations"].tolist(), strict=True))


def _write(corpus: Corpus, settings: np.ndarray, finished: int) -> None:
    parts = [part for part in corpus.parts if part.generation < finished]
    record: Arrays = {
        "settings": settings,
        "parts": np.array([part.name for part in parts], np.str_),
        "generations": np.array([part.generation for part in parts], np.int64),
    }
    array_files.write_arrays(corpus.folder / RECORD, record)


def _generations(corpus: Corpus) -> np.ndarray:
    return np.array([part.generation for part in corpus.parts], np.int64)
