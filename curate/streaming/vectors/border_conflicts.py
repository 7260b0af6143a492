"""Decide which row of each pair stays, if the two are too alike. The order of the pairs does not matter.

In: pairs of rows with their cosines, and an order of the rows. Out: the rows that are refused.
"""

import numpy as np


def refused(pairs: np.ndarray, cosines: np.ndarray, turn: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the rows that do not stay, sorted, (m,) int64, and the largest cosine of each to one that stays, (m,).

    ``pairs`` (l, 2) are numbers of rows, from 0, that are too alike, with their ``cosines`` (l,). ``turn`` (n,) is the
    place of each row in the order; all are different. One row after the other, a row stays unless it is paired with a
    row that stays already. This is computed in rounds: a row stays as soon as no row is left before it with which it is
    paired (Blelloch et al. 2012, arXiv 1202.3205).
    """
    first, second = pairs.T
    earlier, later = np.where(turn[first] < turn[second], pairs.T, pairs.T[::-1])
    undecided, stays = np.zeros(len(turn), bool), np.zeros(len(turn), bool)
    undecided[pairs] = True
    while undecided.any():
        # Pairs with a row that is decided hold back nobody.
        open_pairs = undecided[earlier] & undecided[later]
        waits = np.zeros(len(turn), bool)
        waits[later[open_pairs]] = True
        new = undecided & ~waits
        stays |= new
        undecided &= ~new
        undecided[later[stays[earlier]]] = False
    best = np.full(len(turn), -1.0, np.float32)
    for row, other in ((first, second), (second, first)):
        np.maximum.at(best, row[stays[other]], cosines[stays[other]])
    goes = np.flatnonzero((best > -1) & ~stays)
    return goes, best[goes]
