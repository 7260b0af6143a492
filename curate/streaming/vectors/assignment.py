"""Assign every row to a cluster, and find the other clusters whose border it is near.

In: a corpus with a column of vectors, and centres. Out: assignments, kept part by part. Large clusters can be split
until all rows of a cluster can be compared with each other.
"""

from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from curate.storage import files
from curate.storage.files import text_hash
from curate.streaming.vectors import kmeans
from curate.streaming.vectors.clusters import TOP, common_width, keep_all, refuse_widths
from curate.tables.batches import keys
from curate.tables.corpus import Arrays, Corpus, PartRows

LARGEST = 4096  # a cluster with more rows is split, because all rows of a cluster are compared with each other
ROUNDS = 4  # rounds of splitting large clusters
SAMPLED = 64  # rows for each new cluster from which a split learns its centres
SPLIT_ITERATIONS = 5  # of k-means in a split
# A split reads the rows with the smallest keys. It expects this many times the rows that it needs, so that it gets too
# few with a chance below 1e-7 (if it needs 192 rows, 288 are expected, with a standard deviation of 17).
MARGIN = 1.5
SPLIT_ROWS = 1 << 16  # rows from which one task splits clusters
# The gaps between all pairs of this many centres take 64 MB. Of more centres, gaps are computed for a block of rows.
GAPS = 4096


@dataclass(frozen=True)
class Assigned:
    """Centres (k, d) float32, and the name under which each part keeps the clusters of its rows.

    A part keeps for each of its n rows: the hash of its id, ``key`` (n,) uint64; its cluster, ``label`` (n,) int32; and
    its ``cosine`` (n,) float32 to the centre. A zero vector has the label k, since it has no direction. Row
    ``border_row[i]`` is near the border of cluster ``border_cluster[i]``.

    ``sizes`` (k,) are the numbers of rows of the clusters. ``visitors`` (k,) are the numbers of rows of other clusters
    that are near the border of each. ``width`` is d.
    """

    centres: np.ndarray
    name: str
    sizes: np.ndarray
    visitors: np.ndarray
    width: int


@dataclass(frozen=True)
class AssignSettings:
    """How rows are assigned: by the vectors of ``embedding``, with ids hashed with ``seed``.

    ``reach`` is how far a row may be from a border to be near it. ``scorer`` is named in messages.
    """

    embedding: str
    scorer: str
    seed: int
    reach: float


def assign(corpus: Corpus, centres: np.ndarray, settings: AssignSettings) -> Assigned:
    """Find the cluster of every row, and keep it.

    Raises:
        SchemaError: if two rows have vectors of different lengths.
    """
    name = "assigned-" + text_hash(repr((settings, centres.shape)) + text_hash(centres.tobytes().hex()))[:16]
    keep_all(corpus, partial(_assign_part, centres, settings), (settings.embedding,), name)
    sizes, visitors = np.zeros((2, len(centres)), np.int64)
    widths = []
    for part in corpus.map(partial(_sizes_of_part, name, len(centres))):
        sizes[part["cluster"]] += part["rows"]
        visitors[part["cluster"]] += part["visitors"]
        widths.append(int(part["width"]))
    return Assigned(centres, name, sizes, visitors, common_width(widths, settings.embedding, settings.scorer))


def split_large(corpus: Corpus, centres: np.ndarray, settings: AssignSettings) -> Assigned:
    """Split clusters until none has more than LARGEST rows; return the assignment to all centres.

    A cluster stays larger if its rows do not differ, or after ROUNDS rounds.
    """
    assigned = assign(corpus, centres, settings)
    for number in range(ROUNDS):
        large = np.flatnonzero(assigned.sizes > LARGEST)
        parts = _split(corpus, assigned, large, settings, f"split-{number}") if len(large) else []
        if not any(len(part) > 1 for part in parts):
            break
        before = assigned
        assigned = assign(corpus, np.concatenate([np.delete(before.centres, large, axis=0), *parts]), settings)
        files.remove(corpus.folder / before.name)
    return assigned


def _split(
    corpus: Corpus, assigned: Assigned, large: np.ndarray, settings: AssignSettings, name: str
) -> list[np.ndarray]:
    """Return the new centres of each of the clusters ``large``: one centre if its rows do not differ."""
    wanted = np.zeros(len(assigned.sizes), np.int64)
    # Twice as many new clusters as needed, since they are not equally large.
    wanted[large] = SAMPLED * -(-2 * assigned.sizes[large] // LARGEST)
    task = (np.cumsum(wanted) - wanted) // SPLIT_ROWS
    send = partial(_rows_for_split, assigned, wanted, task, settings)
    results = corpus.exchange(
        send,
        "task",
        partial(_split_clusters, wanted),
        name=name,
        splits=int(task.max()) + 1,
        needs=(settings.embedding,),
    )
    centres: dict[int, np.ndarray] = {}
    for result in results:
        for cluster in np.unique(result["cluster"]).tolist():
            centres[cluster] = result["centres"][result["cluster"] == cluster]
    return [centres[cluster] for cluster in large.tolist()]


def _assign_part(centres: np.ndarray, settings: AssignSettings, rows: PartRows) -> Arrays:
    columns = kmeans.quantise(centres).astype(np.float32).T
    square = kmeans.scale(centres.shape[1]) ** 2  # products of quantised vectors are cosines times this
    gaps = _Gaps(centres, square)
    width, first_row = 0, 0
    result: dict[str, list[np.ndarray]] = {
        "key": [np.zeros(0, np.uint64)],
        "label": [np.zeros(0, np.int32)],
        "cosine": [np.zeros(0, np.float32)],
        "border_row": [np.zeros(0, np.uint32)],
        "border_cluster": [np.zeros(0, np.int32)],
    }
    for batch in rows.batches():
        if not batch.height:
            continue
        vectors = batch[settings.embedding].to_numpy()
        refuse_widths(centres.shape[1], vectors.shape[1], settings.embedding, settings.scorer)
        width = vectors.shape[1]
        result["key"].append(keys(batch["id"], settings.seed))
        for x in kmeans.in_blocks(kmeans.quantise(kmeans.unit(vectors))):
            products = x.astype(np.float32) @ columns
            label = products.argmax(axis=1)
            best = products[np.arange(len(x)), label]
            nonzero = x.any(axis=1)
            result["label"].append(np.where(nonzero, label, len(centres)).astype(np.int32))
            result["cosine"].append(best / np.float32(square))
            if settings.reach > 0:
                # a row is (best - product) / gap away from the plane between its centre and another
                close = best[:, None] - products <= settings.reach * gaps.of(label)
                close[np.arange(len(x)), label] = False
                close[~nonzero] = False
                close_row, close_cluster = np.nonzero(close)
                result["border_row"].append((first_row + close_row).astype(np.uint32))
                result["border_cluster"].append(close_cluster.astype(np.int32))
            first_row += len(x)
    return {name: np.concatenate(arrays) for name, arrays in result.items()} | {"width": np.array(width)}


class _Gaps:
    """The distances between centres, times ``square``."""

    def __init__(self, centres: np.ndarray, square: int) -> None:
        self.centres, self.square = centres, square
        self.all = self._rows(centres) if len(centres) <= GAPS else None

    def of(self, label: np.ndarray) -> np.ndarray:
        """Return the distances (n, k) of the centres ``label`` (n,) to all centres."""
        if self.all is not None:
            return np.asarray(self.all[label])
        different, places = np.unique(label, return_inverse=True)
        return np.asarray(self._rows(self.centres[different])[places])

    def _rows(self, centres: np.ndarray) -> np.ndarray:
        return np.asarray(np.sqrt(np.maximum(2 - 2 * centres @ self.centres.T, 0)) * self.square)


def _sizes_of_part(name: str, k: int, rows: PartRows) -> Arrays:
    kept = rows.kept(name)
    sizes = np.bincount(kept["label"], minlength=k)[:k]
    visitors = np.bincount(kept["border_cluster"], minlength=k)
    cluster = np.flatnonzero(sizes + visitors)
    return {"cluster": cluster, "rows": sizes[cluster], "visitors": visitors[cluster], "width": kept["width"]}


def _rows_for_split(
    assigned: Assigned, wanted: np.ndarray, task: np.ndarray, settings: AssignSettings, rows: PartRows
) -> pl.DataFrame:
    """Return the rows of a part with small keys, for every cluster that is split."""
    kept = rows.kept(assigned.name)
    share = np.append(MARGIN * wanted / np.maximum(assigned.sizes, 1), 0.0)  # none of the zero vectors
    chosen = kept["key"] < np.minimum(share[kept["label"]], 1.0 - 2.0**-53) * TOP
    label = kept["label"][chosen]
    vectors = chosen_vectors(settings.embedding, rows, np.flatnonzero(chosen))
    return pl.DataFrame(
        {"task": task[label].astype(np.uint64), "cluster": label, "key": kept["key"][chosen]}
    ).with_columns(vector_column(vectors, assigned.width))


def _split_clusters(wanted: np.ndarray, frame: pl.DataFrame) -> Arrays:
    """Return the centres into which each cluster of a table is split."""
    cluster, key, vectors = frame["cluster"].to_numpy(), frame["key"].to_numpy(), frame["vector"].to_numpy()
    labels, centres = [np.zeros(0, np.int32)], [np.zeros((0, vectors.shape[1]), np.float32)]
    for label in np.unique(cluster):
        members = np.flatnonzero(cluster == label)
        rows = kmeans.quantise(vectors[members[np.argsort(key[members])][: wanted[label]]])
        start = np.unique(rows, axis=0)
        most = int(min(wanted[label] // SAMPLED, start.any(axis=1).sum()))
        start = kmeans.first_directions(rows, most) if start.any() else start[:1]
        learned = kmeans.learn(partial(_sums_of_rows, rows), start, rows=len(rows), iterations=SPLIT_ITERATIONS)
        centres.append(learned.centres)
        labels.append(np.full(len(learned.centres), label))
    return {"cluster": np.concatenate(labels), "centres": np.concatenate(centres)}


def _sums_of_rows(rows: np.ndarray, centres: np.ndarray, _share: float) -> tuple[np.ndarray, np.ndarray]:
    return kmeans.sums_of_blocks(kmeans.in_blocks(rows), centres)


def chosen_vectors(embedding: str, rows: PartRows, chosen: np.ndarray) -> list[np.ndarray]:
    """Return the unit vectors of some rows of a part, batch by batch; ``chosen`` (m,) are their numbers, sorted."""
    vectors: list[np.ndarray] = []
    if not len(chosen):
        return vectors
    first_row = 0
    for batch in rows.batches():
        low, high = np.searchsorted(chosen, (first_row, first_row + batch.height))
        if high > low:
            vectors.append(kmeans.unit(batch[embedding].to_numpy()[chosen[low:high] - first_row]))
        first_row += batch.height
    return vectors


def vector_column(vectors: list[np.ndarray], width: int) -> pl.Series:
    """Return (m, width) float32 vectors as the column ``vector``."""
    together = np.concatenate([np.zeros((0, width), np.float32), *vectors])
    return pl.Series("vector", together, dtype=pl.Array(pl.Float32, width))
