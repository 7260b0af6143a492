"""Connected components over parts, against a plain search."""

from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.engines.local import Local
from curate.streaming import components
from curate.tables.corpus import Corpus, FramePart
from curate.words.ngrams import mix


def edges_of(rows):
    frame = pl.concat(list(rows.part.batches(("first", "second"))))
    return frame["first"].to_numpy(), frame["second"].to_numpy()


def roots(edges, cuts, folder, engine=None):
    """Return the smallest node of the component of each node that is not the smallest, by node."""
    frame = pl.DataFrame(edges, schema={"first": pl.UInt64, "second": pl.UInt64}, orient="row")
    frame = frame.with_columns(id=pl.int_range(len(frame)).cast(pl.String))
    marks = [0, *sorted(cuts), len(frame)]
    parts = [FramePart(f"p{i}", (frame[a:b],)) for i, (a, b) in enumerate(zip(marks[:-1], marks[1:], strict=True))]
    corpus = Corpus(parts, folder, engine or Local())
    stars = components.components(corpus, edges_of, count=len(edges), name="graph")
    tables = list(corpus.map(_Table(stars)))
    result = {}
    for table in tables:
        for node, root in zip(table["node"].tolist(), table["root"].tolist(), strict=True):
            assert node not in result
            result[node] = root
    return result


class _Table:
    def __init__(self, stars):
        self.stars = stars

    def __call__(self, rows):
        table = self.stars.of(rows)
        return {"node": table["node"].to_numpy(), "root": table["root"].to_numpy()}


def expected(edges):
    neighbours = {}
    for a, b in edges:
        neighbours.setdefault(a, set()).add(b)
        neighbours.setdefault(b, set()).add(a)
    result = {}
    for node in sorted(neighbours):
        frontier = [] if node in result else [node]
        while frontier:
            other = frontier.pop()
            if other not in result:
                result[other] = node
                frontier += neighbours[other]
    return {node: root for node, root in result.items() if node != root}


NODES = st.integers(0, 25) | st.sampled_from([2**64 - 1, 2**63, 2**53 + 1])


@settings(max_examples=40, deadline=None)
@given(
    edges=st.lists(st.tuples(NODES, NODES).filter(lambda edge: edge[0] != edge[1]), max_size=30),
    cuts=st.lists(st.integers(0, 30), max_size=3),
    split=st.sampled_from([1, 4, 1 << 20]),
)
def test_components_are_those_of_a_plain_search(edges, cuts, split):
    with TemporaryDirectory() as folder, patch.object(components, "EDGES_IN_SPLIT", split):
        assert roots(edges, [min(cut, len(edges)) for cut in cuts], Path(folder)) == expected(edges)


@pytest.mark.parametrize("workers", [1, 2])
def test_a_long_chain_in_many_parts_and_splits(tmp_path, monkeypatch, workers):
    """A chain needs most rounds. Its nodes are hashes, so that neighbours in the chain are not neighbours in order."""
    monkeypatch.setattr(components, "EDGES_IN_SPLIT", 50)
    nodes = mix(np.arange(300, dtype=np.uint64)).tolist()
    edges = list(zip(nodes[:-1], nodes[1:], strict=True))
    order = np.random.default_rng(0).permutation(len(edges))
    with Local(workers).session() as engine:
        result = roots([edges[i] for i in order], range(40, 280, 40), tmp_path, engine)
    assert result == dict.fromkeys(sorted(nodes)[1:], min(nodes))
