"""The scorer of agreement against a plain search through the texts, and as a job."""

from contextlib import ExitStack
from dataclasses import replace
from itertools import combinations, pairwise
from pathlib import Path
from tempfile import TemporaryDirectory
from unittest.mock import patch

import numpy as np
import polars as pl
import pytest
from corpora import with_stored
from hypothesis import given, settings
from hypothesis import strategies as st
from word_sets import jaccard

from curate.engines.local import Local
from curate.errors import SchemaError
from curate.scorers import agreement, duplicates
from curate.streaming import components
from curate.streaming.near_duplicates import sources
from curate.tables.corpus import Corpus, FramePart

VOCABULARY = [f"w{i}" for i in range(300)]


def learn_both(corpus, least=0.0, **options):
    """Learn the duplicates and then the agreement of a corpus whose folder is the job's."""
    out = corpus.folder
    duplicates.learn(replace(corpus, folder=out / "_curate" / "duplicates"), **options)
    again = replace(corpus, folder=out / "_curate" / "agreement", out=out)
    return with_stored(agreement.learn(again, threshold=least), again)


def rows_of(texts, names):
    ids = [f"d{i}" for i in range(len(texts))]
    return pl.DataFrame({"id": ids, "source": names, "text": pl.Series(texts, dtype=pl.String)})


def groups_of_texts(rng, count):
    """Texts in chains, in which each differs from the one before in a word, and copies."""
    texts: list[str | None] = ["", None, "...", ""]
    while len(texts) < count:
        words = rng.choice(VOCABULARY, rng.integers(6, 30)).tolist()
        for _ in range(rng.integers(1, 6)):
            texts.append(" ".join(words))
            if rng.random() < 0.7:
                words[rng.integers(len(words))] = str(rng.choice(VOCABULARY))
    return [texts[i] for i in rng.permutation(count)]


def expected(texts, names, generations, threshold):
    """Return how many other sources the group of each text has, among texts of its generation and older ones."""
    result = []
    for newest in range(max(generations) + 1):
        group = list(range(len(texts)))
        for i, j in combinations([i for i in range(len(texts)) if generations[i] <= newest], 2):
            if texts[i] is None or texts[j] is None or group[i] == group[j]:
                continue
            if (1.0 if texts[i] == texts[j] else jaccard(texts[i], texts[j])) >= threshold:
                group = [group[i] if g == group[j] else g for g in group]
        result.append([len({names[j] for j in range(len(texts)) if group[j] == g}) - 1 for g in group])
    return [result[generation][i] for i, generation in enumerate(generations)]


@settings(max_examples=8, deadline=None)
@given(
    seed=st.integers(0, 10**6),
    cuts=st.lists(st.integers(0, 50), max_size=4),
    added=st.integers(0, 50),
    split=st.sampled_from([5, 1 << 20]),
    threshold=st.sampled_from([0.0, 0.6, 1.0]),
)
def test_scores_are_those_of_a_plain_search_for_any_parts_and_generations(seed, cuts, added, split, threshold):
    rng = np.random.default_rng(seed)
    texts, names = groups_of_texts(rng, 50), rng.choice(list("abcd"), 50).tolist()
    rows, edges = rows_of(texts, names), sorted({*cuts, 0, added, 50})
    parts = [FramePart(f"p{low}", (rows[low:high],), int(low >= added > 0)) for low, high in pairwise(edges)]
    generations = [int(i >= added > 0) for i in range(50)]
    options = {"bands": 40, "rows": 1, "threshold": 0.3}
    with TemporaryDirectory() as folder, ExitStack() as stack:
        stack.enter_context(patch.object(components, "EDGES_IN_SPLIT", split))
        stack.enter_context(patch.object(sources, "ROWS_IN_SPLIT", split))
        corpus = Corpus(parts, Path(folder))
        old = replace(corpus, parts=[part for part in parts if not part.generation])
        first, second = (learn_both(data, threshold, **options)(rows)["score.agreement"] for data in (old, corpus))
    assert second.to_list() == expected(texts, names, generations, threshold or 0.3)
    assert all(a == b for a, b, g in zip(first, second, generations, strict=True) if not g)


def test_copies_and_chains_count_each_other_source_once(tmp_path):
    words = VOCABULARY[:60]
    chain = [" ".join(words[i : i + 52]) for i in (0, 4, 8)]
    assert jaccard(chain[0], chain[1]) > 0.75 > jaccard(chain[0], chain[2])
    texts = ["copy"] * 5 + ["alone", None, None] + chain
    names = ["a", "a", "b", "c", "a", "a", "a", "b", "a", "b", "c"]
    corpus = Corpus([FramePart("p", (rows_of(texts, names),))], tmp_path)
    scores = learn_both(corpus, bands=60, rows=1)(rows_of(texts, names))["score.agreement"].to_list()
    assert scores == [2, 2, 2, 2, 2, 0, 0, 0, 2, 2, 2]


def test_any_parts_and_two_workers_give_the_same_bytes(tmp_path, monkeypatch):
    rng = np.random.default_rng(4)
    texts, names = groups_of_texts(rng, 200), rng.choice(list("abcdef"), 200).tolist()
    rows = rows_of(texts, names)
    whole = learn_both(Corpus([FramePart("p", (rows,))], tmp_path / "whole"))
    monkeypatch.setattr(components, "EDGES_IN_SPLIT", 7)
    monkeypatch.setattr(sources, "ROWS_IN_SPLIT", 30)
    parts = [FramePart(f"p{low}", (rows[low:high],)) for low, high in pairwise([0, 3, 90, 91, 200])]
    with Local(2).session() as workers:
        cut = learn_both(Corpus(parts, tmp_path / "cut", workers))
    assert (whole.counts > 0).sum() > 20
    assert (whole.rows.tobytes(), whole.counts.tobytes()) == (cut.rows.tobytes(), cut.counts.tobytes())


def write(folder, texts, first=0):
    folder.mkdir(parents=True, exist_ok=True)
    ids = [f"{folder.name}{first + i}" for i in range(len(texts))]
    pl.DataFrame({"id": ids, "text": texts}).write_parquet(folder / f"{first}.parquet")


def scores_of(out):
    table = pl.read_parquet(out / "**" / "*.scores.parquet")
    return dict(zip(table["id"].to_list(), table["score.agreement"].to_list(), strict=True))


@pytest.mark.parametrize("order", [("duplicates", "agreement"), ("agreement", "duplicates:seed=3")])
def test_a_job_whose_files_come_later(tmp_path, cli, order):
    """The scorers may be named in any order. New rows see all older rows, and older scores stay."""
    data, out = tmp_path / "data", tmp_path / "out"
    write(data / "crawl", ["shared text", "only here", "shared text"])
    write(data / "books", ["shared text", "only there"])
    command = ("score", data, *(word for name in order for word in ("--scorer", name)), "--out", out)
    assert cli(*command).code == 0
    before = scores_of(out)
    assert before == {"crawl0": 1, "crawl1": 0, "crawl2": 1, "books0": 1, "books1": 0}
    write(data / "web", ["shared text", "only here", "new"])
    write(data / "crawl", ["only there"], first=9)
    again = cli(*command)
    assert again.code == 0, again.err
    assert scores_of(out) == {**before, "web0": 2, "web1": 1, "web2": 0, "crawl9": 1}
    assert cli(*command, "--relearn").code == 0
    assert scores_of(out) == {
        **{"crawl0": 2, "crawl1": 1, "crawl2": 2, "books0": 2, "books1": 1},
        **{"web0": 2, "web1": 1, "web2": 0, "crawl9": 1},
    }


def test_a_killed_job_goes_on(tmp_path, cli, monkeypatch):
    data, out = tmp_path / "data", tmp_path / "out"
    write(data / "a", ["shared", "x"])
    write(data / "b", ["shared", "y"])
    command = ("score", data, "--scorer", "duplicates", "--scorer", "agreement", "--out", out)
    count = sources._sources_of_part
    monkeypatch.setattr(sources, "_sources_of_part", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    assert cli(*command).code == 130
    monkeypatch.setattr(sources, "_sources_of_part", count)
    write(data / "c", ["shared", "y"])
    assert cli(*command).code == 0
    assert scores_of(out) == {"a0": 2, "a1": 0, "b0": 2, "b1": 1, "c0": 2, "c1": 1}


@pytest.mark.parametrize("others", [(), ("--scorer", "duplicates:against=x.jsonl")])
def test_a_job_without_links_is_refused_in_one_line(tmp_path, cli, others):
    write(tmp_path / "data", ["x"])
    result = cli("score", tmp_path / "data", "--scorer", "agreement", *others, "--out", tmp_path / "out")
    assert result.code == 1
    assert result.err.strip().endswith("Add --scorer duplicates, without against= and name=")
    assert not (tmp_path / "out").exists()


def test_wrong_thresholds_and_a_single_source(tmp_path, cli):
    corpus = Corpus([FramePart("p", (rows_of(["x", "x"], ["a", "a"]),))], tmp_path)
    with pytest.raises(
        SchemaError, match="threshold=0.5 must be 0.75 to 1, since duplicates stored links from 0.75 on"
    ):
        learn_both(corpus, 0.5)
    assert learn_both(corpus).notes[0].startswith("agreement: all rows have the same source")
    write(tmp_path / "data", ["x"])
    result = cli("score", tmp_path / "data", "--scorer", "duplicates", "--scorer", "agreement", "--out", tmp_path / "o")
    assert "all rows have the same source, so every score is 0" in result.out + result.err
