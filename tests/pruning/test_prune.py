"""Keep or drop by hand-worked cases; pools are a partition of the kept rows."""

import json
import tempfile
from itertools import pairwise
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from conftest import tree
from hypothesis import given, settings
from hypothesis import strategies as st
from prune_in_memory import Scores, decide
from score_folders import JOB

from curate.errors import CurateError, SchemaError
from curate.pruning import balance, make_pools, prune
from curate.pruning.balance import Balance
from curate.pruning.ranking import external_sort
from curate.pruning.rule_options import RuleOptions, read_rule
from curate.pruning.rules import Rule, _decide, _ranked_rows, rule_class
from curate.scoring import score
from curate.storage.completion import Unfinished
from curate.tables import batches
from curate.tables import scored as rows
from curate.tables.meanings import Declaration


def ruled(rule, keep, floor=None, seed=0) -> Rule:
    """A rule for a hardness score, or for ``top`` a quality score."""
    meaning = "quality" if rule == "top" else "hardness"
    settings = {"balance": Balance() if floor is None else Balance("source", "floor", floor), "meaning": meaning}
    return rule_class(rule).of_amounts({"share": keep}, **settings, seed=seed)


def column(values, groups=None, seed=0) -> Scores:
    ids = [f"r{i}" for i in range(len(values))]
    groups = groups or ["a"] * len(values)
    names = sorted(set(groups))
    codes = np.array([names.index(g) for g in groups], dtype=np.int32)
    return Scores(
        np.array(values, dtype=float), batches.keys(ids, seed), codes, np.ones(len(values), int), tuple(names)
    )


def kept(values, rule, keep, groups=None, floor=None):
    return np.flatnonzero(decide(column(values, groups), ruled(rule, keep, floor)).keep).tolist()


# Ranks of these ten scores, lowest first: rows 3 5 9 0 2 6 8 1 7 4.
TEN = [0.4, 0.8, 0.5, 0.1, 1.0, 0.2, 0.6, 0.9, 0.7, 0.3]


@pytest.mark.parametrize(
    ("rule", "keep", "expected"),
    [
        ("top", 0.3, [1, 4, 7]),
        ("hard", 0.3, [1, 4, 7]),
        ("easy", 0.3, [3, 5, 9]),
        ("middle", 0.4, [0, 2, 6, 8]),
        ("threshold", 0.7, [1, 4, 7, 8]),
        ("threshold", 2.0, []),
        ("hard", 1.0, list(range(10))),
    ],
)
def test_rules_by_hand(rule, keep, expected):
    assert kept(TEN, rule, keep) == expected


def test_the_floor_by_hand():
    """Group a holds the five highest; keep 0.4 gives it all four. Floor 0.5 secures floor(0.5 * 0.4 * 5) = 1 of b."""
    values, groups = [10, 9, 8, 7, 6, 5, 4, 3, 2, 1], list("aaaaabbbbb")
    assert kept(values, "hard", 0.4, groups) == [0, 1, 2, 3]
    assert kept(values, "hard", 0.4, groups, floor=0.5) == [0, 1, 2, 5]
    assert kept(values, "hard", 0.4, groups, floor=1.0) == [0, 1, 5, 6]
    assert kept(values, "hard", 0.4, groups, floor=0.0) == [0, 1, 2, 3]
    secured = decide(column(values, groups), ruled("hard", 0.4, 0.5)).by_floor
    assert np.flatnonzero(secured).tolist() == [5]


@given(
    values=st.lists(st.integers(0, 3), min_size=1, max_size=40),
    keep=st.floats(0.01, 1),
    rule=st.sampled_from(["top", "hard", "easy", "middle"]),
    floor=st.one_of(st.none(), st.floats(0, 1)),
    data=st.data(),
)
def test_exactly_the_share_asked_whatever_the_ties_and_groups(values, keep, rule, floor, data):
    n = len(values)
    groups = data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n))
    decided = decide(column(values, groups), ruled(rule, keep, floor))
    verdict, secured = decided.keep, decided.by_floor
    assert verdict.sum() == round(keep * n)
    assert not (secured & ~verdict).any()
    for name in set(groups):
        members = np.array(groups) == name
        assert (verdict & members).sum() >= np.floor((floor or 0) * keep * members.sum())


@given(
    values=st.lists(st.integers(0, 2), min_size=2, max_size=30), rule=st.sampled_from(["hard", "easy"]), data=st.data()
)
def test_ties_go_by_id_not_by_place(values, rule, data):
    scores = column(values)
    order = data.draw(st.permutations(range(len(values))))
    permuted = Scores(*(x[order] for x in (scores.score, scores.key, scores.group, scores.tokens)), scores.groups)
    assert (decide(permuted, ruled(rule, 0.5)).keep == decide(scores, ruled(rule, 0.5)).keep[order]).all()


def test_another_seed_breaks_ties_differently():
    verdicts = [decide(column([1.0] * 60, seed=seed), ruled("hard", 0.5)).keep.tolist() for seed in (0, 0, 1)]
    assert verdicts[0] == verdicts[1] != verdicts[2]


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"rule": "nosuch"}, "--rule 'nosuch' is not known. Choose one of top, hard, easy, auto"),
        ({"keep": 0.0}, "--keep 0 must be a share"),
        ({"keep": 1.5}, "--keep 1.5 must be a share"),
        ({"keep": float("nan")}, "--keep nan must be a share"),
        ({"rule": "threshold", "keep": float("nan")}, "--keep nan must be a score"),
        ({"rule": "threshold", "balance": "source"}, "cannot balance groups. Leave out --balance"),
        ({"balance": "source:2"}, "the floor 2 must lie in"),
        ({"balance": "sources"}, "'sources' is not known. Write none; source, label, cluster"),
        ({"balance": "none:0.5"}, "is not known. Write none"),
        ({"balance": "source:x"}, "'x' is neither a number"),
        ({"balance": "source:recall"}, "Write label:recall"),
        ({"balance": "dbp:x"}, "write dbp:TAU"),
        ({"balance": "dbp:0"}, "TAU must be above 0"),
        ({"balance": "dbp:1:-1"}, "LEAST at least 0"),
        ({"balance": "label"}, "has no column 'label'.*Score data with a column label"),
        ({"balance": "cluster"}, "has no column 'cluster'.*Score with --scorer prototypes"),
        ({"balance": "dbp"}, "has no column 'cluster.density'.*Score with --scorer density"),
        ({"recall": {"a": 1.0}}, "--recall is for --balance label:recall"),
        ({"trim": "x"}, "--trim 'x' is not a number"),
        ({"trim": "top:0.1"}, "--trim 'top:0.1': write only a share"),
        ({"trim": "low:0.1"}, "The meaning of the score says which end is hard; --meaning can change it"),
        ({"trim": "1"}, "--trim 1 must be a share"),
        ({"trim": "0.6"}, "--keep 0.5 and --trim 0.6 are more than all rows"),
        (
            {"trim": "0.1", "rule": "middle"},
            "--trim is for the rules hard, easy, auto, stratified and sample, not for 'middle'",
        ),
        ({"rule": "sample", "temperature": "0"}, "--temperature 0 must be a number other than 0"),
        ({"rule": "sample", "temperature": "sd:1"}, "--temperature 'sd:1': write a number"),
        ({"rule": "auto"}, "the score files have no vectors. Give --embedding COLUMN, score with"),
        ({"rule": "auto", "embedding": "emb.x"}, "'emb.x' is not there: the score files have no vectors"),
        ({"embedding": "emb.x"}, "--embedding is for --rule auto"),
        ({"rule": "auto", "dimension": -1.0}, "--dimension -1 must be a positive number"),
        ({"dimension": 3.0}, "--dimension is for --rule auto"),
        ({"rule": "sample", "temperature": "nan"}, "--temperature nan must be a number other than 0"),
        ({"max_source_removal": 1.5}, "--max-source-removal 1.5 must lie in"),
    ],
)
def test_senseless_arguments_are_refused(tmp_path, settings, message):
    scores, _ = folder_of(tmp_path, TEN, ["a"] * 10, [])
    with pytest.raises(SchemaError, match=message) as error:
        prune.prune(scores, tmp_path / "kept", by="score.x", **{"keep": 0.5, "rule": "hard"} | settings)
    assert "\n" not in str(error.value)
    assert not (tmp_path / "kept").exists()


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("none", Balance()),
        ("source", Balance("source", "floor", 0.5)),
        ("label:0.2", Balance("label", "floor", 0.2)),
        ("source:0", Balance("source", "floor", 0.0)),
        ("cluster.x:even", Balance("cluster.x", "even")),
        ("label:recall", Balance("label", "recall")),
        ("dbp", Balance("cluster.density", "dbp")),
        ("dbp:0.5:20", Balance("cluster.density", "dbp", temperature=0.5, least=20)),
    ],
)
def test_balance(text, expected):
    assert balance.parse(text) == expected


def folder_of(tmp_path, values, groups, cuts, more=None, meaning="hardness"):
    """A score folder with these scores, cut into files after the given rows, which record the meaning of the score."""
    frame = pl.DataFrame(
        {
            "id": [f"r{i % max(1, len(values) - 2)}" for i in range(len(values))],  # two ids come twice
            "source": groups,
            "tokens": [3] * len(values),
            "score.x": pl.Series(values, dtype=pl.Float64),
            **(more or {}),
        }
    )
    edges = [0, *sorted(cuts), len(values)]
    out = Path(tempfile.mkdtemp(dir=tmp_path))
    for i, (a, b) in enumerate(pairwise(edges)):
        path, record = out / f"{i:03d}.parquet.scores.parquet", {"meanings": {"score.x": meaning}}
        batches.write(path, [frame[a:b]], schema=frame.schema, fields=record)
    (out / "_curate").mkdir()
    (out / "_curate" / "score.json").write_text(json.dumps(JOB))
    return out, frame


CASES = {
    "top": ["none", "source:F", "label:even"],
    "hard": ["none", "source:F", "source:even", "label:recall", "dbp:0.7:2"],
    "easy": ["none", "source:F", "cluster:even"],
    "middle": ["none", "source:F", "label:even"],
    "threshold": ["none"],
    "stratified": ["none", "source:F", "label:even", "dbp:2", "label:recall"],
    "sample": ["none", "source:F", "label:even", "dbp"],
}
TRIMMED_RULES = ("hard", "easy", "stratified", "sample")


@settings(max_examples=80)
@given(data=st.data(), rule=st.sampled_from(sorted(CASES)), seed=st.integers(0, 3))
def test_bounded_memory_decides_as_all_scores_in_memory_do(tmp_path, data, rule, seed):
    n, limit = data.draw(st.integers(1, 60)), data.draw(st.sampled_from([1, 5, 1 << 17]))
    kind = data.draw(st.sampled_from([st.integers(0, 3), st.floats(-1e300, 1e300), st.sampled_from([0.0, -0.0, 1.0])]))
    values = data.draw(st.lists(kind, min_size=n, max_size=n))
    groups = data.draw(st.lists(st.sampled_from("abcd"), min_size=n, max_size=n))
    cuts = data.draw(st.lists(st.integers(0, n), max_size=3))
    text = data.draw(st.sampled_from(CASES[rule])).replace("F", repr(data.draw(st.floats(0, 1))))
    keep, trim = data.draw(st.floats(0.01, 0.9)), "0"
    meaning = "quality" if rule == "top" else data.draw(st.sampled_from(["hardness", "easiness"]))
    if rule in TRIMMED_RULES:
        trim = data.draw(st.sampled_from(["0", "0.1"]))
    temperature = data.draw(st.sampled_from(["2", "-0.5", "inf", "raw:3"]))
    options = {"seed": seed, "balance": text, "trim": trim, "temperature": temperature, "meaning": meaning}
    check(tmp_path, values, groups, cuts, limit, rule, keep, **options)


@pytest.mark.parametrize(("rule", "text"), [(rule, text) for rule in sorted(CASES) for text in CASES[rule]])
def test_two_hundred_rows_as_by_brute_force(tmp_path, rule, text):
    rng = np.random.default_rng(0)
    values, groups = rng.standard_normal(200).round(1).tolist(), rng.choice(list("abcd"), 200, p=[0.6, 0.2, 0.15, 0.05])
    trim, meaning = "0.15" if rule in TRIMMED_RULES else "0", "quality" if rule == "top" else "easiness"
    options = {"seed": 1, "balance": text.replace("F", "0.5"), "trim": trim, "meaning": meaning}
    check(tmp_path, values, groups.tolist(), [50, 120], 40, rule, 0.3, **options)


def check(tmp_path, values, groups, cuts, limit, rule, keep, *, seed, balance, trim, meaning, temperature="2"):
    """Prune on disk in tiny pieces, and compare every row with the brute-force decision."""
    names = list(dict.fromkeys(groups))
    recall = {name: 0.9 - 0.2 * names.index(name) for name in names} if balance == "label:recall" else None
    dense = {name: ord(name) ** 2 / 1000 for name in names}  # from 9.4 for a to 10 for d
    more = {"label": groups, "cluster.density": [ord(g) for g in groups], "score.density": [dense[g] for g in groups]}
    scores, frame = folder_of(tmp_path, values, groups, cuts, more, meaning)
    options = RuleOptions("score.x", keep, rule, balance, trim, temperature, recall, seed=seed)
    settings = read_rule(options, Declaration(meaning))
    grouped = settings.balance.column != ""
    code = np.array([names.index(g) if grouped else 0 for g in groups], dtype=np.int32)
    keys, tokens = batches.keys(frame["id"], seed), frame["tokens"].to_numpy()
    of = tuple(names) if grouped else ("",)
    whole = Scores(np.array(values, float), keys, code, tokens, of, tuple(dense.values()))
    kept, target = scores / "kept", round(keep * len(values))
    if settings.balance.how == "dbp" and sum(min(settings.balance.least, groups.count(g)) for g in names) > target:
        with pytest.raises(SchemaError, match="rows are needed for at least"):
            prune.prune(scores, kept, by="score.x", keep=keep, rule=rule, balance=balance, max_source_removal=1)
        return
    if target > len(values) - int(settings.trim * len(values)):
        return
    decided = decide(whole, settings)
    verdict, by_floor, trimmed = decided.keep, decided.by_floor, decided.removed_first
    reason = np.where(by_floor, f"kept: floor of its {settings.balance.kind}", "kept")
    first = f"{rule}: score.x" if rule == "threshold" else "trimmed: score.x"
    expected = np.where(trimmed, first, np.where(verdict, reason, f"{rule}: score.x"))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "chunk_rows", lambda _: limit)
        patch.setattr(_decide, "chunk_rows", lambda _: limit)
        patch.setattr(_ranked_rows, "chunk_rows", lambda _: limit)
        patch.setattr(rows, "LIGHT_ROWS", 7)
        pruned = prune.prune(
            scores,
            kept,
            by="score.x",
            keep=keep,
            rule=rule,
            balance=balance,
            trim=trim,
            temperature=temperature,
            recall=recall,
            seed=seed,
            max_source_removal=1,
        )
    decisions = read(kept, ".keep.parquet")
    assert decisions["id"].equals(frame["id"])
    assert decisions["reason"].to_list() == expected.tolist()
    assert decisions["keep"].to_numpy().tolist() == verdict.tolist()
    members = np.array(groups)
    for table, what in ((pruned.table(), "source"), (pruned.by_label, "label")):
        for name, n_rows, n_kept in table.select(what, "rows", "kept").iter_rows():
            assert (n_rows, n_kept) == ((members == name).sum(), ((members == name) & verdict).sum())


@settings(max_examples=25)
@given(data=st.data(), parts=st.integers(1, 5), limit=st.sampled_from([1, 1 << 17]))
def test_bins_are_cut_where_numpy_cuts_them(tmp_path, data, parts, limit):
    n = data.draw(st.integers(1, 50))
    kind = data.draw(st.sampled_from([st.integers(0, 3), st.floats(-1e100, 1e100)]))
    values = np.array(data.draw(st.lists(kind, min_size=n, max_size=n)), float) + 0.0
    groups = np.array(data.draw(st.lists(st.sampled_from("abc"), min_size=n, max_size=n)))
    scores, frame = folder_of(tmp_path, values, groups, data.draw(st.lists(st.integers(0, n), max_size=2)))
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(external_sort, "chunk_rows", lambda _: limit)
        pools = make_pools.pools(scores, by="score.x", bins=parts)
    for name in set(groups):
        own = values[groups == name]
        inner = [e for e in np.unique(np.quantile(own, np.arange(1, parts) / parts)) if e > own.min()]
        counts = np.histogram(own, [-np.inf, *inner, np.inf])[0]
        inner = [e for e, count in zip(inner, counts[1:], strict=True) if count]  # without bins that are empty
        bins = [p for p in pools if p.filter["source"] == name]
        assert [p.score["score.x"][1] for p in bins[:-1]] == inner if parts > 1 else len(bins) == 1
        assert [p.examples for p in bins] == np.histogram(own, [-np.inf, *inner, np.inf])[0].tolist()
        assert [p.tokens for p in bins] == [3 * p.examples for p in bins]


@pytest.fixture
def scored(corpus, tmp_path):
    """Scores of 100 documents, 60 of source a and 40 of b."""
    score.score([str(corpus)], ("length", "compression"), tmp_path / "scores")
    return tmp_path / "scores"


def read(folder, suffix):
    return pl.concat([pl.read_parquet(p) for p in sorted(folder.rglob(f"*{suffix}")) if "_curate" not in p.parts])


def test_a_decision_per_row_with_its_reason(scored, tmp_path):
    before = tree(scored)
    pruned = prune.prune(scored, tmp_path / "kept", by="score.compression", keep=0.3, balance="source:1")
    assert tree(scored) == before
    decisions, scores = read(tmp_path / "kept", ".keep.parquet"), read(scored, ".scores.parquet")
    assert decisions.columns == ["id", "source", "keep", "reason"]
    assert decisions["id"].equals(scores["id"])
    assert decisions["keep"].sum() == 30
    assert set(decisions.filter("keep")["reason"]) <= {"kept", "kept: floor of its source"}
    assert set(decisions.filter(~pl.col("keep"))["reason"]) == {"top: score.compression"}
    assert [p.name for p in (tmp_path / "kept").rglob("0.*")] == ["0.parquet.keep.parquet"]
    table = pruned.table()
    assert table.select("source", "rows", "kept").rows() == [("a", 60, 18), ("b", 40, 12)]
    assert table["tokens"].sum() == scores["tokens"].sum()
    assert table["tokens_kept"].sum() == scores.filter(decisions["keep"])["tokens"].sum()
    assert table["removed"].to_list() == pytest.approx([0.7, 0.7])


def test_pruning_twice_writes_the_same_bytes(scored, tmp_path):
    before = []
    for _ in range(2):
        prune.prune(scored, tmp_path / "kept", by="score.length", keep=0.5, seed=3)
        before.append(tree(tmp_path / "kept"))
    assert before[0] == before[1]
    assert "pools.json" in before[0]


@pytest.mark.parametrize("bad", [float("nan"), float("inf"), None])
def test_a_score_that_is_no_number_names_the_row(scored, tmp_path, bad):
    path = next(scored.rglob("2.*.scores.parquet"))
    frame = pl.read_parquet(path)
    damaged = pl.when(pl.col("id") == "d45").then(bad).otherwise("score.length").alias("score.length")
    batches.write(path, [frame.with_columns(damaged)], fields={"meanings": {"score.length": "quality"}})
    with pytest.raises(SchemaError, match=r"score\.length is NaN, infinite or null in 1 rows, the first with id 'd45'"):
        prune.prune(scored, tmp_path / "kept", by="score.length", keep=0.5)


def test_a_missing_score_and_a_missing_folder(scored, tmp_path):
    with pytest.raises(SchemaError, match=r"no column 'score\.nosuch'.* Score with the scorer that makes it"):
        prune.prune(scored, tmp_path / "kept", by="score.nosuch", keep=0.5)
    with pytest.raises(SchemaError, match="run `curate score"):
        prune.prune(tmp_path / "nosuch", tmp_path / "kept", by="score.length", keep=0.5)


@pytest.mark.parametrize("bins", [1, 2, 3, 7])
@pytest.mark.parametrize("pruned", [False, True])
def test_pools_partition_the_kept_rows_and_their_tokens(scored, tmp_path, bins, pruned):
    folder = tmp_path / "kept" if pruned else None
    if pruned:
        prune.prune(scored, folder, by="score.length", keep=0.6)
    pools = make_pools.pools(scored, kept=folder, by="score.compression", bins=bins)
    scores = read(scored, ".scores.parquet")
    expected = scores.filter(read(folder, ".keep.parquet")["keep"]) if pruned else scores
    frames = {pool.name: pl.concat(list(rows.pool_batches(pool, ("text",)))) for pool in pools}
    ids = [i for frame in frames.values() for i in frame["id"]]
    assert sorted(ids) == sorted(expected["id"])
    assert sum(p.tokens for p in pools) == expected["tokens"].sum()
    for pool in pools:
        frame = frames[pool.name]
        assert (pool.examples, pool.tokens) == (frame.height, frame["tokens"].sum())
        assert set(frame["source"]) == {pool.filter["source"]}
        assert (frame["text"].str.len_bytes() > 0).all()
    texts = {i: t for frame in frames.values() for i, t in zip(frame["id"], frame["text"], strict=True)}
    data = read(tmp_path / "data", ".parquet")
    assert all(texts[i] == t for i, t in zip(data["id"], data["text"], strict=True) if i in texts)


def test_bins_rise_with_the_score_and_are_about_equal(scored):
    pools = [p for p in make_pools.pools(scored, by="score.compression", bins=3) if p.name.startswith("a")]
    assert [p.name for p in pools] == ["a.1", "a.2", "a.3"]
    assert all(18 <= p.examples <= 22 for p in pools)
    scores = dict(read(scored, ".scores.parquet").select("id", "score.compression").iter_rows())
    values = [[scores[i] for b in rows.pool_batches(p, ()) for i in b["id"]] for p in pools]
    assert max(values[0]) < min(values[1])
    assert max(values[1]) < min(values[2])


def test_a_source_with_too_few_tokens_is_not_split(scored):
    tokens = {p.name: p.tokens for p in make_pools.pools(scored)}
    pools = make_pools.pools(scored, by="score.length", bins=5, min_tokens=tokens["a"] / 2 - 1)
    assert {p.name for p in pools if p.filter["source"] == "b"} == {"b"}
    assert len({p.name for p in pools if p.filter["source"] == "a"}) == 2


def test_decisions_of_other_scores_are_refused(scored, tmp_path):
    prune.prune(scored, tmp_path / "kept", by="score.length", keep=0.5)
    path = next((tmp_path / "kept").rglob("0.*.keep.parquet"))
    batches.write(path, [pl.read_parquet(path).reverse()])
    with pytest.raises(CurateError, match="made from other scores"):
        make_pools.pools(scored, kept=tmp_path / "kept")
    path.unlink()
    with pytest.raises(CurateError, match="no decisions for"):
        make_pools.pools(scored, kept=tmp_path / "kept")


def test_a_column_that_is_no_score_is_refused(scored, tmp_path):
    for path in scored.rglob("*.scores.parquet"):
        batches.write(path, [pl.read_parquet(path).with_columns(pl.lit(1, pl.Int32).alias("cluster.x"))])
    with pytest.raises(
        SchemaError, match="--by source: .* has it as string, which is not a score. Name a column such as score"
    ):
        prune.prune(scored, tmp_path / "kept", by="source", keep=0.5)
    with pytest.raises(SchemaError, match=r"--by cluster\.x: .* has it as int32, which is not a score"):
        prune.prune(scored, tmp_path / "kept", by="cluster.x", keep=0.5)


def test_a_job_killed_half_way_leaves_no_mixture_of_two_prunings(scored, tmp_path):
    """After the stop there are no pools of the first pruning, and no decisions of it for what was not done again."""
    prune.prune(scored, tmp_path / "kept", by="score.length", keep=0.9, max_source_removal=1)

    def stop(what, done, total):
        if (what, done) == ("decision files written", 1):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        prune.prune(scored, tmp_path / "kept", by="score.length", keep=0.1, max_source_removal=1, progress=stop)
    assert not (tmp_path / "kept" / "pools.json").exists()
    assert not list((tmp_path / "kept").glob("removal.*"))
    assert len(list((tmp_path / "kept").rglob("*.keep.parquet"))) == 1
    with pytest.raises(Unfinished, match="`curate prune` has not finished .*kept"):
        make_pools.pools(scored, kept=tmp_path / "kept")


def test_nothing_kept_names_no_pools(scored, tmp_path, cli):
    done = cli("prune", scored, "--by", "score.length", "--keep", 1e-9, "--out", tmp_path / "kept")
    assert done.code == 0
    assert "nothing is kept: there is no" in done.err
    assert "pools of what is kept" not in done.out
