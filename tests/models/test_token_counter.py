"""True numbers of tokens: counted by the libraries themselves, in any batch, and within bounded memory."""

import base64
import json
import subprocess
import sys

import polars as pl
import pytest
from conftest import documents
from hypothesis import given
from hypothesis import strategies as st

import curate
from curate.engines.local import Local
from curate.errors import CurateError, SchemaError
from curate.models import token_counter
from curate.scorers.length import Length
from curate.tables import scored

TEXTS = documents(60)["text"].to_list()


@pytest.fixture(scope="module")
def tokenizer_file(tmp_path_factory):
    """A byte-level BPE that was trained here, saved as a model saves it: with marks, and cut at 8 tokens."""
    tokenizers = pytest.importorskip("tokenizers")
    tokenizer = tokenizers.Tokenizer(tokenizers.models.BPE())
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = tokenizers.pre_tokenizers.ByteLevel.alphabet()
    trainer = tokenizers.trainers.BpeTrainer(
        vocab_size=600, show_progress=False, initial_alphabet=alphabet, special_tokens=["<s>"]
    )
    tokenizer.train_from_iterator(TEXTS, trainer)
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing("<s> $A", special_tokens=[("<s>", 0)])
    tokenizer.enable_truncation(8)
    tokenizer.enable_padding(length=8)
    path = tmp_path_factory.mktemp("tokenizer") / "tokenizer.json"
    tokenizer.save(str(path))
    return path


@pytest.fixture(scope="module")
def bare(tokenizer_file):
    """The tokenizer as the library reads it, without marks, cutting and padding."""
    tokenizer = pytest.importorskip("tokenizers").Tokenizer.from_file(str(tokenizer_file))
    tokenizer.no_truncation()
    tokenizer.no_padding()
    return lambda text: len(tokenizer.encode(text, add_special_tokens=False).ids)


def scores(out, name: str = "rows.parquet") -> pl.DataFrame:
    return pl.read_parquet(out / f"{name}.scores.parquet")


def test_counts_are_those_of_the_library_in_any_batch(tokenizer_file, bare):
    count = token_counter.load(str(tokenizer_file)).count
    texts = [None, "", "a", *TEXTS, "über 𝄞 日本"]
    expected = [bare(text or "") for text in texts]
    assert count(texts).tolist() == expected
    assert [int(count([text])[0]) for text in texts] == expected
    assert count([]).tolist() == []


def test_a_long_text_is_counted_in_pieces_that_change_nothing(tokenizer_file, bare, monkeypatch):
    monkeypatch.setattr(token_counter, "PIECE", 200)
    monkeypatch.setattr(token_counter, "SEARCHED", 150)
    text = " ".join(TEXTS)
    pieces = list(token_counter._pieces(text))
    assert "".join(pieces) == text
    assert max(map(len, pieces)) <= 200
    assert token_counter.load(str(tokenizer_file)).count([text, "x", text]).tolist() == [bare(text), 1, bare(text)]


@given(st.text(alphabet="ab \n日,", max_size=60))
def test_pieces_of_any_text_are_the_text(text):
    before = token_counter.PIECE, token_counter.SEARCHED
    token_counter.PIECE, token_counter.SEARCHED = 10, 6
    try:
        pieces = list(token_counter._pieces(text))
    finally:
        token_counter.PIECE, token_counter.SEARCHED = before
    assert "".join(pieces) == text
    assert all(0 < len(piece) <= 10 for piece in pieces)


def test_true_tokens_reach_every_later_job(tokenizer_file, bare, tmp_path):
    # The input has wrong counts of its own: those of the tokenizer take their place.
    documents(60).with_columns(tokens=pl.lit(7)).write_parquet(tmp_path / "rows.parquet")
    spec = f"length:tokenizer={tokenizer_file}"
    curate.score(tmp_path / "rows.parquet", [spec, "compression"], tmp_path / "out")
    frame, expected = scores(tmp_path / "out"), [bare(text) for text in TEXTS]
    assert frame["tokens"].to_list() == expected
    assert frame["score.length"].to_list() == [len(text) for text in TEXTS]
    assert scored.token_counts(tmp_path / "out") == "tokenizer"
    curate.prune(tmp_path / "out", by="score.length", keep=0.5, out=tmp_path / "kept")
    assert pl.read_parquet(tmp_path / "kept" / "removal.parquet")["tokens"].sum() == sum(expected)
    pools = curate.pools(tmp_path / "out", by="source").pools
    assert sum(pool.tokens for pool in pools) == sum(expected)
    rows = pl.concat(scored.pool_batches(pools[0], ("text",)))
    assert rows["tokens"].to_list() == [bare(text) for text in rows["text"]]


def test_bytes_are_equal_for_any_workers_also_beside_scorers_that_learn(tokenizer_file, tmp_path):
    for part in range(4):
        documents(60)[part * 15 : part * 15 + 15].write_ndjson(tmp_path / f"{part}.jsonl")
    specs = [f"length:tokenizer={tokenizer_file},unit=token", "perplexity"]
    curate.score(tmp_path / "*.jsonl", specs, tmp_path / "first")
    curate.score(tmp_path / "*.jsonl", specs[::-1], tmp_path / "second", engine=Local(2), batch_rows=4)
    for part in range(4):
        first, second = (scores(tmp_path / name, f"{part}.jsonl") for name in ("first", "second"))
        assert first.select(sorted(first.columns)).equals(second.select(sorted(second.columns)))
        assert first["score.length"].to_list() == first["tokens"].to_list()


def test_another_tokenizer_under_the_same_name_does_not_continue(tokenizer_file, tmp_path):
    documents(20).write_parquet(tmp_path / "rows.parquet")
    copy = tmp_path / "tokenizer.json"
    copy.write_bytes(tokenizer_file.read_bytes())
    spec = f"length:tokenizer={copy}"
    curate.score(tmp_path / "rows.parquet", spec, tmp_path / "out")
    assert curate.score(tmp_path / "rows.parquet", spec, tmp_path / "out").rows == 0
    assert str(copy) in json.loads((tmp_path / "out/_curate/score.json").read_text())["targets"]
    content = json.loads(copy.read_text())
    content["model"]["merges"] = content["model"]["merges"][:10]
    copy.write_text(json.dumps(content))
    with pytest.raises(CurateError, match=r"tokenizer\.json"):
        curate.score(tmp_path / "rows.parquet", spec, tmp_path / "out")


def test_a_folder_with_a_tokenizer_is_hashed_without_its_weights(tokenizer_file, tmp_path, bare):
    (tmp_path / "tokenizer.json").write_bytes(tokenizer_file.read_bytes())
    (tmp_path / "model.safetensors").write_bytes(b"weights")
    assert token_counter.files_of(str(tmp_path)) == [tmp_path / "tokenizer.json"]
    assert token_counter.load(str(tmp_path)).count(TEXTS[:3]).tolist() == [bare(text) for text in TEXTS[:3]]


def test_memory_is_bounded_for_a_text_of_many_megabytes(tokenizer_file):
    """8 MB in one call of the library take a gigabyte."""
    code = (
        "import resource\n"
        "from curate.models import token_counter\n"
        f"counter = token_counter.load({str(tokenizer_file)!r})\n"
        "before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss\n"
        "assert counter.count(['some words ' * 700_000])[0] > 1_000_000\n"
        "print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    # ru_maxrss is in kilobytes on Linux and in bytes on macOS.
    unit = 1024 if sys.platform != "darwin" else 1
    assert int(run.stdout) * unit < 500e6


def ranks(merges=(b"he", b"ll", b"hell", b" w")) -> bytes:
    """The content of a file of tiktoken: every byte, and a few merges."""
    tokens = [bytes([byte]) for byte in range(256)] + list(merges)
    return b"".join(base64.b64encode(token) + b" %d\n" % rank for rank, token in enumerate(tokens))


def test_a_file_of_tiktoken(tmp_path):
    pytest.importorskip("tiktoken")
    path = tmp_path / "cl100k_base.tiktoken"
    path.write_bytes(ranks())
    count = token_counter.load(str(path)).count
    # hell-o- w-o-r-l-d, and names of special tokens are plain text
    assert count(["hello world", "<|endoftext|>", "", None]).tolist() == [7, 13, 0, 0]
    path.write_bytes(ranks(merges=(b"he", b"ll", b"hell", b"hello")))
    assert token_counter.load(str(path)).count(["hello world"]).tolist() == [7]
    assert token_counter.load(str(path)).count(["hello"]).tolist() == [1]


def test_a_name_of_tiktoken(tmp_path, monkeypatch):
    """A package may add encodings to tiktoken; here it is a folder, so that nothing is fetched."""
    pytest.importorskip("tiktoken")
    (tmp_path / "tiktoken_ext").mkdir()
    (tmp_path / "tiktoken_ext" / "letters.py").write_text(
        "def letters():\n"
        "    ranks = {bytes([byte]): byte for byte in range(256)}\n"
        "    return dict(name='letters', pat_str='.|\\\\n', mergeable_ranks=ranks, special_tokens={})\n"
        "ENCODING_CONSTRUCTORS = {'letters': letters}\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    code = "from curate.models import token_counter; print(token_counter.load('letters').count(['abc', 'é']).tolist())"
    run = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path.insert(0, {str(tmp_path)!r}); {code}"],
        capture_output=True,
        text=True,
        check=True,
    )
    assert run.stdout.strip() == "[3, 2]"


def test_no_file_of_an_encoding_is_fetched(tmp_path, monkeypatch):
    tiktoken = pytest.importorskip("tiktoken")
    monkeypatch.setenv("TIKTOKEN_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(tiktoken.registry, "ENCODINGS", {})
    with pytest.raises(SchemaError, match="nothing is downloaded here"):
        token_counter.load("cl100k_base")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize(
    "name, content, message",
    [
        ("nowhere.json", None, "is neither a file or folder here nor a model in the cache of Hugging Face"),
        ("tokenizer.json", b"{}", "cannot be read as a tokenizer.json of the package tokenizers"),
        ("tokenizer.json", b"\xff\x00", "cannot be read as a tokenizer.json of the package tokenizers"),
        ("mine.tiktoken", b"", "its name must be that of its encoding"),
        ("gpt2.tiktoken", b"no base64\n", "cannot be read as a file of tiktoken"),
        ("gpt2.tiktoken", b"aGU= 0\n", "has no token for the byte 0, so it is cut short"),
        ("folder/nothing.txt", b"x", "has no tokenizer.json"),
    ],
)
def test_a_tokenizer_that_cannot_be_read_is_one_line_before_any_row_is(name, content, message, tmp_path):
    pytest.importorskip("tiktoken" if "tiktoken" in name else "tokenizers")
    path = tmp_path / name
    if content is not None:
        path.parent.mkdir(exist_ok=True)
        path.write_bytes(content)
    documents(5).write_parquet(tmp_path / "rows.parquet")
    named = path.parent if "/" in name else path
    with pytest.raises(SchemaError) as caught:
        curate.score(tmp_path / "rows.parquet", f"length:tokenizer={named}", tmp_path / "out")
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("package, name", [("tokenizers", "tokenizer.json"), ("tiktoken", "gpt2.tiktoken")])
def test_a_missing_package_is_named_with_the_command_that_installs_it(package, name, tmp_path, monkeypatch):
    (tmp_path / name).write_bytes(b"{}")
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(
        SchemaError, match=rf"{package} is not installed. Run: pip install 'curate-planner\[tokenizer\]'"
    ):
        Length(tokenizer=str(tmp_path / name))


def test_tokens_need_a_tokenizer():
    with pytest.raises(SchemaError, match="unit=token needs a tokenizer"):
        Length(unit="token")
