"""Verify candidates: each part sends the n-grams of its candidates to the places where pairs are compared.

In: candidates of parts. Out: for each part, the links of its rows, each with its exact Jaccard similarity.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import polars as pl
import pyarrow as pa

from curate.streaming import linkage, minhash
from curate.streaming.near_duplicates.candidates import Wanted
from curate.streaming.near_duplicates.signatures import Bands, ngrams_of
from curate.tables.batches import keys
from curate.tables.corpus import Answers, Corpus, PartRows
from curate.words.ngrams import Grams, mix

GRAMS_IN_SPLIT = 1 << 22  # n-grams in one place, if every text is a candidate and goes to one place: 32 MB
GRAMS_AT_ONCE = 1 << 19  # n-grams that a part holds before it writes them: 4 MB, and copies of them
# They are written with a section for each split. With fewer n-grams, what describes a section takes as much space.
GRAMS_IN_SECTION = 1 << 9
# A row of the table that parts send: a text, and the earlier rows with which it is compared in this place. ``whole``
# says that all pairs of the text are compared there.
SETS: dict[str, pl.DataType | type[pl.DataType]] = {
    "place": pl.UInt64,
    "id": pl.UInt64,
    "part": pl.UInt32,
    "members": pl.List(pl.UInt64),
    "earlier": pl.List(pl.UInt64),
    "whole": pl.Boolean,
}
# What is sent back to the part of row ``second``, which comes after ``first`` in the order of rows.
LINKS = {
    "part": pl.UInt32,
    "kind": pl.UInt8,
    "first": pl.UInt64,
    "second": pl.UInt64,
    "similarity": pl.Float64,
    "first_part": pl.UInt32,
}
LINK = 0  # a verified pair
MERGE = 1  # ``second`` is merged into an earlier row at this similarity; ``first`` has no meaning
OPEN = 2  # a link between rows that also have links in other places, so that this place cannot decide their merges


def verified_links(
    corpus: Corpus, pairs: Answers, settings: Bands, wanted: Wanted, all_ngrams: int, name: str
) -> Answers:
    """Return a table with the columns ``LINKS`` for each part: pairs that reach the threshold, and merges.

    ``all_ngrams`` is the number of n-grams of all texts, and ``name`` that of the exchange. Only parts with candidates
    are read.
    """
    splits = 1 + all_ngrams // GRAMS_IN_SPLIT
    sets = partial(_sets, pairs, settings, splits)
    links = partial(_links, wanted)
    return corpus.answer(sets, "place", links, name=name, splits=splits, needs=("text",))


def _sets(candidates: Answers, settings: Bands, splits: int, rows: PartRows) -> Iterator[pl.DataFrame]:
    """Yield the n-grams of every candidate for every place where it is compared, some texts at a time."""
    pairs = candidates.of(rows)
    if pairs.is_empty():
        yield pl.DataFrame(schema=SETS)
        return
    # A pair that shares several bands is compared once. Both parts of a pair choose the same place.
    pairs = pairs.group_by("id", "other", "later").agg(pl.col("place").min())
    place = mix(pairs["place"].to_numpy()) % np.uint64(splits)
    pairs = pairs.with_columns(pl.Series("place", place)).sort("id", "place", "other")
    earlier = pl.col("other").filter(pl.col("later")).alias("earlier")
    tasks = pairs.group_by("id", "place", maintain_order=True).agg(earlier)
    tasks = tasks.with_columns((pl.len().over("id") == 1).alias("whole"), pl.lit(rows.number, pl.UInt32).alias("part"))
    at_once = max(GRAMS_AT_ONCE, splits * GRAMS_IN_SECTION)
    for sets in _candidate_sets(tasks["id"], settings, at_once, rows):
        yield tasks.join(sets, on="id").select(list(SETS))


def _candidate_sets(candidates: pl.Series, settings: Bands, at_once: int, rows: PartRows) -> Iterator[pl.DataFrame]:
    """Yield the distinct n-grams of the texts whose hash(id, seed) is among ``candidates``.

    A table has ``at_once`` n-grams, or those of one batch more.
    """
    wanted = np.unique(candidates.to_numpy())
    tables: list[pl.DataFrame] = []
    grams = 0
    for batch in rows.batches():
        ids = keys(batch["id"], settings.seed)
        chosen = np.isin(ids, wanted)
        texts = batch["text"].filter(pl.Series(chosen))
        lists = [_as_lists(minhash.distinct_members(sets)) for sets in ngrams_of(texts, settings.ngram)]
        if lists:
            tables.append(pl.DataFrame([pl.Series("id", ids[chosen]), pl.concat(lists).rename("members")]))
            grams += int(tables[-1]["members"].list.len().sum())
        if grams >= at_once:
            yield pl.concat(tables)
            tables, grams = [], 0
    if tables:
        yield pl.concat(tables)


def _links(wanted: Wanted, frame: pl.DataFrame) -> pl.DataFrame:
    """Compare the pairs of one place."""
    part = frame["part"].to_numpy()
    order = np.lexsort((frame["id"].to_numpy(), wanted.of_part[part]))
    # The sets stay where they are, as a copy of them in another order would take as much memory again.
    members = _as_grams(frame["members"])
    # Row numbers follow the order of rows: a smaller number represents a larger one.
    frame = frame.drop("members")[order]
    part, ids, whole = frame["part"].to_numpy(), frame["id"].to_numpy(), frame["whole"].to_numpy()
    edges = _pairs(ids, frame["earlier"])
    similarity = minhash.jaccard(members, order[edges])
    del members
    linked = similarity >= wanted.threshold
    edges, similarity = edges[linked], similarity[linked]
    tables = [_table(LINK, part, ids, edges, similarity)]
    generation = wanted.of_part[part]
    newest = generation[edges[:, 1]]
    for number in np.unique(newest).tolist():
        chosen, levels = edges[newest == number], similarity[newest == number]
        component = linkage.components(chosen, len(ids))
        # A component is closed if no pair of its rows is compared in another place.
        closed = np.bincount(component, weights=~whole)[component[chosen[:, 1]]] == 0
        merged, level = linkage.single_linkage(chosen[closed], levels[closed], len(ids))
        # Rows of older generations stay as they were.
        new = generation[merged] == number
        merges = np.stack([merged, merged], axis=1)
        tables.append(_table(MERGE, part, ids, merges[new], level[new]))
        chosen, levels = chosen[~closed], levels[~closed]
        forest = linkage.spanning_forest(chosen, levels, len(ids))
        tables.append(_table(OPEN, part, ids, chosen[forest], levels[forest]))
    return pl.concat(tables)


def _pairs(ids: np.ndarray, earlier: pl.Series) -> np.ndarray:
    """Return pairs (m, 2) of row numbers, the earlier row first."""
    second = np.repeat(np.arange(len(ids)), earlier.list.len().to_numpy())
    by_id = np.argsort(ids)
    others = _flat(earlier)
    first = by_id[np.searchsorted(ids[by_id], others)]
    return np.stack([first, second], axis=1)


def _table(kind: int, part: np.ndarray, ids: np.ndarray, edges: np.ndarray, similarity: np.ndarray) -> pl.DataFrame:
    first, second = edges.T
    columns = [part[second], np.full(len(edges), kind, np.uint8), ids[first], ids[second], similarity, part[first]]
    return pl.DataFrame(columns, schema=LINKS)


def _flat(lists: pl.Series) -> np.ndarray:
    """Return the members of all lists, end to end."""
    return np.asarray(lists.rechunk().to_arrow().flatten())


def _as_grams(lists: pl.Series) -> Grams:
    return Grams(_flat(lists), np.concatenate(([0], np.cumsum(lists.list.len().to_numpy(), dtype=np.int64))))


def _as_lists(sets: Grams) -> pl.Series:
    return pl.Series(pa.LargeListArray.from_arrays(sets.offsets, sets.values))
