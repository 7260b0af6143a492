"""Choose rows of which no two are too alike, cluster by cluster, on the engine and in few rounds.

In: rows that are assigned to clusters. Out: for each row, kept part by part, whether it stays, or the cosine at which
it is removed.

A round has two exchanges by cluster. In the first, every cluster chooses candidates by itself. It looks at its rows in
a fixed order. A row becomes a candidate unless it is too like a row that stays, or an earlier candidate. In the second
exchange, candidates near a border are compared with the candidates and rows that stay in the cluster beyond it. Of two
that are too alike, the one that comes first in the fixed order stays, and the other is refused. So no cluster has to
wait for another. A row that was too like only a candidate that was refused is looked at again in the next round. A
cluster without new candidates is done: the levels of its other rows are computed.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from curate.storage import files
from curate.streaming.vectors import thinning
from curate.streaming.vectors.assignment import Assigned, chosen_vectors, vector_column
from curate.streaming.vectors.border_conflicts import refused
from curate.streaming.vectors.clusters import keep_all
from curate.tables.corpus import Answers, Arrays, Corpus, PartRows
from curate.tables.corpus.array_files import read_arrays
from curate.tables.corpus.corpus import kept_path

FREE, STAYS, GOES = 0, 1, 2  # states of a row; a free row is not decided yet
CANDIDATE = -1.0  # what a cluster answers for a candidate instead of a level
# A task compares clusters that have 32 MB of vectors together. Beyond 128 GB tasks are larger, because the vectors of a
# part are written in a section for each task: at most 4,096.
TASK_BYTES, MOST_TASKS = 32 << 20, 4096


@dataclass(frozen=True)
class ChoiceSettings:
    """How rows are chosen: ``limit`` is the largest cosine of two rows that may both stay.

    With ``hard``, the rows of a cluster that are far from its centre come first, otherwise those that are near it.
    ``embedding`` is the column of vectors. Decisions are kept under the name ``decided`` in ``folder``. Decisions about
    parts of generations before ``generation`` do not change, and the rows of these parts come first.
    """

    limit: float
    hard: bool
    embedding: str
    decided: str
    folder: Path
    generation: int


@dataclass(frozen=True)
class _Round:
    """What the functions of one round share: its ``number``, and the task that compares each cluster, (k,) uint64."""

    number: int
    assigned: Assigned
    settings: ChoiceSettings
    task: np.ndarray

    @property
    def tasks(self) -> int:
        return int(self.task[-1]) + 1


def choose(corpus: Corpus, assigned: Assigned, settings: ChoiceSettings) -> Iterator[Arrays]:
    """Decide which rows stay, keep the decisions, and yield for each part the rows that are removed.

    removed: (m,) uint64, the sorted hashes of their ids.
    levels: (m,) float64, the cosines at which they are removed.
    """
    current = _Round(0, assigned, settings, _tasks(assigned))
    open_clusters = assigned.sizes > 0
    if settings.generation:
        open_clusters = _clusters(corpus.map(partial(_open_clusters, current)), "cluster", len(assigned.sizes))
    while open_clusters.any():
        open_clusters = _next_round(corpus, current, open_clusters)
        current = replace(current, number=current.number + 1)
    results = replace(corpus, folder=settings.folder)
    yield from results.map(partial(_decided, current, corpus.folder), keep=settings.decided)


def _tasks(assigned: Assigned) -> np.ndarray:
    """Return the task (k,) that compares each cluster: consecutive clusters of TASK_BYTES of vectors together."""
    # Rows near a border are compared in the cluster beyond it too. A row may be near many borders, so such comparisons
    # may outnumber the rows.
    compared = assigned.sizes + assigned.visitors
    rows = max(1, TASK_BYTES // (4 * assigned.width), int(compared.sum()) // MOST_TASKS)
    return np.unique((np.cumsum(compared) - compared) // rows, return_inverse=True)[1].astype(np.uint64)


def _next_round(corpus: Corpus, current: _Round, open_clusters: np.ndarray) -> np.ndarray:
    """Run one round over the clusters (k,) bool that are not done; return those that are not done after it."""
    needs, limit = (current.settings.embedding,), current.settings.limit
    answers = corpus.answer(
        partial(_rows_to_thin, current, open_clusters),
        "task",
        partial(_thinned, limit, current.settings.hard),
        name=f"thin-{current.number}",
        splits=current.tasks,
        needs=needs,
    )
    candidates = list(corpus.map(partial(_candidate_clusters, current, answers)))
    k = len(open_clusters)
    remaining, visited = (_clusters(candidates, name, k) for name in ("cluster", "near"))
    none: Arrays = {"row": np.zeros(0, np.int64), "cosine": np.zeros(0, np.float32)}
    refusals = [none] * len(corpus.parts)
    if visited.any():
        pairs = corpus.exchange(
            partial(_rows_at_borders, current, answers, visited),
            "task",
            partial(_pairs_across_borders, limit),
            name=f"borders-{current.number}",
            splits=current.tasks,
            needs=needs,
        )
        refusals = _refusals(list(pairs), current.settings.hard, len(corpus.parts))
    state = f"state-{current.number + 1}"
    keep_all(corpus, partial(_next_state, current, answers), (), state, inputs=refusals)
    return remaining


def _clusters(results: Iterable[Arrays], name: str, k: int) -> np.ndarray:
    """Return which of k clusters the results of parts name, (k,) bool."""
    named = np.zeros(k, bool)
    for result in results:
        named[result[name]] = True
    return named


def _state(current: _Round, rows: PartRows) -> Arrays:
    """Return the ``state`` (n,) of the rows of a part before a round.

    ``elsewhere`` (n,) is the largest cosine to a row that stays in another cluster, if it is over the limit, else 0.
    ``level`` (n,) is the cosine at which a row goes.
    """
    if current.number:
        return rows.kept(f"state-{current.number}")
    kept, settings = rows.kept(current.assigned.name), current.settings
    n = len(kept["key"])
    # A zero vector is like no other, so it stays.
    state = np.where(kept["label"] < len(current.assigned.sizes), FREE, STAYS).astype(np.int8)
    level = np.zeros(n)
    earlier = kept_path(settings.folder, settings.decided, rows.part)
    if rows.part.generation < settings.generation and files.exists(earlier):
        decided = read_arrays(earlier)
        state[:] = STAYS
        goes = np.isin(kept["key"], decided["removed"])
        state[goes] = GOES
        level[goes] = decided["levels"][np.searchsorted(decided["removed"], kept["key"][goes])]
    return {"state": state, "elsewhere": np.zeros(n, np.float32), "level": level}


def _open_clusters(current: _Round, rows: PartRows) -> Arrays:
    free = _state(current, rows)["state"] == FREE
    return {"cluster": np.unique(rows.kept(current.assigned.name)["label"][free])}


def _rows_to_thin(current: _Round, open_clusters: np.ndarray, rows: PartRows) -> pl.DataFrame:
    """Return the rows of clusters that are not done, and the rows that stay near the border of such a cluster."""
    kept, before = rows.kept(current.assigned.name), _state(current, rows)
    state = before["state"]
    member = np.flatnonzero(np.append(open_clusters, False)[kept["label"]] & (state != GOES))
    visits = open_clusters[kept["border_cluster"]] & (state[kept["border_row"]] == STAYS)
    return _table(current, rows, kept, before, member, visits)


def _thinned(limit: float, hard: bool, frame: pl.DataFrame) -> pl.DataFrame:
    """Return the candidates of every cluster, or, if a cluster has none, the level of each of its free rows."""
    stays, elsewhere, vectors = (frame[name].to_numpy() for name in ("stays", "elsewhere", "vector"))
    places, levels = [np.zeros(0, np.int64)], [np.zeros(0)]
    for members in _by_cluster(frame, hard):
        free = members[~stays[members]]
        if not len(free):
            continue
        x = vectors[free]
        best = np.maximum(thinning.largest_cosine(x, vectors[members[stays[members]]]), elsewhere[free])
        unlike = best <= limit
        if unlike.any():
            free = free[unlike][thinning.staying(x[unlike], limit)]
        places.append(free)
        levels.append(np.full(len(free), CANDIDATE) if unlike.any() else thinning.levels(x, best))
    return frame[np.concatenate(places)].select("part", "row", level=pl.Series(np.concatenate(levels)))


def _by_cluster(frame: pl.DataFrame, hard: bool) -> Iterator[np.ndarray]:
    """Yield the places of the rows of each cluster, the first choice first."""
    cluster, cosine, key = (frame[name].to_numpy() for name in ("cluster", "cosine", "key"))
    order = np.lexsort((key, cosine if hard else -cosine, cluster))
    yield from np.split(order, np.flatnonzero(np.diff(cluster[order])) + 1)


def _candidates(current: _Round, answers: Answers, rows: PartRows, n: int) -> np.ndarray:
    """Return which of the n rows of a part are candidates, (n,) bool."""
    frame = answers.of(rows)
    chosen = np.zeros(n, bool)
    chosen[frame["row"].to_numpy()[frame["level"].to_numpy() == CANDIDATE]] = True
    return chosen


def _candidate_clusters(current: _Round, answers: Answers, rows: PartRows) -> Arrays:
    """Return the clusters that have candidates, and the clusters near whose border a candidate is."""
    kept = rows.kept(current.assigned.name)
    candidate = _candidates(current, answers, rows, len(kept["label"]))
    return {
        "cluster": np.unique(kept["label"][candidate]),
        "near": np.unique(kept["border_cluster"][candidate[kept["border_row"]]]),
    }


def _rows_at_borders(current: _Round, answers: Answers, visited: np.ndarray, rows: PartRows) -> pl.DataFrame:
    """Return the rows that are compared across borders.

    They are candidates near the border of a cluster, and the candidates and the rows that stay in that cluster.
    """
    kept, before = rows.kept(current.assigned.name), _state(current, rows)
    candidate = _candidates(current, answers, rows, len(kept["label"]))
    compared = np.append(visited, False)[kept["label"]]
    member = np.flatnonzero(compared & (candidate | (before["state"] == STAYS)))
    return _table(current, rows, kept, before, member, candidate[kept["border_row"]])


def _pairs_across_borders(limit: float, frame: pl.DataFrame) -> Arrays:
    """Return the pairs of a visitor and a row of the visited cluster that are too alike, and their cosines."""
    visitor, vectors = frame["visitor"].to_numpy(), frame["vector"].to_numpy()
    pairs, cosines = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for places in _by_cluster(frame, hard=True):
        members, visitors = places[~visitor[places]], places[visitor[places]]
        for low in range(0, len(visitors), thinning.BLOCK):
            block = visitors[low : low + thinning.BLOCK]
            for start in range(0, len(members), thinning.BLOCK):
                others = members[start : start + thinning.BLOCK]
                product = vectors[block] @ vectors[others].T
                first, second = np.nonzero(product > limit)
                pairs.append(np.stack([block[first], others[second]], axis=1))
                cosines.append(product[first, second])
    both = np.concatenate(pairs)
    result = {name: frame[name].to_numpy()[both] for name in ("part", "row", "key", "cosine", "stays")}
    return {**result, "product": np.concatenate(cosines)}


def _refusals(results: Sequence[Arrays], hard: bool, parts: int) -> list[Arrays]:
    """Return for each part the candidates that are refused, and the largest cosine of each to a row that stays."""
    part, row, key, cosine, stays, product = (
        np.concatenate([result[name] for result in results])
        for name in ("part", "row", "key", "cosine", "stays", "product")
    )
    # Each row of a pair becomes one number; ``first`` is a place where the row stands.
    code, first, pairs = np.unique(part.astype(np.int64) << 32 | row, return_index=True, return_inverse=True)
    own, turn = cosine.ravel()[first], np.empty(len(code), np.int64)
    # Rows that stay already come first.
    turn[np.lexsort((key.ravel()[first], own if hard else -own, ~stays.ravel()[first]))] = np.arange(len(code))
    goes, best = refused(pairs.reshape(-1, 2), product, turn)
    # Numbers are sorted, so the rows of a part stand side by side.
    edges = np.searchsorted(code[goes] >> 32, np.arange(parts + 1))
    row = code[goes] & 0xFFFFFFFF
    return [{"row": row[low:high], "cosine": best[low:high]} for low, high in zip(edges[:-1], edges[1:], strict=True)]


def _next_state(current: _Round, answers: Answers, rows: PartRows) -> Arrays:
    """Return the state of the rows of a part after a round; the inputs are the candidates that were refused."""
    before = _state(current, rows)
    state, elsewhere, level = (before[name].copy() for name in ("state", "elsewhere", "level"))
    frame = answers.of(rows)
    row, answer = frame["row"].to_numpy(), frame["level"].to_numpy()
    state[row] = np.where(answer == CANDIDATE, STAYS, GOES)
    level[row] = np.maximum(answer, 0.0)
    state[rows.inputs["row"]] = FREE
    elsewhere[rows.inputs["row"]] = rows.inputs["cosine"]
    return {"state": state, "elsewhere": elsewhere, "level": level}


def _decided(current: _Round, folder: Path, rows: PartRows) -> Arrays:
    """Return the hashes of the ids of the rows that go, sorted, and their levels."""
    work = replace(rows, folder=folder)
    after = _state(current, work)
    goes = after["state"] == GOES
    removed, levels = work.kept(current.assigned.name)["key"][goes], after["level"][goes]
    order = np.argsort(removed)
    return {"removed": removed[order], "levels": levels[order]}


def _table(
    current: _Round, rows: PartRows, kept: Arrays, before: Arrays, member: np.ndarray, visits: np.ndarray
) -> pl.DataFrame:
    """Return rows with their vectors: the rows ``member`` in their own clusters, and visitors in other clusters.

    ``visits`` marks the visitors among the kept ``border_row``.
    """
    row = np.concatenate([member, kept["border_row"][visits].astype(np.int64)])
    cluster = np.concatenate([kept["label"][member], kept["border_cluster"][visits]])
    # Rows are read in the order of the part.
    order = np.argsort(row, kind="stable")
    row, cluster = row[order], cluster[order]
    return pl.DataFrame(
        {
            "task": current.task[cluster],
            "cluster": cluster,
            "part": np.full(len(row), rows.number, np.int32),
            "row": row,
            "key": kept["key"][row],
            "cosine": kept["cosine"][row],
            "stays": before["state"][row] == STAYS,
            "visitor": order >= len(member),
            "elsewhere": before["elsewhere"][row],
        }
    ).with_columns(vector_column(chosen_vectors(current.settings.embedding, rows, row), current.assigned.width))
