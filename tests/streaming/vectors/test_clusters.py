"""Clusters learned from parts: the same bytes for any cut, any engine and any way of adding up."""

from hashlib import sha256

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.streaming.vectors import clusters, kmeans
from curate.streaming.vectors.clusters import ClusterSettings, learn_clusters, row_count

SETTINGS = ClusterSettings("prototypes", 64, 0, 20, "++", 3)


def example(rows: int = 3000, width: int = 24) -> pl.DataFrame:
    """Unit rows near one of 40 directions."""

    def unit(x):
        return (x / np.linalg.norm(x, axis=1, keepdims=True)).astype(np.float32)

    rng = np.random.default_rng(11)
    group = rng.integers(0, 40, rows)
    x = unit(unit(rng.normal(size=(40, width)))[group] + 0.3 * rng.normal(size=(rows, width)))
    ids = pl.Series("id", [f"r{i}" for i in range(rows)])
    return pl.DataFrame([ids, pl.Series("emb.hashed", x, dtype=pl.Array(pl.Float32, width))])


ROWS = example()
CUTS = [[], [100, 100, 2000], list(range(50, 3000, 50))]


def learned(folder, cuts=(), settings=SETTINGS, engine=None):
    corpus = corpus_of(ROWS, cuts, folder, engine)
    return learn_clusters(corpus, "emb.hashed", settings, row_count(corpus))


def as_bytes(result: kmeans.Clusters) -> bytes:
    return result.centres.tobytes() + result.counts.tobytes() + result.sums.tobytes()


@pytest.mark.parametrize("cuts", CUTS, ids=["1 part", "4 parts", "60 parts"])
def test_centres_have_the_bytes_of_the_version_that_learned_in_one_process(cuts, tmp_path):
    digest = sha256(learned(tmp_path, cuts).centres.tobytes()).hexdigest()
    assert digest[:16] == "33ab8daad3a6f2f1"  # of commit 0399e26


@pytest.mark.parametrize("cuts", CUTS, ids=["1 part", "4 parts", "60 parts"])
@pytest.mark.parametrize("sample", [0, 900])
def test_sums_by_part_give_the_bytes_of_sums_in_one_process(cuts, sample, tmp_path, monkeypatch):
    settings = ClusterSettings("prototypes", 20, sample, 8, "++", 3)
    in_driver = as_bytes(learned(tmp_path / "driver", cuts, settings))
    monkeypatch.setattr(clusters, "DRIVER_WORK", 0)
    monkeypatch.setattr(clusters, "TASK_ROWS", (100, 100))
    assert as_bytes(learned(tmp_path / "parts", cuts, settings)) == in_driver


def test_two_workers_learn_the_same_bytes(tmp_path, monkeypatch):
    settings = ClusterSettings("prototypes", 20, 0, 2, "sample", 3)
    one_process = as_bytes(learned(tmp_path / "one", [700], settings))
    monkeypatch.setattr(clusters, "DRIVER_WORK", 0)
    with Local(2).session() as engine:
        assert as_bytes(learned(tmp_path / "two", [700, 900], settings, engine)) == one_process


def test_a_killed_learner_goes_on_with_the_parts_that_are_done(tmp_path, monkeypatch):
    calls, killed = [], []
    quantise = kmeans.quantise

    def killed_once(vectors):
        calls.append(len(vectors))
        if len(calls) == 100 and not killed:
            killed.append(True)
            raise KeyboardInterrupt
        return quantise(vectors)

    monkeypatch.setattr(kmeans, "quantise", killed_once)
    with pytest.raises(KeyboardInterrupt):
        learned(tmp_path, [1000, 2000])
    # It was killed in the second part, so two parts of 63 tables are read again, 1,000 rows each.
    calls.clear()
    result = learned(tmp_path, [1000, 2000])
    assert sum(calls[: 2 * 63]) == 2000
    assert max(calls[: 2 * 63]) == 16 < calls[2 * 63]
    assert sha256(result.centres.tobytes()).hexdigest()[:16] == "33ab8daad3a6f2f1"


def test_vectors_of_two_lengths_in_different_parts_are_one_clear_line(tmp_path):
    corpus = corpus_of(ROWS, [1000], tmp_path)
    first, second = corpus.parts
    short = example(1000, 8).iter_slices(500)
    mixed = type(corpus)([first, type(second)("other", tuple(short))], tmp_path)
    with pytest.raises(SchemaError, match=r"emb.hashed has vectors of 24 and of 8 numbers"):
        learn_clusters(mixed, "emb.hashed", SETTINGS, 2000)
