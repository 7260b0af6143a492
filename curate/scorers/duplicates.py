"""Duplicates: exact by hash, near by MinHash with every candidate verified (Broder 1997; Lee et al. 2021, 2107.06499).

14 bands of 8 rows over 5-grams of words, and similarity from 0.75, are FineWeb's (Penedo et al. 2024, 2406.17557).
"""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import xxhash

from curate.errors import SchemaError
from curate.streaming import linkage, minhash, ngrams
from curate.streaming.linkage import EDGE
from curate.streaming.ngrams import Grams
from curate.tables.batches import Stream, keys

MOST_ROWS = 1 << 32


@dataclass(frozen=True)
class Duplicates:
    """``score.duplicates``: 1 - the Jaccard similarity at which a text is merged into its representative, float64.

    High = no copy of another text; keep high: 1 is a text without duplicates or the one that stands for its group (the
    smallest hash(id, seed)), 0 an exact copy. Keeping scores > 1 - t keeps exactly one text of each group of texts
    linked by similarities >= t, for every t from ``threshold`` up to 1: one file of scores serves all thresholds.
    ``removed`` is (m,) uint64, the sorted hash(id, seed) of what is merged, ``scores`` (m,) float64.
    """

    removed: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.duplicates": pl.Float64()}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"removed": self.removed, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        wanted, scores = keys(batch["id"], self.seed), np.ones(batch.height)
        if len(self.removed):
            at = np.minimum(np.searchsorted(self.removed, wanted), len(self.removed) - 1)
            scores = np.where(self.removed[at] == wanted, self.scores[at], 1.0)
        return pl.DataFrame({"score.duplicates": scores}, schema=dict(self.schema))


def learn(
    stream: Stream,
    *,
    bands: int = 14,
    rows: int = 8,
    ngram: int = 5,
    threshold: float = 0.75,
    seed: int = 0,
    scratch: str = "",
) -> Duplicates:
    """Find the duplicates of the whole stream, in two passes; ``bands=0`` finds exact copies only.

    A pair that shares a band is verified: the Jaccard similarity of its sets of word ``ngram``s (lower-cased, marks
    left out, ``curate.streaming.ngrams.words``) must reach ``threshold``. A pair of similarity J is missed with a
    probability below (1 - J^rows)^bands; as it is set, 8 % at J = 0.75 and 0.02 % at 0.88: more bands miss fewer. Of a
    band shared by more than 32 texts only a few random pairs a text are verified. Ids must be distinct. Disk: about
    16 bytes x (bands + 2) a row, and the n-grams of candidates, in ``scratch`` (a folder; default the system's
    temporary one). Memory: about 30 bytes for a row with candidates and 150 MB.
    """
    if not (0 < threshold <= 1 and bands >= 0 and 0 < rows <= minhash.MOST_ROWS and ngram > 0):
        raise SchemaError(
            f"duplicates: threshold={threshold} must be in (0, 1], bands={bands} at least 0, rows={rows} 1 to "
            f"{minhash.MOST_ROWS}, ngram={ngram} at least 1"
        )
    if scratch and not Path(scratch).is_dir():
        raise SchemaError(f"duplicates: scratch={scratch} is no folder: name one with room for the work files")
    with TemporaryDirectory(dir=scratch or None) as name:
        folder = Path(name)
        count = _write(stream, folder, bands, rows, ngram, seed)
        priority = linkage.column(folder / "ids", "<u8")
        _check_ids(stream, priority, seed)
        unlike = np.memmap(folder / "unlike", "?", "w+", shape=(count,))  # rows to compare: one of each set of copies
        unlike[:] = True
        with (folder / "edges").open("wb") as edges:
            for found in _copies(folder, priority):
                edges.write(found.tobytes())
                unlike[found["two"]] = False
            for found in _near(stream, folder, unlike, bands, ngram):
                edges.write(found[found["level"] >= threshold].tobytes())
        merged, levels = linkage.merged(_edges(folder), priority, folder)
        removed = np.asarray(priority[merged], np.uint64)
    order = np.argsort(removed)
    return Duplicates(removed[order], 1.0 - levels[order], seed)


def _write(stream: Stream, folder: Path, bands: int, rows: int, ngram: int, seed: int) -> int:
    """Write, for every row, the hash of its id and of its text, and for those with words its number and band keys."""
    count = 0
    names = ["ids", "texts", "numbers", *(f"band{i}" for i in range(2 * bands))]
    files = {name: (folder / name).open("wb") for name in names}
    try:
        for batch in stream(("text",)):
            texts = batch["text"].fill_null("")
            files["ids"].write(keys(batch["id"], seed).tobytes())
            files["texts"].write(b"".join(xxhash.xxh3_128_digest(text.encode()) for text in texts))
            for piece in ngrams.pieces(texts) if bands else ():
                sets = ngrams.ngrams(ngrams.words(piece), ngram, short=True)
                spoken = np.flatnonzero(sets.counts)
                files["numbers"].write((count + spoken).astype(np.uint32).tobytes())
                sets = Grams(sets.values, sets.offsets[np.append(spoken, len(sets.counts))])
                for i, column in enumerate(minhash.band_keys(sets, bands, rows, seed).T):
                    files[f"band{i}"].write(column.tobytes())
                count += len(piece)
            count += 0 if bands else batch.height
    finally:
        for file in files.values():
            file.close()
    if not 0 < count < MOST_ROWS:
        raise SchemaError(f"duplicates: the data has {count} rows; it needs 1 to {MOST_ROWS - 1}: split it by source")
    return count


def _check_ids(stream: Stream, ids: np.ndarray, seed: int) -> None:
    """Refuse two rows with one id: a score belongs to an id."""
    for twice in linkage.repeated(ids):
        if len(twice):
            for batch in stream(()):
                same = batch["id"].filter(pl.Series(keys(batch["id"], seed) == ids[twice[0]]))
                if len(same):
                    raise SchemaError(
                        f"duplicates: {len(twice)} rows share their id with another, such as {same[0]!r}: make ids "
                        "distinct, or leave the id column out (file and row number are the id then)"
                    )


def _copies(folder: Path, priority: np.ndarray) -> Iterator[np.ndarray]:
    """Yield edges from the first of each set of equal texts, by priority, to the others."""
    halves = linkage.column(folder / "texts", "<u8").reshape(-1, 2)
    for found in linkage.repeated(halves[:, 0]):
        found = found[np.lexsort((priority[found], halves[found, 1], halves[found, 0]))]
        same = (halves[found[1:]] == halves[found[:-1]]).all(axis=1)
        heads = np.append(True, ~same)[: len(found)]
        leader = found[np.maximum.accumulate(np.where(heads, np.arange(len(found)), 0))]
        yield _as_edges(np.stack([leader[~heads], found[~heads]], axis=1), 1.0)


def _near(stream: Stream, folder: Path, unlike: np.ndarray, bands: int, ngram: int) -> Iterator[np.ndarray]:
    """Yield the verified edges between texts that share a band."""
    if not bands:
        return
    numbers = linkage.column(folder / "numbers", "<u4")
    priority = linkage.column(folder / "ids", "<u8")
    candidate = np.memmap(folder / "candidate", "?", "w+", shape=unlike.shape)
    with (folder / "pairs").open("wb") as file:
        for i in range(2 * bands):
            column = linkage.column(folder / f"band{i}", "<u8")
            for found in linkage.pairs(column, numbers, priority, alive=unlike, salt=i):
                candidate[found.ravel()] = True
                file.write(linkage.packed(found).tobytes())
    offsets = _write_sets(stream, folder, candidate, ngram)
    held, values = np.flatnonzero(candidate), linkage.column(folder / "sets", "<u8")
    for distinct in linkage.distinct(linkage.column(folder / "pairs", "<u8"), len(unlike)):
        at = np.searchsorted(held, distinct)
        for low, similarity in minhash.compared(Grams(values, offsets), at):
            yield _as_edges(distinct[low : low + len(similarity)], similarity)


def _write_sets(stream: Stream, folder: Path, candidate: np.ndarray, ngram: int) -> np.ndarray:
    """Write the sets of n-grams of the candidates, end to end; return where each starts, (c+1,) int64."""
    count, sizes = 0, [np.zeros(1, np.int64)]
    with (folder / "sets").open("wb") as file:
        for batch in stream(("text",)):
            mine = batch["text"].fill_null("").filter(pl.Series(candidate[count : count + batch.height]))
            count += batch.height
            for piece in ngrams.pieces(mine):
                sets = minhash.distinct(ngrams.ngrams(ngrams.words(piece), ngram, short=True))
                sizes.append(sets.counts)
                file.write(sets.values.tobytes())
    return np.cumsum(np.concatenate(sizes))


def _as_edges(found: np.ndarray, level: np.ndarray | float) -> np.ndarray:
    edges = np.empty(len(found), EDGE)
    edges["level"], edges["one"], edges["two"] = level, found[:, 0], found[:, 1]
    return edges


def _edges(folder: Path) -> np.ndarray:
    path = folder / "edges"
    return np.memmap(path, EDGE, "r") if path.stat().st_size else np.empty(0, EDGE)
