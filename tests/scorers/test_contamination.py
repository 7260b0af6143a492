"""The scorer of contamination against plain Python, and its benchmark files."""

import gzip
import json
import re
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of
from hypothesis import given, settings
from hypothesis import strategies as st
from word_sets import split

from curate.scorers import contamination
from curate.words.places import word_places

RNG = np.random.default_rng(5)
VOCABULARY = np.array(["".join(map(chr, RNG.integers(97, 123, RNG.integers(2, 9)))) for _ in range(2000)])


def document(words):
    return [str(word) for word in RNG.choice(VOCABULARY, words)]


def learned(benchmark, **options):
    """Return the scorer of some benchmark texts."""
    with TemporaryDirectory() as folder:
        path = Path(folder) / "benchmark.parquet"
        pl.DataFrame({"text": pl.Series(benchmark, dtype=pl.String)}).write_parquet(path)
        data = corpus_of(pl.DataFrame({"id": ["a"], "text": ["data"]}), (), Path(folder) / "work")
        return contamination.learn(data, against=str(path), **options)


def scored(texts, benchmark, **options):
    """Return the scores and the spans of texts, as pieces of the texts."""
    frame = learned(benchmark, **options)(pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}))
    rows = zip(texts, frame["spans.contamination"], strict=True)
    spans = [[text[span["start"] : span["end"]] for span in row] for text, row in rows]
    return frame["score.contamination"].to_list(), spans


def expected(text, benchmark, n, shortest):
    """Return the score and the spans of a text, by the definition."""
    words = split(text or "")
    if not words:
        return 1.0, []
    whole = {tuple(w) for w in map(split, filter(None, benchmark)) if shortest <= len(w) < n}
    grams = {tuple(w[i : i + n]) for w in map(split, filter(None, benchmark)) for i in range(len(w) - n + 1)}
    matches = [
        (i, i + size)
        for size in range(1, n + 1)
        for i in range(len(words) - size + 1)
        if tuple(words[i : i + size]) in (grams if size == n else whole)
    ]
    width = min(n, len(words))
    windows = range(len(words) - width + 1)
    matched = sum(any(i <= start and end <= i + width for start, end in matches) for i in windows)
    covered = [any(start <= i < end for start, end in matches) for i in range(len(words))]
    runs, places = [], word_places(text)
    for i, is_covered in enumerate(covered):
        if is_covered and i and covered[i - 1]:
            runs[-1][1] = int(places[i, 1])
        elif is_covered:
            runs.append(places[i].tolist())
    return 1 - matched / len(windows), [text[start:end] for start, end in runs]


TEXTS = st.lists(st.sampled_from("a b c d. É 日 本 🙂".split()), max_size=14).map(" ".join) | st.none()


@settings(max_examples=150, deadline=None)
@given(
    texts=st.lists(TEXTS, max_size=6),
    benchmark=st.lists(TEXTS, min_size=1, max_size=5),
    n=st.integers(1, 5),
    least=st.integers(1, 5),
)
def test_scores_and_spans_are_those_of_the_definition(texts, benchmark, n, least):
    shortest = min(n, least)
    if not any(len(split(text or "")) >= shortest for text in benchmark):
        return
    scores, spans = scored([text or "" for text in texts], benchmark, n=n, shortest=shortest)
    plain = [expected(text or "", benchmark, n, shortest) for text in texts]
    assert scores == pytest.approx([score for score, _ in plain], abs=1e-15)
    assert spans == [runs for _, runs in plain]


def test_planted_copies_are_found_and_nothing_else():
    benchmark = [" ".join(document(60)) for _ in range(30)]
    clean = [document(200) for _ in range(60)]
    texts = [" ".join(words) for words in clean]
    texts += [" ".join([*words[:100], benchmark[i % 30].upper(), *words[100:]]) for i, words in enumerate(clean[:30])]
    scores, spans = scored(texts, benchmark)
    assert scores[:60] == [1.0] * 60
    # 48 n-grams of 13 words lie in 60 words; the text has 260 words, and so 248 n-grams
    assert scores[60:] == pytest.approx([1 - 48 / 248] * 30)
    assert spans[60:] == [[text.upper()] for text in benchmark]


def test_a_text_that_is_a_benchmark_text_scores_zero_in_any_script():
    benchmark = [
        "The quick brown fox jumps over the lazy dog again and again and again.",
        "日本語の文章には空白がありません。",
    ]
    texts = [benchmark[0].replace(" ", "\n- "), "「" + benchmark[1] + "」", "a clean text"]
    scores, spans = scored(texts, benchmark)
    assert scores == [0, 0, 1]
    assert spans == [[texts[0].rstrip(".")], [benchmark[1].rstrip("。")], []]


def test_short_benchmark_texts_are_searched_for_as_a_whole():
    question = "who wrote the first book of the bible"  # 8 words
    scores, spans = scored([f"Q: {question.title()}? A: x", question, "who wrote the first book"], [question, "Paris"])
    assert scores == [0, 0, 1]
    assert spans[0] == [question.title()]
    long = " ".join([*document(20), question, *document(20)])
    # 6 of the 36 n-grams contain the question
    assert scored([long], [question])[0] == [pytest.approx(1 - 6 / 36)]
    scorer = learned([question, "Paris", "no", None, ""])
    assert scorer.notes == (
        "contamination leaves out 2 of 3 benchmark texts, with fewer than 8 words: so few words occur by chance. Give "
        "shortest= to search for them too",
    )
    assert scored(["in Paris"], [question, "Paris"], shortest=1)[1] == [["Paris"]]


def test_spans_count_the_characters_of_the_text_as_it_was():
    """Texts with accents of their own are rewritten before words are compared."""
    question = "Ein Zug fa\u0308hrt um 8 Uhr in Mu\u0308nchen ab"
    text = f"Vorher e\u0301tage \u0130 \U0001f642. {question.upper()}! Nachher."
    _, spans = scored([text], [question], n=5, shortest=5)
    assert spans == [[question.upper()]]


def test_at_most_a_hundred_spans_are_stored():
    text = " . ".join(f"one two {i}" for i in range(150))
    scores, spans = scored([text], ["one two"], n=2, shortest=2)
    assert len(spans[0]) == contamination.MOST_SPANS
    # 150 of the 449 pairs of words match
    assert scores == [pytest.approx(1 - 150 / 449)]


ROWS = [{"question": f"{' '.join(document(20))}?", "choices": [" ".join(document(15))], "n": i} for i in range(4)]


def write(folder, name, rows):
    """Write rows in the format that the name ends with."""
    path = folder / name
    path.parent.mkdir(parents=True, exist_ok=True)
    if name.endswith(".parquet"):
        pl.DataFrame(rows).write_parquet(path)
    elif name.endswith(".csv"):
        pl.DataFrame(rows).drop("choices").write_csv(path)
    else:
        lines = "".join(json.dumps(row) + "\n" for row in rows).encode()
        path.write_bytes(gzip.compress(lines) if name.endswith(".gz") else lines)
    return path


def job(cli, tmp_path, texts, against, **options):
    data = tmp_path / "data"
    data.mkdir(exist_ok=True)
    pl.DataFrame({"text": texts}).write_parquet(data / "a.parquet")
    chosen = "".join(f",{key}={value}" for key, value in options.items())
    return cli("score", data, "--scorer", f"contamination:against={against}{chosen}", "--out", tmp_path / "out")


@pytest.mark.parametrize("name", ["b.parquet", "b.jsonl", "b.jsonl.gz", "b.csv"])
def test_benchmark_files_of_every_format_and_lists_of_texts(tmp_path, cli, name):
    path = write(tmp_path / "bench", name, ROWS)
    texts = [ROWS[0]["question"], f"Say: {ROWS[1]['choices'][0]}", " ".join(document(40))]
    result = job(cli, tmp_path, texts, path, against_columns="question+choices")
    assert result.code == 0, result.err
    written = pl.read_parquet(tmp_path / "out" / "a.parquet.scores.parquet")
    assert written["score.contamination"].to_list() == [0, 1 if name.endswith("csv") else 0.25, 1]
    start = written["spans.contamination"][0][0]["start"]
    assert (start, written["spans.contamination"][2].to_list()) == (0, [])


def test_several_benchmarks_with_files_of_one_name(tmp_path, cli):
    first, second = (write(tmp_path / folder, "test.jsonl", [ROWS[i]]) for i, folder in enumerate("xy"))
    texts = [ROWS[0]["question"], ROWS[1]["question"], ROWS[2]["question"]]
    assert job(cli, tmp_path, texts, f"{first}+{second.parent}", against_columns="question").code == 0
    written = pl.read_parquet(tmp_path / "out" / "a.parquet.scores.parquet")
    assert written["score.contamination"].to_list() == [0, 0, 1]


def test_a_changed_benchmark_is_refused_and_added_files_are_not(tmp_path, cli):
    path = write(tmp_path / "bench", "b.jsonl", ROWS)
    texts = [row["question"] for row in ROWS]
    assert job(cli, tmp_path, texts, path, against_columns="question").code == 0
    before = (tmp_path / "out" / "a.parquet.scores.parquet").read_bytes()
    pl.DataFrame({"text": [texts[2], "new"]}).write_parquet(tmp_path / "data" / "later.parquet")
    again = job(cli, tmp_path, texts, path, against_columns="question")
    assert again.code == 0
    assert "did not learn" not in again.out + again.err
    assert (tmp_path / "out" / "a.parquet.scores.parquet").read_bytes() == before
    added = pl.read_parquet(tmp_path / "out" / "later.parquet.scores.parquet")
    assert added["score.contamination"].to_list() == [0, 1]
    write(tmp_path / "bench", "b.jsonl", ROWS[:2])
    refused = job(cli, tmp_path, texts, path, against_columns="question")
    assert refused.code == 1
    assert "b.jsonl" in refused.err


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([], {}, "has no words in text"),
        ([{"text": None}, {"text": "..."}], {}, "has no words in text, so nothing can be compared with it"),
        (ROWS, {}, "has no column 'text'; it has question, choices, n. Name its column of texts"),
        (ROWS, {"against_columns": "question+n"}, "n is Int64, not text"),
        ([{"text": "two words"}], {}, "none of the 1 text of .* has 8 words or more"),
        ([{"text": "two words"}], {"shortest": 9, "n": 8}, "n=8 at least shortest and at most 1000"),
        ([{"text": "two words"}], {"n": 10**8}, "n=100000000 at least shortest and at most 1000"),
    ],
)
def test_wrong_benchmarks_and_options_are_one_line(tmp_path, cli, rows, options, message):
    path = write(tmp_path / "bench", "b.jsonl", rows)
    result = job(cli, tmp_path, ["a text"], path, **options)
    assert (result.code, result.err.strip().count("\n")) == (1, 0)
    assert re.search(message, result.err)


def test_no_benchmark_is_one_line(tmp_path, cli):
    (tmp_path / "data").mkdir()
    pl.DataFrame({"text": ["x"]}).write_parquet(tmp_path / "data" / "a.parquet")
    result = cli("score", tmp_path / "data", "--scorer", "contamination", "--out", tmp_path / "out")
    assert "has no texts to compare with. Name files that hold them: contamination:against=FILES" in result.err
    missing = job(cli, tmp_path, ["x"], tmp_path / "nowhere.jsonl")
    assert missing.code == 1
    assert "nowhere.jsonl" in missing.err
