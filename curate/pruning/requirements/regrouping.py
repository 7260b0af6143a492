"""Form groups of duplicates again, among some of the rows.

In: stored links, and which rows are left. Out: the score of each linked row among those.

A row that failed another requirement represents no other row any more. The first of the copies of its text that are
left takes its place in all its links. Otherwise the rules are those of the scorer: see `curate.scorers.duplicates`.
"""

import numpy as np

from curate.pruning.requirements.linked_rows import LinkedRows
from curate.streaming import linkage

ABSENT = np.iinfo(np.int64).max  # the place of a text without any copy that is left: behind all rows


def scores(linked: LinkedRows, eligible: np.ndarray) -> np.ndarray:
    """Return the score (n,) float64 of each linked row: 1 minus the similarity at which it is merged into another.

    ``eligible`` (n,) says which rows are left. The score of a row that is not left has no meaning. If all rows are
    left, the scores equal those that the scorer gave, as far as the links were read.
    """
    # Places follow the order of rows: first the generation, then the hash. Ids are sorted by their hash.
    order = np.argsort(linked.generations, kind="stable")
    place = np.empty_like(order)
    place[order] = np.arange(len(order))
    representative = _representatives(linked, eligible, place)
    result = np.ones(len(order))
    # The first of all copies represents them wherever it is left, so that only the others can be merged.
    result[linked.copies[representative[linked.leaders] != place[linked.copies]]] = 0.0
    merged, levels = _merges(linked, representative, linked.generations[order])
    result[order[merged]] = 1.0 - levels
    return result


def _representatives(linked: LinkedRows, eligible: np.ndarray, place: np.ndarray) -> np.ndarray:
    """Return for each row (n,) the place of the first row left with the same text, for those that copy none."""
    first = np.where(eligible, place, ABSENT)
    # A copy has one link, to the first of all copies, whether or not that one is left.
    np.minimum.at(first, linked.leaders, first[linked.copies])
    return first


def _merges(linked: LinkedRows, representative: np.ndarray, generations: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the places of rows that are merged into a text that is like theirs, and the similarities.

    ``generations`` (n,) are in the order of places.
    """
    edges = np.sort(np.stack([representative[linked.first], representative[linked.second]], axis=1), axis=1)
    present = edges[:, 1] != ABSENT
    edges, levels = edges[present], linked.levels[present]
    newest = generations[edges[:, 1]]
    merges, similarities = [np.zeros(0, np.int64)], [np.zeros(0)]
    # As in the scorer, a generation is merged by the links that its rows have to older rows and to each other.
    for generation in np.unique(newest).tolist():
        chosen = newest == generation
        rows, numbers = np.unique(edges[chosen], return_inverse=True)
        merged, merged_levels = linkage.single_linkage(numbers.reshape(-1, 2), levels[chosen], len(rows))
        # Rows of older generations stay as they were.
        new = generations[rows[merged]] == generation
        merges.append(rows[merged[new]])
        similarities.append(merged_levels[new])
    return np.concatenate(merges), np.concatenate(similarities)
