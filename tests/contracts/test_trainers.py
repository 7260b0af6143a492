"""What every trainer promises, checked for every file of ``curate/trainers``."""

import inspect
import shlex
import sys
from dataclasses import FrozenInstanceError

import numpy as np
import pytest

from curate import open_sets
from curate.errors import CurateError
from curate.pool.pool import Budget
from curate.trainers import Trainer
from curate.trainers.command import Command
from curate.trainers.linear import Linear
from curate.trainers.tiny import Tiny

PROGRAM = (
    "import json, sys; r = json.load(sys.stdin); print('log'); "
    "print(json.dumps({'web': 2.0 + r['weights']['a'] + 1e-3 * r['seed'] + 1 / r['tokens']}))"
)


def blobs(seed, n=90):
    rng = np.random.default_rng(seed)
    labels = np.arange(n) % 3
    return rng.normal(size=(n, 4)) + 2 * np.eye(3, 4)[labels], labels


def letters(seed, n=3000):
    return np.random.default_rng(seed).choice(np.frombuffer(b"abcdef \n", np.uint8), n)


MADE = {
    "command": (Command(f"{sys.executable} -c {shlex.quote(PROGRAM)}"), Budget(100, 10)),
    "linear": (Linear({"a": blobs(0), "b": blobs(1)}, {"web": blobs(2)}), Budget(60, 1)),
    "tiny": (Tiny({"a": letters(0), "b": letters(1)}, {"web": letters(2, 500)}, context=16), Budget(1000, 1)),
}
EVERY = pytest.mark.parametrize("name", MADE)
HALF = {"a": 0.5, "b": 0.5}


def test_every_file_is_tested_here():
    assert sorted(MADE) == list(open_sets.names("trainers")), "give a new trainer an instance in MADE"


@EVERY
def test_it_has_the_contract_and_is_frozen(name):
    trainer, _ = MADE[name]
    assert isinstance(trainer, open_sets.implementation("trainers", name))
    assert (
        inspect.signature(type(trainer).train).parameters.keys() == inspect.signature(Trainer.train).parameters.keys()
    )
    with pytest.raises(FrozenInstanceError):
        trainer.pools = {}


@EVERY
def test_losses_are_finite_positive_and_the_same_for_the_same_seed(name):
    trainer, budget = MADE[name]
    first, again, other = (trainer.train(HALF, budget, seed=s) for s in (1, 1, 2))
    assert first == again
    assert first != other
    assert list(first) == ["web"]
    assert all(isinstance(v, float) and np.isfinite(v) and v > 0 for v in first.values())


@EVERY
def test_the_order_of_the_weights_does_not_matter(name):
    trainer, budget = MADE[name]
    assert trainer.train(HALF, budget, seed=0) == trainer.train(dict(reversed(HALF.items())), budget, seed=0)


@EVERY
@pytest.mark.parametrize("factor", [1, 10])
def test_unique_tokens_that_do_not_bind_change_nothing(name, factor):
    trainer, budget = MADE[name]
    on_hand = {pool: factor * count for pool, count in getattr(trainer, "unique", {"a": 1e9, "b": 1e9}).items()}
    assert trainer.train(HALF, budget, seed=0, unique=on_hand) == trainer.train(HALF, budget, seed=0)


@EVERY
def test_a_pool_of_weight_zero_or_absent_is_the_same(name):
    trainer, budget = MADE[name]
    if name == "command":
        pytest.skip("what the program does is its own affair")
    assert trainer.train({"a": 1.0, "b": 0.0}, budget, seed=0) == trainer.train({"a": 1.0}, budget, seed=0)


@EVERY
def test_training_leaves_the_global_random_state_alone(name):
    import torch

    trainer, budget = MADE[name]
    torch.manual_seed(0)
    np_state, torch_state = np.random.get_state()[1].tolist(), torch.get_rng_state()  # noqa: NPY002
    trainer.train(HALF, budget, seed=0)
    assert np.random.get_state()[1].tolist() == np_state  # noqa: NPY002
    assert torch.equal(torch.get_rng_state(), torch_state)


@pytest.mark.parametrize("name", ["linear", "tiny"])
def test_an_unknown_pool_is_refused(name):
    trainer, budget = MADE[name]
    with pytest.raises(CurateError, match="nosuch"):
        trainer.train({"a": 0.5, "nosuch": 0.5}, budget, seed=0)


@pytest.mark.parametrize(
    ("program", "message"),
    [
        ("import sys; print('first', file=sys.stderr); sys.exit('went wrong')", "exited with 1: went wrong"),
        ("print('no json')", "said 'no json'"),
        ("pass", "said 'nothing'"),
        ("print('[1]')", "must print"),
    ],
)
def test_a_failing_command_is_quoted(program, message):
    with pytest.raises(CurateError, match=message):
        Command(f"{sys.executable} -c {shlex.quote(program)}").train(HALF, Budget(1, 1), seed=0)
    with pytest.raises(CurateError, match="cannot be started"):
        Command("/nosuch/program").train(HALF, Budget(1, 1), seed=0)
