"""Log probabilities, hidden states and gradients of a tiny Llama, beside one text at a time without batches."""

from dataclasses import replace

import numpy as np
import pytest
from conftest import text, tiny_llama

from curate.errors import SchemaError
from curate.models import language_model
from curate.models.pretrained import ModelSource

pytest.importorskip("transformers", reason="an extra: pip install 'curate-planner[lm]'")
pytestmark = pytest.mark.filterwarnings("ignore")

TEXTS = ["", "a", "The cat sat on the mat.", *(text(i, words=3 * i) for i in range(1, 9)), "ünï"]


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return language_model.loaded(ModelSource(tiny_llama(tmp_path_factory.mktemp("llama")), "cpu"))


def log_probabilities(model, ids):
    import torch

    if len(ids) < 2:
        return np.zeros(0)
    with torch.inference_mode():
        logits = model.network(torch.tensor([ids])).logits[0].log_softmax(dim=-1)
    return np.array([float(logits[i, token]) for i, token in enumerate(ids[1:])])


def test_log_probabilities_are_those_of_one_text_at_a_time(model):
    for words, values in zip(TEXTS, model.log_probabilities(TEXTS), strict=True):
        assert values == pytest.approx(log_probabilities(model, model.tokens(words)), abs=1e-4)


def test_a_long_text_is_read_in_windows_with_half_a_window_of_context(model):
    short = replace(model, limit=8)
    ids = model.tokens("abcdefghijklmnopq")
    expected = list(log_probabilities(model, ids[:8]))
    for start in (4, 8, 12):  # tokens from start + 4 on are new
        expected += list(log_probabilities(model, ids[start : start + 8])[3:])
    assert short.log_probabilities(["abcdefghijklmnopq"])[0] == pytest.approx(np.array(expected[:16]), abs=1e-4)


def test_hidden_states_are_those_of_one_text_at_a_time(model):
    import torch

    for layer in (0, 1, -1):
        for words, states in zip(TEXTS, model.hidden_states(TEXTS, layer), strict=True):
            ids = model.tokens(words)
            if not ids:
                assert states.shape == (0, 32)
                continue
            with torch.inference_mode():
                expected = model.network(torch.tensor([ids]), output_hidden_states=True).hidden_states[layer][0].numpy()
            assert states == pytest.approx(expected, abs=1e-4)


def test_results_do_not_depend_on_the_batch(model):
    whole = model.log_probabilities(TEXTS)
    for row in (2, 7, 10):
        assert np.array_equal(model.log_probabilities([TEXTS[row]])[0], whole[row])


def test_gradients_are_those_of_the_mean_loss(model):
    """Against a difference of losses along the gradient."""
    import torch

    name = "model.norm.weight"
    weight = dict(model.network.named_parameters())[name]
    gradients = model.gradients(TEXTS, [name])
    assert gradients.shape == (len(TEXTS), 32)
    assert not gradients[:2].any()
    assert not weight.requires_grad
    for row in (2, 5):
        direction = torch.from_numpy(gradients[row] / np.linalg.norm(gradients[row]))
        losses = []
        for step in (1e-2, -1e-2):
            with torch.no_grad():
                weight += step * direction
            losses.append(-model.log_probabilities([TEXTS[row]])[0].mean(dtype=float))
            with torch.no_grad():
                weight -= step * direction
        assert (losses[0] - losses[1]) / 2e-2 == pytest.approx(np.linalg.norm(gradients[row]), rel=0.01)


def test_an_unknown_parameter_is_one_clear_line(model):
    with pytest.raises(SchemaError, match=r"no parameter 'head'; one is model\.embed_tokens\.weight"):
        model.gradients(["abc"], ["head"])


def test_a_process_loads_a_model_once_and_keeps_it(tmp_path):
    source = ModelSource(tiny_llama(tmp_path), "cpu")
    assert language_model.loaded(source) is language_model.loaded(ModelSource(source.model, "cpu"))
