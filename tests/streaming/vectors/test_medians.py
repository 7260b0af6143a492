"""Medians digit by digit are those of NumPy, whatever the numbers, the groups and the parts."""

from functools import partial

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of_parts

from curate.streaming.vectors import medians


def group_of(classes, batch):
    return batch["label"].to_numpy() % classes


def learned(x, classes, cuts):
    """The medians of rows whose groups are 0, 1, ..., 0, 1, ..."""
    frame = pl.DataFrame({"id": [f"r{i}" for i in range(len(x))], "label": range(len(x))}).with_columns(
        pl.Series("emb.x", x, dtype=pl.Array(pl.Float32, x.shape[1]))
    )
    edges = [0, *cuts, len(x)]
    corpus = corpus_of_parts(*(frame[low:high] for low, high in zip(edges[:-1], edges[1:], strict=True)))
    sizes = np.bincount(np.arange(len(x)) % classes)
    return medians.medians(corpus, "emb.x", ("label",), partial(group_of, classes), sizes, x.shape[1])


@pytest.mark.parametrize("rows", [1, 2, 3, 40, 41])
@pytest.mark.parametrize("classes", [1, 3])
def test_medians_are_those_of_numpy(rows, classes, monkeypatch):
    monkeypatch.setattr(medians, "COUNTS", 2 * 5 * medians.DIGITS * 2)  # two groups at a time
    rng = np.random.default_rng(rows)
    x = (rng.normal(size=(rows, 5)) * 10.0 ** rng.integers(-30, 30, (rows, 5))).astype(np.float32)
    x[:, 1] = np.round(rng.normal(size=rows))  # many equal values, and both zeros
    x[:, 2] = -1.5
    classes = min(classes, rows)
    for cuts in ([], [rows // 3, rows // 3, rows // 2]):
        expected = np.stack([np.median(x[np.arange(rows) % classes == group], axis=0) for group in range(classes)])
        assert np.array_equal(learned(x, classes, cuts), expected)
