"""The scorers gopher, c4 and fineweb: datatrove's verdicts on stored texts, and both sides of every limit by hand."""

import json
from pathlib import Path

import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.scorers.c4 import C4
from curate.scorers.fineweb import Fineweb
from curate.scorers.gopher import Gopher
from curate.words import ngrams

VERDICTS = [
    json.loads(line)
    for line in (Path(__file__).parent / "datatrove" / "verdicts.jsonl").read_text(encoding="utf-8").split("\n")
    if line
]
FILTERS = {
    "gopher_quality": Gopher(rules="quality"),
    "gopher_repetition": Gopher(rules="repetition"),
    "c4": C4(),
    "fineweb": Fineweb(),
}
REPETITION_LIMITS = [name for name in Gopher.__dataclass_fields__ if name.startswith(("repeated_", "top_"))]


def reason(scorer, text: str | None) -> str | None:
    """The reason of one text, after a check that its score fits."""
    score, why = scorer(pl.DataFrame({"text": [text]}, schema={"text": pl.String})).row(0)
    assert score == (why is None)
    return why


@pytest.mark.parametrize("name", FILTERS)
def test_verdicts_and_reasons_are_those_of_datatrove(name):
    results = FILTERS[name](pl.DataFrame({"text": [row["text"] for row in VERDICTS]}))
    assert results[:, 1].to_list() == [row[name] for row in VERDICTS]
    assert results[:, 0].to_list() == [float(row[name] is None) for row in VERDICTS]


def test_gopher_has_both_filters_and_repetition_decides_the_reason():
    results = Gopher()(pl.DataFrame({"text": [row["text"] for row in VERDICTS]}))
    expected = [row["gopher_repetition"] or row["gopher_quality"] for row in VERDICTS]
    assert results["reason.gopher"].to_list() == expected


def quality(**limits) -> Gopher:
    return Gopher(rules="quality", **limits)


def repetition(name: str) -> Gopher:
    """The scorer with one limit of repetition, and no other."""
    return Gopher(rules="repetition", **{other: 1e9 for other in REPETITION_LIMITS if other != name})


def with_words(*words: str, total: int = 50) -> str:
    """Stop words, other words, and as many more as are missing."""
    return " ".join(["the", "of", *words, *["word"] * (total - 2 - len(words))])


def lines_with(ending: str, count: int, *, beginning: str = "") -> str:
    """Ten lines of six words, of which some end or begin in another way."""
    line = "the of word word word word"
    return "\n".join(f"{beginning}{line}{ending}" if i < count else line for i in range(10))


def twice(n: int, tail: int) -> str:
    """A run of n words of one letter, twice, and a long word."""
    return " ".join(["abcdefghij"[i] for i in range(n)] * 2) + " " + "x" * tail


LONG_WORDS = ["the", "and", *["w" * 10] * 46]  # 466 characters
SIDES = [
    ("short", quality(), with_words(), with_words(total=49), "gopher_short_doc"),
    ("marks are no words", quality(), with_words() + " ! !", with_words(total=49) + " ! !", "gopher_short_doc"),
    ("long", quality(max_words=60), with_words(total=60), with_words(total=61), "gopher_long_doc"),
    (
        "length 3",
        quality(),
        " ".join(["the", "and"] * 25),
        " ".join(["the", "and"] * 24 + ["and", "to"]),
        "gopher_below_avg_threshold",
    ),
    (
        "length 10",
        quality(),
        " ".join([*LONG_WORDS, "v" * 17, "v" * 17]),
        " ".join([*LONG_WORDS, "v" * 17, "v" * 18]),
        "gopher_above_avg_threshold",
    ),
    # 6 of 60 words, and 6 of 59
    (
        "number signs",
        quality(),
        with_words(*"######", total=60),
        with_words(*"######", total=59),
        "gopher_too_many_hashes",
    ),
    (
        "ellipses",
        quality(),
        with_words(*"……………", "...", total=60),
        with_words(*"……………", "...", total=59),
        "gopher_too_many_ellipsis",
    ),
    (
        "bullets",
        quality(),
        lines_with("", 9, beginning=" - "),
        lines_with("", 10, beginning=" - "),
        "gopher_too_many_bullets",
    ),
    ("ends", quality(), lines_with("... ", 3), lines_with("... ", 4), "gopher_too_many_end_ellipsis"),
    (
        "letters",
        quality(),
        with_words(*["123"] * 10),
        with_words(*["123"] * 11),
        "gopher_below_alpha_threshold",
    ),
    (
        "stop words",
        quality(),
        with_words(),
        with_words().replace("of", "The"),
        "gopher_enough_stop_words",
    ),
    (
        "lines",
        repetition("repeated_lines"),
        "\n".join("aaaabcdefg"),
        "\n".join("aaaaabcdef"),
        "dup_line_frac",
    ),
    ("line characters", repetition("repeated_line_characters"), "ab\nab\ncccc", "ab\nab\nccc", "dup_line_char_frac"),
    (
        "paragraphs",
        repetition("repeated_paragraphs"),
        "\n\n\n".join("aaaabcdefg"),
        "\n\n\n".join("aaaaabcdef"),
        "dup_para_frac",
    ),
    (
        "paragraph characters",
        repetition("repeated_paragraph_characters"),
        "ab\n\nab\n\ncc",
        "ab\n\nab\n\nc",
        "dup_para_char_frac",
    ),
    # the most frequent run has 3, 5 and 7 characters, and occurs twice
    ("top 2", repetition("top_2_gram"), twice(2, 22), twice(2, 21), "top_2_gram"),
    ("top 3", repetition("top_3_gram"), twice(3, 44), twice(3, 43), "top_3_gram"),
    ("top 4", repetition("top_4_gram"), twice(4, 72), twice(4, 71), "top_4_gram"),
    # the repeated run has n letters; the smallest text that passes has n / limit characters, rounded up
    ("5", repetition("repeated_5_grams"), twice(5, 34 - 20), twice(5, 33 - 20), "duplicated_5_n_grams"),
    ("6", repetition("repeated_6_grams"), twice(6, 43 - 24), twice(6, 42 - 24), "duplicated_6_n_grams"),
    ("7", repetition("repeated_7_grams"), twice(7, 54 - 28), twice(7, 53 - 28), "duplicated_7_n_grams"),
    ("8", repetition("repeated_8_grams"), twice(8, 67 - 32), twice(8, 66 - 32), "duplicated_8_n_grams"),
    ("9", repetition("repeated_9_grams"), twice(9, 82 - 36), twice(9, 81 - 36), "duplicated_9_n_grams"),
    ("10", repetition("repeated_10_grams"), twice(10, 100 - 40), twice(10, 99 - 40), "duplicated_10_n_grams"),
    # 3 of 25 lines, and 2
    (
        "line ends",
        Fineweb(),
        "\n".join(f"line {i} of more than thirty characters{'.' * (i < 3)}" for i in range(25)),
        "\n".join(f"line {i} of more than thirty characters{'.' * (i < 2)}" for i in range(25)),
        "line_punct_ratio",
    ),
    (
        "short lines",
        Fineweb(),
        "\n".join(["a" * 31 + ".", "b" * 29 + ".", "c d e f g h i."]),
        "\n".join(["a" * 31 + ".", "b" * 29 + ".", "c d e f g h i.", "j k l."]),
        "short_line_ratio",
    ),
    # one repeated character of 100, and of 99
    (
        "repeated",
        Fineweb(),
        "\n".join([".", ".", "w " * 24 + ".", "v " * 24 + "."]),
        "\n".join([".", ".", "w " * 24 + ".", "v " * 23 + "v."]),
        "char_dup_ratio",
    ),
    # 3 line feeds for 10 words, and for 9
    (
        "line feeds",
        Fineweb(max_short_lines=1),
        "aa bb cc dd.\nee ff gg.\n.\n",
        "aa bb cc dd.\nee ff.\n.\n",
        "list_ratio",
    ),
]


@pytest.mark.parametrize(
    ("scorer", "passing", "failing", "why"), [side[1:] for side in SIDES], ids=[s[0] for s in SIDES]
)
def test_each_limit_has_two_sides(scorer, passing, failing, why):
    assert reason(scorer, passing) is None
    assert reason(scorer, failing) == why


@pytest.mark.parametrize(
    ("name", "empty", "space"),
    [
        ("gopher_quality", "gopher_short_doc", "gopher_short_doc"),
        ("gopher_repetition", "empty", None),  # datatrove finds no repetition in spaces
        ("c4", "too_few_sentences", "too_few_sentences"),
        ("fineweb", "empty", "empty"),
    ],
)
def test_empty_texts(name, empty, space):
    assert reason(FILTERS[name], "") == reason(FILTERS[name], None) == empty
    assert reason(FILTERS[name], "   ") == space


def test_repeated_runs_are_counted_from_the_left_without_overlaps():
    # Of 15 equal words, the run at word 0 is new, and those at 1 and 6 are repetitions. The run at 11 has the tail.
    text = " ".join(["a"] * 15)
    scorer = repetition("repeated_5_grams")
    assert reason(scorer, text + " " + "x" * 37) is None  # 10 of 67 characters
    assert reason(scorer, text + " " + "x" * 36) == "duplicated_5_n_grams"  # 10 of 66


LINE = "This line has five words."


@pytest.mark.parametrize(
    ("line", "counts"),
    [
        ("Two words.", False),
        ("Now three words.", True),
        ("No mark at the end", False),
        ('He said "yes"', True),
        ("It goes on...", False),
        (f"A word of {'x' * 1000} characters.", True),
        (f"A word of {'x' * 1001} characters.", False),
        ("Please enable JavaScript to go on.", False),
        ("This page uses cookies for everything.", False),
        ("Read our Privacy Policy for more.", False),
        ("A fact with a source.[12]", True),
        ("Only [edit] one.", True),
    ],
)
def test_c4_counts_the_sentences_of_lines_that_are_left(line, counts):
    assert reason(C4(), "\n".join([LINE] * 4 + [line])) == (None if counts else "too_few_sentences")


def test_c4_fails_pages_for_some_phrases():
    page = "\n".join([LINE] * 9)
    assert reason(C4(), page) is None
    assert reason(C4(), f"{page}\nLorem ipsum dolor sit amet.") == "lorem_ipsum"
    assert reason(C4(), f"{page}\nfunction f() {{ return 1.") == "curly_bracket"
    assert reason(C4(curly_brackets=False), f"{page}\nfunction f() {{ return 1.") is None
    assert reason(C4(), f"{page}\nfunction f() {{") is None, "the line is dropped before"


def test_c4_counts_sentences_inside_a_line():
    assert reason(C4(), "One is here. Two is here! Is three? Mr. Smith is four. Five is last.") is None
    assert reason(C4(), "One is here. Two is here! Is three? Mr. Smith is four (and last.)") == "too_few_sentences"


def test_c4_takes_bad_words_from_a_file(tmp_path):
    path = tmp_path / "words.txt"
    path.write_text("Darn\n\nheck no\n")
    page = "\n".join([LINE] * 9)
    assert reason(C4(badwords=str(path)), f"{page} darning") is None
    assert reason(C4(badwords=str(path)), f"{page} DARN!") == "document_removed_with_badwords"
    assert reason(C4(badwords=str(path)), f"heck no.\n{page}") == "document_removed_with_badwords"
    path.with_name("empty.txt").write_text("\n")
    with pytest.raises(SchemaError, match="has no words"):
        C4(badwords=str(path.with_name("empty.txt")))
    with pytest.raises(SchemaError, match="cannot be read"):
        C4(badwords=str(path.with_name("missing.txt")))


@pytest.mark.parametrize(
    ("begin", "end", "lines", "expected"),
    [
        ("- ", "", 9, None),
        ("- ", "", 10, "gopher_too_many_bullets"),
        ("  • ", "", 10, "gopher_too_many_bullets"),
        ("", "...", 3, None),
        ("", "... ", 4, "gopher_too_many_end_ellipsis"),
        ("", "…", 4, "gopher_too_many_end_ellipsis"),
    ],
)
def test_marks_of_lines_are_counted_where_they_can_decide(begin, end, lines, expected):
    """At most 90 % of lines may begin with a bullet, and at most 30 % may end with an ellipsis."""
    line = "the rabbit and the badger slept on mattresses"
    for feed in ("\n", "\r\n", "\u2028"):
        page = feed.join([begin + line + end] * lines + [line] * (10 - lines))
        assert reason(Gopher(rules="quality"), page) == expected


@pytest.mark.parametrize(
    "spec", [{"rules": "all"}, {"min_words": -1}, {"repeated_5_grams": float("nan")}, {"top_2_gram": -0.1}]
)
def test_bad_options_are_refused(spec):
    with pytest.raises(SchemaError, match=next(iter(spec))):
        Gopher(**spec)


@pytest.mark.parametrize("name", FILTERS)
def test_long_texts_in_parts_have_the_verdicts_of_whole_ones(name, monkeypatch):
    texts = [row["text"] for row in VERDICTS]
    texts = [*texts[20:60], "\n".join(texts[:40]), " ".join(texts[40:80]).replace("\n", " ")]
    frame = pl.DataFrame({"text": texts})
    whole = [FILTERS[name](frame[i : i + 1]) for i in range(len(texts))]
    monkeypatch.setattr("curate.words.ngrams.LONG", 50)
    for module in ("curate.streaming.repeated_ngrams", "curate.scorers._repetition_rules"):
        monkeypatch.setattr(f"{module}.BLOCK", 16)
    parts = [FILTERS[name](frame[i : i + 1]) for i in range(len(texts))]
    assert pl.concat(whole).equals(pl.concat(parts))


@pytest.mark.parametrize("name", FILTERS)
def test_verdicts_do_not_depend_on_other_rows(name):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame({"text": [row["text"] for row in VERDICTS]})
    order = rng.permutation(frame.height)
    together = FILTERS[name](frame)
    cuts = sorted(rng.choice(frame.height, 6, replace=False).tolist())
    pieces = [frame[order[a:b]] for a, b in zip([0, *cuts], [*cuts, frame.height], strict=True)]
    assert pl.concat(map(FILTERS[name], pieces)).equals(together[order])


def test_a_long_text_is_cut_at_lines_or_spaces():
    text = "ab cd\nef gh " * 40_000
    parts = list(ngrams.long_text_parts(text))
    assert "".join(parts) == text
    assert all(part[0].isspace() for part in parts[1:])
    assert max(map(len, parts)) <= ngrams.LONG
