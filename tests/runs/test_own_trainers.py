"""Pilots with a trainer of the user's own, a class in a file outside the package."""

import json

import polars as pl
import pytest

from curate.errors import CurateError, Interrupted, SchemaError
from curate.pool.pool import Pool, to_json
from curate.runs import pilots, trainer_data

OWN = '''
"""A trainer of a user."""
from dataclasses import dataclass

@dataclass(frozen=True)
class Formula:
    """Returns a loss by a formula."""

    floor: float = 1.0

    def train(self, weights, budget, *, seed, unique=None):
        return {"web": self.floor + weights["a"] + 1 / budget.tokens}

@dataclass(frozen=True)
class Silent:
    """Returns no losses."""

    def train(self, weights, budget, *, seed, unique=None):
        return 2.5

@dataclass(frozen=True)
class Idle:
    """Cannot train."""
'''
POOLS = (Pool("a", 1000, 10), Pool("b", 3000, 30))
SHORT = {"runs": 4, "params": 10, "tokens": 100}


@pytest.fixture
def own(tmp_path):
    path = tmp_path / "mine.py"
    path.write_text(OWN, encoding="utf-8")
    return path


@pytest.mark.parametrize("workers", [1, 2])
def test_it_trains_the_pilots_from_the_command_line(own, tmp_path, cli, workers):
    (tmp_path / "pools.json").write_text(json.dumps({"format": 2, "pools": to_json(POOLS)}), encoding="utf-8")
    out = tmp_path / "runs.parquet"
    flags = ("--runs", 4, "--params", 10, "--tokens", 100, "--workers", workers, "--out", out)
    result = cli("pilot", tmp_path / "pools.json", "--trainer", f"{own}:Formula:floor=2", *flags)
    assert result.code == 0, result.err
    runs = pl.read_parquet(out)
    assert len(runs) == 4
    assert runs["loss.web"].to_list() == pytest.approx((2 + runs["weight.a"] + 1 / runs["tokens"]).to_list())


def test_all_tokens_of_a_pool_are_on_hand(own):
    loaded = trainer_data.load(f"{own}:Formula", POOLS, {})
    assert loaded.unique == {"a": 1000.0, "b": 3000.0}


def test_edited_code_does_not_resume_old_runs(own, tmp_path):
    out = tmp_path / "runs.parquet"
    first = pilots.pilot(POOLS, out, trainer=f"{own}:Formula", **SHORT)
    assert pilots.pilot(POOLS, out, trainer=f"{own}:Formula", **SHORT).table().equals(first.table())
    before = trainer_data.load(f"{own}:Formula", POOLS, {}).data_hash
    own.write_text(OWN + "# edited\n", encoding="utf-8")
    assert trainer_data.load(f"{own}:Formula", POOLS, {}).data_hash != before
    with pytest.raises(Interrupted, match="--restart"):
        pilots.pilot(POOLS, out, trainer=f"{own}:Formula", **SHORT)


@pytest.mark.parametrize(
    ("trainer", "message"),
    [
        ("{own}:Formula:flor=1", "has no option 'flor'; did you mean 'floor'?"),
        ("{own}:Formul", "unknown class 'Formul'; did you mean 'Formula'?"),
        ("{own}", "is a file: add the name of its class"),
        ("{own}:Idle", r"has no method train\(weights, budget, \*, seed, unique\): add it"),
        ("{own}:Silent", "must return the loss of each eval, as {{'web': 2.5}}; it returned 2.5"),
        ("tinny", "unknown trainer 'tinny'; did you mean 'tiny'?"),
        ("tiny:rat=1", "tiny has no option 'rat'; did you mean 'rate'?"),
        ("tiny:layers=two", "tiny: layers=two is not a whole number"),
        ("tiny:pools=1", "tiny has no option 'pools'"),
        ("command", "needs a program: write command:PROGRAM"),
        ("command: ", "needs a program: write command:PROGRAM"),
    ],
)
def test_a_trainer_that_cannot_be_used_is_one_clear_line(own, trainer, message):
    with pytest.raises((CurateError, SchemaError), match=message.replace("{{", "{").replace("}}", "}")):
        pilots.pilot(POOLS, trainer=trainer.format(own=own), **SHORT)
