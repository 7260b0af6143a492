"""Groups of duplicates among some of the rows, against brute force on random graphs, and on real links."""

import shutil

import numpy as np
import polars as pl
import pytest
from conftest import documents, tree
from hypothesis import given
from hypothesis import strategies as st

from curate.errors import SchemaError
from curate.pruning.prune import prune
from curate.pruning.requirements import linked_rows, regrouping
from curate.pruning.requirements.linked_rows import LinkedRows
from curate.scoring.score import score
from curate.tables import batches

LEVELS = (0.75, 0.8, 0.9)


def brute_force(generations, texts, links, eligible):
    """The scores by definition: at each level, one row of every component is not merged, the first.

    Rows are numbered in the order of their hashes. ``texts`` is the number of each row's text, and ``links`` maps pairs
    of texts to similarities.
    """
    order = sorted(np.flatnonzero(eligible).tolist(), key=lambda row: (generations[row], row))
    first = {}
    for row in order:
        first.setdefault(texts[row], row)
    scores = {row: 0.0 for row in order if first[texts[row]] != row}
    place = {row: i for i, row in enumerate(order)}
    for row in set(order) - set(scores):
        merged = 0.0
        for level in sorted(set(links.values())):
            # Links count in the generation of their newer row.
            edges = [
                (first[a], first[b])
                for (a, b), similarity in links.items()
                if a in first
                and b in first
                and similarity >= level
                and max(generations[first[a]], generations[first[b]]) == generations[row]
            ]
            reached, size = {row}, 0
            while len(reached) != size:
                size = len(reached)
                reached |= {end for edge in edges if set(edge) & reached for end in edge}
            if min(place[other] for other in reached) < place[row]:
                merged = max(merged, level)
        scores[row] = 1 - merged
    return scores


@st.composite
def graphs(draw):
    rows = draw(st.integers(1, 12))
    generations = draw(st.lists(st.integers(0, 2), min_size=rows, max_size=rows))
    texts = draw(st.lists(st.integers(0, 6), min_size=rows, max_size=rows))
    numbers = sorted(set(texts))
    pairs = [(a, b) for a in numbers for b in numbers if a < b]
    levels = draw(st.lists(st.sampled_from((0.0, 0.0, *LEVELS)), min_size=len(pairs), max_size=len(pairs)))
    links = {pair: level for pair, level in zip(pairs, levels, strict=True) if level}
    eligible = draw(st.lists(st.booleans(), min_size=rows, max_size=rows))
    return np.array(generations), texts, links, np.array(eligible)


def linked(generations, texts, links):
    """The links as the scorer stores them: a copy has one link, to the first of all copies."""
    order = sorted(range(len(texts)), key=lambda row: (generations[row], row))
    first = {}
    for row in order:
        first.setdefault(texts[row], row)
    copies = [row for row in order if first[texts[row]] != row]
    pairs = np.array([(first[a], first[b]) for a, b in links], np.int64).reshape(-1, 2)
    return LinkedRows(
        seed=0,
        ids=np.arange(len(texts), dtype=np.uint64),
        generations=generations,
        copies=np.array(copies, np.int64),
        leaders=np.array([first[texts[row]] for row in copies], np.int64),
        first=pairs[:, 0],
        second=pairs[:, 1],
        levels=np.array(list(links.values()), float),
    )


@given(graph=graphs())
def test_scores_among_some_rows_are_those_of_brute_force(graph):
    generations, texts, links, eligible = graph
    scores = regrouping.scores(linked(generations, texts, links), eligible)
    expected = brute_force(generations, texts, links, eligible)
    assert {row: scores[row] for row in expected} == expected


def write(folder, number, frame):
    folder.mkdir(parents=True, exist_ok=True)
    frame.write_parquet(folder / f"{number}.parquet", row_group_size=9)


def changed(frame, prefix, every):
    """Near copies: every so many rows get one other word in the middle, and all get other ids."""
    words = pl.col("text").str.replace(r"(?s)^(.{90}\S*) \S+", "$1 other")
    text = pl.when(pl.int_range(pl.len()) % every == 0).then(words).otherwise("text")
    return frame.with_columns(pl.format("{}{}", pl.lit(prefix), "id").alias("id"), text.alias("text"))


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Scores of five files with copies and near copies; two files were added after the first scoring."""
    folder = tmp_path_factory.mktemp("links")
    base = documents(40).with_columns(quality=pl.int_range(40) % 3, text=pl.format("{} {}", "text", "text"))
    for number, (prefix, every) in enumerate((("a", 99), ("b", 2), ("c", 3))):
        write(folder / "data", number, changed(base.sample(35, seed=number, shuffle=True), prefix, every))
    score([str(folder / "data")], ("length", "duplicates:threshold=0.5"), folder / "scores")
    for number, every in ((3, 2), (4, 1)):
        write(folder / "data", number, changed(base.sample(30, seed=number, shuffle=True), "xy"[number - 3], every))
    score([str(folder / "data")], ("length", "duplicates:threshold=0.5"), folder / "scores")
    return folder


def scored_rows(folder):
    paths = sorted((folder / "scores").glob("*.scores.parquet"))
    return pl.concat(pl.read_parquet(path) for path in paths)


def every_link(scores):
    return np.ones(len(scores), bool)


def test_with_all_rows_the_scores_are_those_that_are_stored(folder):
    links = linked_rows.read(folder / "scores", every_link)
    rows = scored_rows(folder)
    scores = dict(zip(links.ids.tolist(), regrouping.scores(links, np.ones(len(links.ids), bool)), strict=True))
    keys = batches.keys(rows["id"], links.seed).tolist()
    assert set(links.generations.tolist()) == {0, 1}
    assert len(set(rows["score.duplicates"].to_list())) >= 4
    assert [scores.get(key, 1.0) for key in keys] == rows["score.duplicates"].to_list()


def expected_fates(folder, keeps, bound):
    """The decisions by brute force, from the texts, the stored links and the rows that meet the other requirements."""
    links = linked_rows.read(folder / "scores", every_link)
    rows = scored_rows(folder)
    data = pl.concat(pl.read_parquet(path) for path in sorted((folder / "data").glob("*.parquet")))
    keys = batches.keys(rows["id"], links.seed)
    order = np.argsort(keys)
    generations = np.array([{"a": 0, "b": 0, "c": 0, "x": 1, "y": 1}[name[0]] for name in rows["id"]])[order]
    texts = dict(zip(data["id"], data["text"], strict=True))
    texts = [texts[rows["id"][i]] for i in order.tolist()]
    of_key = dict(zip(keys[order].tolist(), texts, strict=True))
    pairs = zip(links.ids[links.first].tolist(), links.ids[links.second].tolist(), links.levels.tolist(), strict=True)
    near = {(of_key[a], of_key[b]): level for a, b, level in pairs}
    eligible = np.array([keeps(rows.row(i, named=True)) for i in order.tolist()])
    scores = brute_force(generations, texts, near, eligible)
    kept = {order[row] for row, value in scores.items() if value >= bound}
    return {rows["id"][int(i)] for i in kept}


@pytest.mark.parametrize("bound", [0.1, 0.25, 0.45])
def test_a_text_is_not_lost_with_its_kept_twin(folder, tmp_path, bound):
    require = [f"score.duplicates >= {bound}", "NOT id LIKE '%1%'", "quality <> 1"]
    pruned = prune(folder / "scores", tmp_path / "kept", require=require)
    decisions = pl.concat(pl.read_parquet(path) for path in sorted((tmp_path / "kept").glob("*.keep.parquet")))
    data = pl.concat(pl.read_parquet(path) for path in sorted((folder / "data").glob("*.parquet")))
    quality = dict(zip(data["id"], data["quality"], strict=True))
    expected = expected_fates(folder, lambda row: "1" not in row["id"] and quality[row["id"]] != 1, bound)
    assert set(decisions.filter("keep")["id"]) == expected
    # Without groups formed again, texts would be lost.
    plain = scored_rows(folder).filter(pl.col("score.duplicates") >= bound)
    assert len({name for name in plain["id"] if "1" not in name and quality[name] != 1}) < len(expected)
    assert not pruned.notes
    assert set(decisions["reason"]) == {"kept", *require}


def test_alone_a_bound_is_about_the_stored_scores(folder, tmp_path):
    prune(folder / "scores", tmp_path / "kept", require=["0.25 <= score.duplicates"])
    decisions = pl.concat(pl.read_parquet(path) for path in sorted((tmp_path / "kept").glob("*.keep.parquet")))
    assert decisions["keep"].to_list() == (scored_rows(folder)["score.duplicates"] >= 0.25).to_list()


def test_a_mixed_condition_is_applied_plainly_with_a_warning(folder, tmp_path):
    require = ["score.duplicates >= 0.25 OR score.length > 1k", "NOT id LIKE '%1%'"]
    pruned = prune(folder / "scores", tmp_path / "kept", require=require)
    rows = scored_rows(folder)
    expected = rows.filter(pl.col("score.duplicates") >= 0.25, ~pl.col("id").str.contains("1")).height
    assert pruned.removal.total["kept"] == expected
    assert "uses the groups of duplicates among all scored rows" in pruned.warnings[0]


def test_missing_links_are_one_line(folder, tmp_path):
    shutil.copytree(folder / "scores", tmp_path / "scores")
    next((tmp_path / "scores" / "_curate" / "duplicates" / "links").glob("*.npz")).unlink()
    with pytest.raises(SchemaError, match="is missing.* with --scorer duplicates, or prune twice"):
        prune(tmp_path / "scores", tmp_path / "kept", require=["score.duplicates >= 0.25", "score.length > 5"])
    assert not tree(tmp_path / "kept")
    (tmp_path / "scores" / "_curate" / "duplicates" / "finished.npz").unlink()
    with pytest.raises(
        SchemaError, match="has no links .* the scorer duplicates too, and let it finish, or prune twice"
    ):
        prune(tmp_path / "scores", tmp_path / "kept", require=["score.duplicates >= 0.25", "score.length > 5"])
    # Alone, the condition needs no links.
    assert prune(tmp_path / "scores", tmp_path / "kept", require=["score.duplicates >= 0.25"]).removal.total["kept"]
