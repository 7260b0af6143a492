"""The links between texts that the scorer `duplicates` stored, read for a lower bound on its score.

In: a folder of scores. Out: which rows are linked, and how alike they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import SchemaError
from curate.storage import files, manifest, s3
from curate.streaming.near_duplicates.finished import LINKS_OF_PART, RECORD, recorded_settings
from curate.streaming.near_duplicates.signatures import SIGNATURES
from curate.tables.corpus import array_files

SCORER = "duplicates"  # the folder of its corpus has this name
REMEDY = "score the data again with --scorer duplicates"


@dataclass(frozen=True)
class LinkedRows:
    """Rows that are linked to others, in the order of ``ids``, and their links.

    ids: (n,) uint64, the sorted hash(id, seed) of the rows.
    generations: (n,) int64. Rows of an older generation come first in the order of rows, then a smaller hash.
    copies, leaders: (c,) int64, rows that copy another, and the first row of each set of copies.
    first, second: (l,) int64, the two rows of each link between texts that are alike but not equal.
    levels: (l,) float64, the exact Jaccard similarity of each link.
    """

    seed: int
    ids: np.ndarray
    generations: np.ndarray
    copies: np.ndarray
    leaders: np.ndarray
    first: np.ndarray
    second: np.ndarray
    levels: np.ndarray


def read(scores: Path, merging: Callable[[np.ndarray], np.ndarray]) -> LinkedRows:
    """Read the links below a folder of scores. Links that do not merge texts are left out.

    ``merging`` returns which of these scores, 1 minus a similarity, fail the requirement.

    Raises:
        SchemaError: if the links are missing, or the scorer did not come to its end.
    """
    folder = scores / manifest.FOLDER / SCORER
    record, settings = _arrays(folder / RECORD, scores), recorded_settings(folder)
    if settings is None:
        raise SchemaError(_missing(folder / RECORD, scores))
    names, generations = record["parts"].tolist(), record["generations"].tolist()
    links = [_links(folder / LINKS_OF_PART / f"{name}.npz", scores, merging) for name in names]
    joined = {key: np.concatenate([part[key] for part in links]) for key in ("first", "second", "similarity", "equal")}
    ids, position = np.unique(np.concatenate([joined["first"], joined["second"]]), return_inverse=True)
    first, second = position.reshape(2, -1).astype(np.int64)
    equal = joined["equal"]
    return LinkedRows(
        seed=settings[0].seed,
        ids=ids,
        generations=_generations(folder, scores, names, generations, ids),
        copies=second[equal],
        leaders=first[equal],
        first=first[~equal],
        second=second[~equal],
        levels=joined["similarity"][~equal],
    )


def _links(path: Path, scores: Path, merging: Callable[[np.ndarray], np.ndarray]) -> dict[str, np.ndarray]:
    """Return the links of one part that merge texts. Part by part, since most links of a text may be weak ones."""
    arrays = _arrays(path, scores)
    chosen = merging(1.0 - arrays["similarity"])
    return {key: values[chosen] for key, values in arrays.items()}


def _generations(folder: Path, scores: Path, names: list[str], generations: list[int], ids: np.ndarray) -> np.ndarray:
    """Return the generation (n,) of each row. It is 0 for all unless files were added to the job."""
    result = np.zeros(len(ids), np.int64)
    for name, generation in zip(names, generations, strict=True):
        # A link names the rows, and not their parts. The signatures of a part tell which rows it has.
        if generation:
            rows = _arrays(folder / SIGNATURES / f"{name}.npz", scores)["ids"]
            places = np.searchsorted(ids, rows)
            places[places == len(ids)] = 0
            result[places[ids[places] == rows]] = generation
    return result


def _arrays(path: Path, scores: Path) -> dict[str, np.ndarray]:
    if not files.exists(path):
        raise SchemaError(_missing(path, scores))
    return array_files.read_arrays(path, REMEDY)


def _missing(path: Path, scores: Path) -> str:
    """Return the error for a file of links that is missing, or for a scorer that has not ended."""
    return (
        f"{s3.shown(scores)} lacks links between duplicates: {s3.shown(path)} is missing or not complete. A lower "
        "bound on score.duplicates beside other requirements forms the groups again from these links. "
        f"{REMEDY.capitalize()}, or prune twice: first by the other requirements"
    )
