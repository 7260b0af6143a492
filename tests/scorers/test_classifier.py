"""The scorer ``classifier``: learned here, from a folder of transformers, and from a file of fastText."""

import math
from base64 import b64decode

import numpy as np
import polars as pl
import pytest
from conftest import tiny_classifier
from corpora import corpus_of
from hypothesis import given
from hypothesis import strategies as st
from scipy.sparse import csr_matrix
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import roc_auc_score

import curate
from curate.engines.local import Local
from curate.errors import CurateError, SchemaError
from curate.scorers import _ngram_regression, classifier
from curate.streaming import roc_area
from curate.words import ngrams

GOOD_WORDS = "proof lemma theorem space map field ring group".split()
BAD_WORDS = "cheap pills click here offer win now free".split()
BOTH = "the a of and to in is it that for with as on by".split()


def texts(words, count, seed, length=30) -> list[str]:
    """Texts of which a third of the words are of one kind."""
    rng = np.random.default_rng(seed)
    return [" ".join(rng.choice(words if u < 1 / 3 else BOTH) for u in rng.random(length)) for _ in range(count)]


GOOD, BAD = texts(GOOD_WORDS, 120, 1), texts(BAD_WORDS, 150, 2)


@pytest.fixture
def samples(tmp_path):
    """Two samples, and data with both kinds of texts."""
    pl.DataFrame({"text": GOOD}).write_parquet(tmp_path / "good.parquet")
    pl.DataFrame({"text": BAD}).write_ndjson(tmp_path / "bad.jsonl")
    data = tmp_path / "data"
    data.mkdir()
    for part in range(3):
        rows = texts(GOOD_WORDS, 20, 10 + part) + texts(BAD_WORDS, 20, 20 + part) + ["", " "]
        labels = [1] * 20 + [0] * 22
        pl.DataFrame({"text": rows, "label": labels}).write_parquet(data / f"{part}.parquet")
    return tmp_path


def spec(folder, more="") -> str:
    return f"classifier:good={folder / 'good.parquet'},bad={folder / 'bad.jsonl'},buckets=4096{more}"


def scores(out) -> pl.DataFrame:
    return pl.concat([pl.read_parquet(path) for path in sorted(out.rglob("*.scores.parquet"))])


def test_it_tells_good_from_bad_and_says_how_well(samples):
    result = curate.score(samples / "data", spec(samples), samples / "out")
    frame = scores(samples / "out")
    assert roc_auc_score(frame["label"].cast(int), frame["score.classifier"]) > 0.99
    assert np.isfinite(frame["score.classifier"].to_numpy()).all()
    (note,) = [note for note in result.notes if note.startswith("classifier")]
    assert "on 12 good and 15 bad texts that were held out. It learned from 108 good and 135 bad ones" in note
    assert curate.score(samples / "data", spec(samples), samples / "out").rows == 0


def test_scores_are_the_formula_of_scikit_learn_on_the_same_words(samples):
    """The vectors are made by hand, in Python, and the model by scikit-learn."""
    learned = _ngram_regression.learn(pl.Series(GOOD), pl.Series(BAD), 512)

    def vectors(rows):
        matrix = np.zeros((len(rows), 512))
        for row, text in zip(matrix, rows, strict=True):
            words = ngrams.words(pl.Series([text]), marks=True)
            values = [*words.values.tolist(), *ngrams.ngrams(words, 2).values.tolist()]
            for value in values:
                row[value % 512] += 1 / math.sqrt(len(values))
        return csr_matrix(matrix)

    train = vectors(GOOD[:108] + BAD[:135])
    labels = [1] * 108 + [0] * 135
    model = LogisticRegression(C=learned.penalty, class_weight="balanced", max_iter=200).fit(train, labels)
    words = ngrams.words(pl.Series(GOOD + BAD), marks=True)
    odds = _ngram_regression.evidence(words, learned.weights) + learned.bias
    np.testing.assert_allclose(odds, model.decision_function(vectors(GOOD + BAD)), atol=5e-3)
    test = odds[[*range(108, 120), *range(255, 270)]]
    assert learned.auc == pytest.approx(roc_auc_score([1] * 12 + [0] * 15, test))


def test_bytes_are_equal_for_any_workers_and_batches(samples):
    curate.score(samples / "data", spec(samples), samples / "first")
    curate.score(samples / "data", [spec(samples)], samples / "second", engine=Local(2), batch_rows=5)
    first, second = scores(samples / "first"), scores(samples / "second")
    assert first.equals(second)
    # Beside another scorer of words, the words are read from a column that the job has computed.
    both = [spec(samples), f"dsir:target={samples / 'good.parquet'}"]
    curate.score(samples / "data", both, samples / "third")
    assert scores(samples / "third").select(first.columns).equals(first)


def test_without_a_bad_sample_the_data_is_the_bad_sample(samples):
    curate.score(samples / "data", f"classifier:good={samples / 'good.parquet'},buckets=4096", samples / "out")
    frame = scores(samples / "out")
    assert roc_auc_score(frame["label"].cast(int), frame["score.classifier"]) > 0.9


def test_texts_of_both_samples_are_not_learned_as_bad(tmp_path):
    pl.DataFrame({"text": GOOD}).write_parquet(tmp_path / "good.parquet")
    rows = pl.DataFrame({"id": [str(i) for i in range(270)], "text": GOOD + BAD})
    model = classifier.learn(corpus_of(rows, [50], tmp_path), good=str(tmp_path / "good.parquet"), buckets=1024)
    assert model.held_out[-1] + model.held_out[-3] == 150


def test_lists_of_files_and_another_column(samples):
    pl.DataFrame({"body": GOOD[:60]}).write_parquet(samples / "a.parquet")
    pl.DataFrame({"body": GOOD[60:]}).write_parquet(samples / "b.parquet")
    pl.DataFrame({"body": BAD}).write_parquet(samples / "c.parquet")
    named = f"classifier:good={samples / 'a.parquet'}+{samples / 'b.parquet'},bad={samples / 'c.parquet'},column=body"
    curate.score(samples / "data", named, samples / "out")
    assert roc_auc_score(scores(samples / "out")["label"].cast(int), scores(samples / "out")["score.classifier"]) > 0.99
    # The content of every file that it learned from belongs to the job.
    pl.DataFrame({"body": GOOD[:59]}).write_parquet(samples / "a.parquet")
    with pytest.raises(CurateError, match="a.parquet"):
        curate.score(samples / "data", named, samples / "out")


@given(
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
    st.lists(st.integers(0, 9), min_size=1, max_size=30),
)
def test_the_area_is_that_of_scikit_learn_and_lies_in_its_interval(positive, negative):
    area = roc_area.area(np.array(positive), np.array(negative))
    labels = [1] * len(positive) + [0] * len(negative)
    assert area == pytest.approx(roc_auc_score(labels, positive + negative))
    low, high = roc_area.interval(area, len(positive), len(negative), 0.95)
    assert 0 <= low <= area <= high <= 1


def test_the_interval_holds_the_true_area_nineteen_times_in_twenty():
    """Scores are normal, one apart, so that the true area is Phi(1 / sqrt 2) = 0.7602."""
    rng = np.random.default_rng(0)
    hits = 0
    for _ in range(400):
        area = roc_area.area(rng.normal(1, 1, 40), rng.normal(0, 1, 60))
        low, high = roc_area.interval(area, 40, 60, 0.95)
        hits += low <= 0.7602 <= high
    assert 0.92 <= hits / 400 <= 0.98


@pytest.mark.parametrize("texts", [1, 3, 1000, 100_000])
def test_an_area_of_one_has_an_interval_with_a_width(texts):
    low, high = roc_area.interval(1.0, texts, texts, 0.95)
    variance = low * (1 - low) * (1 + (texts - 1) * ((1 - low) / (2 - low) + low / (1 + low))) / texts**2
    assert high == 1
    assert (1 - low) ** 2 == pytest.approx(1.959964**2 * variance, rel=1e-6)
    assert low < 1 - 1e-6
    assert roc_area.interval(0.0, texts, texts, 0.95) == (0, pytest.approx(1 - low, rel=1e-6))


@pytest.mark.parametrize(
    "options, message",
    [
        ("", "there is nothing to classify by"),
        ("bad=bad.jsonl", "there is nothing to classify by"),
        ("good=good.parquet,model=folder", "good and model exclude each other"),
        ("model=folder,fasttext=file", "model and fasttext exclude each other"),
        ("good=good.parquet,label=x", "label= goes with model= or fasttext=, not with good="),
        ("good=good.parquet,windows=false", "windows= goes with model=, not with good="),
        ("good=good.parquet,rows=3", "rows=3 must be 10 to 1000000"),
        ("good=good.parquet,buckets=0", "buckets=0 must be 1 to"),
        ("good=nowhere.parquet", "no input files at nowhere.parquet"),
        ("good=few.parquet", "2 texts with words in the good sample, and 10 are needed"),
        ("good=good.parquet,bad=good.parquet", "texts of the bad sample are in the good one too, and tell nothing"),
        ("good=good.parquet,column=body", "has no column 'body'"),
    ],
)
def test_what_it_refuses_is_one_line(options, message, samples, monkeypatch):
    monkeypatch.chdir(samples)
    pl.DataFrame({"text": ["a word", "two words", "", None]}).write_parquet("few.parquet")
    with pytest.raises(CurateError) as caught:
        curate.score("data", f"classifier:{options}".rstrip(":"), "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


# A file of fastText with two numbers for each word, from 100 lines like "a clear proof of text" (good) and "buy cheap
# pills of text" (bad): train_supervised(..., wordNgrams=1, epoch=10, lr=0.1, bucket=0, dim=2, thread=1).
TINY = """
uhZPLwwAAAACAAAABQAAAAoAAAABAAAABQAAAAEAAAADAAAAAwAAAAAAAAAAAAAAAAAAAGQAAAAtQxzr4jYaPwsAAAAJAAAAAgAAALwCAAAAAA
AA//////////9vZgBkAAAAAAAAAAB0ZXh0AGQAAAAAAAAAADwvcz4AZAAAAAAAAAAAYnV5ADIAAAAAAAAAAGNoZWFwADIAAAAAAAAAAHBpbGxz
ADIAAAAAAAAAAGEAMgAAAAAAAAAAY2xlYXIAMgAAAAAAAAAAcHJvb2YAMgAAAAAAAAAAX19sYWJlbF9fYmFkADIAAAAAAAAAAV9fbGFiZWxfX2
dvb2QAMgAAAAAAAAABAAkAAAAAAAAAAgAAAAAAAACOGcC+Bxe7nZ3oIj0HF7udnegiPSWdXB8K+Qq/5ZmfHwr5Cr/lmZ8fCvkKv+WZnx+XJxU/
VEurn5cnFT9US6uflycVP1RLq58AAgAAAAAAAAACAAAAAAAAAGGpd78qNg4gY6l3Pys2DqA=
"""


def test_a_file_of_fasttext_gives_the_log_odds_of_its_label(samples):
    path = samples / "tiny.bin"
    path.write_bytes(b64decode(TINY))
    fasttext = pytest.importorskip("fasttext", reason="an extra: pip install 'curate-planner[fasttext]'")
    rows = ["a clear\nproof", "buy cheap pills", "of text", "", None]
    pl.DataFrame({"text": rows}).write_parquet(samples / "rows.parquet")
    curate.score(samples / "rows.parquet", f"classifier:fasttext={path},label=good", samples / "out")
    values = pl.read_parquet(samples / "out" / "rows.parquet.scores.parquet")["score.classifier"].to_list()
    model = fasttext.load_model(str(path))
    for text, value in zip(rows, values, strict=True):
        labels, shares = model.predict((text or "").replace("\n", " "), -1)
        share = dict(zip(labels, shares, strict=True))["__label__good"]
        assert value == pytest.approx(math.log(share / (1 - share)), rel=1e-4)
    assert values[0] > 0.5
    assert values[1] < -0.5
    for label, message in (("", "has several labels, and none is named"), (",label=god", "one of bad, good")):
        with pytest.raises(SchemaError, match=message):
            curate.score(samples / "rows.parquet", f"classifier:fasttext={path}{label}", samples / "other")
    with pytest.raises(SchemaError, match="cannot be read as a classifier of fastText"):
        curate.score(samples / "rows.parquet", f"classifier:fasttext={samples / 'good.parquet'}", samples / "other")


@pytest.mark.filterwarnings("ignore")
class TestNetworks:
    """Tiny networks with random weights, in batches: equal to one text at a time through transformers."""

    TEXTS = ("", "a", "The cat sat on the mat.", *GOOD[:12], " ".join(GOOD[:9]), "é ü")

    @pytest.fixture(autouse=True)
    def _package(self):
        pytest.importorskip("transformers", reason="an extra: pip install 'curate-planner[lm]'")

    def by_hand(self, folder, text, limit=96) -> list[tuple[np.ndarray, int]]:
        """The logits and tokens of each window of a text."""
        import torch
        from transformers import AutoModelForSequenceClassification, AutoTokenizer

        tokenizer = AutoTokenizer.from_pretrained(folder)
        model = AutoModelForSequenceClassification.from_pretrained(folder).eval()
        windows = tokenizer(text, truncation=True, max_length=limit, return_overflowing_tokens=True)["input_ids"]
        with torch.inference_mode():
            return [(model(input_ids=torch.tensor([ids])).logits[0].numpy(), len(ids)) for ids in windows]

    def scored(self, folder, out, options="", **more) -> list[float]:
        rows = folder.parent / f"{folder.name}-rows.parquet"
        pl.DataFrame({"text": [*self.TEXTS, None]}).write_parquet(rows)
        curate.score(rows, f"classifier:model={folder}{options}", out, **more)
        return pl.read_parquet(out / f"{rows.name}.scores.parquet")["score.classifier"].to_list()

    def test_one_output_is_the_score(self, tmp_path):
        folder = tiny_classifier(tmp_path / "model", labels=["quality"])
        values = self.scored(folder, tmp_path / "out")
        for text, value in zip([*self.TEXTS, ""], values, strict=True):
            windows = self.by_hand(folder, text)
            mean = sum(logits[0] * size for logits, size in windows) / sum(size for _, size in windows)
            assert value == pytest.approx(float(mean), abs=1e-5)
        assert self.scored(folder, tmp_path / "two", batch_rows=2) == pytest.approx(values, abs=1e-6)
        cut = self.scored(folder, tmp_path / "cut", ",windows=false")
        assert cut[-3] == pytest.approx(float(self.by_hand(folder, self.TEXTS[-2])[0][0][0]), abs=1e-5)

    def test_of_several_labels_the_named_one_has_log_odds(self, tmp_path):
        folder = tiny_classifier(tmp_path / "model", labels=["junk", "fair", "fine"])
        (value,) = self.scored(folder, tmp_path / "out", ",label=fine")[2:3]
        ((logits, _),) = self.by_hand(folder, self.TEXTS[2])
        assert value == pytest.approx(float(logits[2] - np.logaddexp(logits[0], logits[1])), abs=1e-5)

    def test_of_two_labels_it_is_the_second(self, tmp_path):
        folder = tiny_classifier(tmp_path / "model", labels=["no", "yes"])
        (value,) = self.scored(folder, tmp_path / "out")[2:3]
        ((logits, _),) = self.by_hand(folder, self.TEXTS[2])
        assert value == pytest.approx(float(logits[1] - logits[0]), abs=1e-5)

    def test_what_it_refuses_is_one_line(self, tmp_path):
        folder = tiny_classifier(tmp_path / "model", labels=["junk", "fair", "fine"])
        with pytest.raises(SchemaError, match="has several labels, and none is named. Its labels: junk, fair, fine"):
            self.scored(folder, tmp_path / "out")
        with pytest.raises(SchemaError, match="has no label 'fin'"):
            self.scored(folder, tmp_path / "out", ",label=fin")
        with pytest.raises(SchemaError, match="no model at"):
            self.scored(tmp_path / "nowhere", tmp_path / "out")
        (folder / "model.safetensors").write_bytes(b"damaged")
        with pytest.raises(SchemaError, match="cannot be loaded as a model"):
            self.scored(folder, tmp_path / "out", ",label=fair")
