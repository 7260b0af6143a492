"""The links between texts that the scorer `duplicates` stored, read for a lower bound on its score.

In: a folder of scores. Out: which rows are linked, and how alike they are.
"""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import SchemaError
from curate.streaming import near_duplicates


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
    try:
        settings, _ = near_duplicates.settings_of_links(scores)
        links = [_merging(table, merging) for table in near_duplicates.stored_links(scores)]
    except SchemaError as error:
        raise SchemaError(
            f"{error}, or prune twice, first by the other requirements. A lower bound on score.duplicates beside them "
            "forms the groups of duplicates again from these links"
        ) from None
    first, second, similarity, equal = (np.concatenate(column) for column in zip(*links, strict=True))
    ids, position = np.unique(np.concatenate([first, second]), return_inverse=True)
    first, second = position.reshape(2, -1).astype(np.int64)
    return LinkedRows(
        seed=settings.seed,
        ids=ids,
        generations=near_duplicates.generations_of_rows(scores, ids),
        copies=second[equal],
        leaders=first[equal],
        first=first[~equal],
        second=second[~equal],
        levels=similarity[~equal],
    )


def _merging(table: near_duplicates.LinkTable, merging: Callable[[np.ndarray], np.ndarray]) -> tuple[np.ndarray, ...]:
    """Return the links of one part that merge texts. Part by part, since most links of a text may be weak ones."""
    chosen = merging(1.0 - table.similarity)
    return tuple(values[chosen] for values in (table.first, table.second, table.similarity, table.equal))
