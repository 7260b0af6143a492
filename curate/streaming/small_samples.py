"""Sample the rows of a corpus whose ids have the smallest hashes: few rows come to this process, whatever the corpus.

In: a corpus. Out: the same rows for any cut into parts.
"""

import io
from collections.abc import Callable, Iterator, Sequence
from functools import partial

import numpy as np
import polars as pl

from curate.streaming.vectors.clusters import TOP
from curate.tables.batches import keys
from curate.tables.corpus import Arrays, Corpus, PartRows
from curate.tables.sample import smallest_hashes

# Parts send the rows with a hash below a limit under which the sample is expected to have six standard deviations more
# rows than it needs. Too few rows come with a chance of 1e-9. Then all parts send their smallest hashes.
DEVIATIONS = 6.0


BatchFunction = Callable[[pl.DataFrame], pl.DataFrame]


def as_read(batch: pl.DataFrame) -> pl.DataFrame:
    """Return a batch as it is."""
    return batch


def sample_of_corpus(
    corpus: Corpus,
    count: int,
    columns: Sequence[str],
    *,
    seed: int,
    by: str = "",
    prepare: BatchFunction = as_read,
) -> pl.DataFrame:
    """Return what `smallest_hashes` returns for all rows: ``count`` rows, or ``count`` for each value of ``by``.

    ``prepare`` is a pure function at the top level of a module, which changes a batch before rows are taken from it.
    """
    sizes: dict[str, int] = {}
    for part in corpus.map(partial(_sizes, by), (by,) if by else ()):
        for group, rows in zip(part["group"].tolist(), part["rows"].tolist(), strict=True):
            sizes[group] = sizes.get(group, 0) + rows
    shares = {group: (count + DEVIATIONS * (count**0.5 + 1)) / rows for group, rows in sizes.items()}
    needs = tuple(dict.fromkeys((*columns, *([by] if by else []))))
    for limits in (shares, dict.fromkeys(sizes, 1.0)):
        results = corpus.map(partial(_smallest, count, tuple(columns), limits, seed, by, prepare), needs)
        frames = (pl.read_ipc(io.BytesIO(result["table"].tobytes())) for result in results)
        sample = smallest_hashes((frame for frame in frames if frame.width), count, columns, seed=seed, by=by)
        if sample.height == sum(min(count, rows) for rows in sizes.values()):
            break
    return sample


def _groups(batch: pl.DataFrame, by: str) -> pl.Series:
    """Return the group of each row, as `smallest_hashes` names it; a null is the group ``None``."""
    names = batch[by].cast(pl.String) if by else pl.Series([""] * batch.height, dtype=pl.String)
    return names.fill_null("None")


def _sizes(by: str, rows: PartRows) -> Arrays:
    sizes: dict[str, int] = {}
    for batch in rows.batches():
        for group, number in _groups(batch, by).value_counts().iter_rows():
            sizes[group] = sizes.get(group, 0) + number
    return {"group": np.array(list(sizes), dtype=np.str_), "rows": np.array(list(sizes.values()), dtype=np.int64)}


def _smallest(
    count: int,
    columns: tuple[str, ...],
    shares: dict[str, float],
    seed: int,
    by: str,
    prepare: BatchFunction,
    rows: PartRows,
) -> Arrays:
    """Return a table as bytes: the rows of a part whose hashes are small enough to belong to the sample."""

    def small() -> Iterator[pl.DataFrame]:
        for batch in map(prepare, rows.batches()):
            share = np.array([shares[group] for group in _groups(batch, by).to_list()])
            limit = np.minimum(share, 1.0) * TOP
            yield batch.filter(pl.Series((keys(batch["id"], seed) < limit) | (share >= 1)))

    frame, stream = smallest_hashes(small(), count, columns, seed=seed, by=by), io.BytesIO()
    # A part without rows has no types either.
    (frame if frame.height else pl.DataFrame()).write_ipc(stream)
    return {"table": np.frombuffer(stream.getvalue(), np.uint8)}
