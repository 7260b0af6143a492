"""The training set a plan asks for: exact counts, a constant mixture, the same bytes whatever happens."""

import json
import random
import signal
import subprocess
import sys
import time
from collections import Counter
from dataclasses import replace
from os import killpg, utime

import numpy as np
import polars as pl
import pyarrow.parquet as pq
import pytest
from conftest import console, documents, one_line, tree
from draw_in_memory import copies, ordered, plan_draw
from hypothesis import given
from hypothesis import strategies as st

from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Pool, to_json
from curate.pool.rounding import apportion
from curate.pruning import make_pools, prune
from curate.scoring import score
from curate.storage import artifacts
from curate.tables import batches
from curate.tables.scored import pool_batches
from curate.training_set import draw, shuffle
from curate.training_set.job import materialize
from curate.training_set.ordering import cells, order_copies, pieces, windows
from curate.training_set.ordering.pool_draw import bend

SHARES = {"a": 0.7, "b": 0.3}
TOKENS = 20_000


def keys(n, seed=0):
    return batches.keys([f"d{i}" for i in range(n)], seed)


@pytest.fixture
def scored(corpus, tmp_path):
    """Pools a and b (3,625 and 2,384 tokens in 60 and 40 rows) of the scored corpus."""
    score.score([str(corpus)], ("length",), tmp_path / "scores")
    return make_pools.pools(tmp_path / "scores")


def drawn_into(pools, out, shares=SHARES, total=TOKENS, **more):
    named = [pool for pool in pools if pool.name in shares]
    counts = apportion([shares[pool.name] for pool in named], total)
    mixture = Mixture(tuple(map(Part, named, counts)), (), 1e6, "a test")
    return draw.draw(mixture, out, **{"shard_rows": 64, **more}), read(out)


def read(out):
    return pl.concat([pl.read_parquet(path) for path in sorted(out.glob("part-*.parquet"))])


# ---- which rows, how often, in what order


@given(
    tokens=st.lists(st.integers(0, 50), min_size=1, max_size=40).filter(any),
    target=st.integers(1, 5000),
    seed=st.integers(0, 3),
)
def test_a_draw_is_the_nearest_to_its_target_that_whole_documents_in_order_can_be(tokens, target, seed):
    size, key = np.array(tokens), keys(len(tokens), seed)
    planned = plan_draw("p", key, size, target)
    passes = list(copies(planned, key, size))
    assert sum(len(rows) for rows, _ in passes) == planned.copies
    assert sum(int(size[rows].sum()) for rows, _ in passes) == planned.tokens
    assert all(sorted(rows) == list(range(len(tokens))) for rows, _ in passes[: planned.full])
    assert len(passes) == planned.passes
    every = plan_draw("p", key, size, (planned.full + 1) * planned.unique)  # the same passes, the last of them whole
    sequence = np.concatenate([size[rows] for rows, _ in copies(every, key, size)])
    reachable = np.concatenate([[0], sequence.cumsum()])
    assert abs(planned.tokens - target) == np.abs(reachable - target).min()
    drawn = np.concatenate([rows for rows, _ in passes]) if passes else np.array([], int)
    counts = np.bincount(drawn, minlength=len(tokens))
    assert set(counts) <= {planned.full, planned.full + 1}
    times = np.concatenate([t for _, t in passes]) if passes else np.array([0.5])
    assert (np.diff(times) >= 0).all()
    assert 0 <= times.min() <= times.max() < 1


def test_a_row_without_tokens_comes_along_in_every_full_pass():
    planned = plan_draw("p", keys(4), np.array([0, 5, 0, 5]), 20)
    assert (planned.full, planned.last, planned.tokens) == (2, 0, 20)


def placed(folder, pools, *, cell_rows=1 << 17, files=1, phases=None, backwards=False):
    """Place the copies of (keys, tokens, target) pools; return draws and (pool, pass, row) by place.

    The rows of every pool lie in ``files`` files, one after the other.
    """
    folder.mkdir()
    cuts = [np.linspace(0, len(key), files + 1).astype(int) for key, _, _ in pools]
    for number in range(files):
        runs = []
        for pool, ((key, size, _), cut) in enumerate(zip(pools, cuts, strict=True)):
            rows = np.zeros(cut[number + 1] - cut[number], dtype=cells.INDEX)
            rows["row"], rows["key"] = np.arange(len(rows)), key[cut[number] : cut[number + 1]]
            rows["tokens"] = size[cut[number] : cut[number + 1]]
            runs += [(np.full(len(part), pool), part) for part in (rows[: len(rows) // 2], rows[len(rows) // 2 :])]
        pieces.write(cells.index_path(folder, number), runs, len(pools))
    wanted = [
        order_copies.PlannedPool(
            str(i), target, len(key), int(size.sum()), phases[i] if phases else (), tuple(range(files))
        )
        for i, (key, size, target) in enumerate(pools)
    ]
    indexed = [cells.Indexed(number, folder, tuple(range(len(pools)))) for number in range(files)]
    first_blocks = windows.blocks([max(len(key) for key, _, _ in pools)] * files)

    def run(step, function, tasks):
        yield from map(function, reversed(tasks) if backwards else tasks)

    draws = order_copies.put_in_order(folder, wanted, indexed, first_blocks, run, cell_rows)
    result = {}
    for path in folder.glob("*.window"):
        window = pieces.opened(path)
        for block in range(window.keys):
            (number,) = np.flatnonzero((first_blocks[:-1] <= block) & (block < first_blocks[1:]))
            for row, slot, tokens, pool, epoch in np.concatenate(
                [np.zeros(0, windows.PLACE), *pieces.read(window, block)]
            ).tolist():
                row += int(cuts[pool][number])
                assert tokens == pools[pool][1][row]
                assert slot not in result
                result[slot] = (pool, epoch, row)
    return draws, [result[place] for place in range(sum(pool.copies for pool in draws))]


THREE_POOLS = [
    (keys(30, 1), np.arange(1, 31), 2000),
    (keys(7, 2), np.full(7, 100), 1900),
    (keys(3, 3), np.full(3, 9), 2),
]


def in_memory(pools, phases=None):
    draws = [plan_draw(str(i), *pool) for i, pool in enumerate(pools)]
    return draws, ordered(draws, [pool[:2] for pool in pools], phases)


def test_copies_lie_in_order_of_time_whatever_the_cells_and_files(tmp_path, monkeypatch):
    draws, placed_copies = placed(tmp_path / "one", THREE_POOLS)
    assert [pool.copies for pool in draws] == [129, 19, 0]
    assert ([*draws], placed_copies) == in_memory(THREE_POOLS)
    # Work files have several runs, as those of many rows have.
    monkeypatch.setattr(pieces, "RUN_ROWS", 10)
    for number, (cell_rows, files, backwards) in enumerate([(5, 1, False), (1, 3, True), (1000, 4, False)]):
        again = placed(tmp_path / str(number), THREE_POOLS, cell_rows=cell_rows, files=files, backwards=backwards)
        assert again == (draws, placed_copies)


def test_many_passes_over_few_rows_need_work_files_in_proportion_to_the_copies(tmp_path):
    draws, placed_copies = placed(tmp_path / "folder", [(keys(3), np.array([1, 2, 3]), 6 * 1500)])
    assert [pool.copies for pool in draws] == [len(placed_copies)] == [4500]
    split = cells.split_path(tmp_path / "folder", 0)
    assert split.stat().st_size < 40 * 4500


@given(
    pools=st.lists(
        st.tuples(
            st.lists(st.tuples(st.integers(0, 9), st.integers(0, 6)), min_size=1, max_size=25).filter(
                lambda rows: any(tokens for _, tokens in rows)
            ),
            st.integers(1, 300),
            st.booleans(),
        ),
        min_size=1,
        max_size=3,
    ),
    cell_rows=st.integers(1, 12),
    files=st.integers(1, 3),
)
def test_the_order_is_that_of_sorting_in_memory(tmp_path_factory, pools, cell_rows, files):
    """Also with equal keys, rows without tokens, and schedules."""
    named = [
        (keys(10, number)[[key for key, _ in rows]], np.array([size for _, size in rows]), target)
        for number, (rows, target, _) in enumerate(pools)
    ]
    phases = [[(0.0, 0.25, 3), (0.5, 1.0, 1)] if bent else () for _, _, bent in pools]
    folder = tmp_path_factory.mktemp("placed") / "o"
    draws, placed_copies = placed(folder, named, cell_rows=cell_rows, files=files, phases=phases)
    assert ([*draws], placed_copies) == in_memory(named, phases)


def test_at_every_cut_each_pool_has_given_its_share_to_within_a_document(tmp_path):
    rng = np.random.default_rng(0)
    sizes = [rng.integers(1, 200, 400), rng.lognormal(4, 1.5, 150).astype(int) + 1, np.array([5000])]
    pools = [(keys(len(s), i), s, t) for i, (s, t) in enumerate(zip(sizes, (90_000, 30_000, 9_000), strict=True))]
    draws, copies = placed(tmp_path / "o", pools)
    tokens = np.zeros((len(copies) + 1, 3))
    for place, (i, _, row) in enumerate(copies):
        tokens[place + 1] = tokens[place]
        tokens[place + 1, i] += sizes[i][row]
    totals = np.array([pool.tokens for pool in draws])
    done = tokens / totals  # (cuts, p) part of each pool's tokens
    largest = np.array([s.max() for s in sizes]) / totals
    for i in range(3):
        for j in range(i):
            assert np.abs(done[:, i] - done[:, j]).max() <= largest[i] + largest[j]


def test_pools_do_not_alternate_in_step_with_a_reader_that_takes_every_other_row(tmp_path):
    _, copies = placed(tmp_path / "o", [(keys(2000, i), np.full(2000, 10), 20_000) for i in (0, 1)])
    assert abs(np.mean([i for i, _, _ in copies[::2]]) - 0.5) < 4 * 0.5 / np.sqrt(2000)


def test_passes_shuffle_anew_and_no_document_repeats_before_its_pass_is_over():
    key, size = keys(1000), np.ones(1000, dtype=np.int64)
    passes = [rows for rows, _ in copies(plan_draw("p", key, size, 4000), key, size)]
    ranks = np.array([rows.argsort() for rows in passes])
    between = np.corrcoef([np.arange(1000), *ranks])[np.triu_indices(5, 1)]
    assert np.abs(between).max() < 4 / np.sqrt(1000)


# ---- the training set on disk


def test_counts_are_exact(scored, corpus, tmp_path):
    drawn, rows = drawn_into(scored, tmp_path / "out")
    assert rows.schema == shuffle.TRAINING
    assert [pool.target for pool in drawn.draws] == [14_000, 6_000]
    assert [pq.read_metadata(p).num_rows for p in sorted((tmp_path / "out").glob("*.parquet"))] == [64] * 5 + [13]
    texts = dict(pl.concat(pl.read_parquet(p) for p in corpus.rglob("*.parquet")).select("id", "text").iter_rows())
    assert all(texts[i] == text for i, text in rows.select("id", "text").iter_rows())
    assert (rows["tokens"] == (rows["text"].str.len_bytes() + 3) // 4).all()
    assert (rows["source"] == rows["pool"]).all()
    for part, pool in zip(drawn.draws, scored, strict=True):
        members = rows.filter(pool=part.pool)
        assert (members.height, members["tokens"].sum()) == (part.copies, part.tokens)
        assert (part.unique, part.rows) == (pool.tokens, pool.examples)
        assert abs(part.tokens - part.target) <= members["tokens"].max() / 2
        assert set(Counter(members["id"]).values()) == {part.full, part.full + 1}
        assert members["id"].n_unique() == part.rows
        assert members["epoch"].is_sorted()
        assert members.group_by("epoch").agg(again=pl.col("id").is_duplicated().any())["again"].any() is False
        assert members.filter(epoch=part.full).height == part.last
    assert [(name, count, size) for name, count, size in drawn.shards] == [
        (p.name, pl.read_parquet(p).height, pl.read_parquet(p)["tokens"].sum())
        for p in sorted((tmp_path / "out").glob("*.parquet"))
    ]
    assert sum(size for _, _, size in drawn.shards) == sum(part.tokens for part in drawn.draws)


def test_every_window_of_shards_has_the_planned_mixture(scored, tmp_path):
    _, rows = drawn_into(scored, tmp_path / "out", shard_rows=16, total=60_000)
    shard = (pl.int_range(pl.len()) // 16).alias("shard")
    share = rows.group_by(shard).agg(a=pl.col("tokens").filter(pool="a").sum() / pl.col("tokens").sum(), n=pl.len())
    share = share.filter(n=16)["a"].to_numpy()
    assert len(share) > 50
    assert np.abs(share - 0.7).max() < 2.5 / 16  # at most two documents of 16 too many or too few
    assert abs(share.mean() - 0.7) < 0.005


def test_workers_runs_file_order_and_cuts_do_not_change_a_byte(scored, corpus, tmp_path, monkeypatch):
    drawn_into(scored, tmp_path / "one")
    want = tree(tmp_path / "one")
    drawn_into(scored, tmp_path / "two", engine=Local(2))
    assert tree(tmp_path / "two") == want
    monkeypatch.setattr(shuffle, "RUN_BYTES", 100)
    drawn_into(list(reversed(scored)), tmp_path / "runs")
    assert tree(tmp_path / "runs") == want
    folders = [f"{corpus}/source=b", f"{corpus}/source=a"]
    plain = [Pool(p.name, p.tokens, p.examples, tuple(folders), p.filter) for p in scored]
    shards = {name: data for name, data in want.items() if name.startswith("part")}
    drawn_into(plain, tmp_path / "plain")
    assert {name: data for name, data in tree(tmp_path / "plain").items() if name in shards} == shards
    for name in "ab":
        merged = pl.concat(pl.read_parquet(p) for p in sorted((corpus / f"source={name}").iterdir())).sample(
            fraction=1, shuffle=True, seed=1
        )
        (tmp_path / "cut" / f"source={name}").mkdir(parents=True)
        merged[:7].write_parquet(tmp_path / "cut" / f"source={name}" / "z.parquet")
        merged[7:].write_ndjson(tmp_path / "cut" / f"source={name}" / "y.jsonl")
    cut = [Pool(p.name, p.tokens, p.examples, (str(tmp_path / "cut"),), p.filter) for p in scored]
    drawn_into(cut, tmp_path / "recut")
    assert {name: data for name, data in tree(tmp_path / "recut").items() if name in shards} == shards


def test_another_seed_is_another_order_of_as_many(scored, tmp_path):
    drawn, rows = drawn_into(scored, tmp_path / "one")
    other_drawn, other_rows = drawn_into(scored, tmp_path / "two", seed=1)
    assert [d.full for d in drawn.draws] == [d.full for d in other_drawn.draws]
    assert not rows["id"].equals(other_rows["id"])


def test_rows_with_equal_ids_are_all_drawn_and_repeat_exactly(tmp_path):
    (tmp_path / "data").mkdir()
    for name in "xy":
        frame = pl.DataFrame({"id": ["same"] * 9 + ["other"], "text": [f"{name}{i} word" for i in range(10)]})
        frame.write_parquet(tmp_path / "data" / f"{name}.parquet")
    pool = Pool("p", 40, 20, (str(tmp_path / "data"),))
    _, rows = drawn_into([pool], tmp_path / "one", {"p": 1.0}, 100, shard_rows=7)
    assert set(Counter(rows["text"]).values()) == {2, 3}
    drawn_into([pool], tmp_path / "two", {"p": 1.0}, 100, shard_rows=7)
    assert tree(tmp_path / "one") == tree(tmp_path / "two")


def test_bins_of_a_score_decisions_and_overlapping_pools(corpus, tmp_path):
    score.score([str(corpus)], ("length",), tmp_path / "scores")
    prune.prune(tmp_path / "scores", tmp_path / "kept", by="score.length", keep=0.8)
    bins = make_pools.pools(tmp_path / "scores", kept=tmp_path / "kept", by="score.length", bins=2)
    whole = make_pools.pools(tmp_path / "scores", kept=tmp_path / "kept")[0]
    pools = [*bins, replace(whole, name="all of a")]
    shares = {pool.name: 1 / len(pools) for pool in pools}
    drawn, rows = drawn_into(pools, tmp_path / "out", shares, 30_000)
    kept = pl.concat(pl.read_parquet(p) for p in (tmp_path / "kept").rglob("*.keep.parquet")).filter("keep")
    lengths = dict(
        pl.concat(pl.read_parquet(p) for p in (tmp_path / "scores").rglob("*.scores.parquet"))
        .select("id", "score.length")
        .iter_rows()
    )
    assert set(rows["id"]) == set(kept["id"])
    for pool in bins:
        members = rows.filter(pool=pool.name)
        low, high = pool.score["score.length"]
        assert members["id"].n_unique() == pool.examples
        assert all((low is None or low <= lengths[i]) and (high is None or lengths[i] < high) for i in members["id"])
    assert set(rows.filter(pool="all of a")["id"]) == set(kept.filter(source="a")["id"])
    assert {part.pool: part.unique for part in drawn.draws} == {pool.name: pool.tokens for pool in pools}


def test_pools_without_scores_with_their_own_tokens_and_a_null_text(tmp_path):
    lines = [{"text": None if i == 3 else f"t{i}", "tokens": 10 + i, "kind": i % 2} for i in range(10)]
    (tmp_path / "x.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    pool = Pool("odd", 75, 5, (str(tmp_path / "x.jsonl"),), {"kind": "1"})
    drawn, rows = drawn_into([pool], tmp_path / "out", {"odd": 1.0}, 150)
    # The row without text is not drawn. The others give the planned tokens, to within half of a document.
    assert set(rows["text"]) == {"t1", "t5", "t7", "t9"}
    assert rows["tokens"].sum() == drawn.draws[0].tokens == pytest.approx(150, abs=19 / 2)
    assert set(rows["id"]) == {f"x.jsonl:{i}" for i in (1, 5, 7, 9)}
    assert set(pl.concat(pool_batches(pool, ("text",)))["id"]) == {*rows["id"], "x.jsonl:3"}
    assert drawn.notes == ("1 rows of pool 'odd' are not drawn, because their text is null",)


def test_a_filter_selects_the_same_scored_rows_for_training_and_for_distances(tmp_path):
    """A filter by label, a column of numbers of which some are missing: both jobs read it from the score files."""
    labels = [None if i % 5 == 0 else i % 2 for i in range(20)]
    documents(20).with_columns(pl.Series("label", labels)).write_parquet(tmp_path / "x.parquet")
    score.score([str(tmp_path / "x.parquet")], ("length",), tmp_path / "scores")
    whole = make_pools.pools(tmp_path / "scores")[0]
    tokens = pl.concat(pool_batches(whole, ()))["tokens"].to_list()
    expected = [i for i, label in enumerate(labels) if label == 1]
    pool = replace(whole, tokens=sum(tokens[i] for i in expected), examples=len(expected), filter={"label": "1"})
    _, rows = drawn_into([pool], tmp_path / "out", {pool.name: 1.0}, int(pool.tokens))
    assert sorted(rows["id"]) == sorted(f"d{i}" for i in expected)
    assert sorted(pl.concat(pool_batches(pool, ("text",)))["id"]) == sorted(rows["id"])


# ---- continue, refuse, start over


def test_only_what_is_missing_is_written_again(scored, tmp_path):
    out = tmp_path / "out"
    drawn_into(scored, out)
    want, calls = tree(out), []
    stamps = {p: p.stat().st_mtime_ns for p in out.glob("*.parquet")}
    drawn_into(scored, out, progress=lambda *step: calls.append(step))
    assert calls == []
    (out / "part-00002.parquet").unlink()
    drawn_into(scored, out)
    assert tree(out) == want
    assert [p.name for p in stamps if p.stat().st_mtime_ns != stamps[p]] == ["part-00002.parquet"]


def test_a_folder_that_an_earlier_version_began_is_continued(scored, tmp_path):
    """It kept the places of a pool's copies in one file, and its index was a table. Spills were as they are now."""
    out, work = tmp_path / "out", tmp_path / "out" / "_curate" / "draw"

    def stops(what, done, total):
        if (what, done) == ("shards written", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        drawn_into(scored, out, progress=stops)
    for path in [*work.iterdir()]:
        if not path.name.endswith(".spill.arrow"):
            path.unlink()
    (work / "00000.rows.parquet").write_bytes(b"an index of an earlier version")
    (work / "slots-0.npy").write_bytes(b"its places")
    drawn_into(scored, out)
    drawn_into(scored, tmp_path / "fresh")
    assert tree(out) == tree(tmp_path / "fresh")
    assert not work.exists()


def rewritten(corpus):
    documents(20, 500).write_parquet(corpus / "source=a" / "0.parquet")


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"seed": 1}, r"seed changed \(0 -> 1\)"),
        ({"shard_rows": 50}, r"shard rows changed \(64 -> 50\)"),
        ({"total": 10_000}, r"tokens of pool a changed \(14000 -> 7000\); tokens of pool b changed \(6000 -> 3000\)"),
        ({"shares": {"a": 1.0}}, r"pool b changed; .* a changed \(14000 -> 20000\); .* b changed \(6000 -> none\)"),
        ({"pools": lambda p: [p[0], replace(p[1], scores=None)]}, "pool b changed"),
        ({"corpus": rewritten}, r"source=a/0\.parquet changed"),
    ],
)
def test_another_job_is_refused_with_what_differs_until_restart(scored, corpus, tmp_path, change, reason):
    out, options = tmp_path / "out", dict(change)
    drawn_into(scored, out)
    old = tree(out)
    options.pop("corpus", lambda _: None)(corpus)
    pools = options.pop("pools", list)(scored)
    if "corpus" in change:
        score.score([str(corpus)], ("length",), tmp_path / "scores", restart=True)
        pools = make_pools.pools(tmp_path / "scores")
    with pytest.raises(Interrupted, match=reason) as caught:
        drawn_into(pools, out, **options)
    assert "--restart" in str(caught.value)
    assert "\n" not in str(caught.value)
    assert tree(out) == old, "a refusal must not change anything"
    drawn_into(pools, out, restart=True, **options)
    drawn_into(pools, tmp_path / "fresh", **options)
    assert tree(out) == tree(tmp_path / "fresh")


def test_a_touched_but_equal_input_is_no_change(scored, corpus, tmp_path):
    drawn_into(scored, tmp_path / "out")
    utime(corpus / "source=a" / "0.parquet", (1, 1))
    drawn_into(scored, tmp_path / "out")


def test_a_mistake_in_the_pools_can_be_repaired_without_restart(scored, tmp_path):
    wrong = [replace(scored[0], tokens=3000), scored[1]]
    with pytest.raises(SchemaError, match=r"'a' has 3625 unique tokens on disk in 60 rows, .* says 3000 in 60"):
        drawn_into(wrong, tmp_path / "out")
    drawn_into(scored, tmp_path / "out")
    drawn_into(scored, tmp_path / "fresh")
    assert tree(tmp_path / "out") == tree(tmp_path / "fresh")


def test_foreign_shards_are_left_alone(scored, tmp_path):
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "part-00000.parquet").write_text("mine")
    for restart in (False, True):
        with pytest.raises(Interrupted, match=r"part-00000\.parquet was not made by"):
            drawn_into(scored, tmp_path / "out", restart=restart)


def test_an_input_that_changes_while_it_is_read_is_noticed(scored, corpus, tmp_path):
    def meanwhile(what, done, total):
        if (what, done) == ("files sorted into parts", total):
            rewritten(corpus)

    with pytest.raises(Interrupted, match=r"0\.parquet changed"):
        drawn_into(scored, tmp_path / "out", progress=meanwhile)


def large(tmp_path):
    """A plan and pools of 16 files of 150 documents, four shards of which go into each of 40 output shards."""
    data = tmp_path / "data"
    for i in range(16):
        path = data / f"source={'ab'[i % 2]}" / f"{i:02d}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        documents(150, 150 * i).write_parquet(path)
    score.score([str(data)], ("length",), tmp_path / "scores")
    pools = make_pools.pools(tmp_path / "scores")
    plans = [{"budget": {"tokens": 300_000, "params": 1e6}, "weights": SHARES}]
    artifacts.save(tmp_path / "plan.json", "plan", {"plans": plans, "pools": to_json(pools)})
    return ["materialize", tmp_path / "plan.json", "--shard-rows", 100]


def kill_when(command, out, reached):
    """Start a job, kill it and its workers once ``reached(out)``, and say whether it was still running."""
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    running = subprocess.Popen(console(*command, "--out", out), start_new_session=True, **quiet)
    until = time.monotonic() + 60
    while not reached(out) and running.poll() is None and time.monotonic() < until:
        time.sleep(0.002)
    alive = running.poll() is None
    if alive:
        killpg(running.pid, signal.SIGKILL)
    running.wait()
    return alive


def files(out, pattern):
    return len(list(out.rglob(pattern)))


@pytest.mark.parametrize("workers", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_a_job_killed_in_every_step_continues_to_the_same_bytes(cli, tmp_path, workers):
    command = [*large(tmp_path), "--workers", workers]
    out, calm = tmp_path / "out", tmp_path / "calm"
    moments = [
        lambda o: files(o, "*.rows") > 3,
        lambda o: files(o, "*.spill.arrow") > 3,
        lambda o: files(o, "part-*.parquet") > 10,
    ]
    assert [kill_when(command, out, moment) for moment in moments] == [True] * 3, "it was to be killed in the middle"
    assert 10 < files(out, "part-*.parquet") < 50
    assert all(pq.read_metadata(p).num_rows == 100 for p in out.glob("part-*.parquet")), "a half-written file"
    assert cli(*command, "--out", out).code == cli(*command, "--out", calm).code == 0
    assert tree(out) == tree(calm)
    assert not list(out.rglob("*.tmp"))


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(6))
def test_a_job_killed_at_random_moments_continues_to_the_same_bytes(cli, tmp_path, seed):
    command, out, calm = large(tmp_path), tmp_path / "out", tmp_path / "calm"
    rng, kills = random.Random(seed), 0
    for _ in range(8):
        wait = rng.uniform(0, 0.4)
        started = []

        def reached(out, wait=wait, started=started):
            if not started and (out / "_curate" / "materialize.json").is_file():
                started.append(time.monotonic())
            return bool(started) and time.monotonic() - started[0] > wait

        kills += kill_when(command, out, reached)
    assert kills > 0
    assert cli(*command, "--out", out).code == cli(*command, "--out", calm).code == 0
    assert tree(out) == tree(calm)


MEASURE = """
import sys
from pathlib import Path
from curate.pool.mixture import Mixture, Part
from curate.pool.pool import Pool
from curate.training_set import draw, shuffle
shuffle.RUN_BYTES = 1 << 22
data, rows, tokens, passes, out = sys.argv[1:]
part = Part(Pool("p", int(tokens), int(rows), (data,)), int(float(passes) * int(tokens)))
draw.draw(Mixture((part,), (), 1e6, "a test"), Path(out), shard_rows=500)
peak = next(line for line in Path("/proc/self/status").read_text().splitlines() if line.startswith("VmHWM"))
print(1024 * int(peak.split()[1]))  # not ru_maxrss, which remembers the parent
"""


@pytest.mark.slow
@pytest.mark.parametrize(("passes", "few", "many"), [(2.0, 32_000, 128_000), (0.02, 8000, 64_000)])
def test_memory_is_that_of_a_shard_not_of_the_data(tmp_path, passes, few, many):
    peak = {}
    for rows in (few, many):  # one file of 4 kB documents: 32 MB and 2 batches, or more
        data = tmp_path / f"{rows}.parquet"
        noise = np.random.default_rng(rows).integers(97, 123, (rows, 4000), dtype=np.uint8)
        frame = pl.DataFrame({"id": [str(i) for i in range(rows)], "text": [row.tobytes().decode() for row in noise]})
        frame.write_parquet(data, row_group_size=200)
        arguments = [str(data), str(rows), str(rows * 1000), str(passes), str(tmp_path / f"out{rows}")]
        done = subprocess.run([sys.executable, "-c", MEASURE, *arguments], check=True, capture_output=True, text=True)
        peak[rows] = int(done.stdout)
    assert peak[many] - peak[few] < 0.25 * 56_000 * 4000


# ---- what users get wrong


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"shard_rows": 0}, "--shard-rows 0 must be at least 1"),
        ({"total": 20}, "20 tokens are less than half of the first document"),
        ({"b": {"where": ()}}, "pool 'b' names no files"),
        ({"b": {"filter": {"source": "q"}}}, "'b' has no rows in .*data, and the plan draws 6000"),
        ({"b": {"where": ("/no/such",)}}, "no input files at /no/such"),
        ({"b": {"scores": "/nor/this"}}, "no .*under /nor/this"),
        ({"b": {"kept": "/nor/this"}}, "no such file: /nor/this/source=a/0.parquet.keep.parquet, which pool 'b' needs"),
        ({"b": {"filter": {"lang": "x"}}}, "no column 'lang'; it has id, source, tokens, score.length"),
        ({"b": {"tokens": 2385}}, "has 2384 unique tokens on disk in 40 rows, but its pools.json says 2385 in 40"),
    ],
)
def test_what_cannot_be_drawn_is_said_in_one_line(scored, tmp_path, change, message):
    options = dict(change)
    pools = [scored[0], replace(scored[1], **options.pop("b", {}))]
    with pytest.raises(SchemaError, match=message) as caught:
        drawn_into(pools, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)
    assert not list(tmp_path.glob("out/part-*"))


def test_more_files_than_can_be_named(scored, tmp_path, monkeypatch):
    monkeypatch.setattr("curate.training_set.stages.MOST_SHARDS", 5)
    with pytest.raises(
        SchemaError, match="333 rows at --shard-rows 64 are 6 files, and the most is 5. Use --shard-rows 67"
    ):
        drawn_into(scored, tmp_path / "out")


def test_an_output_among_the_inputs_is_refused(scored, corpus, tmp_path):
    for out in (corpus, corpus / "train", tmp_path / "scores" / "train"):
        with pytest.raises(SchemaError, match="which pool 'a' is read from"):
            drawn_into(scored, out)
    recursive = [Pool(p.name, p.tokens, p.examples, (f"{corpus}/**/*.parquet",), p.filter) for p in scored]
    with pytest.raises(SchemaError, match="lies in"):
        drawn_into(recursive, corpus / "train")


def test_data_that_changed_since_they_were_scored(scored, corpus, tmp_path):
    rewritten(corpus)
    with pytest.raises(SchemaError, match=r"0\.parquet changed since they were scored"):
        drawn_into(scored, tmp_path / "out")


def test_data_without_text(tmp_path):
    pl.DataFrame({"id": ["a", "b"], "tokens": [5, 6]}).write_parquet(tmp_path / "x.parquet")
    with pytest.raises(SchemaError, match="no column 'text'; it has id, tokens"):
        drawn_into([Pool("p", 11, 2, (str(tmp_path / "x.parquet"),))], tmp_path / "out", {"p": 1.0}, 11)


def test_a_pool_too_small_for_its_part_of_the_plan_gives_nothing(scored, tmp_path):
    drawn, rows = drawn_into(scored, tmp_path / "out", {"a": 0.999, "b": 0.001}, 10_000)
    assert [(part.target, part.copies) for part in drawn.draws] == [(9990, drawn.draws[0].copies), (10, 0)]
    assert rows["pool"].unique().to_list() == ["a"]


# ---- the job


@pytest.fixture
def planned(scored, tmp_path):
    """plan.json of two budgets, and pools.json."""
    plans = [{"budget": {"tokens": tokens, "params": 1e6}, "weights": SHARES} for tokens in (10_000, 20_000)]
    artifacts.save(tmp_path / "plan.json", "plan", {"plans": plans})
    artifacts.save(tmp_path / "pools.json", "pools", {"pools": to_json(scored)})
    return tmp_path / "plan.json", tmp_path / "pools.json"


def test_the_job_writes_an_index_of_what_it_drew(cli, planned, scored, tmp_path):
    plan, pools = planned
    done = cli(
        "materialize", plan, "--pools", pools, "--budget", 1, "--shard-rows", 100, "--out", tmp_path / "t", "--json"
    )
    assert done.code == 0, done
    index = json.loads((tmp_path / "t" / "index.json").read_text())
    assert json.loads(done.out) == {
        **{key: value for key, value in index.items() if key not in ("made_by", "format")},
        "out": str(tmp_path / "t"),
    }
    assert index["planned"] == sum(pool["planned"] for pool in index["pools"]) == 20_000
    rows = read(tmp_path / "t")
    assert {p["pool"]: (p["rows"], p["tokens"]) for p in index["pools"]} == {
        name: (count, size) for name, count, size in rows.group_by("pool").agg(pl.len(), pl.sum("tokens")).iter_rows()
    }
    assert [shard["rows"] for shard in index["shards"]] == [100, 100, 100, 33]
    assert {"plan", "pools", "budget", "shard_rows"} == set(index["made_by"]["arguments"])
    assert len(index["made_by"]["inputs"]) == 2 + 5 + 5
    before = tree(tmp_path / "t")
    done = cli("materialize", plan, "--pools", pools, "--budget", 1, "--shard-rows", 100, "--out", tmp_path / "t")
    assert "planned" in done.out
    assert tree(tmp_path / "t") == before


def test_the_job_takes_the_pools_of_the_plan_where_none_are_given(cli, planned, scored, tmp_path):
    record = json.loads(planned[0].read_text())
    done = cli("materialize", planned[0], "--budget", 0, "--out", tmp_path / "t")
    assert "plan.json does not hold its pools: give" in one_line(done)
    artifacts.save(planned[0], "plan", {"plans": record["plans"][:1], "pools": to_json(scored)})
    assert cli("materialize", planned[0], "--out", tmp_path / "t").code == 0


@pytest.mark.parametrize(
    ("more", "message"),
    [
        ([], "has 2 budgets: choose one with --budget, where 0 is 1e+04 tokens, 1e+06 parameters; 1 is 2e+04 tokens"),
        (["--budget", 2], "has no budget 2: choose one with --budget, where 0 is 1e+04 tokens"),
        (["--budget", -1], "has no budget -1"),
        (["--budget", 0, "--shard-rows", 0], "--shard-rows 0 must be at least 1"),
    ],
)
def test_wrong_flags(cli, planned, tmp_path, more, message):
    assert message in one_line(cli("materialize", planned[0], "--pools", planned[1], "--out", tmp_path / "t", *more))


@pytest.mark.parametrize("plans", [{}, [], [{}], [{"budget": {"tokens": "x", "params": 1}, "weights": {}}], [3]])
def test_a_plan_that_is_none(cli, planned, tmp_path, plans):
    artifacts.save(planned[0], "plan", {"plans": plans})
    one_line(cli("materialize", planned[0], "--pools", planned[1], "--out", tmp_path / "t"))


def test_an_output_that_is_a_file(cli, planned, tmp_path):
    (tmp_path / "t").write_text("mine")
    done = cli("materialize", planned[0], "--pools", planned[1], "--budget", 0, "--out", tmp_path / "t")
    assert "is a file, and a training set is a folder" in one_line(done)
    assert (tmp_path / "t").read_text() == "mine"


# ---- schedules


STAGES = ((0.0, 0.5, {"a": 0.8, "b": 0.2}), (0.5, 0.75, {"a": 1.0}), (0.75, 1.0, {"b": 1.0}))


@pytest.fixture
def scheduled(scored, tmp_path):
    """schedule.json over the pools a and b."""
    phases = [{"from": start, "to": end, "weights": weights} for start, end, weights in STAGES]
    record = {"tokens": 40_001, "phases": phases, "pools": to_json(scored)}
    artifacts.save(tmp_path / "schedule.json", "schedule", record)
    return tmp_path / "schedule.json"


def test_a_schedule_is_drawn_in_its_order_with_its_totals(cli, scheduled, tmp_path):
    done = cli("materialize", scheduled, "--shard-rows", 50, "--out", tmp_path / "t", "--json")
    assert done.code == 0, done
    drawn = {row["pool"]: row for row in json.loads(done.out)["pools"]}
    assert {name: row["planned"] for name, row in drawn.items()} == {"a": 26_001, "b": 14_000}
    rows = read(tmp_path / "t")
    part = rows["tokens"].cum_sum().to_numpy() / rows["tokens"].sum()
    largest = rows["tokens"].max() / 40_001
    for cut in np.linspace(0.02, 1, 50):
        seen = rows.filter(pl.Series(part <= cut)).group_by("pool").agg(pl.col("tokens").sum())
        seen = dict(seen.iter_rows())
        for pool in "ab":
            due = sum(max(0.0, min(cut, end) - start) * shares.get(pool, 0.0) for start, end, shares in STAGES)
            assert abs(seen.get(pool, 0) / 40_001 - due) < 3 * largest, (cut, pool)
    for pool in "ab":
        passes = rows.filter(pl.col("pool") == pool)["epoch"].to_numpy()
        assert (np.diff(passes) >= 0).all(), "no document repeats before its pool's pass is over"
    assert set(rows.filter(pl.Series(part > 0.76))["pool"]) == {"b"}


@given(
    st.lists(st.tuples(st.floats(0.01, 1), st.integers(0, 9)), min_size=1, max_size=6).filter(
        lambda x: any(n for _, n in x)
    )
)
def test_bent_time_inverts_what_the_phases_have_drawn(stages):
    edges = np.cumsum([0.0, *(length for length, _ in stages)])
    edges = edges / edges[-1]
    phases = [(a, b, n) for a, b, (_, n) in zip(edges, edges[1:], stages, strict=False) if n]
    parts = np.sort(np.random.default_rng(0).random(50))
    times = bend(parts, phases)
    drawn = [
        sum(n * np.clip((t - a) / (b - a), 0, 1) for a, b, n in phases) / sum(n for *_, n in phases) for t in times
    ]
    assert drawn == pytest.approx(parts, abs=1e-9)
    assert (np.diff(times) >= 0).all()
    assert times.max() < 1
    assert bend(parts, ()).tolist() == parts.tolist()


def test_another_schedule_is_another_job(cli, scheduled, tmp_path):
    assert cli("materialize", scheduled, "--out", tmp_path / "t").code == 0
    record = json.loads(scheduled.read_text())
    record["phases"] = [{"from": 0.0, "to": 1.0, "weights": {"a": 26_001 / 40_001, "b": 14_000 / 40_001}}]
    artifacts.save(scheduled, "schedule", record)
    assert "phases of pool a changed" in one_line(cli("materialize", scheduled, "--out", tmp_path / "t"))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"phases": []}, "phases is a list of 0, which is empty"),
        ({"phases": {"from": 0}}, "phases is an object, not a list"),
        ({"phases": [{"from": 0.0, "to": 0.5, "weights": {"a": 1.0}}]}, "end at 0.5 of training"),
        ({"phases": [{"from": 0.1, "to": 1.0, "weights": {"a": 1.0}}]}, "phase 0 of"),
        ({"phases": [{"from": 0.0, "to": 1.0, "weights": {"a": 0.9}}]}, "shares that sum to 0.9"),
        ({"phases": [{"from": 0.0, "to": 1.0, "weights": {"x": 1.0}}]}, "'x' that is not among the pools: a, b"),
        ({"phases": [{"from": 0.0, "weights": {"a": 1.0}}]}, "phases[0] has no field 'to'"),
        ({"phases": [3]}, "phases[0] is 3, not an object"),
        ({"tokens": None}, "tokens is null, not a number"),
        ({"tokens": 0.2}, "less than one token"),
    ],
)
def test_a_schedule_that_is_none(cli, scheduled, tmp_path, change, message):
    artifacts.save(scheduled, "schedule", json.loads(scheduled.read_text()) | change)
    assert message in one_line(cli("materialize", scheduled, "--out", tmp_path / "t"))
    output = one_line(cli("materialize", scheduled, "--budget", 0, "--out", tmp_path / "t"))
    assert message in output or "has no budgets" in output


# ---- the function


def test_the_function_writes_what_the_command_writes(cli, planned, tmp_path):
    plan, pools = planned
    training_set = materialize(plan, tmp_path / "f", pools=pools, budget=1, shard_rows=100)
    done = cli(
        "materialize", plan, "--pools", pools, "--budget", 1, "--shard-rows", 100, "--out", tmp_path / "c", "--json"
    )
    assert json.loads(done.out) == {**training_set.record(), "out": str(tmp_path / "c")}
    assert tree(tmp_path / "f") == tree(tmp_path / "c")
    tokens = sum(drawn.tokens for drawn in training_set.draws)
    assert repr(training_set).startswith(f"TrainingSet of 333 rows and {tokens:,} tokens in 4 shards in ")
    assert "<table" in training_set._repr_html_()
    assert training_set.chart().to_dict()["mark"] == {"type": "bar"}


def test_pools_in_memory_are_those_of_the_file_and_their_hash_is_recorded(planned, scored, tmp_path):
    plan, pools = planned
    materialize(plan, tmp_path / "file", pools=pools, budget=0)
    materialize(plan, tmp_path / "memory", pools=scored, budget=0)
    shards, others = tree(tmp_path / "file"), tree(tmp_path / "memory")
    index = json.loads(others.pop("index.json"))
    del shards["index.json"]
    # The card has the command, which names the file of the pools.
    assert "pools.json" in shards.pop("README.md").decode()
    assert "pools.json" not in others.pop("README.md").decode()
    assert shards == others
    assert set(index["made_by"]["inputs"]) > {"pools", str(plan)}
    assert index["made_by"]["arguments"]["pools"] is None


def test_pools_alone_are_drawn_whole(planned, scored, tmp_path):
    training_set = materialize(scored, tmp_path / "memory")
    assert training_set.table()["passes"].to_list() == [1.0, 1.0]
    assert sorted(read(tmp_path / "memory")["id"]) == sorted(f"d{i}" for i in range(100))
    materialize(planned[1], tmp_path / "file")
    assert read(tmp_path / "file").equals(read(tmp_path / "memory"))
    with pytest.raises(SchemaError, match="--budget is for a plan. Pools are drawn whole"):
        materialize(planned[1], tmp_path / "file", budget=0)


def test_a_plan_in_memory_is_drawn_as_its_file(planned, scored, tmp_path):
    plan, pools = planned
    materialize(json.loads(plan.read_text()), tmp_path / "memory", pools=pools, budget=1)
    materialize(plan, tmp_path / "file", pools=pools, budget=1)
    assert read(tmp_path / "memory").equals(read(tmp_path / "file"))
    with pytest.raises(SchemaError, match="int is not a plan: give a plan, a schedule, pools"):
        materialize(3, tmp_path / "none")
