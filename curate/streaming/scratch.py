"""The vectors of a stream, written once to a scratch folder; learners read them many times from there.

In: a stream of batches. Out: a spool of vectors on disk, and clusters learned from it.
"""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from curate.errors import SchemaError
from curate.storage import disk_arrays
from curate.storage import scratch as folders
from curate.storage.disk_errors import scratch_errors
from curate.streaming.vectors import kmeans
from curate.streaming.vectors.clusters import ClusterSettings
from curate.tables.batches import Stream, keys

TOP = float(1 << 64)  # one more than the largest key


@dataclass(frozen=True)
class Spool:
    """``rows`` vectors of ``width`` numbers on disk, in the order of the stream.

    The folder has the files ``keys`` (uint64, the hash of id and seed) and ``vectors``: ``kmeans.quantise``d vectors
    (int16), or unit vectors (float32) if ``exact``.
    """

    folder: Path
    rows: int
    width: int
    exact: bool = False

    def blocks(self, share: float = 1.0) -> Iterator[np.ndarray]:
        """Yield (at most BLOCK, d) int16 quantised vectors of the share of rows with the smallest keys."""
        for _, vectors in self.keyed_blocks(share):
            yield vectors

    def keyed_blocks(self, share: float = 1.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield the keys of each block too."""
        kind = np.float32 if self.exact else np.int16
        with (self.folder / "keys").open("rb") as key_file, (self.folder / "vectors").open("rb") as vector_file:
            while len(key := np.fromfile(key_file, np.uint64, kmeans.BLOCK)):
                vectors = np.fromfile(vector_file, kind, len(key) * self.width).reshape(len(key), self.width)
                sampled = slice(None) if share >= 1 else key < np.uint64(share * TOP)
                yield key[sampled], kmeans.quantise(vectors[sampled]) if self.exact else vectors[sampled]

    def keys(self) -> np.ndarray:
        """Return all (n,) uint64 keys."""
        return np.fromfile(self.folder / "keys", np.uint64)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return the (m, d) vectors of these rows, as they were written."""
        vectors = np.empty((len(rows), self.width), np.float32 if self.exact else np.int16)
        with (self.folder / "vectors").open("rb", buffering=0) as file:
            for i, row in enumerate(rows.tolist()):
                file.seek(row * vectors.strides[0])
                file.readinto(vectors[i])
        return vectors

    def sample(self, count: int) -> np.ndarray:
        """Return about ``count`` rows, or all if there are fewer, in the order of their keys, (m, d) int16."""
        blocks = list(self.keyed_blocks(count / max(1, self.rows)))
        key, vectors = np.concatenate([k for k, _ in blocks]), np.concatenate([v for _, v in blocks])
        if len(np.unique(key)) < len(key):  # ids repeat: order their rows by the vectors
            return np.asarray(vectors[np.lexsort((*vectors.T[::-1], key))])
        return np.asarray(vectors[np.argsort(key)])


def write_spool(
    stream: Stream, embedding: str, folder: Path, *, scorer: str, seed: int, sample: int = 0, exact: bool = False
) -> Spool:
    """Write the vectors of the column ``embedding`` to ``folder``; only of about ``sample`` rows unless it is 0.

    Raises:
        SchemaError: if the stream has no rows, or vectors of different lengths.
    """
    share = min(1.0, sample / max(1, sum(batch.height for batch in stream(())))) if sample else 1.0
    rows, width = 0, 0
    with (folder / "keys").open("wb") as key_file, (folder / "vectors").open("wb") as vector_file:
        for batch in stream((embedding,)):
            if not batch.height:
                continue
            key, vectors = keys(batch["id"], seed), batch[embedding].to_numpy()
            width = check_width(vectors, width, embedding, scorer)
            sampled = slice(None) if share >= 1 else key < np.uint64(share * TOP)
            disk_arrays.append(key_file, key[sampled])
            disk_arrays.append(vector_file, (kmeans.unit if exact else kmeans.quantise)(vectors[sampled]))
            rows += len(key[sampled])
    if not rows:
        raise SchemaError(f"{scorer}: the data has no rows to learn from. Give it data with rows")
    return Spool(folder, rows, width, exact)


def check_width(vectors: np.ndarray, width: int, embedding: str, scorer: str) -> int:
    """Return how many numbers a vector has; stop if earlier vectors had another number (0: there were none)."""
    if width and vectors.shape[1] != width:
        raise SchemaError(
            f"{scorer}: {embedding} has vectors of {width} and of {vectors.shape[1]} numbers in different files. "
            "Embed all files with one encoder"
        )
    return int(vectors.shape[1])


def clusters(
    stream: Stream, embedding: str, folder: Path, settings: ClusterSettings, *, exact: bool = False
) -> tuple[Spool, kmeans.Clusters]:
    """Learn k centres of the stream, or of a sample of it; return the spooled vectors too.

    With ``exact`` the spool holds the unit vectors of all rows, and the centres still see the sample only.

    Raises:
        SchemaError: if there are fewer rows, or fewer different directions, than centres.
    """
    k, scorer = settings.k, settings.scorer
    sample = 0 if exact else settings.sample
    spool = write_spool(stream, embedding, folder, scorer=scorer, seed=settings.seed, sample=sample, exact=exact)
    share = min(1.0, settings.sample / spool.rows) if exact and settings.sample else 1.0
    if spool.rows < k:
        raise SchemaError(f"{scorer}: k={k} centres need {k} rows; there are {spool.rows} to learn from. Lower k")
    start_rows = spool.sample(settings.start_rows(spool.width))
    if settings.fewer:
        k = min(k, max(1, len(np.unique(start_rows[start_rows.any(axis=1)], axis=0))))
    try:
        if settings.start == "++":
            count = settings.starts or kmeans.starts(k, len(start_rows), spool.width, settings.iterations)
            start = kmeans.best_start(start_rows, k, iterations=settings.iterations, count=count, seed=settings.seed)
        else:
            start = kmeans.first_directions(start_rows, k)
    except SchemaError as error:
        raise SchemaError(f"{scorer}: {error}") from None
    del start_rows

    def summed(centres: np.ndarray, part: float) -> tuple[np.ndarray, np.ndarray]:
        return kmeans.sums_of_blocks(spool.blocks(part * share), centres)

    return spool, kmeans.learn(summed, start, rows=round(spool.rows * share), iterations=settings.iterations)


@contextmanager
def scratch_folder(scratch: str, scorer: str) -> Iterator[Path]:
    """Yield a new folder for work files inside ``scratch``, or in the system's temporary folder if that is empty.

    The folder is removed at the end. A full disk is one line that names it.
    """
    if scratch and not Path(scratch).is_dir():
        raise SchemaError(f"{scorer}: scratch={scratch} is not a folder. Name a folder with room for the work files")
    # The error is judged inside: at the end the folder is gone, and with it what filled the disk.
    with folders.scratch_folder(scratch) as folder, scratch_errors(folder):
        yield folder
