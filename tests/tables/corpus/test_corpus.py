"""A corpus runs functions on parts and gathers what they say: the same for every engine and every cut into parts."""

from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate.engines.local import Local
from curate.errors import Interrupted
from curate.tables.batches import keys
from curate.tables.corpus import Corpus, FramePart, array_files

ENGINES = [Local(1), Local(2)]


def corpus(rows: pl.DataFrame, cuts: list[int], folder: Path, engine=None) -> Corpus:
    """Return a corpus of rows that is cut at these rows."""
    edges = [0, *sorted(cuts), rows.height]
    parts = [
        FramePart(f"part-{i}", (rows[low:high],))
        for i, (low, high) in enumerate(zip(edges[:-1], edges[1:], strict=True))
    ]
    return Corpus(parts, folder, engine or Local())


def example(count: int = 40) -> pl.DataFrame:
    return pl.DataFrame({"id": [f"r{i}" for i in range(count)], "x": [i % 7 for i in range(count)]})


def sums(rows):
    return {"sum": np.array([sum(int(batch["x"].sum()) for batch in rows.batches())])}


def counted_calls(rows):
    """Append a line to a file, so that a test sees how often the function ran."""
    path = rows.folder / "calls"
    with path.open("a") as handle:
        handle.write(f"{rows.number}\n")
    return sums(rows)


def by_value(rows):
    frame = pl.concat(list(rows.batches()))
    return frame.with_columns(key=frame["x"].cast(pl.UInt64), part=pl.lit(rows.number))


def first_of_each(frame):
    """Return every value once, with the smallest part it stands in and how often it occurs."""
    grouped = frame.group_by("x").agg(pl.col("part").min(), pl.len()).sort("x")
    return {name: grouped[name].to_numpy() for name in grouped.columns}


def scaled(rows):
    return {"sum": rows.kept("sums")["sum"] * rows.inputs["factor"]}


@pytest.mark.parametrize("engine", ENGINES)
def test_map_yields_results_in_the_order_of_parts(tmp_path, engine):
    rows = example()
    results = list(corpus(rows, [3, 10, 30], tmp_path, engine).map(sums, ("x",)))
    expected = [rows["x"][low:high].sum() for low, high in ((0, 3), (3, 10), (10, 30), (30, 40))]
    assert [int(result["sum"][0]) for result in results] == expected


def test_map_that_keeps_runs_each_part_once_and_is_read_by_later_functions(tmp_path):
    data = corpus(example(), [5, 20], tmp_path)
    first = list(data.map(counted_calls, ("x",), keep="sums"))
    (tmp_path / "sums" / "part-1.npz").unlink()
    assert [r["sum"].item() for r in data.map(counted_calls, ("x",), keep="sums")] == [r["sum"].item() for r in first]
    assert sorted((tmp_path / "calls").read_text().split()) == ["0", "1", "1", "2"]
    factors = [{"factor": np.array([f])} for f in (1, 10, 100)]
    results = [r["sum"].item() for r in data.map(scaled, inputs=factors)]
    assert results == [first[i]["sum"].item() * 10**i for i in range(3)]


@pytest.mark.parametrize("engine", ENGINES)
def test_exchange_brings_equal_keys_together(tmp_path, engine):
    data = corpus(example(), [7, 21], tmp_path, engine)
    results = list(data.exchange(by_value, "key", first_of_each, name="values", splits=3, needs=("x",)))
    assert len(results) == 3
    for split, result in enumerate(results):
        assert all(x % 3 == split for x in result["x"])
    assert sorted(np.concatenate([r["x"] for r in results])) == list(range(7))
    assert sum(int(r["len"].sum()) for r in results) == 40
    # Every value from 0 to 6 is in the first part.
    assert not any(r["part"].any() for r in results)


@settings(max_examples=20, deadline=None)
@given(cuts=st.lists(st.integers(0, 40), max_size=6), splits=st.integers(1, 9))
def test_what_an_exchange_gathers_does_not_depend_on_the_cut(tmp_path_factory, cuts, splits):
    data = corpus(example(), cuts, tmp_path_factory.mktemp("corpus"))
    results = list(data.exchange(by_value, "key", first_of_each, name="values", splits=splits, needs=("x",)))
    counts = {int(x): int(n) for r in results for x, n in zip(r["x"], r["len"], strict=True)}
    assert counts == {x: sum(i % 7 == x for i in range(40)) for x in range(7)}


def rows_of_split(frame):
    return {"row": frame["id"].str.slice(1).cast(pl.Int64).to_numpy()}


def by_value_in_pieces(rows):
    """Yield the table of `by_value` in pieces of three rows, and an empty one at the end."""
    yield from by_value(rows).iter_slices(3)
    yield by_value(rows).clear()


@pytest.mark.parametrize("engine", ENGINES)
def test_a_table_may_be_sent_piece_by_piece(tmp_path, engine):
    data = corpus(example(), [7, 21], tmp_path, engine)
    whole, pieces = (
        [rows["row"].tolist() for rows in data.exchange(send, "key", rows_of_split, name=name, splits=5, needs=("x",))]
        for name, send in (("whole", by_value), ("pieces", by_value_in_pieces))
    )
    assert pieces == whole
    assert sorted(sum(whole, [])) == list(range(40))


def test_called_it_yields_all_rows_in_this_process(tmp_path):
    rows = example()
    assert pl.concat(list(corpus(rows, [9], tmp_path)(("x",)))).equals(rows)
    assert pl.concat(list(corpus(rows, [9], tmp_path)(()))).columns == ["id"]


def test_a_file_may_hold_no_arrays(tmp_path):
    array_files.write_arrays(tmp_path / "none.npz", {})
    assert array_files.read_arrays(tmp_path / "none.npz") == {}


def test_a_damaged_file_of_a_part_is_named(tmp_path):
    data = corpus(example(), [5], tmp_path)
    list(data.map(sums, ("x",), keep="sums"))
    path = tmp_path / "sums" / "part-0.npz"
    path.write_bytes(path.read_bytes()[:50])
    with pytest.raises(Interrupted, match=r"part-0\.npz is damaged"):
        list(data.map(sums, ("x",), keep="sums"))


def test_what_is_stored_for_a_part_is_its_own_file(tmp_path):
    data = corpus(example(), [5], tmp_path)
    data.store(1, {"removed": keys(["a"], 0)})
    assert [p.name for p in (tmp_path / "stored").iterdir()] == ["part-1.npz"]


def smallest_of_equal(frame):
    """Tell every row the smallest id among the rows of its value."""
    return frame.select("id", "part", smallest=pl.col("id").min().over("x"))


def told(answers, rows):
    frame = answers.of(rows).sort("id")
    return {name: frame[name].to_numpy().astype(str) for name in ("id", "smallest")}


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("cuts", [[], [7, 7, 21]])
def test_answers_go_back_to_the_parts_that_they_are_about(tmp_path, engine, cuts):
    data = corpus(example(), cuts, tmp_path, engine)
    answers = data.answer(by_value, "key", smallest_of_equal, name="smallest", splits=3, needs=("x",))
    edges = [0, *cuts, 40]
    for low, high, result in zip(edges[:-1], edges[1:], data.map(partial(told, answers)), strict=True):
        assert set(result["id"]) == {f"r{i}" for i in range(low, high)}
        for name, smallest in zip(result["id"], result["smallest"], strict=True):
            assert smallest == min(f"r{i}" for i in range(40) if i % 7 == int(name[1:]) % 7)


@dataclass(frozen=True)
class OnceOnly:
    """A part that cannot be read to its end."""

    rows: int
    name: str = "once"
    generation: int = 0

    def batches(self, needs):
        yield example(self.rows).select("id", *needs)
        raise AssertionError("the rows that follow were read")


def test_the_first_batch_is_read_and_no_other():
    parts = [FramePart("empty", (example(0),)), OnceOnly(3)]
    assert Corpus(parts, Path("nothing")).first_batch(("x",)).to_dict(as_series=False) == {
        "id": ["r0", "r1", "r2"],
        "x": [0, 1, 2],
    }
    assert Corpus(parts[:1], Path("nothing")).first_batch(("x",)) is None
