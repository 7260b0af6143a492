"""Count in how many sources each text occurs: the sources of all texts that links of duplicates lead to.

In: a corpus whose scorer ``duplicates`` has stored links. Out: for each part, the rows that other sources also have.

Rows that links connect, directly or through other rows, are a group. Of a large group only some pairs were compared,
so direct links alone would miss sources. A row of a generation is grouped with rows of this and of older generations.
"""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl

from curate.storage import files
from curate.streaming.components import components
from curate.streaming.near_duplicates.finished import KeptNames, first_unfinished, record_finished, settings_array
from curate.streaming.near_duplicates.stored_links import links_of_part, settings_of_links
from curate.tables.batches import keys
from curate.tables.corpus import Answers, Arrays, Corpus, PartRows

ROWS_OF_PART, SOURCES_OF_PART = "rows", "sources"  # names under which the results of parts are kept
ROWS_IN_SPLIT = 1 << 19  # rows, and nodes of groups, that are brought together at a time: about 50 MB of memory
# A row of the data, or a row of the table of groups: ``root`` names the group, and is null for a row of the data.
MEMBER = {"node": pl.UInt64, "root": pl.UInt64, "source": pl.UInt64, "part": pl.UInt32}
SOURCE = {"root": pl.UInt64, "source": pl.UInt64, "part": pl.UInt32}


def sources_of_groups(corpus: Corpus, similarity: float) -> Iterator[Arrays]:
    """Yield the rows of each part whose texts other sources have, in the order of parts.

    ids: (m,) uint64, sorted hash(id, seed) of these rows; ``seed`` is that of `settings_of_links`.
    others: (m,) int64, the number of other sources, at least 1.

    Links below ``similarity`` are left out. The results of a finished generation are not computed again.

    Raises:
        SchemaError: if the job has no links.
    """
    settings, threshold = settings_of_links(corpus.out)
    # What decides the links decides the groups too.
    decided_by = np.append(settings_array(settings, threshold), similarity)
    first = first_unfinished(corpus, decided_by, KeptNames((ROWS_OF_PART,), (SOURCES_OF_PART,)))
    if any(part.generation >= first for part in corpus.parts):
        _find_new(corpus, similarity, settings.seed, first)
        record_finished(corpus, decided_by)
    yield from corpus.kept(SOURCES_OF_PART)


def number_of_sources(corpus: Corpus) -> int:
    """Return the number of different sources of all rows, after `sources_of_groups`."""
    return len(np.unique(np.concatenate([np.unique(rows["sources"]) for rows in corpus.kept(ROWS_OF_PART)])))


def _find_new(corpus: Corpus, similarity: float, seed: int, first: int) -> None:
    """Keep the results of parts of generation ``first`` and of newer ones."""
    generations = [part.generation for part in corpus.parts]
    next(corpus.map(partial(_rows, seed), ("source",), keep=ROWS_OF_PART), None)
    sizes = list(corpus.map(partial(_sizes, corpus.out, similarity)))
    rows, links = (sum(int(size[name]) for size in sizes) for name in ("rows", "links"))
    # Each link adds one node to the tables of groups at most.
    splits = 1 + (rows + links) // ROWS_IN_SPLIT
    # The exchanges of a killed job can be used only if the generations are the same.
    key = files.text_hash(repr(generations))[:16]
    members, counts = dict[int, Answers](), dict[int, Answers]()
    for newest in sorted({generation for generation in generations if generation >= first}):
        name = f"{newest}-{key}"
        links_until = partial(_links_until, corpus.out, similarity, newest)
        stars = components(corpus, links_until, count=links, name=f"groups-{name}")
        members[newest] = corpus.answer(
            partial(_members, stars, newest), "node", _rows_of_groups, name=f"members-{name}", splits=splits
        )
        counts[newest] = corpus.answer(
            partial(_sources, members[newest]), "root", _count_sources, name=f"sources-{name}", splits=splits
        )
    next(corpus.map(partial(_sources_of_part, members, counts), keep=SOURCES_OF_PART), None)


def _rows(seed: int, rows: PartRows) -> Arrays:
    """Return hash(id, seed) and the hash of the source of each row, (n,) uint64 each."""
    ids, sources = [np.zeros(0, np.uint64)], [np.zeros(0, np.uint64)]
    for batch in rows.batches():
        ids.append(keys(batch["id"], seed))
        sources.append(keys(batch["source"], 0))
    return {"ids": np.concatenate(ids), "sources": np.concatenate(sources)}


def _sizes(out: Path, similarity: float, rows: PartRows) -> Arrays:
    links = links_of_part(out, rows.part, similarity)
    return {"rows": np.array(len(rows.kept(ROWS_OF_PART)["ids"])), "links": np.array(len(links.first))}


def _links_until(out: Path, similarity: float, newest: int, rows: PartRows) -> tuple[np.ndarray, np.ndarray]:
    """Return the links of a part, none if it is newer than generation ``newest``."""
    # The later row of a link belongs to the part, and the earlier one is no newer.
    links = links_of_part(out, rows.part, similarity if rows.part.generation <= newest else np.inf)
    return links.first, links.second


def _members(stars: Answers, newest: int, rows: PartRows) -> pl.DataFrame:
    """Return the rows of a part, and the share of the table of groups that lies with it."""
    star = stars.of(rows)
    roots = star["root"].unique()
    node, root = pl.concat([star["node"], roots]), pl.concat([star["root"], roots])
    nothing = pl.Series([0], dtype=pl.UInt64).new_from_index(0, len(node))
    groups = pl.DataFrame([node, root, nothing, nothing], schema=MEMBER)
    if rows.part.generation > newest:
        return groups
    kept = rows.kept(ROWS_OF_PART)
    part = np.full(len(kept["ids"]), rows.number, np.uint32)
    no_group = pl.Series([None], dtype=pl.UInt64).new_from_index(0, len(part))
    return pl.concat([groups, pl.DataFrame([kept["ids"], no_group, kept["sources"], part], schema=MEMBER)])


def _rows_of_groups(frame: pl.DataFrame) -> pl.DataFrame:
    """Send each row that belongs to a group the name of the group, with its source."""
    is_row = pl.col("root").is_null()
    groups = frame.filter(~is_row).select("node", "root").unique()
    return frame.filter(is_row).drop("root").join(groups, on="node").sort("part", "node")


def _sources(members: Answers, rows: PartRows) -> pl.DataFrame:
    """Return the different sources that the rows of a part have in each group."""
    return members.of(rows).select(list(SOURCE)).unique().sort("root", "source")


def _count_sources(frame: pl.DataFrame) -> pl.DataFrame:
    """Send the number of different sources of a group to each part that has rows of it."""
    counted = frame.with_columns(pl.col("source").n_unique().over("root").alias("sources"))
    return counted.select("part", "root", "sources").unique().sort("part", "root")


def _sources_of_part(members: dict[int, Answers], counts: dict[int, Answers], rows: PartRows) -> Arrays:
    generation = rows.part.generation
    joined = members[generation].of(rows).join(counts[generation].of(rows), on="root").filter(pl.col("sources") > 1)
    joined = joined.sort("node")
    return {"ids": joined["node"].to_numpy(), "others": joined["sources"].to_numpy().astype(np.int64) - 1}
