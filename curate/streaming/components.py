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

from curate.streaming import equal_keys, linkage
from curate.tables.corpus import Answers, Arrays, Corpus, PartRows

# Returns the edges of a part: two columns of nodes, uint64.
EdgesOfPart = Callable[[PartRows], tuple[np.ndarray, np.ndarray]]

EDGES_IN_SPLIT = 1 << 19  # ends of edges that are brought together at a time: about 50 MB of memory
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
    parts, splits = len(corpus.parts), 1 + 2 * count // EDGES_IN_SPLIT
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
    node, other = _distinct(frame["node"].to_numpy(), frame["other"].to_numpy())
    starts = equal_keys.group_starts(node)
    smallest = _to_groups(np.minimum(node[starts], other[starts]), starts, len(node))
    larger = other > node
    return _kept(parts, other[larger], smallest[larger], (smallest != node)[larger])


def _small_star(parts: int, frame: pl.DataFrame) -> pl.DataFrame:
    """Point each node and its neighbours, which are all smaller, at the smallest neighbour."""
    node, other = _distinct(frame["node"].to_numpy(), frame["other"].to_numpy())
    starts = equal_keys.group_starts(node)
    several = np.diff(np.append(starts, len(node))) > 1
    further = np.ones(len(node), bool)
    further[starts] = False
    roots = _to_groups(other[starts], starts, len(node))[further]
    nodes = np.concatenate([node[starts], other[further]])
    changed = np.append(several, np.ones(len(roots), bool))
    return _kept(parts, nodes, np.concatenate([other[starts], roots]), changed)


def _distinct(node: np.ndarray, other: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct pairs of two columns, in the order of ``node`` and ``other``."""
    order = np.lexsort((other, node))
    node, other = node[order], other[order]
    first = equal_keys.group_starts(node, other)
    return node[first], other[first]


def _to_groups(values: np.ndarray, starts: np.ndarray, rows: int) -> np.ndarray:
    """Return a value (rows,) for each row of the groups that begin at ``starts`` (g,), from ``values`` (g,)."""
    return np.repeat(values, np.diff(np.append(starts, rows)))


def _kept(parts: int, node: np.ndarray, root: np.ndarray, changed: np.ndarray) -> pl.DataFrame:
    """Return distinct edges with the part that keeps each. Nodes are hashes, so all parts get about as many."""
    # In a group of equal edges, one that changed comes first.
    order = np.lexsort((~changed, root, node))
    node, root, changed = node[order], root[order], changed[order]
    first = equal_keys.group_starts(node, root)
    node, root, changed = node[first], root[first], changed[first]
    return pl.DataFrame([(node % np.uint64(parts)).astype(np.uint32), node, root, changed], schema=EDGE)


def _changes(steps: tuple[Answers, ...], rows: PartRows) -> Arrays:
    return {"changes": np.array(sum(int(step.of(rows)["changed"].sum()) for step in steps))}
