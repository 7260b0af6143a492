"""Find which rows are merged into another row, and at which similarity: all steps from texts to merges.

In: a corpus. Out: the merges of each part. Signatures and links of each part are kept.
"""

from collections.abc import Iterator
from functools import partial

import numpy as np
import polars as pl

from curate.errors import SchemaError
from curate.storage import files
from curate.streaming import linkage
from curate.streaming.by_id import check_distinct_ids
from curate.streaming.near_duplicates.candidates import Wanted, candidates
from curate.streaming.near_duplicates.copies import exact_copies
from curate.streaming.near_duplicates.finished import (
    LINKS_OF_PART,
    MERGES_OF_PART,
    first_unfinished,
    record_finished,
    settings_array,
)
from curate.streaming.near_duplicates.links import LINK, MERGE, OPEN, verified_links
from curate.streaming.near_duplicates.signatures import SIGNATURES, Bands, signatures
from curate.tables.corpus import Answers, Arrays, Corpus, PartRows


def find_duplicates(corpus: Corpus, settings: Bands, threshold: float) -> Iterator[Arrays]:
    """Yield the merges of the rows of each part, in the order of parts.

    ids: (m,) uint64, the sorted hash(id, seed) of merged rows.
    levels: (m,) float64, the similarities at which they are merged.

    Signatures, links and merges of parts are kept. Those of a finished generation are not computed again.

    Raises:
        SchemaError: for no rows, or two rows with one id.
    """
    first = first_unfinished(corpus, settings_array(settings, threshold))
    if any(part.generation >= first for part in corpus.parts):
        _find_new(corpus, settings, threshold, first)
    yield from corpus.kept(MERGES_OF_PART)


def _find_new(corpus: Corpus, settings: Bands, threshold: float, first: int) -> None:
    """Keep the links and merges of parts of generation ``first`` and of newer ones."""
    generations = np.array([part.generation for part in corpus.parts], np.int64)
    # Signatures stay in storage: this process reads one file of them, and the parts read their own.
    next(corpus.map(partial(signatures, settings), ("text",), keep=SIGNATURES), None)
    sizes = list(corpus.map(_sizes))
    rows = sum(int(size["rows"]) for size in sizes)
    if not rows:
        raise SchemaError("duplicates: the data has 0 rows; it needs 1 at least")
    # The exchanges of a killed job can be used only if the generations are the same.
    key = files.text_hash(repr(generations.tolist()))[:16]
    check_distinct_ids(corpus, "duplicates", settings.seed, rows=rows, kept=SIGNATURES, name=f"ids-{key}")
    copies = exact_copies(corpus, generations, rows, f"copies-{key}")
    wanted = Wanted(generations, first, threshold)
    texts = [int(size["texts"]) for size in sizes]
    pairs = candidates(corpus, copies, wanted, texts, settings.keys, f"bands-{key}")
    all_ngrams = sum(int(size["ngrams"]) for size in sizes)
    links = verified_links(corpus, pairs, settings, wanted, all_ngrams, f"links-{key}")
    next(corpus.map(partial(_links_of_part, copies, links), keep=LINKS_OF_PART), None)
    merges = _merged_by_open_links(corpus, links, generations)
    next(corpus.map(partial(_merges_of_part, copies, links), keep=MERGES_OF_PART, inputs=merges), None)
    record_finished(corpus, settings_array(settings, threshold))


def _sizes(rows: PartRows) -> Arrays:
    kept = rows.kept(SIGNATURES)
    return {"rows": np.array(len(kept["ids"])), "texts": np.array(len(kept["texts"])), "ngrams": kept["ngrams"]}


def _links_of_part(copies: Answers, links: Answers, rows: PartRows) -> Arrays:
    """Return the links whose later row belongs to a part, in the order of ``second`` and ``first``.

    first, second: (l,) uint64, hash(id, seed) of the earlier and of the later row.
    similarity: (l,) float64, the exact Jaccard similarity.
    equal: (l,) bool, whether the texts have equal bytes. A row that copies another has only this link, to the leader.
    """
    near = links.of(rows).filter(pl.col("kind") == LINK).select("first", "second", "similarity")
    equal = copies.of(rows).select(pl.col("leader").alias("first"), pl.col("id").alias("second"), similarity=1.0)
    both = pl.concat([near.with_columns(equal=False), equal.with_columns(equal=True)]).sort("second", "first")
    return {name: both[name].to_numpy() for name in both.columns}


def _open_links(links: Answers, rows: PartRows) -> Arrays:
    table = links.of(rows).filter(pl.col("kind") == OPEN)
    return {name: table[name].to_numpy() for name in ("first", "second", "first_part", "part", "similarity")}


def _merged_by_open_links(corpus: Corpus, links: Answers, generations: np.ndarray) -> list[Arrays]:
    """Return the merges of rows that have links in several places: ids and levels for each part.

    This process reads only such links, and no texts.
    """
    results = list(corpus.map(partial(_open_links, links)))
    link = {name: np.concatenate([result[name] for result in results]) for name in results[0]}
    ends = np.concatenate([link["first"], link["second"]])
    parts = np.concatenate([link["first_part"], link["part"]])
    ids, position, row = np.unique(ends, return_index=True, return_inverse=True)
    part = parts[position]
    # Row numbers follow the order of rows: first the generation, then the hash.
    order = np.lexsort((ids, generations[part]))
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    ids, part = ids[order], part[order]
    edges = rank[row.reshape(2, -1).T]
    newest = generations[link["part"]]
    merges = [(np.zeros(0, np.int64), np.zeros(0))]
    for number in np.unique(newest).tolist():
        chosen = newest == number
        merged, level = linkage.single_linkage(edges[chosen], link["similarity"][chosen], len(ids))
        new = generations[part[merged]] == number
        merges.append((merged[new], level[new]))
    merged, levels = (np.concatenate(columns) for columns in zip(*merges, strict=True))
    by_part = np.argsort(part[merged], kind="stable")
    edges_of_parts = np.searchsorted(part[merged[by_part]], np.arange(len(corpus.parts) + 1))
    return [
        {"ids": ids[merged[by_part[low:high]]], "levels": levels[by_part[low:high]]}
        for low, high in zip(edges_of_parts[:-1], edges_of_parts[1:], strict=True)
    ]


def _merges_of_part(copies: Answers, links: Answers, rows: PartRows) -> Arrays:
    """Return the merges of the rows of a part, in the order of the hashes of their ids."""
    closed = links.of(rows).filter(pl.col("kind") == MERGE)
    copied = copies.of(rows)["id"].to_numpy()
    ids = np.concatenate([copied, closed["second"].to_numpy(), rows.inputs["ids"]])
    levels = np.concatenate([np.ones(len(copied)), closed["similarity"].to_numpy(), rows.inputs["levels"]])
    order = np.argsort(ids)
    return {"ids": ids[order], "levels": levels[order]}
