"""The language scorer against py3langid itself."""

import tracemalloc
import unicodedata
from importlib.util import find_spec

import numpy as np
import polars as pl
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from curate import open_sets
from curate.errors import CurateError, SchemaError
from curate.scorers import _language_model

WITH_PACKAGE = pytest.mark.skipif(find_spec("py3langid") is None, reason="py3langid is not installed")
# Article 1 of the Universal Declaration of Human Rights, or the beginning of it.
SENTENCES = {
    "en": "All human beings are born free and equal in dignity and rights.",
    "fr": "Tous les êtres humains naissent libres et égaux en dignité et en droits.",
    "de": "Alle Menschen sind frei und gleich an Würde und Rechten geboren.",
    "es": "Todos los seres humanos nacen libres e iguales en dignidad y derechos.",
    "pl": "Wszyscy ludzie rodzą się wolni i równi pod względem swej godności i swych praw.",
    "tr": "Bütün insanlar hür, haysiyet ve haklar bakımından eşit doğarlar.",
    "vi": "Tất cả mọi người sinh ra đều được tự do và bình đẳng về nhân phẩm và quyền lợi.",
    "ru": "Все люди рождаются свободными и равными в своем достоинстве и правах.",
    "el": "Όλοι οι άνθρωποι γεννιούνται ελεύθεροι και ίσοι στην αξιοπρέπεια και τα δικαιώματα.",
    "he": "כל בני האדם נולדו בני חורין ושווים בערכם ובזכויותיהם.",
    "ar": "يولد جميع الناس أحرارا متساوين في الكرامة والحقوق.",
    "hi": "सभी मनुष्यों को गौरव और अधिकारों के मामले में जन्मजात स्वतन्त्रता और समानता प्राप्त है।",
    "th": "มนุษย์ทั้งหลายเกิดมามีอิสระและเสมอภาคกันในเกียรติศักดิ์และสิทธิ",
    "zh": "人人生而自由,在尊严和权利上一律平等。",
    "ja": "すべての人間は、生まれながらにして自由であり、かつ、尊厳と権利とについて平等である。",
    "ko": "모든 인간은 태어날 때부터 자유로우며 그 존엄과 권리에 있어 동등하다.",
    "ka": "ყველა ადამიანი იბადება თავისუფალი და თანასწორი თავისი ღირსებითა და უფლებებით.",
    "am": "የሰው ልጅ ሁሉ ሲወለድ ነጻና በክብርና በመብትም እኩልነት ያለው ነው።",
}
ODD = ["", "   ", "\n\u3000", "x", "\x00\x00", "12 34", "THIS IS UPPER CASE, ALL OF IT", "🙂🙂", "def f(x): return x"]
ODD += [unicodedata.normalize("NFD", SENTENCES["vi"]), SENTENCES["en"] * 300, " ".join(SENTENCES.values()) * 20]
PARTS = st.sampled_from([part for sentence in SENTENCES.values() for part in sentence.split()]) | st.text(max_size=5)
TEXTS = st.lists(PARTS, max_size=30).map(" ".join)


@pytest.fixture(scope="module")
def identifier():
    langid = pytest.importorskip("py3langid.langid")
    return langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE, norm_probs=True)


def scores(texts, language="en"):
    scorer = open_sets.build("scorers", f"language:language={language}")
    return scorer(pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}))["score.language"].to_list()


def own_score(identifier, text, language):
    return dict(identifier.rank(text))[language] if text.strip() else 0.0


# Serbian has two classes, one for each script.
@pytest.mark.parametrize("language", [*SENTENCES, "sr"])
def test_scores_are_those_of_py3langid(identifier, language):
    texts = [*SENTENCES.values(), *ODD]
    expected = [own_score(identifier, text, language) for text in texts]
    assert scores(texts, language) == pytest.approx(expected, abs=1e-4)
    if language in SENTENCES:
        assert scores([SENTENCES[language]], language)[0] > 0.5


@WITH_PACKAGE
@settings(deadline=None)  # the model is loaded by the first example
@given(st.lists(TEXTS | st.none(), max_size=8))
def test_a_text_has_the_same_score_to_the_bit_in_every_batch(texts):
    together = scores(texts)
    assert together == [scores([text])[0] for text in texts]
    assert together == scores(texts[::-1])[::-1]


@pytest.mark.parametrize("block", [100, 1000])
def test_a_text_that_is_walked_in_many_blocks_has_the_same_score(identifier, monkeypatch, block):
    texts = [*SENTENCES.values(), *ODD]
    expected = scores(texts)
    monkeypatch.setattr(_language_model, "BLOCK", block)
    monkeypatch.setattr(_language_model, "SEGMENT", 16)
    assert scores(texts) == expected


@WITH_PACKAGE
def test_memory_of_one_long_text_is_a_few_copies_of_it():
    """The text, its bytes and the joined bytes; states and features exist for one block at a time."""
    peaks, sizes = [], (4_000_000, 12_000_000)
    scores(["The first text loads the model. "])
    for size in sizes:
        text = (" ".join(str(number) for number in range(size // 8)) + SENTENCES["en"])[:size]
        tracemalloc.start()
        scores([text])
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    assert (peaks[1] - peaks[0]) / (sizes[1] - sizes[0]) < 5


@WITH_PACKAGE
def test_texts_do_not_leak_into_each_other():
    model = _language_model.load()
    states = np.arange(len(model.rows))
    assert not model.next_states[model.rows[states] + _language_model.SEPARATOR].any()


@WITH_PACKAGE
def test_probabilities_of_all_languages_sum_to_one():
    model = _language_model.load()
    totals = sum(model.probabilities(list(SENTENCES.values()), language) for language in model.languages)
    assert totals == pytest.approx(1)
    assert scores([None, "", " "]) == [0, 0, 0]
    assert scores([]) == []


@WITH_PACKAGE
def test_an_unknown_language_is_one_clear_line():
    with pytest.raises(SchemaError, match="language=xx is not among the .* languages of the model: ace, af, "):
        open_sets.build("scorers", "language:language=xx")


@pytest.mark.skipif(find_spec("py3langid") is not None, reason="the package is installed")
def test_a_missing_extra_is_one_clear_line():
    with pytest.raises(CurateError, match=r"needs the package py3langid: pip install 'curate-planner\[language\]'"):
        open_sets.build("scorers", "language")
