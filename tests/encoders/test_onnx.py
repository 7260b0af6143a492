"""ONNX models in batches: equal to the same model in torch, whatever sizes it was exported for."""

import shutil
from importlib.util import find_spec

import numpy as np
import pytest
from conftest import text, tiny_bert

from curate.encoders.minilm import Minilm
from curate.encoders.onnx import Onnx

pytestmark = [
    pytest.mark.skipif(
        not all(map(find_spec, ("transformers", "onnx", "onnxruntime"))), reason="needs transformers, onnx, onnxruntime"
    ),
    pytest.mark.filterwarnings("ignore"),
]
TEXTS = ["", "a", "The cat sat.", *(text(i, words=i) for i in range(1, 20)), "x" * 500]
NAMES = ["input_ids", "attention_mask", "token_type_ids"]


def exported(folder, dynamic, width=5, names=NAMES):
    """Write model.onnx into the folder of a tiny BERT; ``dynamic`` are the sizes that it leaves open."""
    import torch
    from transformers import AutoModel

    path = tiny_bert(folder)
    model = AutoModel.from_pretrained(path).eval().requires_grad_(False)

    class Named(torch.nn.Module):  # the exporter gives arguments by place
        def forward(self, *inputs):
            return model(**dict(zip(names, inputs, strict=True))).last_hidden_state

    ones = torch.ones(2 if 0 in dynamic else 1, width, dtype=torch.long)
    torch.onnx.export(
        Named(), (ones,) * len(names), f"{path}/model.onnx", input_names=names, dynamo=False, output_names=["states"],
        dynamic_axes={name: dynamic for name in [*names, "states"]},
    )  # fmt: skip
    return path


def test_vectors_are_those_of_torch_and_do_not_depend_on_the_batch(tmp_path):
    path = exported(tmp_path, {0: "texts", 1: "tokens"})
    vectors = Onnx(path).encode(TEXTS)
    assert vectors == pytest.approx(Minilm(path).encode(TEXTS), abs=1e-5)
    for rows in ([3], [20, 3, 3, 7], list(range(len(TEXTS)))[::-1]):
        assert np.array_equal(Onnx(path).encode([TEXTS[i] for i in rows]), vectors[rows])


@pytest.mark.parametrize(
    ("dynamic", "width", "names"),
    [
        ({1: "tokens"}, 5, NAMES),  # one text at a time
        ({0: "texts"}, 64, NAMES),  # every text has 64 tokens
        ({0: "texts", 1: "tokens"}, 5, NAMES[:1]),  # no mask: only texts of one length run together
    ],
)
def test_a_model_of_fixed_sizes_gives_the_same_vectors(dynamic, width, names, tmp_path):
    path = exported(tmp_path, dynamic, width, names)
    assert Onnx(path).encode(TEXTS) == pytest.approx(Minilm(path).encode(TEXTS), abs=1e-5)
    assert Onnx(path).width == 32


def test_the_folders_settings_count_and_without_them_the_mean_at_unit_length(tmp_path):
    path = exported(tmp_path, {0: "texts", 1: "tokens"})
    expected = Minilm(path).encode(TEXTS[:9])
    shutil.rmtree(tmp_path / "1_Pooling")
    (tmp_path / "modules.json").unlink()
    assert Onnx(path, longest=64).encode(TEXTS[:9]) == pytest.approx(expected, abs=1e-5)
