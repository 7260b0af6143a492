"""Semantic duplicates: rows with nearly the vector of a row that is kept (SemDeDup; Abbas et al. 2023, 2303.09540).

Unlike the released code, a row is compared with *kept* rows only. In a chain a ~ b ~ c, where c is not like a, only b
is removed.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import ClassVar

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.storage import files, origin
from curate.storage.files import text_hash
from curate.streaming.by_id import check_distinct_ids, look_up
from curate.streaming.vectors.assignment import AssignSettings, assign, split_large
from curate.streaming.vectors.clusters import ClusterSettings, learn_clusters, row_count
from curate.streaming.vectors.near_copies import ChoiceSettings, choose
from curate.tables.corpus import Corpus
from curate.tables.corpus.array_files import read_arrays, write_arrays
from curate.tables.corpus.corpus import kept_path

# Since format 2, clusters are compared all at once. Of two near copies that a border divides, the one that comes first
# in ``order`` stays. Before, clusters had their turn, and the one in the cluster with the smaller number stayed.
FORMAT = 2
LEARNS_ADDED_FILES = True  # rows of files that are added are compared with the rows that stayed before
KEEPS_RESULTS = True  # a job with added files reads the centres, and which rows stayed


@dataclass(frozen=True)
class Semdedup:
    """How different a row's vector is from those of kept rows; high is a row that is no near copy.

    ``score.semdedup`` (float64, 0 to 1) is 1 minus the cosine at which the row is removed, and 1 for a row that stays
    at ``epsilon``. Keep high scores: keeping scores >= e, for any e up to ``epsilon``, keeps rows of which no two of a
    cluster have a cosine over 1 - e, and every removed row has a cosine over 1 - e to a kept one. ``removed`` is (m,)
    uint64, the sorted hash(id, seed) of the rows of a part that are removed at ``epsilon``, ``scores`` (m,) float64.

    Source: SemDeDup, Abbas et al. 2023, arXiv 2303.09540.
    """

    removed: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0, np.uint64))
    scores: np.ndarray = field(repr=False, default_factory=lambda: np.zeros(0))
    seed: int = 0
    needs = ()
    part_arrays: ClassVar[tuple[str, ...]] = ("removed", "scores")
    schema = {"score.semdedup": pl.Float64()}
    meanings = {"score.semdedup": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """What all parts share: nothing. What belongs to the rows of a part is stored with it."""
        return {}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.removed, self.scores, otherwise=1.0)
        return pl.DataFrame({"score.semdedup": scores}, schema=dict(self.schema))


def learn(
    corpus: Corpus,
    *,
    epsilon: float = 0.05,
    order: str = "hard",
    k: int = 0,
    border: float = 0.2,
    sample: int = 50_000,
    iterations: int = 10,
    seed: int = 0,
    embedding: str = "emb.hashed",
) -> Semdedup:
    """Return the rows that are too like a kept row, and the cosine at which each is removed.

    A row is removed if its cosine to a kept row is over 1 - ``epsilon``. Rows are compared inside clusters; a cluster
    of more than 4,096 rows is split. With a threshold below ``epsilon``, some pairs that a border divides may both
    stay. Rows of files that are added to a finished job are compared with the rows that stayed before, in the same
    clusters. Only the new rows can be removed. Ids must be distinct.

    Memory of a worker is about 12 d bytes for each row of a part and for each border near it, and 250 MB. Disk is about
    12 d bytes a row while it learns.

    Options:
        epsilon: largest 1 - cosine of duplicates; higher removes more, 1e-5 only copies (default 0.05).
        order: which row of a cluster is kept first: hard, the one farthest from the centre, or easy, the nearest
            (default hard).
        k: clusters; 0 is the square root of the number of rows, fewer where few rows differ (default 0).
        border: how near to another cluster's border a row must be to be compared with the rows of that cluster too. The
            unit is sqrt(2 epsilon), the largest distance at which two rows are duplicates. With 1, no pair is missed.
            With 0, all pairs with a border between them are missed (default 0.2).
        sample: rows from which the clusters are learned; 0 is all (default 50000).
        iterations: iterations of k-means (default 10).
        seed: seed of the clusters and of ties (default 0).
        embedding: the column of vectors (default emb.hashed).

    Raises:
        SchemaError: for no rows, fewer rows than clusters, or two rows with one id.
    """
    if not (0 < epsilon < 1 and order in ("hard", "easy") and 0 <= border <= 1 and k >= 0):
        raise SchemaError(
            f"semdedup: epsilon={epsilon} must be between 0 and 1, border={border} in [0, 1], k={k} at least 0, "
            f"order={order} hard or easy"
        )
    options = text_hash(repr((FORMAT, epsilon, order, k, border, sample, iterations, seed, embedding)))[:16]
    work = replace(corpus, folder=_work_folder(corpus, options))
    rows = row_count(work)
    check_distinct_ids(work, "semdedup", seed, rows=rows)
    free, k = not k, k or round(max(1, rows) ** 0.5)
    settings = ClusterSettings("semdedup", k, sample, iterations, "sample", seed, fewer=free)
    assigning = AssignSettings(embedding, "semdedup", seed, border * (2 * epsilon) ** 0.5)
    generation = max(part.generation for part in corpus.parts) if corpus.parts else 0
    centres = corpus.folder / f"centres-{options}.npz"
    if generation and files.exists(centres):
        assigned = assign(work, read_arrays(centres)["centres"], assigning)
    else:
        assigned = split_large(work, learn_clusters(work, embedding, settings, rows).centres, assigning)
        write_arrays(centres, {"centres": assigned.centres})
    decided = f"decided-{options}"
    _keep_finished(corpus, decided, generation)
    choosing = ChoiceSettings(1 - epsilon, order == "hard", embedding, decided, corpus.folder, generation)
    for number, result in enumerate(choose(work, assigned, choosing)):
        corpus.store(number, {"removed": result["removed"], "scores": 1.0 - result["levels"]})
    write_arrays(_finished_path(corpus, decided), {"parts": np.array([part.name for part in corpus.parts], np.str_)})
    files.remove(work.folder)
    return Semdedup(seed=seed)


def _work_folder(corpus: Corpus, options: str) -> Path:
    """Return the folder of work files. Remove those of a killed job that had other rows or options.

    The work files depend on all rows, and on which of them an earlier job has decided.
    """
    folder = corpus.folder / "work"
    parts = [(part.name, part.generation) for part in corpus.parts]
    origin.keep_if_from(folder, files.text_hash(repr((options, parts))))
    return folder


def _keep_finished(corpus: Corpus, decided: str, generation: int) -> None:
    """Remove all decisions about rows, except those about older generations that an earlier job finished.

    A job that stopped before it scored may have decided about other rows than there are now.
    """
    record = _finished_path(corpus, decided)
    finished = set(read_arrays(record)["parts"].tolist()) if files.exists(record) else set()
    for part in corpus.parts:
        if part.generation == generation or part.name not in finished:
            files.remove(kept_path(corpus.folder, decided, part))


def _finished_path(corpus: Corpus, decided: str) -> Path:
    return corpus.folder / f"finished-{decided}.npz"
