"""Clusters of the vectors of a corpus, learned by k-means from a sample of its rows.

In: a corpus with a column of vectors. Out: unit centres, with the number and the sum of their rows.

The vectors of the sampled rows are rounded to whole numbers and kept, part by part. Sums of whole numbers are exact in
any order, so the centres have the same bytes whichever process adds them up.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np

from curate.errors import SchemaError
from curate.storage.files import text_hash
from curate.streaming.vectors import kmeans
from curate.tables.batches import keys
from curate.tables.corpus import Arrays, Corpus, PartRows
from curate.tables.corpus.corpus import MapFunction

TOP = float(1 << 64)  # one more than the largest key
SAMPLE = 1_000_000  # rows from which centres are learned by default: 1,000 centres see 1,000 rows each
LEAST_START = 1000  # rows from which the first centres are drawn, at the least
# From a small sample, this process learns alone, since handing out tasks would take longer than k-means itself. A
# sample is small if it takes at most so many multiplications (about 2.5 CPU-seconds), and has at most so many numbers
# (64 MB of int16).
DRIVER_WORK = kmeans.STARTS_WORK
DRIVER_NUMBERS = 1 << 25
# A task adds up the rows of several parts: about .25 CPU-seconds of work, and between 8,192 and 131,072 rows. With
# fewer rows, a task would cost more to hand out than to do.
TASK_WORK = 1e10
TASK_ROWS = (1 << 13, 1 << 17)


@dataclass(frozen=True)
class ClusterSettings:
    """How clusters are learned, and the scorer that messages name.

    ``k`` centres are learned from about ``sample`` rows (0: all), with this number of ``iterations``. ``start`` is "++"
    or "sample". With "++", the best of ``starts`` starts is kept (0: as many as are cheap). With ``fewer``, k is an
    upper bound: if the rows do not differ enough, there are fewer centres instead of an error.
    """

    scorer: str
    k: int
    sample: int
    iterations: int
    start: str
    seed: int
    fewer: bool = False
    starts: int = 0

    def __post_init__(self) -> None:
        """Refuse settings with which no clusters can be learned."""
        least = min(self.k, self.iterations) < 1 or min(self.sample, self.starts) < 0
        if least or self.start not in ("++", "sample"):
            raise SchemaError(
                f"{self.scorer}: k={self.k} and iterations={self.iterations} must be at least 1, sample={self.sample} "
                f"and starts={self.starts} at least 0, and start={self.start} must be ++ or sample"
            )

    def start_rows(self, width: int) -> int:
        """Return how many rows of ``width`` numbers the first centres are drawn from."""
        rows = max(kmeans.START_ROWS * self.k, LEAST_START)
        if self.start == "sample":
            return rows
        return max(rows, min(kmeans.COMPARED_ROWS, kmeans.COMPARED_NUMBERS // width))


@dataclass(frozen=True)
class VectorSample:
    """A sample of the rows, whose rounded vectors are kept part by part.

    A row is sampled if its key, the hash of id and seed, is below ``share`` of the largest possible key. The vectors
    are kept under ``name``. ``rows`` is the expected number of sampled rows, ``sizes`` is their number in each part,
    and ``width`` is how many numbers a vector has.
    """

    corpus: Corpus
    name: str
    share: float
    rows: int
    sizes: tuple[int, ...]
    width: int

    def smallest(self, share: float) -> tuple[np.ndarray, np.ndarray]:
        """Return the keys (m,) and vectors (m, d) int16 of this share of the sample, in the order of their keys."""
        function = partial(_kept_rows, self.name, share * self.share)
        parts = [part for part in self.corpus.map(function) if len(part["key"])]
        if not parts:
            return np.zeros(0, np.uint64), np.zeros((0, self.width), np.int16)
        key, vectors = (np.concatenate([part[name] for part in parts]) for name in ("key", "vectors"))
        order = np.argsort(key)
        if len(np.unique(key)) < len(key):  # ids repeat: order their rows by the vectors
            order = np.lexsort((*vectors.T[::-1], key))
        return key[order], vectors[order]

    def tasks(self, k: int) -> list[tuple[PartRows, ...]]:
        """Return consecutive parts together, as many as make one task of adding up rows for ``k`` centres."""
        rows = min(max(TASK_WORK / (k * self.width), TASK_ROWS[0]), TASK_ROWS[1])
        number = (np.cumsum(self.sizes) - self.sizes) // rows
        parts = [PartRows(i, part, (), self.corpus.folder) for i, part in enumerate(self.corpus.parts)]
        return [tuple(parts[i] for i in np.flatnonzero(number == task)) for task in np.unique(number)]


def row_count(corpus: Corpus) -> int:
    """Return the number of rows. Counting is cheap: only ids are read."""
    return sum(int(part["rows"]) for part in corpus.map(_count_rows))


def sampled_vectors(corpus: Corpus, embedding: str, *, scorer: str, seed: int, sample: int, rows: int) -> VectorSample:
    """Keep the rounded vectors of about ``sample`` of the ``rows`` rows of a corpus; of all rows if it is 0.

    Raises:
        SchemaError: if the corpus has no rows, or vectors of different lengths.
    """
    share = min(1.0, sample / max(1, rows)) if sample else 1.0
    name = "sample-" + text_hash(repr((embedding, seed, share)))[:16]
    keep_all(corpus, partial(_sample_of_part, embedding, scorer, seed, share), (embedding,), name)
    sizes = list(corpus.map(partial(_kept_sizes, name)))
    width = common_width([int(size["width"]) for size in sizes], embedding, scorer)
    return VectorSample(corpus, name, share, round(rows * share), tuple(int(size["rows"]) for size in sizes), width)


def keep_all(
    corpus: Corpus, function: MapFunction, needs: Sequence[str], name: str, inputs: Sequence[Arrays] | None = None
) -> None:
    """Run a function on every part and keep its results, without reading them."""
    # The function has run on all parts before the first result is yielded. The other results are not read.
    next(corpus.map(function, needs, keep=name, inputs=inputs), None)


def common_width(widths: Sequence[int], embedding: str, scorer: str) -> int:
    """Return how many numbers the vectors of all parts have; a part without rows has the width 0.

    Raises:
        SchemaError: if no part has rows, or two parts have vectors of different lengths.
    """
    different = list(dict.fromkeys(width for width in widths if width))
    if not different:
        raise SchemaError(f"{scorer}: the data has no rows to learn from. Give it data with rows")
    for width in different[1:]:
        refuse_widths(different[0], width, embedding, scorer)
    return different[0]


def refuse_widths(first: int, second: int, embedding: str, scorer: str) -> None:
    """Stop if two vectors do not have equally many numbers."""
    if first != second:
        raise SchemaError(
            f"{scorer}: {embedding} has vectors of {first} and of {second} numbers in different files. "
            "Embed all files with one encoder"
        )


def learn_clusters(corpus: Corpus, embedding: str, settings: ClusterSettings, rows: int) -> kmeans.Clusters:
    """Learn k centres of the vectors of a corpus of ``rows`` rows, or of a sample of it.

    Raises:
        SchemaError: if there are fewer rows, or fewer different directions, than centres.
    """
    k, scorer, seed = settings.k, settings.scorer, settings.seed
    sample = sampled_vectors(corpus, embedding, scorer=scorer, seed=seed, sample=settings.sample, rows=rows)
    if sample.rows < k:
        raise SchemaError(f"{scorer}: k={k} centres need {k} rows; there are {sample.rows} to learn from. Lower k")
    start_share = min(1.0, settings.start_rows(sample.width) / sample.rows)
    work = sample.rows * k * sample.width * (settings.iterations + 1)
    if work <= DRIVER_WORK and sample.rows * sample.width <= DRIVER_NUMBERS:
        key, points = sample.smallest(1.0)
        start_rows = points[: _rows_below(key, start_share * sample.share)]
        summed = partial(_sums_of_points, key, points, sample.share)
    else:
        _, start_rows = sample.smallest(start_share)
        summed = partial(_sums_of_sample, sample, sample.tasks(k))
    start = _start(start_rows, settings)
    return kmeans.learn(summed, start, rows=sample.rows, iterations=settings.iterations)


def _start(rows: np.ndarray, settings: ClusterSettings) -> np.ndarray:
    """Return the first centres (k, d) int16, drawn from (m, d) int16 rows in the order of their keys."""
    k, iterations = settings.k, settings.iterations
    if settings.fewer:
        k = min(k, max(1, len(np.unique(rows[rows.any(axis=1)], axis=0))))
    try:
        if settings.start == "sample":
            return kmeans.first_directions(rows, k)
        count = settings.starts or kmeans.starts(k, len(rows), rows.shape[1], iterations)
        return kmeans.best_start(rows, k, iterations=iterations, count=count, seed=settings.seed)
    except SchemaError as error:
        raise SchemaError(f"{settings.scorer}: {error}") from None


def _sums_of_points(
    key: np.ndarray, points: np.ndarray, sample_share: float, centres: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums and numbers of the rows nearest to each centre, from rows in memory."""
    return kmeans.sums_of_blocks(kmeans.in_blocks(points[: _rows_below(key, share * sample_share)]), centres)


def _sums_of_sample(
    sample: VectorSample, tasks: Sequence[tuple[PartRows, ...]], centres: np.ndarray, share: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sums and numbers of the rows nearest to each centre, added up where the rows are kept."""
    sums, counts = np.zeros(centres.shape), np.zeros(len(centres), np.int64)
    function = partial(_sums_of_parts, sample.name, share * sample.share, centres)
    # Results may come in any order, since sums of whole numbers are exact.
    for result in sample.corpus.engine.run(function, tasks):
        sums[result["cluster"]] += result["sums"]
        counts[result["cluster"]] += result["counts"]
    return sums, counts


def _sums_of_parts(name: str, share: float, centres: np.ndarray, parts: tuple[PartRows, ...]) -> Arrays:
    """Return sums and counts of the clusters that the rows of some parts belong to."""

    def blocks() -> Iterator[np.ndarray]:
        for part in parts:
            yield from kmeans.in_blocks(_kept_rows(name, share, part)["vectors"])

    sums, counts = kmeans.sums_of_blocks(blocks(), centres)
    # A task with fewer rows than there are centres returns few of them.
    cluster = np.flatnonzero(counts)
    return {"cluster": cluster, "sums": sums[cluster], "counts": counts[cluster]}


def _rows_below(key: np.ndarray, share: float) -> int:
    """Return how many of the sorted keys are below this share of the largest."""
    return len(key) if share >= 1 else int(np.searchsorted(key, np.uint64(share * TOP)))


def _count_rows(rows: PartRows) -> Arrays:
    return {"rows": np.array(sum(batch.height for batch in rows.batches()))}


def _sample_of_part(embedding: str, scorer: str, seed: int, share: float, rows: PartRows) -> Arrays:
    """Return the keys and the rounded vectors of the sampled rows of a part, and the length of its vectors."""
    width, key_parts, vector_parts = 0, [np.zeros(0, np.uint64)], []
    for batch in rows.batches():
        if not batch.height:
            continue
        key, vectors = keys(batch["id"], seed), batch[embedding].to_numpy()
        refuse_widths(width or vectors.shape[1], vectors.shape[1], embedding, scorer)
        width = vectors.shape[1]
        sampled = slice(None) if share >= 1 else key < np.uint64(share * TOP)
        key_parts.append(key[sampled])
        vector_parts.append(kmeans.quantise(vectors[sampled]))
    vectors = np.concatenate(vector_parts) if vector_parts else np.zeros((0, 0), np.int16)
    return {"key": np.concatenate(key_parts), "vectors": vectors, "width": np.array(width)}


def _kept_sizes(name: str, rows: PartRows) -> Arrays:
    kept = rows.kept(name)
    return {"rows": np.array(len(kept["key"])), "width": kept["width"]}


def _kept_rows(name: str, share: float, rows: PartRows) -> Arrays:
    """Return the kept keys and vectors of the rows whose key is below this share of the largest."""
    kept = rows.kept(name)
    sampled = slice(None) if share >= 1 else kept["key"] < np.uint64(share * TOP)
    return {"key": kept["key"][sampled], "vectors": kept["vectors"][sampled]}
