"""Compression: the same at every length for Python's own code and prose; repeats low, noise high."""

import ast
import base64
import math
import random
import sysconfig
from pathlib import Path
from pydoc_data.topics import topics

import numpy as np
import polars as pl
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import spearmanr

from curate.errors import SchemaError
from curate.scorers.compression import FIRST_WIDE, Compression, text_bytes

MOST = 0.3  # of the correlation with length, either way


def scores(texts):
    batch = pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)})
    return Compression()(batch)["score.compression"].to_numpy()


def standard_library():
    """Every fourth file of Python's own modules, and their functions and docstrings."""
    files, functions, docstrings = [], [], []
    root = Path(sysconfig.get_paths()["stdlib"])
    paths = [p for p in sorted(root.rglob("*.py")) if not {"site-packages", "test", "lib2to3"} & set(p.parts)]
    for path in paths[::4]:
        files.append(path.read_text("utf-8"))
        lines = files[-1].splitlines(keepends=True)
        for node in ast.walk(ast.parse(files[-1])):
            if isinstance(node, ast.FunctionDef):
                functions.append("".join(lines[node.lineno - 1 : node.end_lineno]))
                docstrings.append(ast.get_docstring(node) or "")
    return files, functions, docstrings


def cuts(text):
    """Cut at lengths that are spread evenly over the logarithm from 20 to 20,000 characters."""
    rng, parts, start = random.Random(0), [], 0
    while start < len(text):
        length = round(math.exp(rng.uniform(math.log(20), math.log(20_000))))
        parts.append(text[start : start + length])
        start += length
    return parts


def test_score_and_length_are_not_related_through_the_command_line(tmp_path, cli):
    files, functions, docstrings = standard_library()
    prose = "\n\n".join(topics.values())
    kinds = {"file": files, "function": functions, "docstring": docstrings, "prose": cuts(prose)}
    kinds["paragraph"] = prose.split("\n\n")
    rows = [(f"{kind}{i}", kind, text) for kind, texts in kinds.items() for i, text in enumerate(texts) if text]
    (tmp_path / "data").mkdir()
    frame = pl.DataFrame(rows, schema=["id", "source", "text"], orient="row")
    frame.write_parquet(tmp_path / "data" / "a.parquet")
    assert cli("score", tmp_path / "data", "--scorer", "compression", "--out", tmp_path / "out").code == 0
    scored = pl.read_parquet(tmp_path / "out" / "*.scores.parquet").join(frame, on="id")
    for kind in kinds:
        part = scored.filter(pl.col("source") == kind)
        related = spearmanr(part["score.compression"], part["text"].str.len_bytes())[0]
        assert abs(related) < MOST, (kind, related)
        median = part["score.compression"].median()
        assert 0.3 < median < 0.7, (kind, median)


def test_repeats_are_low_and_noise_is_high():
    rng = np.random.default_rng(0)
    noise = [base64.b64encode(rng.bytes(size)).decode() for size in (300, 3000, 30000)]
    prose = "\n\n".join(topics.values())[:30000]
    repeated = [phrase * 60 for phrase in ("word ", "Buy now and save! ", "重复的内容。", "a")]
    assert scores(noise).min() > 0.9
    assert 0.4 < scores([prose])[0] < 0.7
    assert scores(repeated).max() < 0.05


# Article 1 of the Universal Declaration of Human Rights (public domain).
ARTICLE = {
    "English": "All human beings are born free and equal in dignity and rights. They are endowed with reason and "
    "conscience and should act towards one another in a spirit of brotherhood.",
    "Russian": "Все люди рождаются свободными и равными в своем достоинстве и правах. Они наделены разумом и совестью "
    "и должны поступать в отношении друг друга в духе братства.",
    "Greek": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα. Είναι προικισμένοι "
    "με λογική και συνείδηση, και οφείλουν να συμπεριφέρονται μεταξύ τους με πνεύμα αδελφοσύνης.",
    "Hindi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है। उन्हें बुद्धि और अन्तरात्मा की देन "
    "प्राप्त है और परस्पर उन्हें भाईचारे के भाव से बर्ताव करना चाहिए।",
    "Georgian": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით. მათ მინიჭებული აქვთ "
    "გონება და სინდისი და ერთმანეთის მიმართ უნდა იქცეოდნენ ძმობის სულისკვეთებით.",
    "Chinese": "人人生而自由,在尊严和权利上一律平等。他们赋有理性和良心,并应以兄弟关系的精神相对待。",
    "Korean": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다. 인간은 천부적으로 이성과 양심을 "
    "부여받았으며 서로 형제애의 정신으로 행동하여야 한다.",
}


def test_the_same_text_scores_alike_in_every_script():
    """In UTF-8 the letters of one alphabet share their first bytes: Georgian had 0.11 where English has 0.65."""
    values = dict(zip(ARTICLE, scores(list(ARTICLE.values())), strict=True))
    assert all(abs(value - values["English"]) < 0.1 for value in values.values()), values
    repeated = scores([text * 30 for text in ARTICLE.values()])
    assert repeated.max() < 0.12


def test_every_character_has_its_bytes():
    texts = ["az", "aя", "", "中a", "😀"]
    expected = [b"az", bytes([97, 128 | 0x4F]), b"", bytes([128 | 0x4E, 0x2D, 97])]
    # An emoji lies above U+FFFF.
    *others, emoji = text_bytes(texts)
    assert others == expected and len(emoji) == 2


def bytes_of(character):
    """The rule for one character."""
    point = ord(character)
    if point < 128:
        return [point]
    return [128 | (point >> 8) & 127, point & 255] if point >= FIRST_WIDE else [128 | point & 127]


LETTERS = st.text(st.sampled_from("ab é я中語😀\u2e7f\u2e80\uffff") | st.characters(codec="utf-8"), max_size=40)


@given(st.lists(LETTERS | st.text("ab", max_size=5), max_size=6))
def test_the_bytes_of_a_text_are_those_of_its_characters(texts):
    expected = [bytes(byte for character in text for byte in bytes_of(character)) for text in texts]
    assert text_bytes(texts) == expected


def test_texts_too_short_to_repeat_lie_between_code_and_noise():
    assert scores(["", None]).tolist() == [0, 0]
    letters = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
    short = scores([letters[:n] for n in (1, 10, 50)])
    assert short == pytest.approx([1.2 - 0.15 / (0.55 * n / (n + 200) + 0.2) for n in (1, 10, 50)])


def test_ten_million_characters_are_bounded():
    text = "The quick brown fox jumps over the lazy dog. " * 222_223
    assert 0 <= scores([text])[0] < 0.05


@pytest.mark.parametrize("level", [0, 10])
def test_an_effort_that_zlib_does_not_have_is_refused(level):
    with pytest.raises(SchemaError, match=f"compression: level={level} must be 1 to 9"):
        Compression(level=level)


def test_every_effort_gives_about_the_same_score():
    """The window is small, so trying harder finds little more."""
    prose = pl.DataFrame({"text": ["\n\n".join(topics.values())[:20000]]})
    values = [Compression(level=level)(prose)["score.compression"][0] for level in (1, 6, 9)]
    assert max(values) - min(values) < 0.05
