"""AttentionInfluence on a tiny random Llama: uniform heads against attention written out, retrieval by construction."""

import math
from dataclasses import replace

import numpy as np
import polars as pl
import pytest
from conftest import tiny_llama
from corpora import corpus_of_parts

from curate.errors import SchemaError

pytest.importorskip("transformers", reason="an extra: pip install 'curate-planner[lm]'")

from curate.scorers import _retrieval_heads as heads_of
from curate.scorers import attention_influence as scorer


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny_llama(tmp_path_factory.mktemp("llama"))


def written_out(model, ids, uniform):
    """Mean loss with eager attention, the weights of ``uniform`` (layer, head) replaced by 1 / tokens so far."""
    import torch
    from transformers import LlamaForCausalLM
    from transformers.models.llama import modeling_llama as code

    network = LlamaForCausalLM.from_pretrained(model, attn_implementation="eager").eval()
    plain = code.eager_attention_forward

    def forward(module, query, key, value, attention_mask, scaling, dropout=0.0, **more):
        values = code.repeat_kv(value, module.num_key_value_groups)
        scores = query @ code.repeat_kv(key, module.num_key_value_groups).transpose(2, 3) * scaling
        length = query.shape[2]
        causal = torch.ones(length, length).tril()
        weights = scores.masked_fill(causal == 0, -math.inf).softmax(dim=-1)
        for layer, head in uniform:
            if layer == module.layer_idx:
                weights[:, head] = causal / causal.sum(dim=1, keepdim=True)
        return (weights @ values).transpose(1, 2).contiguous(), weights

    code.eager_attention_forward = forward
    try:
        with torch.inference_mode():
            logits = network(torch.tensor([ids])).logits[0, :-1].log_softmax(dim=-1)
    finally:
        code.eager_attention_forward = plain
    return -float(np.mean([logits[i, token] for i, token in enumerate(ids[1:])]))


@pytest.mark.parametrize(
    "heads", [[], [(0, 1)], [(0, 0), (0, 3), (1, 2)], [(i, j) for i in range(2) for j in range(4)]]
)
def test_uniform_heads_are_attention_of_one_over_the_tokens_so_far(model, heads):
    ids = heads_of.encode(model, "The cat sat on the mat; the cat ran.")
    assert heads_of.loss(model, ids, heads) == pytest.approx(written_out(model, ids, heads), rel=1e-5)
    assert heads_of.loss(model, ids, []) == pytest.approx(written_out(model, ids, []), rel=1e-5), (
        "hooks were left behind"
    )


def test_the_score_is_the_relative_rise_of_the_loss(model):
    heads = np.array([[0, 1], [1, 2]])
    texts = pl.DataFrame({"id": list("abcd"), "text": ["The cat sat on the mat.", "x", "", None]})
    values = scorer.AttentionInfluence(heads, model)(texts)["score.attention_influence"].to_list()
    ids = heads_of.encode(model, texts["text"][0])
    base = written_out(model, ids, [])
    assert values[0] == pytest.approx((written_out(model, ids, heads.tolist()) - base) / base, rel=1e-3)
    assert values[1:] == [0, 0, 0]


def test_retrieval_heads_are_a_share_of_all_and_learned_once(model):
    rows = pl.DataFrame({"id": ["a"], "text": ["one"]})
    learned = scorer.learn(corpus_of_parts(rows), model=model, share=0.3, samples=2)
    assert learned.heads.shape == (2, 2)
    assert (
        learned.heads.tobytes()
        == scorer.learn(corpus_of_parts(rows), model=model, share=0.3, samples=2).heads.tobytes()
    )
    shares = heads_of.retrieval(model, np.random.default_rng(0))
    assert shares.shape == (2, 4)
    assert ((shares >= 0) & (shares <= 1)).all()


def test_a_head_that_looks_at_the_token_it_predicts_is_a_retrieval_head(model, monkeypatch):
    """A network that predicts every token; head 0 looks at its like in the value, head 1 elsewhere, 2 at none."""
    import torch

    loaded = heads_of._loaded(model)
    tokenizer = loaded.tokenizer
    answers = []

    def copier(ids, output_attentions):
        text = tokenizer.decode(ids[0])
        value = text[text.rindex("Value: ") + 7 :]
        place, start = text.index(value), len(text) - len(value)
        answers.append(len(value) + 1)  # and the space before
        weights, logits = torch.zeros(1, 3, len(text), len(text)), torch.zeros(1, len(text), 256)
        for i in range(start - 2, len(text) - 1):
            logits[0, i, ids[0, i + 1]] = 1
            weights[0, 0, i, place + i + 1 - start] = 1
            weights[0, 1, i, max(range(i), key=lambda k, i=i: (ids[0, k] == ids[0, i + 1], k))] = 1
        return type("Out", (), {"logits": logits, "attentions": (weights,)})()

    monkeypatch.setattr(heads_of, "_loaded", lambda _: replace(loaded, network=copier))
    for seed in range(3):
        shares = heads_of.retrieval(model, np.random.default_rng(seed))
        assert shares[0].tolist() == pytest.approx([1 - 1 / answers[-1], 0, 0]), (
            "all but the space, a quote in the value"
        )


def test_a_folder_that_is_no_model_is_one_clear_line(tmp_path):
    with pytest.raises(SchemaError, match="cannot be loaded") as caught:
        rows = pl.DataFrame({"id": ["a"], "text": ["one"]})
        scorer.learn(corpus_of_parts(rows), model=str(tmp_path))
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({}, "no model at ''"),
        ({"model": "/no/such"}, "no model at '/no/such'"),
        ({"share": 1.5}, "share=1.5 must be in"),
    ],
)
def test_bad_options_are_one_clear_line(model, options, message):
    with pytest.raises(SchemaError, match=message) as caught:
        scorer.learn(corpus_of_parts(), **({"model": model} if "share" in options else {}) | options)
    assert "\n" not in str(caught.value)
