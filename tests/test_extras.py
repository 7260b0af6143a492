"""Optional packages: a job that lacks one stops before it touches a file; a model's own code is never run."""

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import console, tiny_llama

import curate
from curate import extras
from curate.errors import CurateError, SchemaError
from curate.models.pretrained import from_pretrained

ROOT = Path(curate.__file__).parent
LLAMA = "attention_influence:model=model"


@pytest.mark.parametrize(
    ("package", "extra", "words"),
    [
        ("py3langid", "language", ["--scorer", "language"]),
        ("transformers", "lm", ["--scorer", LLAMA]),
        ("gguf", "lm", ["--scorer", f"{LLAMA}.gguf"]),
        ("transformers", "minilm", ["--scorer", "embedding:encoder=minilm,path=model"]),
        ("onnxruntime", "onnx", ["--scorer", "embedding:encoder=onnx,path=model"]),
        ("tokenizers", "onnx", ["--scorer", "embedding:encoder=onnx,path=model"]),
        ("ray", "ray", ["--scorer", "length", "--engine", "ray"]),
    ],
)
def test_a_missing_package_stops_the_job_before_it_touches_a_file(
    cli, corpus, tmp_path, monkeypatch, package, extra, words
):
    # Whether or not the other packages of the extra are installed here, only this one is missing.
    monkeypatch.setattr(extras, "find_spec", lambda name: None if name == package else object())
    monkeypatch.setattr(extras, "import_module", lambda name: None)
    monkeypatch.setitem(sys.modules, package, None)
    monkeypatch.chdir(tmp_path)
    Path("model").mkdir()
    for name in ("config.json", "model.onnx", "tokenizer.json"):
        Path("model", name).write_text('{"hidden_size": 8}')
    result = cli("score", corpus, "--scorer", "compression", *words, "--out", tmp_path / "out")
    assert result.code == 1
    assert re.fullmatch(
        rf"curate: .* needs the package {package}: pip install 'curate-planner\[{extra}\]'\n", result.err
    )
    assert not (tmp_path / "out").exists()


def test_a_package_that_is_broken_says_why(monkeypatch, tmp_path):
    (tmp_path / "broken_extra.py").write_text("raise ImportError('libfoo.so is\\nmissing')")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CurateError, match=r"needs the package broken_extra, which cannot be imported \(libfoo.so is\)"):
        extras.require("x", "broken_extra", "lm")


def test_a_package_that_lacks_another_says_so(monkeypatch, tmp_path):
    (tmp_path / "half_extra.py").write_text("import no_such_package_anywhere")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(CurateError, match="cannot be imported .No module named 'no_such_package_anywhere'"):
        extras.require("x", "half_extra", "lm")


def own_code(folder: Path) -> Path:
    """A model whose folder holds code of its own, which leaves a file behind when it runs."""
    tiny_llama(folder)
    config = json.loads((folder / "config.json").read_text())
    config |= {"model_type": "own", "auto_map": {"AutoConfig": "own.Config", "AutoModelForCausalLM": "own.Model"}}
    config["auto_map"]["AutoModel"] = "own.Model"
    (folder / "config.json").write_text(json.dumps(config))
    run = f"open({str(folder.parent / 'ran')!r}, 'w').close()"
    (folder / "own.py").write_text(f"{run}\nclass Config: ...\nclass Model: ...\n")
    return folder


def test_a_models_own_code_is_never_run_whatever_is_piped_in(corpus, tmp_path):
    pytest.importorskip("transformers")
    model = own_code(tmp_path / "model")
    for scorer in (f"attention_influence:model={model}", f"embedding:encoder=minilm,path={model}"):
        command = console("score", corpus, "--scorer", scorer, "--out", tmp_path / "out")
        done = subprocess.run(command, input="y\n" * 100, capture_output=True, text=True)
        lines = [line for line in done.stderr.splitlines() if line.startswith("curate: ")]
        assert done.returncode == 1, done
        assert len(lines) == 1, done.stderr
        assert "with code of its own, which is never run" in lines[0]
        assert "Traceback" not in done.stderr
    assert not (tmp_path / "ran").exists()


@pytest.mark.parametrize("name", ["config.json", "tokenizer.json", "model.safetensors"])
@pytest.mark.parametrize("content", [b"", b"{", b"[]", b'{"hidden_size": "x"}', b"\xff" * 100])
@pytest.mark.filterwarnings("ignore")
def test_a_damaged_model_is_one_line(tmp_path, name, content):
    pytest.importorskip("transformers")
    tiny_llama(tmp_path)
    (tmp_path / name).write_bytes(content)
    kind = "AutoTokenizer" if name == "tokenizer.json" else "AutoModelForCausalLM"
    with pytest.raises(SchemaError, match="cannot be loaded as a model: ") as caught:
        from_pretrained(kind, tmp_path)
    assert "\n" not in str(caught.value)


def test_every_model_is_loaded_in_the_one_place_that_refuses_code():
    holders = [p.relative_to(ROOT).as_posix() for p in ROOT.rglob("*.py") if ".from_pretrained(" in p.read_text()]
    assert holders == ["models/pretrained.py"]
    assert "trust_remote_code=False" in (ROOT / "models" / "pretrained.py").read_text()
