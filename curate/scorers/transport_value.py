"""What a row is worth to a target: calibrated dual potentials of optimal transport (LAVA; Just et al. 2023).

arXiv 2305.00054 computes potentials of the sampled rows. Here the c-transform extends them to every row. With labels,
the cost has a second term: the distance between the class of the row and the class of the target row.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np
import polars as pl

from curate.errors import SchemaError, first_few
from curate.scorers._labels import codes
from curate.scorers._labels import labels as label_names
from curate.scorers._target import batches_of_files, listed
from curate.streaming.small_samples import sample_of_corpus
from curate.tables import batches as tables
from curate.tables.corpus import Corpus
from curate.tables.reading import Reading
from curate.tables.sample import smallest_hashes
from curate.tables.shards import Shard
from curate.transport.class_distances import class_distances

NAME = "transport_value"
CLASS_ROWS = 256  # rows that the mean and covariance of a class are measured from; more hardly change the distances
MOST_CLASSES = 256  # in the data or in the target: the distances of 256 x 256 pairs take about a CPU-minute
SOLVER_STEPS = 10**7  # steps of the network simplex, 100 times POT's default: only the optimum has the right prices


@dataclass(frozen=True)
class TransportValue:
    """How much a row brings the data nearer to a target; high is nearer.

    ``score.transport_value`` (float64, any sign) is the mean potential minus the row's own potential, min_j C(x, y_j) -
    g_j. It is how much the transport cost falls, to first order, per unit of mass on this row. C is half the squared
    distance of vectors, in units of the target's spread. With labels, C has a second term: ``class_weight`` times half
    the squared Wasserstein distance between the row's class in the data and the class of y_j in the target, in the same
    units. Then a wrong label scores low. Unlike in LAVA, the target's rows are weighted so that each class has the same
    share as in the data. Otherwise all rows of a class would score low if the target has few of them.
    Keep high scores. ``points`` (q, d) and ``prices`` (q,) are the target's vectors y_j and potentials g_j; ``scale``
    (2,) holds the spread and the mean potential. ``classes`` (c,) are the sorted names of the data's classes, and
    ``class_costs`` (c, q) are the class terms of the cost to each y_j. Both are empty without labels.

    Source: LAVA, Just et al. 2023, arXiv 2305.00054.
    """

    points: np.ndarray = field(repr=False)
    prices: np.ndarray = field(repr=False)
    scale: np.ndarray = field(repr=False)
    # states of earlier versions have no labels
    classes: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, np.str_))
    class_costs: np.ndarray = field(repr=False, default_factory=lambda: np.zeros((0, 0)))
    embedding: str = "emb.hashed"
    schema = {"score.transport_value": pl.Float64()}
    meanings = {"score.transport_value": "quality"}

    @property
    def needs(self) -> tuple[str, ...]:
        """Columns that it reads."""
        return (self.embedding, "label") if len(self.classes) else (self.embedding,)

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        names = ("points", "prices", "scale", "classes", "class_costs")
        return {name: getattr(self, name) for name in names}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch."""
        x = batch[self.embedding].to_numpy()
        if len(x) and x.shape[1] != self.points.shape[1]:
            raise SchemaError(
                f"transport_value: {self.embedding} has vectors of {x.shape[1]} numbers, the target's have "
                f"{self.points.shape[1]}. Use one encoder for both"
            )
        potentials = np.zeros(0)
        if len(x):
            costs = _costs(x, self.points, float(self.scale[0]))
            if len(self.classes):
                costs = costs + self.class_costs[codes(label_names(batch, NAME), self.classes, NAME)]
            potentials = (costs - self.prices).min(axis=1)
        return pl.DataFrame({"score.transport_value": float(self.scale[1]) - potentials}, schema=dict(self.schema))


def learn(
    corpus: Corpus,
    *,
    target: str = "",
    labels: bool = False,
    class_weight: float = 1.0,
    sample: int = 1000,
    seed: int = 0,
    embedding: str = "emb.hashed",
) -> TransportValue:
    """Return the potentials of the exact transport between a sample of the data and one of the target.

    Options:
        target: files, folders or globs, joined by +, of rows like those that are wanted; without one, half of the
            sampled rows is the target of the other half, and what is unlike the rest scores low (default: none).
        labels: compare labels too, so that wrong labels score low. The data and the target need the column label. The
            labels of the target must be right, and it must have every class of the data (default false).
        class_weight: weight of the distance between classes, relative to that between vectors, if labels are compared;
            LAVA uses 1 (default 1).
        sample: rows of each side, those with the smallest hash(id, seed); the cost grows with its cube: 0.3 CPU-seconds
            at 1,000 (default 1000).
        seed: seed of the samples (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: for fewer than two rows a side, vectors of different lengths, a target without spread, labels
            without a target that has every class, or a transport problem that the solver does not finish.
    """
    if labels and not target:
        raise SchemaError(
            "transport_value: labels=true needs a target with right labels. Without target=PATH one half of the data "
            "is the target, and its labels may be wrong too. Give target=PATH, or leave out labels=true"
        )
    if class_weight <= 0:
        raise SchemaError(f"transport_value: class_weight={class_weight} must be above 0. Leave out labels=true for 0")
    columns = (embedding, "label") if labels else (embedding,)
    source = sample_of_corpus(corpus, sample if target else 2 * sample, columns, seed=seed)
    if target:
        if labels:
            _check_labelled(tables.shards(listed(target)), corpus.reading.of_other_files())
        goal = smallest_hashes(batches_of_files(corpus, target, columns), sample, columns, seed=seed)
    else:
        # rows are in the order of their hashes, so every second row makes a random half
        source, goal = source[::2], source[1::2]
    masses = np.ones(goal.height)
    if labels:
        masses = _class_masses(source, goal, sample)
        # the solver gives no valid prices for points without mass
        goal, masses = goal.filter(masses > 0), masses[masses > 0]
    points = _vectors(source, embedding), _vectors(goal, embedding)
    spread = _checked_spread(*points, embedding)
    costs = _costs(*points, spread)
    classes, class_costs = np.zeros(0, np.str_), np.zeros((0, 0))
    if labels:
        members = (
            _members(sample_of_corpus(corpus, CLASS_ROWS, (embedding,), seed=seed, by="label"), embedding, "the data"),
            _members(_target_members(corpus, target, columns, seed), embedding, "the target"),
        )
        classes, table = _class_table(*members, spread)
        target_classes = np.array(sorted(members[1]))
        class_costs = class_weight * table[:, codes(label_names(goal, NAME), target_classes, NAME)]
        costs = costs + class_costs[codes(label_names(source, NAME), classes, NAME)]
    prices = _prices(costs, masses, sample)
    mean = float((costs - prices).min(axis=1).mean())
    return TransportValue(points[1], prices, np.array([spread, mean]), classes, class_costs, embedding)


def _check_labelled(shards: Sequence[Shard], reading: Reading) -> None:
    """Stop if a file of the target has no labels."""
    for shard in shards:
        present = tables.columns(shard, reading)
        if present and "label" not in present:
            raise SchemaError(
                f"transport_value: the target {shard.path} has no column label, which labels=true compares; it has "
                f"{first_few(present)}. Add it, or leave out labels=true"
            )


def _checked_spread(rows: np.ndarray, goal: np.ndarray, embedding: str) -> float:
    """Return the mean squared distance of the target's vectors to their mean; stop if no transport can be solved."""
    for what, x in (("the data", rows), ("the target", goal)):
        if len(x) < 2:
            raise SchemaError(f"transport_value: {what} has {len(x)} rows to learn from. Give at least 2, better 100")
    if rows.shape[1] != goal.shape[1]:
        raise SchemaError(
            f"transport_value: {embedding} has {rows.shape[1]} numbers in the data and {goal.shape[1]} in the target. "
            "Use one encoder for both"
        )
    spread = float(((goal - goal.mean(axis=0)) ** 2).sum(axis=1).mean())
    if spread == 0:
        raise SchemaError(f"transport_value: all {len(goal)} target vectors are equal. Give a target that varies")
    return spread


def _target_members(corpus: Corpus, target: str, columns: Sequence[str], seed: int) -> pl.DataFrame:
    rows = batches_of_files(corpus, target, columns)
    return smallest_hashes(rows, CLASS_ROWS, columns[:1], seed=seed, by="label")


def _members(rows: pl.DataFrame, embedding: str, what: str) -> dict[str, np.ndarray]:
    """Return the vectors (at most CLASS_ROWS, d) of each class: the rows with the smallest hash(id, seed)."""
    names = label_names(rows, NAME)
    if (count := names.n_unique()) > MOST_CLASSES:
        raise SchemaError(
            f"transport_value: {what} has {count} different labels, more than {MOST_CLASSES}. Is label a class? Leave "
            "out labels=true, or merge classes"
        )
    vectors = _vectors(rows, embedding)
    return {name: vectors[(names == name).to_numpy()] for name in names.unique().to_list()}


def _class_table(
    ours: Mapping[str, np.ndarray], theirs: Mapping[str, np.ndarray], spread: float
) -> tuple[np.ndarray, np.ndarray]:
    """Return the sorted classes (c,) of the data, and half the squared distances (c, c') to those of the target."""
    if missing := sorted(set(ours) - set(theirs)):
        raise SchemaError(
            f"transport_value: the target has no rows of {len(missing)} of the data's {len(ours)} classes, such as "
            f"{missing[0]!r}; it has {first_few(map(repr, sorted(theirs)))}. Add rows of them to the target, "
            "or leave out labels=true"
        )
    names = sorted(ours)
    distances = class_distances(
        [ours[name] for name in names], [theirs[name] for name in sorted(theirs)], classes="gaussian"
    )
    return np.array(names), distances / (2 * spread)


def _class_masses(source: pl.DataFrame, goal: pl.DataFrame, sample: int) -> np.ndarray:
    """Return a mass (q,) for each row of the target, so that each class has the same share as in the data.

    It is the number of rows of the row's class in the data, divided by that in the target. With equal masses, all rows
    of a class that is rarer in the target would score low, with right or wrong labels.
    """
    ours, theirs = (label_names(rows, NAME) for rows in (source, goal))
    counts = [dict(names.value_counts().iter_rows()) for names in (ours, theirs)]
    masses = np.array([counts[0].get(name, 0) / counts[1][name] for name in theirs.to_list()])
    if not masses.any():
        raise SchemaError(
            f"transport_value: the samples of the data and of the target have no class in common. Raise sample={sample}"
        )
    return masses


def _prices(costs: np.ndarray, masses: np.ndarray, sample: int) -> np.ndarray:
    """Return the dual potentials (q,) of the target in the exact transport of even rows.

    ``costs`` are (n, q), ``masses`` (q,) those of the target's rows, in any unit.
    """
    import ot  # type: ignore[import-untyped]  # takes 2.5 to 6 s: imported only where it is used

    even = np.full(len(costs), 1 / len(costs))
    _, log = ot.emd2(even, masses / masses.sum(), costs, numItermax=SOLVER_STEPS, log=True)
    if log["warning"] is not None:
        size = " x ".join(map(str, costs.shape))
        raise SchemaError(f"transport_value: {size} points: {log['warning']}. Lower sample={sample}")
    return np.asarray(log["v"], dtype=np.float64)


def _costs(x: np.ndarray, y: np.ndarray, spread: float) -> np.ndarray:
    a, b = x.astype(np.float64), y.astype(np.float64)
    # half of ||a - b||^2, by the binomial formula: no (n, q, d) array
    squares = (a**2).sum(axis=1)[:, None] + (b**2).sum(axis=1) - 2 * a @ b.T
    return np.asarray(np.maximum(squares, 0) / (2 * spread))


def _vectors(rows: pl.DataFrame, column: str) -> np.ndarray:
    return rows[column].to_numpy().copy() if rows.height else np.zeros((0, 1), np.float32)
