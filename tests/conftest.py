"""Shared set-up: one numerical thread, reproducible hypothesis, the command line in this process."""

import json
import os
import re

os.environ.setdefault("OMP_NUM_THREADS", "1")

import subprocess
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

import polars as pl
import pytest
from hypothesis import HealthCheck, settings

settings.register_profile(
    "curate", deadline=None, derandomize=True, max_examples=30, database=None,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)  # fmt: skip
settings.load_profile("curate")


def pytest_configure(config: pytest.Config) -> None:
    """torch compiles its own forward-mode rules with torch.jit the first time a Jacobian is taken."""
    config.addinivalue_line("filterwarnings", "ignore:`torch.jit.script` is deprecated:DeprecationWarning")


@pytest.fixture(scope="session", autouse=True)
def unsynced() -> Iterator[None]:
    """Let this process write without waiting for the disk: its files need not survive a power cut.

    A job syncs each of its files and folders, 17 in the mean of the tests of requirements, and each waits 6 ms. The
    programs that tests start sync as those of users do.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", lambda descriptor: None)
        yield


def pytest_terminal_summary(terminalreporter) -> None:
    """Print what tests recorded as ``counts``, such as the number of faults of the campaign and what was lost."""
    for reports in terminalreporter.stats.values():
        for report in reports:
            for name, value in getattr(report, "user_properties", ()):
                if name == "counts" and getattr(report, "when", "") == "call":
                    terminalreporter.write_line(value)


WORDS = "the of model data a token loses share while every row keeps its own score and pools meet plans".split()


def text(i: int, words: int = 40) -> str:
    """A document that depends on ``i`` only."""
    return " ".join(WORDS[(i * i + j * (1 + i % 7) + j // 5) % len(WORDS)] + str(i % 3) for j in range(words))


def documents(rows: int, start: int = 0) -> pl.DataFrame:
    """``id, text`` of ``rows`` documents."""
    return pl.DataFrame(
        {"id": [f"d{i}" for i in range(start, start + rows)], "text": [text(i) for i in range(start, start + rows)]}
    )


def tree(folder: Path) -> dict[str, bytes]:
    """Every visible file under a folder by relative path."""
    files = (p for p in sorted(folder.rglob("*")) if p.is_file() and not p.name.startswith("."))
    return {p.relative_to(folder).as_posix(): p.read_bytes() for p in files}


def write_corpus(folder: Path) -> Path:
    """Write two sources, in 5 shards of 20 documents, and return the folder."""
    for i in range(5):
        path = folder / f"source={'ab'[i % 2]}" / f"{i}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        documents(20, 20 * i).write_parquet(path)
    return folder


@pytest.fixture
def corpus(tmp_path: Path) -> Path:
    """Two sources: 5 shards of 20 documents."""
    return write_corpus(tmp_path / "data")


def tiny_llama(folder: Path) -> str:
    """A random Llama of two layers of four heads (two of values) over bytes, saved as Hugging Face does."""
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import LlamaConfig, LlamaForCausalLM, PreTrainedTokenizerFast

    letters = sorted(pre_tokenizers.ByteLevel.alphabet())
    raw = Tokenizer(models.BPE(vocab={letter: i for i, letter in enumerate(letters)}, merges=[]))
    raw.pre_tokenizer, raw.decoder = pre_tokenizers.ByteLevel(add_prefix_space=False), decoders.ByteLevel()
    PreTrainedTokenizerFast(tokenizer_object=raw).save_pretrained(folder)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    config = LlamaConfig(
        vocab_size=256, hidden_size=32, intermediate_size=48, num_hidden_layers=2, num_attention_heads=4,
        num_key_value_heads=2, max_position_embeddings=2048, initializer_range=0.3,
    )  # fmt: skip
    LlamaForCausalLM(config).save_pretrained(folder)
    torch.random.set_rng_state(state)
    return str(folder)


def tiny_classifier(folder: Path, labels: Sequence[str]) -> Path:
    """A random BERT over characters that gives a number for each label, saved as Hugging Face does."""
    import torch
    from transformers import BertConfig, BertForSequenceClassification

    tiny_bert(folder)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    config = BertConfig.from_pretrained(folder, id2label=dict(enumerate(labels)), label2id=None)
    BertForSequenceClassification(config).save_pretrained(folder)
    torch.random.set_rng_state(state)
    return folder


def tiny_bert(folder: Path, layers: Sequence[str] = ("Transformer", "Pooling", "Normalize"), **pooling: object) -> str:
    """A random BERT of two layers over characters, with the settings of a sentence-transformers model."""
    import torch
    from tokenizers import Tokenizer, models, pre_tokenizers, processors
    from transformers import BertConfig, BertModel, PreTrainedTokenizerFast

    letters = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *map(chr, range(33, 127))]
    raw = Tokenizer(models.WordLevel({letter: i for i, letter in enumerate(letters)}, unk_token="[UNK]"))
    raw.pre_tokenizer = pre_tokenizers.Sequence(
        [pre_tokenizers.WhitespaceSplit(), pre_tokenizers.Split("", "isolated")]
    )
    raw.post_processor = processors.TemplateProcessing(
        "[CLS] $A [SEP]", "[CLS] $A $B [SEP]", [("[CLS]", 2), ("[SEP]", 3)]
    )
    names = {"pad_token": "[PAD]", "unk_token": "[UNK]", "cls_token": "[CLS]", "sep_token": "[SEP]"}
    PreTrainedTokenizerFast(tokenizer_object=raw, **names, model_max_length=96).save_pretrained(folder)
    state = torch.random.get_rng_state()
    torch.manual_seed(0)
    config = BertConfig(
        vocab_size=len(letters), hidden_size=32, intermediate_size=64, num_hidden_layers=2, num_attention_heads=4,
        max_position_embeddings=96, initializer_range=0.3,
    )  # fmt: skip
    BertModel(config).save_pretrained(folder)
    torch.random.set_rng_state(state)
    prefix = "sentence_transformers.models."
    paths = {"Pooling": "1_Pooling", "Normalize": "2_Normalize"}
    parts = [
        {"idx": i, "name": str(i), "path": paths.get(layer, ""), "type": prefix + layer}
        for i, layer in enumerate(layers)
    ]
    (folder / "modules.json").write_text(json.dumps(parts))
    (folder / "1_Pooling").mkdir()
    (folder / "2_Normalize").mkdir()
    modes = pooling or {"pooling_mode_mean_tokens": True}
    (folder / "1_Pooling" / "config.json").write_text(json.dumps({"word_embedding_dimension": 32, **modes}))
    (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": 64, "do_lower_case": False}))
    return str(folder)


@pytest.fixture
def without_torch(tmp_path: Path) -> Callable[..., subprocess.CompletedProcess[str]]:
    """``without_torch(sys.executable, "-c", code)``: run a command in ``tmp_path`` as if torch were not installed."""
    # A package of this name on the path hides the real one, also from worker processes.
    hidden = tmp_path / "without_torch" / "torch" / "__init__.py"
    hidden.parent.mkdir(parents=True)
    hidden.write_text("raise ModuleNotFoundError(\"No module named 'torch'\", name='torch')\n")
    path = os.pathsep.join(filter(None, [str(hidden.parents[1]), os.environ.get("PYTHONPATH", "")]))

    def run(*words: object) -> subprocess.CompletedProcess[str]:
        environment = os.environ | {"PYTHONPATH": path}
        return subprocess.run(list(map(str, words)), env=environment, capture_output=True, text=True, cwd=tmp_path)

    return run


class Output(NamedTuple):
    code: int
    out: str
    err: str


Cli = Callable[..., Output]
PROGRESS = re.compile(r"(\d+ of \d+ )?[a-z][a-z ,]* [\d,]+/[\d,]+(\s.*)?")


def one_line(result) -> str:
    """Check that a failure says exactly one thing, and return it."""
    assert result.code == 1, result
    lines = [line for line in result.err.splitlines() if not PROGRESS.fullmatch(line)]
    assert len(lines) == 1, result.err
    assert lines[0].startswith("curate: ")
    assert "Traceback" not in result.err
    return lines[0]


@pytest.fixture
def cli(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Cli:
    """``cli("fit", path, "--law", "mixing")``: the console script's own ``main`` in this process."""
    from pipelines.shared.cli import main

    # It silences warnings in the whole process, and tests count them as errors.
    monkeypatch.setattr("pipelines.shared.cli.quiet", lambda **_: None)
    # By default a job that takes long starts workers, which would not have what tests replace in this process.
    monkeypatch.setattr("curate.engines.local.usable_cores", lambda: 1)

    def call(*arguments: object) -> Output:
        capsys.readouterr()
        monkeypatch.setattr(sys, "argv", ["curate", *map(str, arguments)])
        try:
            main()
            code = 0
        except SystemExit as stop:
            code = int(stop.code or 0)
        result = capsys.readouterr()
        return Output(code, result.out, result.err)

    return call


def console(*arguments: object) -> Sequence[str]:
    """The installed console script with its arguments, for a subprocess."""
    return [str(Path(sys.executable).parent / "curate"), *map(str, arguments)]
