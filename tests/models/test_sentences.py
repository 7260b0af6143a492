"""Sentence models in batches: equal to one text at a time through transformers, and to sentence-transformers."""

import json
import pickle
import shutil
from concurrent.futures import ProcessPoolExecutor
from importlib.util import find_spec
from multiprocessing import get_context

import numpy as np
import polars as pl
import pytest
from conftest import text, tiny_bert

from curate.encoders.minilm import Minilm
from curate.errors import CurateError, SchemaError
from curate.models import sentences
from curate.models.pretrained import ModelSource
from curate.models.sentence_folder import settings_of

pytest.importorskip("transformers", reason="an extra: pip install 'curate-planner[minilm]'")
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = ["", "a", "The cat sat.", *(text(i, words=i) for i in range(1, 24)), "x" * 500, "é ü"]
MODES = ["cls", "mean", "max", "mean_sqrt_len", "weightedmean", "last"]
LEGACY = {"cls": "cls_token", "last": "lasttoken"}


def legacy(mode):
    return f"pooling_mode_{LEGACY.get(mode, mode + '_tokens')}"


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    return tiny_bert(tmp_path_factory.mktemp("bert"))


def states_of(folder, words, limit=64):
    """The vectors of a text's tokens, by transformers alone, one text at a time."""
    import torch
    from transformers import AutoModel, AutoTokenizer

    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    with torch.inference_mode():
        tokens = tokenizer(words, truncation=True, max_length=limit, return_tensors="pt")
        return model(**tokens).last_hidden_state[0].numpy()


def by_hand(states, mode):
    t = len(states)
    weights = np.arange(1, t + 1)[:, None]
    return {
        "cls": states[0], "mean": states.mean(axis=0), "max": states.max(axis=0),
        "mean_sqrt_len": states.sum(axis=0) / t**0.5, "last": states[-1],
        "weightedmean": (weights * states).sum(axis=0) / weights.sum(),
    }[mode]  # fmt: skip


def test_vectors_are_those_of_one_text_at_a_time(folder):
    expected = np.array([by_hand(states_of(folder, words), "mean") for words in TEXTS])
    expected /= np.linalg.norm(expected, axis=1, keepdims=True)
    vectors = Minilm(folder).encode(TEXTS)
    assert vectors.dtype == np.float32
    assert vectors == pytest.approx(expected, abs=1e-5)


@pytest.mark.parametrize("mode", MODES)
def test_the_folders_own_pooling_and_length_are_kept(mode, tmp_path):
    path = tiny_bert(tmp_path, layers=("Transformer", "Pooling"), **{legacy(mode): True})
    expected = np.array([by_hand(states_of(path, words), mode) for words in TEXTS])
    assert Minilm(path).encode(TEXTS) == pytest.approx(expected, abs=2e-5)


def test_several_ways_of_pooling_are_joined(tmp_path):
    path = tiny_bert(tmp_path, layers=("Transformer", "Pooling"), pooling_mode=["mean", "max"])
    states = states_of(path, TEXTS[2])
    encoder = Minilm(path)
    assert encoder.width == 64
    assert encoder.encode([TEXTS[2]])[0] == pytest.approx(np.concatenate([states.mean(0), states.max(0)]), abs=1e-5)


def test_a_vector_does_not_depend_on_its_batch(folder):
    encoder = Minilm(folder)
    whole = encoder.encode(TEXTS)
    for rows in ([3], [20, 3, 3, 7], list(range(len(TEXTS)))[::-1]):
        assert np.array_equal(encoder.encode([TEXTS[i] for i in rows]), whole[rows])


@pytest.mark.skipif(find_spec("sentence_transformers") is None, reason="needs sentence-transformers")
@pytest.mark.parametrize("prompt", ["", "query: "])
def test_vectors_are_those_of_the_library(prompt, tmp_path):
    from sentence_transformers import SentenceTransformer

    path = tiny_bert(tmp_path)
    if prompt:
        settings = {"prompts": {"query": prompt}, "default_prompt_name": "query"}
        (tmp_path / "config_sentence_transformers.json").write_text(json.dumps(settings))
    expected = SentenceTransformer(path, device="cpu").encode(TEXTS)
    assert Minilm(path).encode(TEXTS) == pytest.approx(expected, abs=1e-5)


def test_windows_are_the_mean_of_parts_weighted_by_their_tokens(folder):
    words = "abcdefghij" * 9  # 90 letters; a window of 32 tokens has 30 letters
    parts = [words[:30], words[30:60], words[60:]]
    vectors = np.array([by_hand(states_of(folder, part), "mean") for part in parts])
    expected = vectors.mean(axis=0)
    windows = Minilm(folder, longest=32, windows=True).encode(["abc", words, ""])
    assert windows[1] == pytest.approx(expected / np.linalg.norm(expected), abs=1e-5)
    assert np.array_equal(windows[[0, 2]], Minilm(folder, longest=32).encode(["abc", ""]))


def worker(encoder):
    """Encode in a worker, and return how often a model was loaded there so far."""
    encoder.encode(["one"])
    return sentences.loaded.cache_info().misses


def test_a_process_loads_a_model_once_and_keeps_it(folder):
    encoder = Minilm(folder)
    encoder.encode(["the encoder that is sent holds no weights"])
    assert len(pickle.dumps(encoder)) < 1000
    assert sentences.loaded(ModelSource(folder)) is sentences.loaded(ModelSource(folder))
    with ProcessPoolExecutor(1, mp_context=get_context("spawn")) as pool:
        assert list(pool.map(worker, [encoder] * 3)) == [1, 1, 1]


def test_bfloat16_is_near_float32(folder):
    whole, half = Minilm(folder).encode(TEXTS), Minilm(folder, dtype="bfloat16").encode(TEXTS)
    assert (whole * half).sum(axis=1).min() > 0.99


def remove(folder, name):
    (folder / name).unlink()


def settings(folder, name, **values):
    (folder / name).write_text(json.dumps(values))


@pytest.mark.parametrize(
    ("change", "options", "message"),
    [
        (lambda f: remove(f, "model.safetensors"), {}, "has no weights .*Fetch the model again, with its weights"),
        (lambda f: remove(f, "config.json"), {}, "has no config.json. Name the folder"),
        (
            lambda f: None,
            {"device": "cuda"},
            "device=cuda, but torch finds no CUDA device on this machine. Give device=",
        ),
        (lambda f: None, {"device": "gpu"}, "device=gpu is unknown. Give one of auto, cpu, cuda"),
        (lambda f: None, {"dtype": "int8"}, "dtype=int8 is unknown. Give one of float32, bfloat16, float16"),
        (lambda f: None, {"longest": -1}, "longest=-1 must be at least 1, or 0 for the model's own"),
        (lambda f: settings(f, "1_Pooling/config.json", pooling_mode="median"), {}, "asks for median; only cls, max,"),
        (
            lambda f: settings(f, "1_Pooling/config.json", pooling_mode_best_tokens=True),
            {},
            "asks for pooling_mode_best",
        ),
        (lambda f: settings(f, "sentence_bert_config.json", max_seq_length=0), {}, "max_seq_length"),
    ],
)
def test_bad_models_and_options_are_one_clear_line(change, options, message, tmp_path, monkeypatch):
    monkeypatch.setattr("torch.cuda.is_available", lambda: False)
    path = tiny_bert(tmp_path)
    change(tmp_path)
    with pytest.raises(CurateError, match=message) as caught:
        Minilm(path, **options).encode(["a"])
    assert "\n" not in str(caught.value)


def test_a_prompt_that_is_left_out_of_the_vector_is_refused(tmp_path):
    path = tiny_bert(tmp_path, pooling_mode="mean", include_prompt=False)
    settings(tmp_path, "config_sentence_transformers.json", prompts={"a": "query: "}, default_prompt_name="a")
    with pytest.raises(SchemaError, match="leaves the prompt out of the vector"):
        settings_of(tmp_path)
    assert path


def test_a_model_of_the_cache_is_named_by_its_id_and_a_job_gives_the_same_bytes_with_two_workers(
    folder, cli, tmp_path, monkeypatch
):
    """Texts that are null, empty, short, and longer than the model's 64 tokens."""
    model = tmp_path / "cache" / "models--owner--tiny"
    shutil.copytree(folder, model / "snapshots" / "0")
    (model / "refs").mkdir()
    (model / "refs" / "main").write_text("0")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    # The workers are new processes.
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path / "cache"))
    texts = [None, "", "a", *TEXTS]
    (tmp_path / "data").mkdir()
    for name in ("a", "b"):
        pl.DataFrame({"text": pl.Series(texts, dtype=pl.String)}).write_parquet(tmp_path / "data" / f"{name}.parquet")
    vectors = []
    for workers in (1, 2):
        out = tmp_path / str(workers)
        scorer = "embedding:encoder=minilm,path=owner/tiny,device=cpu"
        result = cli("score", tmp_path / "data", "--scorer", scorer, "--out", out, "--workers", workers)
        assert result.code == 0, result.err
        vectors.append([pl.read_parquet(out / f"{name}.parquet.scores.parquet")["emb.minilm"] for name in ("a", "b")])
    assert all(first.equals(second) for first, second in zip(*vectors, strict=True))
    values = np.stack([np.frombuffer(value, np.float32) for value in vectors[0][0]])
    assert not values[0].any()
    assert values[1:] == pytest.approx(Minilm(folder).encode(texts[1:]), abs=1e-6)


def test_an_id_that_is_in_no_cache_says_how_to_fetch_it():
    with pytest.raises(SchemaError, match="no model nobody/nothing: .* Run: hf download nobody/nothing"):
        Minilm("nobody/nothing")
