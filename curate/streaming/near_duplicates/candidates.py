"""Pairs of texts that share a band: candidates, whose similarity is not yet known.

In: the signatures of parts. Out: for each part, the pairs that its rows belong to, and where each pair is compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial

import numpy as np
import polars as pl

from curate.streaming import equal_keys
from curate.streaming.near_duplicates.signatures import SIGNATURES
from curate.tables.corpus import Answers, Corpus, PartRows
from curate.words.ngrams import BASE, mix

KEYS_IN_SPLIT = 1 << 20  # keys of bands sorted at a time: about 60 MB of memory
KEYS_AT_ONCE = 1 << 19  # keys of bands that a part holds as a table before it writes them: 12 MB, and copies of them
# Each table is written with a section for each split. With fewer keys in a section, what describes it takes more space
# than they do.
KEYS_IN_SECTION = 1 << 7
MOST_KEYS_AT_ONCE = 1 << 23  # 180 MB, if there are so many splits
# A large group of rows is compared in several places, with so many rows in each. With fewer rows, a text is sent to
# more places. With more, a place needs more memory: 1,024 texts of 10,000 words are 80 MB.
TOGETHER = 1 << 10
BAND_ROWS = {"key": pl.UInt64, "id": pl.UInt64, "part": pl.UInt32, "band": pl.UInt16}
# ``place`` is the place where the pair is compared, ``id`` the row of the part, ``other`` the other row of the pair.
# ``later`` says whether the row comes after the other in the order of rows.
PAIRS = {"part": pl.UInt32, "id": pl.UInt64, "other": pl.UInt64, "place": pl.UInt64, "later": pl.Boolean}


@dataclass(frozen=True)
class Wanted:
    """Which pairs are compared: those whose later row belongs to generation ``first`` or a newer one.

    ``of_part`` (p,) is the generation of each part. Pairs below the similarity ``threshold`` are no links.
    """

    of_part: np.ndarray
    first: int
    threshold: float


def candidates(corpus: Corpus, copies: Answers, wanted: Wanted, texts: Sequence[int], keys: int, name: str) -> Answers:
    """Return tables with the columns ``PAIRS`` for each part.

    ``texts`` (p,) is how many texts of each part have words, ``keys`` is the number of keys of a text, and ``name`` is
    the name of the exchange.
    """
    splits = 1 + sum(texts) * keys // KEYS_IN_SPLIT
    return corpus.answer(partial(_band_rows, copies, splits), "key", partial(_pairs, wanted), name=name, splits=splits)


def _band_rows(copies: Answers, splits: int, rows: PartRows) -> Iterator[pl.DataFrame]:
    """Yield a row for each band and each text that is no copy, some bands at a time."""
    signatures = rows.kept(SIGNATURES)
    ids = signatures["ids"][signatures["texts"]]
    distinct = np.flatnonzero(~np.isin(ids, copies.of(rows)["id"].to_numpy()))
    ids, bands = ids[distinct], signatures["bands"]
    keys = min(MOST_KEYS_AT_ONCE, max(KEYS_AT_ONCE, splits * KEYS_IN_SECTION))
    count, at_once = bands.shape[1], max(1, keys // max(1, len(ids)))
    # Without bands there is one empty table.
    for low in range(0, max(1, count), at_once):
        high = min(count, low + at_once)
        columns = [
            bands[distinct, low:high].T.ravel(),
            np.tile(ids, high - low),
            np.full(len(ids) * (high - low), rows.number, np.uint32),
            np.repeat(np.arange(low, high, dtype=np.uint16), len(ids)),
        ]
        yield pl.DataFrame(columns, schema=BAND_ROWS)


def _pairs(wanted: Wanted, frame: pl.DataFrame) -> pl.DataFrame:
    """Return every pair twice, once for the part of each of its rows."""
    rows = frame[equal_keys.repeated(frame["key"].to_numpy())]
    tables = [pl.DataFrame(schema=PAIRS)]
    generation = wanted.of_part[rows["part"].to_numpy()]
    # Rows of a generation are compared with older rows and with each other, and not with newer ones. So their pairs are
    # the same in this job as in the job that first had this generation.
    for newest in range(wanted.first, int(wanted.of_part.max(initial=0)) + 1):
        tables += _pairs_of(rows.filter(generation <= newest), newest, wanted)
    return pl.concat(tables).unique(maintain_order=True)


def _pairs_of(rows: pl.DataFrame, newest: int, wanted: Wanted) -> Iterator[pl.DataFrame]:
    """Yield the pairs whose later row belongs to the generation ``newest``."""
    key, ids, part, band = (rows[name].to_numpy() for name in BAND_ROWS)
    # In a large group, the order of its rows decides which of them are compared. It is random, and differs by band.
    order = np.lexsort((mix(ids + BASE * band.astype(np.uint64)), band, key))
    key, ids, part, band = key[order], ids[order], part[order], band[order]
    generation = wanted.of_part[part]
    starts = equal_keys.group_starts(key, band)
    parts = equal_keys.cut(starts, len(ids), TOGETHER)
    smallest = np.minimum.reduceat(ids, parts) if len(ids) else ids
    # The place has the name of the smallest row of the group. It is mostly the same row in all bands, so that a text
    # goes to few places.
    place = np.repeat(smallest, np.diff(np.append(parts, len(ids))))
    for pairs in equal_keys.pairs(starts, len(ids)):
        pairs = pairs[generation[pairs].max(axis=1) == newest]
        first, second = pairs.T
        swap = (generation[first] > generation[second]) | (
            (generation[first] == generation[second]) & (ids[first] > ids[second])
        )
        earlier, later = np.where(swap, second, first), np.where(swap, first, second)
        for row, other, is_later in ((earlier, later, False), (later, earlier, True)):
            columns = [part[row], ids[row], ids[other], place[first], np.full(len(row), is_later)]
            yield pl.DataFrame(columns, schema=PAIRS)
