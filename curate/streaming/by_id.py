"""Look up what was learned about a row by the hash of its id, whatever the batch.

In: ids, and values in the order of the hashes of ids. Out: the value of each id. If two rows have the same id, an error
names it.
"""

from functools import partial

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.streaming import equal_keys
from curate.tables.batches import keys
from curate.tables.corpus import Arrays, Corpus, PartRows

ROWS_IN_SPLIT = 1 << 22  # hashes of ids that are sorted at a time: 32 MB


def look_up(ids: pl.Series, seed: int, sorted_keys: np.ndarray, values: np.ndarray, *, otherwise: float) -> np.ndarray:
    """Return the value (n,) float64 of each id, or ``otherwise`` for an id that has none.

    ``sorted_keys`` (m,) uint64 are the sorted hash(id, seed) to which the ``values`` (m,) belong.
    """
    result = np.full(len(ids), otherwise)
    if len(sorted_keys):
        wanted = keys(ids, seed)
        positions = np.minimum(np.searchsorted(sorted_keys, wanted), len(sorted_keys) - 1)
        present = sorted_keys[positions] == wanted
        result[present] = values[positions[present]]
    return result


def check_distinct_ids(corpus: Corpus, scorer: str, seed: int, *, rows: int, kept: str = "", name: str = "ids") -> None:
    """Stop if two rows share their id, without the hashes of all ids in one place.

    A learned score belongs to an id, so it would belong to both rows. ``rows`` is the number of rows, at least roughly.
    ``kept`` names an earlier result of `Corpus.map` whose array ``ids`` holds hash(id, seed) of the rows of a part;
    without it the ids are read. ``name`` is that of the exchange.

    Raises:
        SchemaError: with the number of such rows, and an id that occurs twice.
    """
    splits = 1 + rows // ROWS_IN_SPLIT
    hashes = partial(_hashes, seed, kept)
    repeated = list(corpus.exchange(hashes, "id", _repeated, name=name, splits=splits))
    if count := sum(int(result["count"][0]) for result in repeated):
        first = np.concatenate([result["first"] for result in repeated]).min()
        # The parts are read once more, to name the id behind the hash.
        named = corpus.map(partial(_ids_with_hash, seed, first))
        names = np.concatenate([result["ids"] for result in named if len(result["ids"])])
        raise SchemaError(_refusal(scorer, count, str(names[0])))


def _refusal(scorer: str, count: int, name: str) -> str:
    return (
        f"{scorer}: {count} rows share their id with another row, such as {name!r}. Make the ids distinct, "
        "or give --columns id=NULL: file and row number are the id then"
    )


def _hashes(seed: int, kept: str, rows: PartRows) -> pl.DataFrame:
    if kept:
        return pl.DataFrame({"id": rows.kept(kept)["ids"]}, schema={"id": pl.UInt64})
    hashes = [keys(batch["id"], seed) for batch in rows.batches()]
    return pl.DataFrame({"id": np.concatenate([np.zeros(0, np.uint64), *hashes])}, schema={"id": pl.UInt64})


def _repeated(frame: pl.DataFrame) -> Arrays:
    """Return how many rows share their hash with another row, and the smallest such hash, if there is one."""
    ids = np.sort(frame["id"].to_numpy())
    starts = equal_keys.group_starts(ids)
    sizes = np.diff(np.append(starts, len(ids)))
    shared = sizes > 1
    return {"count": sizes[shared].sum(keepdims=True), "first": ids[starts[shared]][:1]}


def _ids_with_hash(seed: int, wanted: np.uint64, rows: PartRows) -> Arrays:
    same = (batch["id"].filter(pl.Series(keys(batch["id"], seed) == wanted)) for batch in rows.batches())
    return {"ids": np.array([name for series in same for name in series.to_list()], dtype=np.str_)}
