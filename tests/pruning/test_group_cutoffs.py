"""The first rows of many groups, in tiny pieces, against a sort."""

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.engines.local import Local
from curate.pruning.ranking import histograms
from curate.pruning.ranking.cutoffs import Ranking
from curate.pruning.ranking.group_cutoffs import group_ends
from curate.pruning.ranking.histograms import BatchStream, CodedBatch
from curate.tables import batches


@settings(max_examples=150)
@given(data=st.data(), limit=st.sampled_from([0, 3, 1000]))
def test_the_first_rows_of_every_group(data, limit):
    n, g = data.draw(st.integers(1, 60)), data.draw(st.integers(1, 5))
    kind = data.draw(st.sampled_from([st.integers(0, 2), st.floats(-1e300, 1e300), st.floats(0, 1)]))
    score = np.array(data.draw(st.lists(kind, min_size=n, max_size=n)), dtype=float)
    group = np.array(data.draw(st.lists(st.integers(0, g - 1), min_size=n, max_size=n)))
    ids = pl.Series([f"r{i % max(1, n - 2)}" for i in range(n)])  # two ids come twice
    sizes = np.bincount(group, minlength=g)
    quotas = np.array([data.draw(st.integers(0, int(size))) for size in sizes])
    code, size = histograms.codes(score), data.draw(st.integers(1, n))

    cut = data.draw(st.integers(0, n))  # the rows come in two parts

    def read(part, with_ids):
        for a in range(part.start, part.stop, size):
            rows = slice(a, min(a + size, part.stop))
            yield CodedBatch(code[rows], group[rows], ids[rows] if with_ids else None)

    parts = [range(cut, n), range(cut)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(histograms, "CELLS", 4 * g)
        ranking = Ranking(BatchStream(read, parts, Local()), seed=1, sorted_rows=limit)
        ends = group_ends(ranking, quotas, sizes, (int(code.min()), int(code.max())))
    order = np.lexsort((np.arange(n), batches.keys(ids, 1), code))
    expected = np.zeros(n, dtype=bool)
    for j in range(g):
        expected[order[group[order] == j][: quotas[j]]] = True
    taken = ends.of(CodedBatch(code, group, ids), 0)
    assert taken.tolist() == expected.tolist()
