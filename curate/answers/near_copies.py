"""Name the near copies of a row that the scorer `duplicates` found, and what became of them.

In: a score folder with stored links. Out: the ids of linked rows, their similarity, and their reasons.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from curate.engines import Engine
from curate.progress import counted
from curate.pruning.requirements import linked_rows
from curate.streaming import near_duplicates
from curate.tables import batches, scored
from curate.tables.row_ranges import RowRange
from curate.tables.scored import DECISIONS
from curate.tables.shards import Shard

MOST = 5  # near copies of a row that are shown: the most similar ones


@dataclass(frozen=True)
class NearCopy:
    """A row whose text is like that of another row: its id, the similarity (1: equal bytes), and its reason."""

    id: str
    similarity: float
    reason: str


def near_copies(
    ids: Sequence[str], scores: Path, kept: Path | None, shards: Sequence[Shard], engine: Engine
) -> Mapping[str, tuple[NearCopy, ...]]:
    """Return the most similar linked rows of each id, by id. Without stored links there are none."""
    # Folders without the scorer `duplicates`, and those of older versions, have no links.
    if not near_duplicates.has_links(scores):
        return {}
    linked = linked_rows.read(scores, lambda values: np.ones(len(values), dtype=bool))
    hashes = batches.keys(pl.Series(list(ids)), linked.seed)
    neighbours = {name: _neighbours(linked, key) for name, key in zip(ids, hashes, strict=True)}
    wanted = np.unique(np.concatenate([np.zeros(0, np.uint64), *(keys for keys, _ in neighbours.values())]))
    names: dict[int, tuple[str, str]] = {}
    search = partial(_named, wanted, linked.seed, kept)
    for part in counted(engine.run(search, shards), "score files searched", len(shards)):
        names.update(part)
    return {
        name: tuple(
            NearCopy(names[key][0], similarity, names[key][1])
            for key, similarity in zip(keys.tolist(), similarities.tolist(), strict=True)
            if key in names
        )
        for name, (keys, similarities) in neighbours.items()
    }


def _neighbours(linked: linked_rows.LinkedRows, key: np.uint64) -> tuple[np.ndarray, np.ndarray]:
    """Return the hashes of the rows that are most similar to a row, and their similarities."""
    place = int(np.searchsorted(linked.ids, key))
    if place == len(linked.ids) or linked.ids[place] != key:
        return np.zeros(0, np.uint64), np.zeros(0)
    # A copy is linked to the first of its copies alone. That one is linked to all of them, and to texts that are alike.
    own = linked.leaders[linked.copies == place]
    leader = int(own[0]) if len(own) else place
    copies = np.append(linked.copies[linked.leaders == leader], leader)
    copies = copies[copies != place]
    alike = np.concatenate([linked.second[linked.first == leader], linked.first[linked.second == leader]])
    levels = np.concatenate([linked.levels[linked.first == leader], linked.levels[linked.second == leader]])
    rows, similarities = np.append(copies, alike), np.append(np.ones(len(copies)), levels)
    order = np.lexsort((rows, -similarities))[:MOST]
    return linked.ids[rows[order]], similarities[order]


def _named(wanted: np.ndarray, seed: int, kept: Path | None, shard: Shard) -> dict[int, tuple[str, str]]:
    """Return the id and the reason of the rows of a file whose hash is among the wanted ones, by the hash."""
    rows: dict[int, tuple[str, str]] = {}
    decided = None if kept is None else Shard(kept / (shard.relative + DECISIONS), shard.relative)
    columns, file = ((), shard) if decided is None else (("reason",), decided)
    for batch in scored.light_batches(RowRange(file), columns, ("id",)):
        hashes = batches.keys(batch["id"], seed)
        for row in np.flatnonzero(np.isin(hashes, wanted)).tolist():
            reason = "" if decided is None else str(batch["reason"][row])
            rows[int(hashes[row])] = (str(batch["id"][row]), reason)
    return rows
