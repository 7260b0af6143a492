"""The vectors of a stream, written once to scratch: learners read them many times without the work that made them."""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np

from curate.errors import SchemaError
from curate.streaming import kmeans
from curate.tables.batches import Stream, keys

TOP = float(1 << 64)
SAMPLE = 1_000_000  # rows that centres are learned from unless told; 1,000 centres see as many each


@dataclass(frozen=True)
class Spool:
    """``rows`` vectors of ``width`` numbers: files ``keys`` (uint64 hash of id and seed) and ``vectors``.

    Those are ``kmeans.whole`` vectors (int16) or, ``exact``, unit vectors (float32).
    """

    folder: Path
    rows: int
    width: int
    exact: bool = False

    def blocks(self, share: float = 1.0) -> Iterator[np.ndarray]:
        """Yield (at most BLOCK, d) int16 ``kmeans.whole`` vectors, of the share of rows with the smallest keys."""
        for _, vectors in self.keyed(share):
            yield vectors

    def keyed(self, share: float = 1.0) -> Iterator[tuple[np.ndarray, np.ndarray]]:
        """Yield keys too."""
        kind = np.float32 if self.exact else np.int16
        with (self.folder / "keys").open("rb") as names, (self.folder / "vectors").open("rb") as file:
            while len(key := np.fromfile(names, np.uint64, kmeans.BLOCK)):
                vectors = np.fromfile(file, kind, len(key) * self.width).reshape(len(key), self.width)
                few = slice(None) if share >= 1 else key < np.uint64(share * TOP)
                yield key[few], kmeans.whole(vectors[few]) if self.exact else vectors[few]

    def keys(self) -> np.ndarray:
        """Return all (n,) uint64 keys."""
        return np.fromfile(self.folder / "keys", np.uint64)

    def take(self, rows: np.ndarray) -> np.ndarray:
        """Return (m, d) vectors of some rows, as they were written."""
        found = np.empty((len(rows), self.width), np.float32 if self.exact else np.int16)
        with (self.folder / "vectors").open("rb", buffering=0) as file:
            for i, row in enumerate(rows.tolist()):
                file.seek(row * found.strides[0])
                file.readinto(found[i])
        return found

    def first(self, count: int) -> np.ndarray:
        """Return about ``count`` rows (all if there are fewer), in the order of their keys, (m, d) int16."""
        found = list(self.keyed(count / max(1, self.rows)))
        key, vectors = np.concatenate([k for k, _ in found]), np.concatenate([v for _, v in found])
        if len(np.unique(key)) < len(key):  # ids that repeat: the vectors decide
            return np.asarray(vectors[np.lexsort((*vectors.T[::-1], key))])
        return np.asarray(vectors[np.argsort(key)])


def spool(
    stream: Stream, embedding: str, folder: Path, *, who: str, seed: int, sample: int = 0, exact: bool = False
) -> Spool:
    """Write the vectors of the stream; with ``sample`` only of about so many rows, those with the smallest keys."""
    share = min(1.0, sample / max(1, sum(batch.height for batch in stream(())))) if sample else 1.0
    rows, width = 0, 0
    with (folder / "keys").open("wb") as names, (folder / "vectors").open("wb") as file:
        for batch in stream((embedding,)):
            if not batch.height:
                continue
            key, vectors = keys(batch["id"], seed), batch[embedding].to_numpy()
            width = same_width(vectors, width, embedding, who)
            few = slice(None) if share >= 1 else key < np.uint64(share * TOP)
            key[few].tofile(names)
            (kmeans.unit if exact else kmeans.whole)(vectors[few]).tofile(file)
            rows += len(key[few])
    if not rows:
        raise SchemaError(f"{who}: the data has no rows to learn from")
    return Spool(folder, rows, width, exact)


def same_width(vectors: np.ndarray, width: int, embedding: str, who: str) -> int:
    """Return how many numbers a vector has; another number than before (0: none before) is an error."""
    if width and vectors.shape[1] != width:
        raise SchemaError(
            f"{embedding} has vectors of {width} and of {vectors.shape[1]} numbers in different files; "
            f"{who} needs one length"
        )
    return int(vectors.shape[1])


@dataclass(frozen=True)
class Settings:
    """How clusters are learned; ``who`` asks, for messages. ``fewer``: k is the most, if rows do not differ enough."""

    who: str
    k: int
    sample: int
    iterations: int
    start: str
    seed: int
    fewer: bool = False

    def __post_init__(self) -> None:
        """Refuse what no clusters can be learned with."""
        if self.k < 1 or self.iterations < 1 or self.sample < 0 or self.start not in ("++", "sample"):
            raise SchemaError(
                f"{self.who}: k={self.k} and iterations={self.iterations} must be at least 1, sample={self.sample} at "
                f"least 0, start={self.start} ++ or sample"
            )


def clusters(
    stream: Stream, embedding: str, folder: Path, asked: Settings, *, exact: bool = False
) -> tuple[Spool, kmeans.Clusters]:
    """Learn k centres of the stream, or of a sample of it; return the vectors too: ``exact`` ones of all rows."""
    k, who = asked.k, asked.who
    found = spool(stream, embedding, folder, who=who, seed=asked.seed, sample=0 if exact else asked.sample, exact=exact)
    share = min(1.0, asked.sample / found.rows) if exact and asked.sample else 1.0
    if found.rows < k:
        raise SchemaError(f"{who}: k={k} centres need as many rows; there are {found.rows} to learn from: lower k")
    first = found.first(max(kmeans.START_ROWS * k, 1000))
    if asked.fewer:
        k = min(k, max(1, len(np.unique(first[first.any(axis=1)], axis=0))))
    try:
        start = kmeans.plus_plus(first, k, asked.seed) if asked.start == "++" else kmeans.sampled(first, k)
    except SchemaError as error:
        raise SchemaError(f"{who}: {error}") from None
    del first

    def blocks(part: float) -> Iterator[np.ndarray]:
        return found.blocks(part * share)

    return found, kmeans.learn(blocks, start, rows=round(found.rows * share), iterations=asked.iterations)


def workplace(scratch: str, who: str) -> TemporaryDirectory[str]:
    """Return a folder for work files in ``scratch``, or in the system's place for them."""
    if scratch and not Path(scratch).is_dir():
        raise SchemaError(f"{who}: scratch={scratch} is no folder: name one with room for the work files")
    return TemporaryDirectory(dir=scratch or None)
