"""Counts of keys are those of a dictionary, for every cut into parts, number of ranges and engine."""

from collections import Counter
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.engines.local import Local
from curate.streaming import key_counts
from curate.tables.corpus import Corpus
from curate.tables.corpus.array_files import read_arrays, write_arrays

SMALL, LARGE = 1000, 1 << 27  # limits of keys that are counted in an array, and by sorting


def table(count, limit, seed=0):
    """Rows with keys, many of which occur several times; the highest and the lowest key are among them."""
    keys = np.random.default_rng(seed).integers(0, limit, count // 2)
    values = np.concatenate((keys, keys[: count // 4], [0, limit - 1]))
    return pl.DataFrame({"id": [f"r{i}" for i in range(len(values))], "x": values})


def values_and_halves(rows):
    """Yield two tables of keys: the values, and their halves."""
    for batch in rows.batches():
        keys = batch["x"].to_numpy()
        yield [keys, keys // 2]


def counted(rows, cuts, folder, limit, engine=None):
    corpus = corpus_of(rows, cuts, Path(folder), engine)
    return key_counts.count(corpus, values_and_halves, needs=("x",), tables=2, limit=limit, name="halves")


def counts(rows, cuts, folder, limit):
    """Return the counts of both tables as dictionaries, after checking that keys rise and stand once."""
    result = counted(rows, cuts, folder, limit)
    ranges = [read_arrays(path) for path in result.paths]
    tables = []
    for table in range(2):
        single = np.concatenate([arrays[f"single{table}"] for arrays in ranges]).tolist()
        several = np.concatenate([arrays[f"several{table}"] for arrays in ranges]).tolist()
        assert (single, several) == (sorted(set(single)), sorted(several))
        tables.append({key: 1 for key in single} | {number >> 32: number % 2**32 for number in several})
    assert result.different.tolist() == [len(table) for table in tables]
    assert result.sums.tolist() == [sum(table.values()) for table in tables]
    return tables


@pytest.mark.parametrize("limit", [SMALL, LARGE, 1 << 32])
def test_counts_are_those_of_a_dictionary(tmp_path, limit):
    rows = table(400, limit)
    values = rows["x"].to_list()
    expected = [Counter(values), Counter(value // 2 for value in values)]
    assert counts(rows, [1, 50, 50, 120, 290], tmp_path, limit) == expected


@pytest.mark.parametrize(("cells", "workers"), [(1 << 12, 1), (1 << 5, 1), (1 << 5, 2)])
def test_a_cell_has_the_counts_of_its_keys(tmp_path, cells, workers):
    limit = 1 << 12
    rows = table(500, limit)
    with Local(workers).session() as engine:
        tables = counted(rows, (1, 100, 101, 300), tmp_path, limit, engine).tables(2, cells, np.uint32)
    values = rows["x"].to_numpy()
    for keys, cells_of_table in zip((values, values // 2), tables, strict=True):
        assert cells_of_table.tolist() == np.bincount(keys // (limit // cells), minlength=cells).tolist()


def test_a_table_may_have_any_number_of_keys(tmp_path):
    rows = table(500, 997)
    [values, _] = counted(rows, (1, 100, 101, 300), tmp_path, 997).tables(2, 997, np.uint64)
    assert values.tolist() == np.bincount(rows["x"].to_numpy(), minlength=997).tolist()


def test_a_count_that_is_too_large_becomes_the_largest(tmp_path):
    several = key_counts.pack(np.array([8, 10, 11, 14]), np.array([5, 1 << 40, 2, 1 << 32], np.uint64))
    write_arrays(tmp_path / "0.npz", {"single0": np.array([9], np.uint32), "several0": several})
    path, low, high = key_counts._fill_cells(1, 2, np.uint32, (tmp_path / "0.npz", 4, 8))
    assert read_arrays(path)["cells"].tolist() == [[6, 2**32 - 1, 0, 2**32 - 1]]
    assert (low, high) == (4, 8)


@settings(max_examples=15, deadline=None)
@given(cuts=st.lists(st.integers(0, 100), max_size=9), limit=st.sampled_from([7, SMALL, LARGE]))
def test_counts_do_not_depend_on_the_cut(tmp_path_factory, cuts, limit):
    rows = table(98, limit)
    cut, whole = (counts(rows, edges, tmp_path_factory.mktemp("c"), limit) for edges in (cuts, []))
    assert cut == whole


@pytest.mark.parametrize("pending", [1, 3, 64])
def test_keys_that_wait_are_merged_without_loss(monkeypatch, pending):
    monkeypatch.setattr(key_counts, "PENDING", pending)
    pieces = [np.array([5, 5, 9]), np.array([], np.int64), np.array([9]), np.array([LARGE - 1, 0, 5])]
    tally = key_counts.KeyTally(LARGE)
    for piece in pieces:
        tally.add(piece)
    assert tally.packed().tolist() == [key << 32 | n for key, n in ((0, 1), (5, 3), (9, 2), (LARGE - 1, 1))]


def test_counts_beyond_32_bits_are_exact():
    large = 5 * 2**32 + 3
    packed = key_counts.pack(np.array([4, 8]), np.array([large, 1], np.uint64))
    keys, sums = key_counts._summed([packed, packed])
    assert (keys.tolist(), sums.tolist()) == ([4, 8], [2 * large, 2])


def test_no_keys_give_no_counts(tmp_path):
    assert counts(table(100, SMALL)[:0], [], tmp_path, SMALL) == [{}, {}]
    assert counts(table(100, LARGE)[:0], [], tmp_path, LARGE) == [{}, {}]


def once(path, rows):
    """Raise at the second part the first time, and note every part that is read."""
    with path.open("a") as handle:
        handle.write(f"{rows.number}\n")
    if rows.number == 1 and path.read_text().count("1") == 1:
        raise RuntimeError("killed")
    yield from values_and_halves(rows)


def test_a_killed_count_goes_on_with_the_parts_that_are_done(tmp_path):
    rows, calls = table(60, LARGE), tmp_path / "calls"
    corpus = corpus_of(rows, [20, 30], tmp_path / "kept")
    run = partial(key_counts.count, corpus, partial(once, calls), needs=("x",), tables=2, limit=LARGE, name="halves")
    with pytest.raises(RuntimeError, match="killed"):
        run()
    assert run().sums.tolist() == [rows.height, rows.height]
    assert calls.read_text().split() == ["0", "1", "1", "2"]
    assert run().sums.tolist() == [rows.height, rows.height]
    assert calls.read_text().split() == ["0", "1", "1", "2"], "nothing is counted twice"


def test_counts_of_other_parts_are_not_used(tmp_path):
    """A killed job may have counted more files, and another one the same files as now."""
    rows = table(60, LARGE)
    corpus = corpus_of(rows, [20, 30], tmp_path)
    fewer = replace(corpus, parts=corpus.parts[:2])
    arguments = {"needs": ("x",), "tables": 2, "limit": LARGE, "name": "halves"}
    tables = [
        key_counts.count(part, values_and_halves, **arguments).tables(2, 1 << 10, np.uint32)
        for part in (fewer, corpus, fewer)
    ]
    assert np.array_equal(tables[0], tables[2])
    assert [x.sum() for x in tables] == [60, 2 * rows.height, 60]


def test_a_corpus_without_parts_has_no_keys(tmp_path):
    counted = key_counts.count(Corpus([], tmp_path), values_and_halves, needs=("x",), tables=2, limit=8, name="halves")
    assert counted.sums.tolist() == [0, 0]
    assert counted.tables(2, 8, np.uint64).tolist() == [[0] * 8] * 2
