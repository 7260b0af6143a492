"""Read the links that the scorer ``duplicates`` stored: pairs of rows whose texts are equal or alike.

In: the output folder of a scoring job. Out: tables of links, file by file, and the settings of the scorer.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import SchemaError
from curate.storage import files, manifest, s3
from curate.streaming.near_duplicates.finished import LINKS_OF_PART, finished_parts, recorded_settings
from curate.streaming.near_duplicates.signatures import SIGNATURES, Bands
from curate.tables.corpus import CorpusPart, array_files
from curate.tables.corpus.corpus import kept_path

SCORER = "duplicates"  # the scorer whose folder of results holds the links
REMEDY = "Score the data again with --scorer duplicates"


@dataclass(frozen=True)
class LinkTable:
    """Links of some rows to rows before them. A row is named by hash(id, seed), `curate.tables.batches.keys`.

    first, second: (l,) uint64, the earlier and the later row.
    similarity: (l,) float64, the exact Jaccard similarity of their sets of n-grams.
    equal: (l,) bool, whether the texts have equal bytes. A row that copies another has one link only, to the first of
        all its copies. That row has the other links of the group, so a copy is linked to them through it.
    """

    first: np.ndarray
    second: np.ndarray
    similarity: np.ndarray
    equal: np.ndarray


def stored_links(out: Path, similarity: float = 0.0) -> Iterator[LinkTable]:
    """Yield the links of a scoring job whose similarity is at least ``similarity``, one table for each stored file.

    Memory is that of one file. Every link stands in one file. The order of files has no meaning, but is always the
    same.

    Raises:
        SchemaError: if the job has no links: it did not run the scorer ``duplicates`` to its end. Also if a file of
            them is missing.
        Interrupted: if a file is damaged.
    """
    settings_of_links(out)
    for name, _ in finished_parts(_folder(out)):
        yield _links(_folder(out) / LINKS_OF_PART / f"{name}.npz", similarity)


def links_of_part(out: Path, part: CorpusPart, similarity: float = 0.0) -> LinkTable:
    """Return the links of the rows of one part to rows before them, as `stored_links` does."""
    return _links(kept_path(_folder(out), LINKS_OF_PART, part), similarity)


def generations_of_rows(out: Path, ids: np.ndarray) -> np.ndarray:
    """Return the generation (n,) int64 of each row. It is 0 for all unless files were added to the job.

    ``ids`` (n,) uint64 are the sorted hash(id, seed) of the rows, as links have them.
    """
    result = np.zeros(len(ids), np.int64)
    for name, generation in finished_parts(_folder(out)):
        # A link names the rows, and not their parts. The signatures of a part tell which rows it has.
        if generation and len(ids):
            rows = array_files.read_arrays(_folder(out) / SIGNATURES / f"{name}.npz")["ids"]
            places = np.minimum(np.searchsorted(ids, rows), len(ids) - 1)
            result[places[ids[places] == rows]] = generation
    return result


def has_links(out: Path) -> bool:
    """Return whether a scoring job has links: whether it ran the scorer ``duplicates`` to its end.

    Raises:
        Interrupted: if the record of the links is damaged.
    """
    return recorded_settings(_folder(out)) is not None


def settings_of_links(out: Path) -> tuple[Bands, float]:
    """Return the settings with which links were computed, and the smallest similarity of a link.

    ``seed`` of the settings is that of hash(id, seed).

    Raises:
        SchemaError: if the job has no links.
    """
    settings = recorded_settings(_folder(out))
    if settings is None:
        raise SchemaError(
            f"{s3.shown(out)} has no links between duplicates. Give the job of `curate score` the scorer duplicates "
            "too, and let it finish"
        )
    return settings


def _links(path: Path, similarity: float) -> LinkTable:
    if not files.exists(path):
        raise SchemaError(f"{s3.shown(path)} is missing: links between duplicates. {REMEDY}")
    link = array_files.read_arrays(path)
    chosen = link["similarity"] >= similarity
    return LinkTable(*(link[name][chosen] for name in ("first", "second", "similarity", "equal")))


def _folder(out: Path) -> Path:
    return out / manifest.FOLDER / SCORER
