"""The tiny transformer: exact shares, real passes, the size it says, and losses that behave."""

from collections import Counter
from dataclasses import replace

import numpy as np
import pytest
import torch
from conftest import documents, text

from curate.errors import SchemaError
from curate.models.tiny_transformer import Transformer, count_params, load, save, width_for
from curate.pool.pool import Budget, Pool
from curate.runs import trainer_data
from curate.trainers.tiny import Tiny


def numbered(pool: int, sequences: int, context: int) -> np.ndarray:
    """Bytes whose i-th sequence starts with (pool, i): sequences can be recognised."""
    data = np.full(sequences * context + 1, 255, np.uint8)
    data[:-1:context], data[1::context] = pool, np.arange(sequences)
    return data


def seen(weights, tokens, sizes, unique=None, seed=0) -> Counter:
    """How often each (pool, sequence) is trained on."""
    trainer = Tiny({n: numbered(i, s, 8) for i, (n, s) in enumerate(sizes.items())}, {}, context=8, batch=2)
    dealt = trainer._sequences(weights, Budget(tokens, 1), seed, unique or {})
    return Counter((int(row[0]), int(row[1])) for row in dealt)


@pytest.mark.parametrize(
    "weights", [{"a": 0.25, "b": 0.75}, {"a": 0.1, "b": 0.9}, {"a": 1.0}, {"a": 1 / 3, "b": 2 / 3}]
)
@pytest.mark.parametrize("tokens", [80, 808, 4000])
def test_shares_are_exact_and_epochs_are_real_passes(weights, tokens):
    """Every sequence of a pool is seen equally often, to one."""
    counts = seen(weights, tokens, {"a": 7, "b": 20})
    total = round(tokens / 8)
    assert sum(counts.values()) == total
    for pool, (name, size) in enumerate({"a": 7, "b": 20}.items()):
        times = [counts[pool, i] for i in range(size)]
        assert abs(sum(times) - weights.get(name, 0) * total) < 1
        assert max(times) - min(times) <= 1


def test_a_pass_ends_before_the_next_begins():
    trainer = Tiny({"a": numbered(0, 9, 8)}, {}, context=8, batch=1)
    order = trainer._sequences({"a": 1.0}, Budget(27 * 8, 1), 0, {})[:, 1].tolist()
    assert [sorted(order[i : i + 9]) for i in (0, 9, 18)] == [list(range(9))] * 3
    assert order[:9] != order[9:18]


def test_unique_caps_what_is_seen():
    counts = seen({"a": 1.0}, 8 * 40, {"a": 20}, unique={"a": 4 * 8 + 1})
    assert sorted(counts) == [(0, i) for i in range(4)]
    assert set(counts.values()) == {10}


def test_the_mixture_is_steady_over_the_run():
    trainer = Tiny({"a": numbered(0, 50, 8), "b": numbered(1, 50, 8)}, {}, context=8)
    pools = trainer._sequences({"a": 0.25, "b": 0.75}, Budget(8 * 400, 1), 0, {})[:, 0]
    assert [abs(float((part == 0).float().mean()) - 0.25) < 0.05 for part in pools.split(100)] == [True] * 4


@pytest.mark.parametrize(("width", "layers"), [(16, 1), (32, 2), (64, 2), (48, 3)])
def test_the_parameter_formula_is_the_modules(width, layers):
    assert sum(p.numel() for p in Transformer(width, layers, 8).parameters()) == count_params(width, layers)


@pytest.mark.parametrize("params", [1, 2e4, 115_008, 1e6])
def test_the_width_is_the_nearest(params):
    width = width_for(params, 2)
    off = abs(count_params(width, 2) - params)
    assert width % 16 == 0
    assert all(abs(count_params(width + step, 2) - params) >= off for step in (-16, 16) if width + step > 0)


def test_the_model_is_causal():
    torch.manual_seed(0)
    model = Transformer(32, 2, 16)
    tokens = torch.randint(0, 256, (1, 16))
    changed = tokens.clone()
    changed[0, 10] = (changed[0, 10] + 1) % 256
    before, after = model(tokens), model(changed)
    assert torch.allclose(before[:, :10], after[:, :10], atol=1e-6)
    assert not torch.allclose(before[:, 10:], after[:, 10:], atol=1e-3)


@pytest.mark.parametrize(
    ("weights", "budget", "unique", "message"),
    [({"z": 1.0}, 100, {}, "no pool 'z'"), ({"a": 1.0}, 100, {"a": 5}, "less than one sequence")],
)
def test_what_cannot_be_trained_is_named(weights, budget, unique, message):
    trainer = Tiny({"a": numbered(0, 9, 8)}, {"x": numbered(0, 9, 8)}, context=8)
    with pytest.raises(SchemaError, match=message):
        trainer.train(weights, Budget(budget, 1), seed=0, unique=unique)
    with pytest.raises(SchemaError, match="an eval has 4 bytes"):
        Tiny({"a": numbered(0, 9, 8)}, {"x": np.zeros(4, np.uint8)}, context=8).train({"a": 1.0}, Budget(16, 1), seed=0)


def prose(first, count) -> np.ndarray:
    return np.frombuffer("\n".join(text(i, 30) for i in range(first, first + count)).encode(), np.uint8)


MODEL = Tiny({"a": prose(0, 300)}, {"web": prose(5000, 20)}, context=32, layers=1)


def test_an_untrained_model_knows_nothing_and_loss_falls_with_tokens():
    losses = [MODEL.train({"a": 1.0}, Budget(tokens, 1e4), seed=0)["web"] for tokens in (256, 6_000, 24_000)]
    assert losses[0] == pytest.approx(np.log(256), abs=1.0)
    assert losses[0] > losses[1] + 0.5 > losses[2] + 0.6


def test_repeating_a_few_bytes_hurts_against_fresh_bytes():
    fresh = MODEL.train({"a": 1.0}, Budget(24_000, 1e4), seed=0)["web"]
    repeated = MODEL.train({"a": 1.0}, Budget(24_000, 1e4), seed=0, unique={"a": 200})["web"]
    assert repeated > fresh + 0.2


@pytest.fixture(scope="module")
def state(tmp_path_factory):
    path = tmp_path_factory.mktemp("tiny") / "start.npz"
    save(MODEL.trained({"a": 1.0}, Budget(12_000, 1e4), seed=0), path)
    return path


def test_a_saved_model_comes_back_exactly_and_in_the_same_bytes(state, tmp_path):
    before = MODEL.trained({"a": 1.0}, Budget(12_000, 1e4), seed=0)
    save(before, tmp_path / "again.npz")
    assert (tmp_path / "again.npz").read_bytes() == state.read_bytes()
    model = Transformer(width_for(1e4, 1), 1, 32)
    load(model, state)
    assert MODEL.losses(model) == MODEL.losses(before)


def test_training_continues_from_its_start(state):
    rest = replace(MODEL, start=str(state), rate=1e-9)
    start = MODEL.losses(MODEL.trained({"a": 1.0}, Budget(12_000, 1e4), seed=0))["web"]
    assert rest.train({"a": 1.0}, Budget(512, 1e4), seed=3)["web"] == pytest.approx(start, abs=1e-5)
    more = replace(MODEL, start=str(state))
    assert more.train({"a": 1.0}, Budget(24_000, 1e4), seed=3)["web"] < start - 0.05
    assert more.train({"a": 1.0}, Budget(800, 1e4), seed=3) == more.train({"a": 1.0}, Budget(800, 1e4), seed=3)


def test_a_start_that_does_not_fit_is_refused(state, tmp_path):
    with pytest.raises(SchemaError, match="holds .* parameters and the budget asks for a model of"):
        replace(MODEL, start=str(state)).train({"a": 1.0}, Budget(800, 1e6), seed=0)
    with pytest.raises(SchemaError, match="is not a saved model"):
        replace(MODEL, start=str(tmp_path / "none.npz")).train({"a": 1.0}, Budget(800, 1e4), seed=0)
    broken = tmp_path / "broken.npz"
    broken.write_bytes(state.read_bytes()[:200] + bytes(200) + state.read_bytes()[400:])
    with pytest.raises(SchemaError, match="cannot be read"):
        replace(MODEL, start=str(broken)).train({"a": 1.0}, Budget(800, 1e4), seed=0)


def test_what_a_pilot_trains_on_includes_its_start(state, tmp_path):
    documents(40).write_parquet(tmp_path / "web.parquet")
    pools = [Pool("web", 4000, 40, (str(tmp_path / "web.parquet"),))]
    copy = tmp_path / "start.npz"
    copy.write_bytes(state.read_bytes())
    spec = f"tiny:context=32,layers=1,start={copy}"
    first = trainer_data.load(spec, pools, {})
    assert first.trainer.start == str(copy)
    copy.write_bytes(state.read_bytes() + b" ")
    assert trainer_data.load(spec, pools, {}).data_hash != first.data_hash
    with pytest.raises(SchemaError, match="cannot be read"):
        trainer_data.load(f"{spec}.gone", pools, {})
