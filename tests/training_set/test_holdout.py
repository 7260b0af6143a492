"""A holdout shares no group with the training set, and both load as the splits of one data set."""

import json
import random
import re
from collections import defaultdict

import numpy as np
import polars as pl
import pytest
from conftest import tree
from loaders import rows_of_datasets, rows_of_duckdb, rows_of_polars

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.pool.pool import Pool
from curate.pruning import make_pools
from curate.scoring import score
from curate.training_set.holdout import groups
from curate.training_set.job import materialize

ROWS = 400


def near_copies(folder):
    """Write two files of random texts, of which every third is a near copy of an earlier one."""
    rng = random.Random(0)
    texts = []
    for i in range(ROWS):
        if i % 3 == 2:
            words = texts[rng.randrange(max(0, i - 30), i)].split()
            words[rng.randrange(len(words))] = "changed"
        else:
            words = [f"w{rng.randrange(3000)}" for _ in range(rng.randrange(60, 90))]
        texts.append(" ".join(words))
    frame = pl.DataFrame(
        {"id": [f"r{i}" for i in range(ROWS)], "text": texts, "domain": [f"d{rng.randrange(40)}" for _ in range(ROWS)]}
    ).with_columns(source=pl.when(pl.int_range(ROWS) % 2 == 0).then(pl.lit("a")).otherwise(pl.lit("b")))
    folder.mkdir()
    frame[:250].write_parquet(folder / "x.parquet")
    frame[250:].write_parquet(folder / "y.parquet")
    return frame


@pytest.fixture
def data(tmp_path):
    return near_copies(tmp_path / "data")


@pytest.fixture
def pools(data, tmp_path):
    """Pools of scores that have the links of duplicates."""
    score.score([str(tmp_path / "data")], ["duplicates"], tmp_path / "scores")
    return make_pools.pools(tmp_path / "scores")


def parts(out):
    """Return the rows of the training set and of the holdout."""
    train = pl.concat(pl.read_parquet(path) for path in sorted(out.glob("part-*.parquet")))
    return train, pl.concat(pl.read_parquet(path) for path in sorted((out / "holdout" / "data").iterdir()))


def components(tmp_path):
    """Return the group of every linked row hash, by brute force over the stored links."""
    names: dict[int, int] = {}
    for path in (tmp_path / "scores" / "_curate" / "duplicates" / "links").glob("*.npz"):
        links = np.load(path)
        for pair in zip(links["first"].tolist(), links["second"].tolist(), strict=True):
            low, high = sorted(names.get(end, end) for end in pair)
            for end in pair:
                names.setdefault(end, end)
            names = {row: low if group == high else group for row, group in names.items()}
    return names


def test_no_group_of_linked_rows_is_split(pools, data, tmp_path):
    training_set = materialize(pools, tmp_path / "out", holdout=0.1, shard_rows=20)
    train, held = parts(tmp_path / "out")
    assert training_set.warnings == ()
    assert set(train["id"]) | set(held["id"]) == set(data["id"])
    assert len(held) == held["id"].n_unique()
    groups_of = components(tmp_path)
    sides = defaultdict(set)
    for name, frame in (("train", train), ("held", held)):
        for key in groups.batches.keys(frame["id"], 0).tolist():
            sides[groups_of.get(key, key)].add(name)
    assert len(groups_of) > 150, "the test needs linked rows"
    assert all(len(side) == 1 for side in sides.values())
    total = train["tokens"].sum() + held["tokens"].sum()
    assert 0.09 < held["tokens"].sum() / total <= 0.1
    assert sum(draw.held_rows for draw in training_set.draws) == len(held)
    record = json.loads((tmp_path / "out" / "index.json").read_text())
    assert sum(file["rows"] for file in record["holdout"]["files"]) == len(held)
    texts = dict(data.select("id", "text").iter_rows())
    assert all(texts[name] == text for name, text in held.select("id", "text").iter_rows())


def test_no_value_of_a_column_is_split(pools, data, tmp_path):
    materialize(pools, tmp_path / "out", holdout=0.2, holdout_by="domain")
    domains = dict(data.select("id", "domain").iter_rows())
    train, held = ({domains[name] for name in frame["id"]} for frame in parts(tmp_path / "out"))
    assert held
    assert not train & held


def test_the_plan_is_drawn_from_the_rest(pools, tmp_path):
    """A further pass makes up for held-out tokens. A pool that is drawn whole stays at one pass."""
    from curate.pool.mixture import Mixture, Part
    from curate.training_set import draw
    from curate.training_set.holdout.groups import Holdout

    tokens = [round(pool.tokens) for pool in pools]
    mixture = Mixture(
        tuple(Part(pool, 2 * count) for pool, count in zip(pools, tokens, strict=True)), (), 1e6, "a test"
    )
    drawn = draw.draw(mixture, tmp_path / "out", holdout=Holdout(0.1))
    for part, count in zip(drawn.draws, tokens, strict=True):
        assert part.unique + part.held_tokens == count
        assert part.tokens == pytest.approx(2 * count, abs=200)
    whole = materialize(pools, tmp_path / "whole", holdout=0.1)
    assert whole.table()["passes"].to_list() == [1, 1]


def test_workers_and_an_earlier_call_change_no_byte(pools, tmp_path):
    out = tmp_path / "out"
    materialize(pools, out, holdout=0.1, shard_rows=20)
    want = tree(out)
    materialize(pools, tmp_path / "two", holdout=0.1, shard_rows=20, engine=Local(2))
    assert tree(tmp_path / "two") == want
    # A shard of the holdout that is lost is made again.
    lost = out / "holdout" / "data" / "part-00001.parquet"
    lost.unlink()
    materialize(pools, out, holdout=0.1, shard_rows=20)
    assert tree(out) == want
    with pytest.raises(Exception, match=r"holdout changed \(0\.1 -> 0\.2\)"):
        materialize(pools, out, holdout=0.2, shard_rows=20)
    materialize(pools, out, shard_rows=20, restart=True)
    assert not (out / "holdout").exists()


@pytest.mark.parametrize("stop", ["files with groups counted", "shards written", "files with held-out rows read"])
def test_a_job_that_stops_in_any_step_continues(pools, tmp_path, stop):
    def stops(what, done, total):
        if what == stop and done:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        materialize(pools, tmp_path / "out", holdout=0.1, shard_rows=20, progress=stops)
    materialize(pools, tmp_path / "out", holdout=0.1, shard_rows=20)
    materialize(pools, tmp_path / "calm", holdout=0.1, shard_rows=20)
    assert tree(tmp_path / "out") == tree(tmp_path / "calm")


@pytest.mark.filterwarnings("ignore")  # `datasets` and its libraries warn on import
def test_both_splits_load(pools, tmp_path):
    materialize(pools, tmp_path / "out", holdout=0.1, tag="source", shard_rows=50)
    train, held = parts(tmp_path / "out")
    assert rows_of_datasets(tmp_path / "out", tmp_path) == train.to_dicts()
    assert rows_of_datasets(tmp_path / "out", tmp_path, split="holdout") == held.to_dicts()
    assert all(row["text"].startswith(f"source: {row['source']}\n\n") for row in held.to_dicts())
    for read in (rows_of_duckdb, rows_of_polars):
        assert sorted(row["id"] for row in read(tmp_path / "out", "part-*")) == sorted(train["id"])


def test_pools_without_links_warn(data, tmp_path):
    score.score([str(tmp_path / "data")], ["length"], tmp_path / "scores")
    drawn = materialize(make_pools.pools(tmp_path / "scores"), tmp_path / "out", holdout=0.1)
    assert len(drawn.warnings) == 1
    assert "no duplicates are known of" in drawn.warnings[0]
    assert "--scorer duplicates first, or give --holdout-by" in drawn.warnings[0]
    tokens = int(pl.concat(parts(tmp_path / "out"))["tokens"].sum())
    plain = Pool("all", tokens, ROWS, (str(tmp_path / "data"),))
    assert "all" in materialize([plain], tmp_path / "plain", holdout=0.1).warnings[0]


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"holdout": 1.0}, "--holdout 1 must be above 0 and below 1"),
        ({"holdout_by": "domain"}, "--holdout-by domain needs --holdout"),
        ({"holdout": 0.1, "holdout_by": "domian"}, r"no column 'domian'; it has"),
        ({"holdout": 0.01, "holdout_by": "source"}, r"--holdout 0\.01 of \d+ tokens are .* Use --holdout 0\.5 or more"),
        ({"holdout": 0.6, "holdout_by": "source"}, r"all 200 rows of pool '[ab]' that have a text are held out"),
    ],
)
def test_a_holdout_that_cannot_be_is_one_line(pools, tmp_path, options, message):
    with pytest.raises(SchemaError, match=message) as caught:
        materialize(pools, tmp_path / "out", **options)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("sizes", "share", "message"),
    [
        ([3, 0, 9], 0.1, r"Use --holdout 0\.25 or more"),
        ([39, 2524, 0], 1e-9, r"Use --holdout 0\.016 or more"),
        ([0, 280, 0], 0.99, "all rows, of 280 tokens, are one group, which is not split"),
    ],
)
def test_a_share_that_holds_no_group_is_told_with_one_that_does(sizes, share, message):
    counts = np.zeros(groups.BUCKETS, np.int64)
    counts[: len(sizes)] = sizes
    with pytest.raises(SchemaError, match=message):
        groups.chosen(counts, share)
    if enough := re.search(r"--holdout (0[.]\d+)", message.replace("\\", "")):
        assert groups.chosen(counts, float(enough[1])).any()
