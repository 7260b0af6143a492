"""Coverage of the embedding space, after ZCore (Griffin et al. 2024, arXiv 2411.15349).

The score is a mean over random planes of two coordinates, and the gain of a row varies much from plane to plane. So the
planes are split into two independent halves, and planes are added until both halves choose nearly the same rows.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from itertools import combinations, cycle, islice, repeat
from typing import ClassVar

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.progress import report
from curate.storage.files import text_hash
from curate.streaming.by_id import check_distinct_ids, look_up
from curate.streaming.vectors.clusters import common_width, keep_all, refuse_widths
from curate.streaming.vectors.medians import medians
from curate.tables.batches import keys
from curate.tables.corpus import Arrays, Corpus, PartRows

# Since format 2, planes are added until two halves agree, rows that are equal in a plane share gains and losses, and a
# score of 1 is an even share of the probes.
FORMAT = 2
LEAST_PROBES = 500  # in a plane; for small data sets a tenth of the rows would be too few
FIRST_PLANES = 100  # planes before the halves are first compared
# These two bound the cost: about 2 CPU-minutes up to 1,000,000 rows (benchmarks/scorers/coverage.py).
MOST_PLANES = 5000
MOST_ROWS = 10**8  # planes times rows
TOP = 0.2  # the halves are compared by their highest scores, this share of the rows
AGREED = 0.9  # share of these rows that the halves must have in common
GOLDEN = (5**0.5 - 1) / 2  # multiples of the golden ratio, modulo 1, fill [0, 1) most evenly

TASK_ROWS = 1 << 20  # planes times rows that one task probes: about a CPU-second

Plane = tuple[int, np.ndarray]  # the half to which a plane belongs, and its two coordinates


@dataclass(frozen=True)
class Coverage:
    """How much of the embedding space a row alone covers; high is rare.

    ``score.coverage`` (float64, any sign): probes are drawn in random planes of two coordinates. The row nearest to a
    probe gains 1, and the ``near`` rows nearest to that row lose 1 / near each. The sum is divided by probes / n, the
    gain of a row if all rows gained equally. The scores of all rows sum to 0. A row that was not in the learned data
    scores 0. ``ids`` (n,) are the sorted hash(id, seed) of the rows of a part, uint64, and ``scores`` (n,) float64.
    ``halves`` (3,) holds the agreement of the two halves, the number of planes, and the probes in each plane. The
    agreement is the share of the fifth of rows with the highest scores that both halves have in common (0.2 by chance).

    It differs from ZCore in five ways. (1) ZCore draws a new plane for each probe. Here a plane has many probes, evenly
    spread. (2) ZCore measures distances in a plane as the sum of two differences. Here they are Euclidean. (3) In ZCore
    the 1,000 nearest rows share the loss in proportion to 1 / distance^4. Here ``near`` rows lose equally. (4) If rows
    are equal in a plane, in ZCore one of them gains and one of its copies loses 1. Here such rows share gains and
    losses evenly. (5) ZCore starts from uniform random scores and scales the result to 0 to 1. Here neither is done.

    Source: Griffin et al. 2024, arXiv 2411.15349, github.com/voxel51/zcore.
    """

    ids: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, np.uint64))
    scores: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0))
    halves: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(3))
    seed: int = 0
    needs = ()
    part_arrays: ClassVar[tuple[str, ...]] = ("ids", "scores")
    schema = {"score.coverage": pl.Float64()}
    meanings = {"score.coverage": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays that all parts share. Scores are stored with the part that they belong to."""
        return {"halves": self.halves}

    @property
    def notes(self) -> tuple[str, ...]:
        """Return a line that says how far the two halves agree."""
        agreement, planes, probes = self.halves.tolist()
        line = (
            f"coverage: {planes:,.0f} planes with {probes:,.0f} probes each, in two independent halves. The halves "
            f"share {agreement:.0%} of the {TOP:.0%} of rows with the highest scores; by chance they would share "
            f"{TOP:.0%}"
        )
        if agreement < AGREED:
            line += f". Much of this score is chance: set planes above {planes:.0f}, or use another score"
        return (line,)

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.ids, self.scores, otherwise=0.0)
        return pl.DataFrame({"score.coverage": scores}, schema=dict(self.schema))


@dataclass(frozen=True)
class Probing:
    """How to probe: the number of ``planes`` and the number of ``probes`` in each plane.

    0 ``planes`` means that planes are added until the halves agree. 0 ``probes`` means a default for the number of
    rows. When a row gains, its ``near`` nearest rows lose.
    """

    planes: int
    probes: int
    near: int
    seed: int

    def __post_init__(self) -> None:
        """Refuse numbers with which nothing is probed."""
        if self.planes < 0 or self.planes == 1 or self.probes < 0 or self.near < 1:
            raise SchemaError(
                f"coverage: planes={self.planes} must be 0 or at least 2, probes={self.probes} at least 0, "
                f"near={self.near} at least 1"
            )

    def in_plane(self, rows: int) -> int:
        """Return the number of probes in each plane."""
        return self.probes or max(LEAST_PROBES, rows // 10)

    def most_planes(self, rows: int) -> int:
        """Return the largest number of planes."""
        return self.planes or max(FIRST_PLANES, min(MOST_PLANES, MOST_ROWS // rows))


def learn(
    corpus: Corpus,
    *,
    planes: int = 0,
    probes: int = 0,
    near: int = 10,
    seed: int = 0,
    embedding: str = "emb.hashed",
) -> Coverage:
    """Return the coverage of every row, from probes in planes of two coordinates.

    Each coordinate of a probe has a triangular distribution: its limits are the smallest and largest value of the rows,
    and its mode is their median. If there are few pairs of coordinates, both halves use all pairs, with different
    probes. Otherwise the halves use different planes. A note says how far the halves agree. Ids must be distinct.

    The process that learns needs about 100 bytes of memory a row, and a worker 200 bytes a row. Disk is at most 16
    bytes a row for each plane of a round.

    Options:
        planes: number of planes of two coordinates. 0 adds planes until two independent halves share 90 % of the fifth
            of rows with the highest scores. It uses at least 100 and at most 5,000 planes, and planes times rows is at
            most 100,000,000. If all pairs of coordinates are used, each is used equally often (default 0).
        probes: probes in each plane; 0 is a tenth of the rows, at least 500 (default 0).
        near: rows that lose a share when their neighbour gains (default 10).
        seed: seed of the planes and the probes (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: if there are too few rows, or fewer than two coordinates vary.
    """
    probing = Probing(planes, probes, near, seed)
    kept = f"spans-{text_hash(repr((embedding, seed)))[:16]}"
    keep_all(corpus, partial(_span_of_part, embedding, seed), (embedding,), kept)
    spans = list(corpus.map(partial(_kept_span, kept)))
    rows = sum(int(span["rows"]) for span in spans)
    if rows <= near:
        raise SchemaError(f"coverage: near={near} neighbours need more than {near} rows; the data has {rows}")
    width = common_width([int(span["width"]) for span in spans], embedding, "coverage")
    check_distinct_ids(corpus, "coverage", seed, rows=rows, kept=kept)
    middle = medians(corpus, embedding, (), _one_group, np.array([rows]), width)[0]
    low, high = (getattr(np, name)([span[name] for span in spans if span["rows"]], axis=0) for name in ("min", "max"))
    box = Box(*(limit.astype(np.float64) for limit in (low, middle, high)))
    scores, halves = _probed(corpus, ProbedRows(embedding, kept, rows), box, probing)
    first = 0
    for number, part in enumerate(corpus.kept(kept)):
        order = np.argsort(part["ids"])
        corpus.store(number, {"ids": part["ids"][order], "scores": scores[first + order]})
        first += len(order)
    return Coverage(halves=halves, seed=seed)


@dataclass(frozen=True)
class ProbedRows:
    """The ``count`` rows of a corpus, with vectors in the column ``embedding``.

    Every part keeps the hashed ids of its rows under the name ``kept``.
    """

    embedding: str
    kept: str
    count: int


@dataclass(frozen=True)
class Box:
    """The smallest value, the median and the largest value of each coordinate, (d,) float64 each."""

    low: np.ndarray
    middle: np.ndarray
    high: np.ndarray


@dataclass(frozen=True)
class ProbedPlane:
    """A plane of the two coordinates ``pair`` (2,), and the ``shift`` (2,) of its lattice of probes."""

    half: int
    pair: np.ndarray
    shift: np.ndarray


def _span_of_part(embedding: str, seed: int, rows: PartRows) -> Arrays:
    """Return the hashed ids of a part, and the smallest and largest value of each coordinate."""
    ids = [np.zeros(0, np.uint64)]
    low: list[np.ndarray] = []
    high: list[np.ndarray] = []
    for batch in rows.batches():
        if batch.height:
            x = batch[embedding].to_numpy()
            refuse_widths(len(low[0]) if low else x.shape[1], x.shape[1], embedding, "coverage")
            ids.append(keys(batch["id"], seed))
            low.append(x.min(axis=0))
            high.append(x.max(axis=0))
    limits = {"min": np.min(low, axis=0), "max": np.max(high, axis=0)} if low else {}
    return {"ids": np.concatenate(ids), "width": np.array(len(low[0]) if low else 0), **limits}


def _kept_span(kept: str, rows: PartRows) -> Arrays:
    """Return what is kept of a part, with the number of its rows instead of their ids."""
    span = rows.kept(kept)
    count = len(span.pop("ids"))
    return {**span, "rows": np.array(count)}


def _one_group(batch: pl.DataFrame) -> np.ndarray:
    return np.zeros(batch.height, np.int64)


def _probed(corpus: Corpus, rows: ProbedRows, box: Box, probing: Probing) -> tuple[np.ndarray, np.ndarray]:
    """Return the scores (n,) of the rows in the order of the corpus, and what ``Coverage.halves`` holds."""
    span = box.high - box.low
    vary = np.flatnonzero((span > 0) & np.isfinite(span))
    if len(vary) < 2:
        raise SchemaError(
            f"coverage: {len(vary)} of {len(span)} coordinates of {rows.embedding} vary over {rows.count} rows; a "
            "plane needs two. Check that the vectors differ"
        )
    probes, most = probing.in_plane(rows.count), probing.most_planes(rows.count)
    rng = np.random.default_rng(probing.seed)
    gains, planes, agreement = np.zeros((2, rows.count)), 0, 0.0
    for number, planes_of_round in enumerate(_rounds(vary, most, rng)):
        drawn = [ProbedPlane(half, pair, rng.random(2)) for half, pair in planes_of_round]
        results = _gains_of_round(corpus, drawn, box, probing, rows, number)
        for plane, gain in zip(drawn, results, strict=True):
            gains[plane.half] += gain
            planes += 1
            report("planes probed, at most", planes, most)
        agreement = _agreement(corpus, rows, gains)
        if agreement >= AGREED and not probing.planes:
            break
    scores = gains[0]
    scores += gains[1]
    # divided by an even share of the probes, so that scores do not grow with the number of probes
    scores *= rows.count
    scores /= planes * probes
    return scores, np.array([agreement, planes, probes], np.float64)


def _gains_of_round(
    corpus: Corpus, planes: Sequence[ProbedPlane], box: Box, probing: Probing, rows: ProbedRows, number: int
) -> Iterator[np.ndarray]:
    """Yield the gains (n,) of the rows in each plane. Every task is sent the coordinates of its planes."""
    size = max(1, TASK_ROWS // rows.count)
    tasks = tuple(tuple(planes[low : low + size]) for low in range(0, len(planes), size))
    coordinates = tuple(np.unique([plane.pair for plane in task]) for task in tasks)
    results = corpus.exchange(
        partial(_coordinates, rows.embedding, coordinates),
        "task",
        partial(_gains_of_task, tasks, box, probing.in_plane(rows.count), probing.near),
        name=f"planes-{number}",
        splits=len(tasks),
        needs=(rows.embedding,),
    )
    for result in results:
        yield from result["gains"]


def _coordinates(embedding: str, coordinates: Sequence[np.ndarray], rows: PartRows) -> pl.DataFrame:
    """Return for every task the values of its coordinates over the rows of a part, as the bytes of float32 numbers."""
    columns = [batch[embedding].to_numpy().T for batch in rows.batches() if batch.height]
    x = np.concatenate(columns, axis=1) if columns else np.zeros((0, 0), np.float32)
    # a part without rows sends nothing
    sent = [(task, c) for task, used in enumerate(coordinates) for c in used.tolist()] if columns else []
    return pl.DataFrame(
        {
            "task": pl.Series([task for task, _ in sent], dtype=pl.UInt64),
            "coordinate": pl.Series([c for _, c in sent], dtype=pl.Int64),
            "values": pl.Series([x[c].astype(np.float32).tobytes() for _, c in sent], dtype=pl.Binary),
        }
    )


def _gains_of_task(
    tasks: Sequence[Sequence[ProbedPlane]], box: Box, probes: int, near: int, frame: pl.DataFrame
) -> Arrays:
    """Return the gains (planes, n) of all rows in each plane of a task."""
    # parts follow each other in the order of the corpus
    values = {
        int(part["coordinate"][0]): np.frombuffer(b"".join(part["values"]), np.float32)
        for part in frame.partition_by("coordinate")
    }
    gains = []
    for plane in tasks[int(frame["task"][0])]:
        pair = plane.pair
        points = _triangular(_even_points(probes, plane.shift), box.low[pair], box.middle[pair], box.high[pair])
        gains.append(_gains(np.stack([values[c] for c in pair.tolist()], axis=1), points, near))
    return {"gains": np.stack(gains)}


def _rounds(vary: np.ndarray, most: int, rng: np.random.Generator) -> Iterator[list[Plane]]:
    """Yield planes of the coordinates ``vary``, at most ``most`` in all; the halves are compared after each round.

    If there are few pairs of coordinates, every round has each pair once for each half, so the choice of planes adds no
    noise. Otherwise planes go to the two halves alternately, and each round doubles the number of planes.
    """
    if (size := len(vary) * (len(vary) - 1)) <= most:
        every = [(half, np.array(pair)) for pair in combinations(vary.tolist(), 2) for half in (0, 1)]
        yield from repeat(every, most // size)
        return
    planes = zip(cycle((0, 1)), _random_pairs(vary, rng), strict=False)
    count = 0
    while count < most:
        size = min(max(count, FIRST_PLANES), most - count)
        yield list(islice(planes, size))
        count += size


def _random_pairs(vary: np.ndarray, rng: np.random.Generator) -> Iterator[np.ndarray]:
    """Yield pairs of different coordinates without end; each coordinate comes once before any comes again."""
    while True:
        mixed = rng.permutation(vary)
        yield from (mixed[i : i + 2] for i in range(0, len(mixed) - 1, 2))


def _agreement(corpus: Corpus, rows: ProbedRows, gains: np.ndarray) -> float:
    """Return the share of the rows with the highest TOP of gains that both halves (2, n) have in common."""
    count = max(1, round(TOP * rows.count))
    first, second = (_highest(corpus, rows, half, count) for half in gains)
    return int(np.count_nonzero(first & second)) / count


def _highest(corpus: Corpus, rows: ProbedRows, gains: np.ndarray, count: int) -> np.ndarray:
    """Return which rows (n,) have the ``count`` highest gains. Of equal gains, those with the smallest ids have."""
    place = rows.count - count
    limit = np.partition(gains, place)[place]
    highest: np.ndarray = gains > limit
    equal = np.flatnonzero(gains == limit)
    missing = count - int(np.count_nonzero(highest))
    if missing < len(equal):
        # Mostly a single row has this gain, and no id is read.
        equal = equal[np.argsort(_ids(corpus, rows, equal))]
    highest[equal[:missing]] = True
    return highest


def _ids(corpus: Corpus, rows: ProbedRows, numbers: np.ndarray) -> np.ndarray:
    """Return the hashed ids (m,) of the rows with these sorted ``numbers``, from 0 for the first row of the corpus."""
    ids, first = [np.zeros(0, np.uint64)], 0
    for part in corpus.kept(rows.kept):
        last = first + len(part["ids"])
        low, high = np.searchsorted(numbers, (first, last))
        ids.append(part["ids"][numbers[low:high] - first])
        first = last
    return np.concatenate(ids)


def _even_points(count: int, shift: np.ndarray) -> np.ndarray:
    """Return (count, 2) points that fill the unit square evenly: a lattice, shifted by a random vector (2,)."""
    steps = np.arange(count)
    return np.asarray((np.stack([steps / count, steps * GOLDEN], axis=1) + shift) % 1.0)


def _triangular(u: np.ndarray, low: np.ndarray, middle: np.ndarray, high: np.ndarray) -> np.ndarray:
    """Return the quantiles ``u`` (c, 2) of triangular distributions from ``low`` over ``middle`` to ``high`` (2,)."""
    width = high - low
    rise, fall = np.clip(middle - low, 0, width), np.clip(high - middle, 0, width)
    return np.asarray(
        np.where(u < rise / width, low + np.sqrt(u * width * rise), high - np.sqrt((1 - u) * width * fall))
    )


def _gains(plane: np.ndarray, probes: np.ndarray, near: int) -> np.ndarray:
    """Return the gains less the losses (n,) of the rows in one plane.

    ``plane`` (n, 2) are two coordinates of the rows, and ``probes`` (c, 2) are points. Rows that are equal in the plane
    share gains and losses evenly. This is the mean over random choices among them.
    """
    from scipy.spatial import cKDTree

    # Two float32 numbers are one uint64, which sorts ten times faster; adding 0 turns -0 into 0.
    cells = np.ascontiguousarray(plane + np.float32(0)).view(np.uint64).ravel()
    _, first, point_of, rows = np.unique(cells, return_index=True, return_inverse=True, return_counts=True)
    points = plane[first]
    tree = cKDTree(points)
    hits = np.bincount(tree.query(probes)[1], minlength=len(points)).astype(np.float64)
    winner = np.flatnonzero(hits)
    around = tree.query(points[winner], k=np.arange(1, min(near + 1, len(points)) + 1))[1]
    others = rows[around] - (around == winner[:, None])
    # a row loses if it is among the ``near`` rows that are nearest to a winner
    losers = np.clip(near - (np.cumsum(others, axis=1) - others), 0, others)
    lost = np.bincount(around.ravel(), (losers * hits[winner, None] / near).ravel(), minlength=len(points))
    return np.asarray(((hits - lost) / rows)[point_of])
