"""Duplicates: exact by hash, near by MinHash, every candidate verified (Broder 1997; Lee et al. 2021, 2107.06499)."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import xxhash

from curate.errors import SchemaError
from curate.progress import counted
from curate.storage import disk_arrays
from curate.streaming import equal_keys, minhash
from curate.streaming.by_id import check_distinct, look_up
from curate.streaming.linkage import EDGE, single_linkage
from curate.streaming.scratch import scratch_folder
from curate.tables.batches import Stream, keys
from curate.words import ngrams
from curate.words.ngrams import Grams

FORMAT = 2  # since format 2 words are split in the same way in every script, and null texts are never copies
MOST_ROWS = 1 << 32  # row numbers are 32 bits on disk


@dataclass(frozen=True)
class Duplicates:
    """How different a text is from the others; high is original, 0 is an exact copy.

    ``score.duplicates`` (float64, 0 to 1) is 1 minus the Jaccard similarity at which the text is merged into its
    representative. It is 1 for a text without duplicates, and for the representative itself, the text with the smallest
    hash(id, seed). One file of scores serves every threshold t from ``threshold`` to 1: keep scores > 1 - t. This keeps
    exactly one text of each group of texts that are linked by similarities >= t. A null text always scores 1, because
    its content is unknown. Empty texts are copies of each other. ``removed`` is (m,) uint64, the sorted hash(id, seed)
    of the merged texts, ``scores`` (m,) float64.

    Source: Broder 1997; Lee et al. 2021, arXiv 2107.06499.
    """

    removed: np.ndarray = field(repr=False)
    scores: np.ndarray = field(repr=False)
    seed: int = 0
    needs = ()
    schema = {"score.duplicates": pl.Float64()}
    meanings = {"score.duplicates": "quality"}

    @property
    def arrays(self) -> Mapping[str, np.ndarray]:
        """Learned arrays, to be saved."""
        return {"removed": self.removed, "scores": self.scores}

    def __call__(self, batch: pl.DataFrame) -> pl.DataFrame:
        """Score a batch by its ids."""
        scores = look_up(batch["id"], self.seed, self.removed, self.scores, otherwise=1.0)
        return pl.DataFrame({"score.duplicates": scores}, schema=dict(self.schema))


@dataclass(frozen=True)
class Bands:
    """MinHash over word n-grams: so many bands of so many rows, whose hash functions follow from ``seed``."""

    bands: int
    rows: int
    ngram: int
    seed: int


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
    """Return the duplicates of the whole stream, in two passes.

    Texts that share a band are candidates, and the Jaccard similarity of their sets of n-grams is computed exactly. The
    units of n-grams are lower-cased words without punctuation, and single characters in scripts without spaces
    (Chinese, Japanese, Thai, ...). A pair of similarity J is missed with a probability below (1 - J^rows)^bands: with
    the defaults 8 % at J = 0.75 and 0.02 % at 0.88. In a band that over 32 texts share, only a few random pairs of each
    text are compared. Disk is about 16 x (bands + 2) bytes a row and the n-grams of candidates; memory is about 30
    bytes a row with candidates and 150 MB. Ids must be distinct.

    Options:
        bands: bands of MinHash; more miss fewer pairs, 0 finds exact copies only (default 14, as FineWeb).
        rows: rows of a band; fewer make more candidates (default 8, as FineWeb).
        ngram: words of an n-gram, or characters in scripts without spaces (default 5, as FineWeb).
        threshold: smallest Jaccard similarity of duplicates, in (0, 1] (default 0.75, as FineWeb).
        seed: seed of the hash functions and of who represents a group (default 0).
        scratch: folder for the work files (default: the system's temporary folder).

    Source: the defaults are those of FineWeb, Penedo et al. 2024, arXiv 2406.17557.

    Raises:
        SchemaError: for no rows, or two rows with one id.
    """
    if not (0 < threshold <= 1 and bands >= 0 and 0 < rows <= minhash.MOST_ROWS and ngram > 0):
        raise SchemaError(
            f"duplicates: threshold={threshold} must be in (0, 1], bands={bands} at least 0, rows={rows} 1 to "
            f"{minhash.MOST_ROWS}, ngram={ngram} at least 1"
        )
    settings = Bands(bands, rows, ngram, seed)
    with scratch_folder(scratch, "duplicates") as folder:
        count = _write_keys(stream, folder, settings)
        priority = equal_keys.open_numbers(folder / "ids", "<u8")
        check_distinct(priority, stream, "duplicates", seed)
        # one text of each set of copies represents it: only these are compared
        distinct = disk_arrays.new_mapped(folder / "distinct", "?", (count,))
        distinct[:] = True
        with (folder / "edges").open("wb") as file:
            for edges in _copies(folder, priority):
                file.write(edges.tobytes())
                distinct[edges["second"]] = False
            for edges in _near_duplicates(stream, folder, distinct, settings):
                file.write(edges[edges["level"] >= threshold].tobytes())
        merged, levels = single_linkage(equal_keys.open_numbers(folder / "edges", EDGE), priority, folder)
        removed = np.asarray(priority[merged], np.uint64)
    order = np.argsort(removed)
    return Duplicates(removed[order], 1.0 - levels[order], seed)


def _write_keys(stream: Stream, folder: Path, settings: Bands) -> int:
    """Write the hashes of ids and texts and the band keys to files; return the number of rows."""
    count, bands = 0, settings.bands
    names = ["ids", "texts", "numbers", *(f"band{i}" for i in range(2 * bands))]
    files = {name: (folder / name).open("wb") for name in names}
    try:
        for batch in stream(("text",)):
            texts = batch["text"].fill_null("")
            files["ids"].write(keys(batch["id"], settings.seed).tobytes())
            files["texts"].write(b"".join(map(_digest, batch["id"], batch["text"])))
            first_row = count
            count += batch.height
            for piece in ngrams.pieces(texts) if bands else ():
                sets = ngrams.ngrams(ngrams.words(piece), settings.ngram, short=True)
                # a text without words has no minimum: it can only be an exact copy
                with_words = np.flatnonzero(sets.counts)
                files["numbers"].write((first_row + with_words).astype(np.uint32).tobytes())
                sets = Grams(sets.values, sets.offsets[np.append(with_words, len(sets.counts))])
                for i, column in enumerate(minhash.band_keys(sets, bands, settings.rows, settings.seed).T):
                    files[f"band{i}"].write(column.tobytes())
                first_row += len(piece)
    finally:
        for file in files.values():
            file.close()
    if not 0 < count < MOST_ROWS:
        raise SchemaError(f"duplicates: the data has {count} rows; it needs 1 to {MOST_ROWS - 1}. Split it by source")
    return count


def _digest(name: str, text: str | None) -> bytes:
    """Return 128 bits that are equal for equal texts. For a null text they come from its id, so it equals no other."""
    # no text begins with the byte FF: it is not valid in UTF-8
    return xxhash.xxh3_128_digest(text.encode() if text is not None else b"\xff" + name.encode())


def _copies(folder: Path, priority: np.ndarray) -> Iterator[np.ndarray]:
    """Yield edges from the first of each set of equal texts, by priority, to the others."""
    halves = equal_keys.open_numbers(folder / "texts", "<u8").reshape(-1, 2)
    # texts are equal if both halves of their 128-bit hashes are; the first half brings candidates together
    for rows in equal_keys.repeated(halves[:, 0]):
        rows = rows[np.lexsort((priority[rows], halves[rows, 1], halves[rows, 0]))]
        same = (halves[rows[1:]] == halves[rows[:-1]]).all(axis=1)
        heads = np.append(True, ~same)[: len(rows)]
        leader = rows[np.maximum.accumulate(np.where(heads, np.arange(len(rows)), 0))]
        yield _as_edges(np.stack([leader[~heads], rows[~heads]], axis=1), 1.0)


def _near_duplicates(stream: Stream, folder: Path, distinct: np.ndarray, settings: Bands) -> Iterator[np.ndarray]:
    """Yield the verified edges between texts that share a band."""
    if not settings.bands:
        return
    numbers = equal_keys.open_numbers(folder / "numbers", "<u4")
    priority = equal_keys.open_numbers(folder / "ids", "<u8")
    candidate = disk_arrays.new_mapped(folder / "candidate", "?", distinct.shape)
    with (folder / "pairs").open("wb") as file:
        for i in counted(range(2 * settings.bands), "bands searched for candidates", 2 * settings.bands):
            column = equal_keys.open_numbers(folder / f"band{i}", "<u8")
            for pairs in equal_keys.pairs(column, numbers, priority, alive=distinct, salt=i):
                candidate[pairs.ravel()] = True
                file.write(equal_keys.pack(pairs).tobytes())
    offsets = _write_sets(stream, folder, candidate, settings.ngram)
    candidates, values = np.flatnonzero(candidate), equal_keys.open_numbers(folder / "sets", "<u8")
    for pairs in equal_keys.distinct_pairs(equal_keys.open_numbers(folder / "pairs", "<u8"), len(distinct)):
        set_numbers = np.searchsorted(candidates, pairs)
        for low, similarity in minhash.pair_similarities(Grams(values, offsets), set_numbers):
            yield _as_edges(pairs[low : low + len(similarity)], similarity)


def _write_sets(stream: Stream, folder: Path, candidate: np.ndarray, ngram: int) -> np.ndarray:
    """Write the sets of n-grams of the candidates, end to end; return where each starts, (c + 1,) int64."""
    count, sizes = 0, [np.zeros(1, np.int64)]
    with (folder / "sets").open("wb") as file:
        for batch in stream(("text",)):
            texts = batch["text"].fill_null("").filter(pl.Series(candidate[count : count + batch.height]))
            count += batch.height
            for piece in ngrams.pieces(texts):
                sets = minhash.distinct_members(ngrams.ngrams(ngrams.words(piece), ngram, short=True))
                sizes.append(sets.counts)
                file.write(sets.values.tobytes())
    return np.cumsum(np.concatenate(sizes))


def _as_edges(pairs: np.ndarray, level: np.ndarray | float) -> np.ndarray:
    edges = np.empty(len(pairs), EDGE)
    edges["level"], edges["first"], edges["second"] = level, pairs[:, 0], pairs[:, 1]
    return edges
