"""Connected components of a graph whose edges lie in the parts of a corpus, in bounded memory.

In: a function that returns the edges of a part. Out: for each part, a share of a table of nodes and their components.

Source: large-star and small-star by turns, Kiveris et al. 2014, "Connected Components in MapReduce and Beyond". Each
step brings the edges of a node together, and points its neighbours at the smallest of them. The components stay the
same, and become stars around their smallest nodes after a few rounds. A task holds the edges of a share of the nodes.
"""

from collections.abc import Callable
from functools import partial

import numpy as np
import polars as pl

from curate.streaming import linkage
from curate.tables.corpus import Answers, Arrays, Corpus, PartRows

# Returns the edges of a part: two columns of nodes, uint64.
EdgesOfPart = Callable[[PartRows], tuple[np.ndarray, np.ndarray]]

EDGES_IN_SPLIT = 1 << 20  # edges that are brought together at a time: about 100 MB of memory
# A row of the tables between steps: an edge from a node to a smaller one, in the part that keeps it. ``changed`` says
# that the step changed the neighbourhood from which the edge comes.
EDGE = {"part": pl.UInt32, "node": pl.UInt64, "root": pl.UInt64, "changed": pl.Boolean}
ENDS = {"node": pl.UInt64, "other": pl.UInt64}


def components(corpus: Corpus, edges: EdgesOfPart, *, count: int, name: str) -> Answers:
    """Return tables with the columns ``node`` and ``root``, the smallest node of its component.

    Each node of the graph stands in one table, apart from the smallest of each component, which stands in none. Which
    part has which rows has no meaning.

    Args:
        corpus: whose parts have the edges.
        edges: a pure function at the top level of a module, or a partial of one.
        count: the number of edges, at least roughly.
        name: the first part of the names of the exchanges.
    """
    parts, splits = len(corpus.parts), 1 + count // EDGES_IN_SPLIT
    stars: Callable[[PartRows], pl.DataFrame] = partial(_stars, edges)
    number = 0
    while True:
        large = corpus.answer(
            partial(_both_ways, stars),
            "node",
            partial(_large_star, parts),
            name=f"{name}-{number}-large",
            splits=splits,
        )
        small = corpus.answer(
            partial(_upper_ends, large),
            "node",
            partial(_small_star, parts),
            name=f"{name}-{number}-small",
            splits=splits,
        )
        if not sum(int(part["changes"]) for part in corpus.map(partial(_changes, (large, small)))):
            return small
        stars, number = small.of, number + 1


def _stars(edges: EdgesOfPart, rows: PartRows) -> pl.DataFrame:
    """Return the edges of a part as stars around the smallest node of each component within the part."""
    first, second = edges(rows)
    nodes, places = np.unique(np.concatenate([first, second]), return_inverse=True)
    component = linkage.components(places.reshape(2, -1).T, len(nodes))
    # Nodes are in rising order, so the first of a component is the smallest.
    smallest = nodes[np.unique(component, return_index=True)[1]][component] if len(nodes) else nodes
    is_leaf = smallest != nodes
    return pl.DataFrame({"node": nodes[is_leaf], "root": smallest[is_leaf]})


def _both_ways(stars: Callable[[PartRows], pl.DataFrame], rows: PartRows) -> pl.DataFrame:
    """Return each edge twice, once for each of its ends."""
    node, root = stars(rows).select("node", "root").get_columns()
    return pl.DataFrame([pl.concat([node, root]), pl.concat([root, node])], schema=ENDS)


def _upper_ends(stars: Answers, rows: PartRows) -> pl.DataFrame:
    """Return each edge once, for the larger of its ends."""
    return stars.of(rows).select("node", pl.col("root").alias("other"))


def _large_star(parts: int, frame: pl.DataFrame) -> pl.DataFrame:
    """Point the larger neighbours of each node at the smallest node of its neighbourhood."""
    smallest = pl.min_horizontal("node", pl.col("other").min().over("node"))
    stars = frame.unique().with_columns(smallest.alias("root")).filter(pl.col("other") > pl.col("node"))
    changed = (pl.col("root") != pl.col("node")).alias("changed")
    return _kept(parts, stars.select(pl.col("other").alias("node"), "root", changed))


def _small_star(parts: int, frame: pl.DataFrame) -> pl.DataFrame:
    """Point each node and its neighbours, which are all smaller, at the smallest neighbour."""
    smallest = pl.col("other").min().over("node").alias("root")
    edges = frame.unique().with_columns(smallest, (pl.len().over("node") > 1).alias("changed"))
    others = edges.filter(pl.col("other") != pl.col("root")).select(pl.col("other").alias("node"), "root", "changed")
    return _kept(parts, pl.concat([edges.select("node", "root", "changed"), others]).unique())


def _kept(parts: int, edges: pl.DataFrame) -> pl.DataFrame:
    """Return edges with the part that keeps each. Nodes are hashes, so all parts get about as many."""
    part = (pl.col("node") % parts).cast(pl.UInt32).alias("part")
    return edges.with_columns(part).select(list(EDGE)).sort("node", "root")


def _changes(steps: tuple[Answers, ...], rows: PartRows) -> Arrays:
    return {"changes": np.array(sum(int(step.of(rows)["changed"].sum()) for step in steps))}
