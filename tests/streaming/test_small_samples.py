"""Samples of a corpus are those of all rows at once, for any parts, and few rows leave a part."""

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of_parts

from curate.streaming import small_samples
from curate.streaming.small_samples import sample_of_corpus
from curate.tables.sample import smallest_hashes


def example(rows: int = 3000) -> pl.DataFrame:
    rng = np.random.default_rng(3)
    x = rng.normal(size=(rows, 3)).astype(np.float32)
    return pl.DataFrame({"id": [f"r{i}" for i in range(rows)]}).with_columns(
        pl.Series("emb.x", x, dtype=pl.Array(pl.Float32, 3)),
        label=pl.Series(np.where(rng.random(rows) < 0.02, "rare", "common")),
    )


@pytest.mark.parametrize("cuts", [[], [7, 7, 1900], list(range(100, 3000, 100))])
@pytest.mark.parametrize("by", ["", "label"])
@pytest.mark.parametrize("count", [1, 50, 5000])
def test_a_sample_of_parts_is_that_of_all_rows(cuts, by, count):
    frame = example()
    edges = [0, *cuts, frame.height]
    corpus = corpus_of_parts(*(frame[low:high] for low, high in zip(edges[:-1], edges[1:], strict=True)))
    expected = smallest_hashes(iter([frame]), count, ("emb.x",), seed=2, by=by)
    assert sample_of_corpus(corpus, count, ("emb.x",), seed=2, by=by).equals(expected)


def test_few_rows_leave_a_part_and_all_parts_send_more_if_they_were_too_few(monkeypatch):
    frame = example()
    sent = []
    smallest = small_samples._smallest
    monkeypatch.setattr(small_samples, "_smallest", lambda *args: (sent.append(args[2]), smallest(*args))[1])
    corpus = corpus_of_parts(frame[:2000], frame[2000:])
    expected = smallest_hashes(iter([frame]), 100, ("emb.x",), seed=0)
    assert sample_of_corpus(corpus, 100, ("emb.x",), seed=0).equals(expected)
    assert [shares[""] for shares in sent] == [pytest.approx(166 / 3000)] * 2
    monkeypatch.setattr(small_samples, "DEVIATIONS", -8.0)
    assert sample_of_corpus(corpus, 100, ("emb.x",), seed=0).equals(expected)
    assert [shares[""] for shares in sent[-2:]] == [1.0, 1.0]
