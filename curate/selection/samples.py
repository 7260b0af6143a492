"""Read a bounded sample of each source and of the target, as vectors with labels."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np
import polars as pl

from curate import open_sets
from curate.encoders import Encoder, encode
from curate.errors import SchemaError, first_few
from curate.pool.pool import Pool
from curate.selection.sources import TARGET
from curate.tables import batches, scored
from curate.tables.reading import Reading
from curate.tables.sample import smallest_hashes
from curate.transport.ground_cost import Samples

SAMPLE = 2000  # rows of a source that are used; more do not move the best mixture (our trials, digits)


def read(
    pools: Sequence[Pool],
    reading_of: Callable[[Pool], Reading],
    column: str | None = None,
    *,
    encoder: str | None = None,
    labels: bool | None = None,
    limit: int = SAMPLE,
    seed: int = 0,
) -> dict[str, Samples]:
    """Read at most ``limit`` rows of every pool, as vectors and labels by the pool's name.

    ``reading_of`` says how the files of a pool are read.

    The rows with the smallest hash of id and seed are taken, so that the order of rows does not matter. Vectors are of
    ``column`` (``emb.<name>``; None: the only one that all pools have), or of ``encoder`` on the text. ``labels``: read
    the column ``label``; None: if all pools have it.

    Raises:
        SchemaError: if there is no such column, a label is null, or a pool has no rows.
    """
    have = {pool.name: set(batches.columns(batches.shards(pool.where)[0], reading_of(pool))) for pool in pools}
    column = "text" if encoder else column or _column(have)
    if lack := [name for name, names in have.items() if column not in names]:
        raise SchemaError(
            f"{_called(lack[0])} has no column {column!r}; it has {first_few(sorted(have[lack[0]]), near=column)}. "
            f"Name it with --columns {column}=COLUMN, which unscored sources must have too, or rename it"
        )
    labelled = all("label" in names for names in have.values()) if labels is None else labels
    if labelled and (lack := [name for name, names in have.items() if "label" not in names]):
        raise SchemaError(f"{_called(lack[0])} has no column 'label': give labels on every side, or --no-labels")
    needs = (column, "label") if labelled else (column,)
    return {
        pool.name: _samples(pool.name, _smallest(pool, needs, reading_of(pool), limit, seed), column, encoder)
        for pool in pools
    }


def _called(pool: str) -> str:
    """Return what messages call a pool: the target is no source."""
    return pool if pool == TARGET else f"source {pool!r}"


def _column(have: Mapping[str, set[str]]) -> str:
    common = sorted(n for n in set.intersection(*have.values()) if n.startswith("emb."))
    if len(common) == 1:
        return common[0]
    if common:
        raise SchemaError(f"sources and target have {first_few(common)}: choose one with --embedding")
    raise SchemaError("no emb.<name> column that all sources and the target have: give --encoder hashed to embed texts")


def _smallest(pool: Pool, needs: Sequence[str], reading: Reading, limit: int, seed: int) -> pl.DataFrame:
    """Return the rows of a pool with the smallest hashes of their ids."""
    try:
        rows = smallest_hashes(scored.pool_batches(pool, tuple(needs), reading), limit, needs, seed=seed)
    except SchemaError as error:
        raise SchemaError(f"{_called(pool.name)}: {error}") from None
    if rows.is_empty():
        raise SchemaError(f"{_called(pool.name)} has no rows: give a few hundred samples of it")
    return rows


def _samples(name: str, frame: pl.DataFrame, column: str, encoder: str | None) -> Samples:
    labels = None
    if "label" in frame.columns:
        if nulls := frame["label"].null_count():
            raise SchemaError(f"{_called(name)}: label is null in {nulls} of {frame.height} samples: fill or drop them")
        labels = frame["label"].to_numpy()
    if encoder is None:
        return Samples(np.ascontiguousarray(frame[column].to_numpy()), labels)
    implementation: Encoder = open_sets.build("encoders", encoder)  # type: ignore[assignment]
    return Samples(encode(implementation, frame[column]), labels)
