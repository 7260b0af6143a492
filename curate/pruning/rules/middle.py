"""The rule `middle`."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from curate.pruning.ranking.codes import codes
from curate.pruning.ranking.external_sort import ROW, ExternalSort
from curate.pruning.rules._ranked_rows import Codes, RankedRows
from curate.pruning.rules._rule import Rule
from curate.storage import disk_arrays


@dataclass(frozen=True)
class Middle(Rule):
    """Keep the rows whose ranks are nearest to the median."""

    name = "middle"
    summary = "Keep the rows whose scores are nearest to the median."
    trims = False

    def order(self, ranked: RankedRows) -> Codes:
        """Return the distance of each row's rank from the median rank, from a file that a first sort fills."""
        rows, folder = ranked.column.rows, ranked.column.folder

        def distances() -> Iterator[np.ndarray]:
            first = 0
            for block in ranked.sort(lambda rows, _: codes(rows["score"])).blocks():
                ranks = np.arange(first, first + len(block))
                first += len(block)
                # A second sort brings the distances back into the order of the positions.
                distance = np.zeros(len(block), ROW)
                distance["code"] = block["position"]
                # Twice the distance, so that it is a whole number for an even number of rows too.
                distance["weight"] = np.abs(2 * ranks - (rows - 1))
                yield distance

        path = folder / "distances"
        with path.open("wb") as file:
            for block in ExternalSort(distances, rows, folder).blocks():
                disk_arrays.append(file, block["weight"])
        return partial(_distances, path)

    def words(self, score: str) -> str:
        """Return which values of a score are kept."""
        return f"middle keeps the values nearest the median of {score}"


def _distances(path: Path, _: np.ndarray, positions: np.ndarray) -> np.ndarray:
    """Return the distances (n,) of rows at rising positions, from a file with those of all rows."""
    first = int(positions[0])
    part = np.fromfile(path, np.uint64, int(positions[-1]) + 1 - first, offset=8 * first)
    return np.asarray(part[positions - first])
