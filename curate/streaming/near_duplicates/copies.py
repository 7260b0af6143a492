"""Find texts with equal bytes. One of each set of copies, the leader, represents the others.

In: the signatures of parts. Out: for each part, which of its rows copy another row.
"""

from functools import partial

import numpy as np
import polars as pl

from curate.streaming import equal_keys
from curate.streaming.near_duplicates.signatures import SIGNATURES
from curate.tables.corpus import Answers, Corpus, PartRows

ROWS_IN_SPLIT = 1 << 19  # rows compared at a time: 15 MB
SCHEMA = {"digest": pl.UInt64, "rest": pl.UInt64, "id": pl.UInt64, "part": pl.UInt32}


def exact_copies(corpus: Corpus, generations: np.ndarray, rows: int, name: str) -> Answers:
    """Return a table for each part: ``id`` of its rows that copy a row before them, and ``leader``, the id of that row.

    ``generations`` (p,) is the generation of each part, ``rows`` the number of all rows, and ``name`` the name of the
    exchange.
    """
    splits = 1 + rows // ROWS_IN_SPLIT
    copies = partial(_copies, generations)
    return corpus.answer(_digests, "digest", copies, name=name, splits=splits)


def _digests(rows: PartRows) -> pl.DataFrame:
    signatures = rows.kept(SIGNATURES)
    first, second = signatures["digests"].T
    part = np.full(len(first), rows.number, np.uint32)
    return pl.DataFrame([first, second, signatures["ids"], part], schema=SCHEMA)


def _copies(generations: np.ndarray, frame: pl.DataFrame) -> pl.DataFrame:
    first, second, ids, part = (frame[name].to_numpy() for name in SCHEMA)
    # Texts are equal if both halves of their hashes are. The first half brings candidates together.
    rows = equal_keys.repeated(first)
    rows = rows[np.lexsort((ids[rows], generations[part[rows]], second[rows], first[rows]))]
    starts = equal_keys.group_starts(first[rows], second[rows])
    leader = np.repeat(rows[starts], np.diff(np.append(starts, len(rows))))
    copy = leader != rows
    return pl.DataFrame({"part": part[rows[copy]], "id": ids[rows[copy]], "leader": ids[leader[copy]]})
