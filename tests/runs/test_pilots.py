"""Pilot designs and their resumable runs, with a real (cheap) trainer on real data."""

import json
import subprocess
from dataclasses import dataclass, field, replace

import numpy as np
import polars as pl
import pytest
from conftest import documents
from sklearn.datasets import load_digits

from curate.engines.local import Local
from curate.errors import Interrupted, SchemaError
from curate.fitting import fit as fits
from curate.pool.pool import Budget, Pool, to_json
from curate.runs import pilots, run_table
from curate.trainers.linear import Linear

LARGEST = Budget(400, 1)


def digits() -> Linear:
    """Low digits, high digits, and all of them with every third label wrong; the eval holds all ten."""
    x, y = load_digits(return_X_y=True)
    x, y = x[np.random.default_rng(0).permutation(len(y))] / 16, y[np.random.default_rng(0).permutation(len(y))]
    train_x, train_y, eval_x, eval_y = x[:1400], y[:1400], x[1400:], y[1400:]
    low, wrong = train_y < 5, np.where(np.arange(300) % 3 == 0, (train_y[:300] + 1) % 10, train_y[:300])
    pools = {
        "a": (train_x[low], train_y[low]),
        "b": (train_x[~low][:400], train_y[~low][:400]),
        "c": (train_x[:300], wrong),
    }
    return Linear(pools, {"digits": (eval_x, eval_y)})


LINEAR = digits()
POOLS = tuple(Pool(name, count, count) for name, count in LINEAR.unique.items())


@dataclass(frozen=True)
class Counting:
    """A trainer that remembers what it was asked."""

    trainer: Linear
    seen: list = field(default_factory=list)

    def train(self, weights, budget, *, seed, unique=None):
        self.seen.append(seed)
        return self.trainer.train(weights, budget, seed=seed, unique=unique)


@pytest.mark.parametrize("kind", pilots.DESIGNS)
@pytest.mark.parametrize("count", [1, 2, 13])
def test_designs_lie_on_the_simplex_and_in_the_budget(kind, count):
    planned = pilots.design(POOLS, count, LARGEST, kind=kind, seed=1)
    assert len({run.run for run in planned}) == len({run.seed for run in planned}) == count
    for run in planned:
        w = np.array(list(run.weights.values()))
        assert list(run.weights) == ["a", "b", "c"]
        assert w.min() >= 0
        assert w.sum() == pytest.approx(1, abs=1e-12)
        assert run.budget.tokens in (400, 200, 100, 50)
        assert run.budget.params == 1
        assert all(1 <= run.unique[p.name] <= p.tokens for p in POOLS)
    assert planned == pilots.design(POOLS, count, LARGEST, kind=kind, seed=1)


@pytest.mark.parametrize("kind", ["dirichlet", "optimal"])
def test_another_seed_is_another_design(kind):
    first, second = (pilots.design(POOLS, 8, LARGEST, kind=kind, seed=s) for s in (0, 1))
    assert [r.weights for r in first] != [r.weights for r in second]


def test_tokens_are_varied():
    planned = pilots.design(POOLS, 12, LARGEST)
    assert sorted({run.budget.tokens for run in planned}) == [50, 100, 200, 400]
    assert max(run.budget.tokens for run in planned) == 400


def test_the_simplex_design_has_corners_edges_and_the_centre():
    result = {
        tuple(np.round(list(run.weights.values()), 6)) for run in pilots.design(POOLS, 7, LARGEST, kind="simplex")
    }
    third = round(1 / 3, 6)
    assert result == {(1, 0, 0), (0, 1, 0), (0, 0, 1), (0.5, 0.5, 0), (0.5, 0, 0.5), (0, 0.5, 0.5), (third,) * 3}


@pytest.mark.parametrize("seed", range(4))
def test_the_optimal_design_tells_more_than_a_random_one(seed):
    def information(kind):
        planned = pilots.design(POOLS, 14, LARGEST, kind=kind, seed=seed)
        w = np.array([list(run.weights.values()) for run in planned])
        tokens = np.array([run.budget.tokens for run in planned])
        unique = np.array([list(run.unique.values()) for run in planned])
        repeats = np.log(np.maximum(w * tokens[:, None] / unique, 1.0))
        features = np.hstack([w, np.log(tokens / 400)[:, None] * w, w * repeats])
        return np.linalg.slogdet(features.T @ features + 1e-3 * np.eye(9))[1]

    assert information("optimal") > information("dirichlet") + 1


def test_tiny_pools_keep_at_least_one_token():
    few = (Pool("a", 5, 5), Pool("b", 1000, 1000))
    assert min(run.unique["a"] for run in pilots.design(few, 20, LARGEST)) >= 1


@pytest.mark.parametrize("arguments", [{"kind": "nosuch"}, {"runs": 0}])
def test_senseless_designs_are_refused(arguments):
    with pytest.raises(SchemaError):
        pilots.design(POOLS, arguments.pop("runs", 3), LARGEST, **arguments)


def test_the_run_table_is_in_the_order_of_the_design_and_can_be_fitted(tmp_path):
    planned = pilots.design(POOLS, 12, LARGEST, seed=2)
    table = pilots.run(planned, LINEAR, tmp_path / "runs", data="d")
    assert table["run"].to_list() == [run.run for run in planned]
    data = run_table.check(table, "pilot")
    assert data.pools == ("a", "b", "c")
    assert data.recipes().tokens.tolist() == [run.budget.tokens for run in planned]
    assert data.loss("digits").tolist() == [
        LINEAR.train(r.weights, r.budget, seed=r.seed, unique=r.unique)["digits"] for r in planned
    ]
    result = fits.fit(
        "mixing", data.recipes(), data.loss("digits"), pools=data.pools, options=fits.FitOptions(starts=4, draws=2)
    )
    assert result.theta["t"].argmin() != 2, "the pool with wrong labels is not the best"


def test_only_missing_runs_are_trained_and_the_table_is_the_same(tmp_path):
    planned, counting = pilots.design(POOLS, 6, LARGEST), Counting(LINEAR)
    first = pilots.run(planned, counting, tmp_path, data="d")
    assert sorted(counting.seen) == [run.seed for run in planned]
    (tmp_path / f"{planned[4].run}.json").unlink()
    counting.seen.clear()
    assert pilots.run(planned, counting, tmp_path, data="d").equals(first)
    assert counting.seen == [planned[4].seed]
    counting.seen.clear()
    assert pilots.run(planned, counting, tmp_path, data="d", restart=True).equals(first)
    assert len(counting.seen) == 6


def test_more_runs_of_the_same_design_continue_it(tmp_path):
    counting = Counting(LINEAR)
    planned = pilots.design(POOLS, 6, LARGEST)
    pilots.run(planned[:3], counting, tmp_path, data="d")
    pilots.run(planned, counting, tmp_path, data="d")
    assert len(counting.seen) == 6


@pytest.mark.parametrize("what", ["data", "design"])
def test_another_design_or_other_data_is_refused(tmp_path, what):
    planned = pilots.design(POOLS, 3, LARGEST)
    pilots.run(planned, LINEAR, tmp_path, data="d")
    other = tuple(replace(run, seed=run.seed + 7) for run in planned) if what == "design" else planned
    with pytest.raises(Interrupted, match="another design or of other data.*--restart"):
        pilots.run(other, LINEAR, tmp_path, data="e" if what == "data" else "d")
    counting = Counting(LINEAR)
    pilots.run(other, counting, tmp_path, data="e" if what == "data" else "d", restart=True)
    assert len(counting.seen) == 3


def test_a_failure_keeps_what_is_finished(tmp_path):
    @dataclass(frozen=True)
    class Failing:
        def train(self, weights, budget, *, seed, unique=None):
            if seed == planned[2].seed:
                raise SchemaError("out of luck")
            return {"x": 1.0}

    planned = pilots.design(POOLS, 4, LARGEST)
    with pytest.raises(SchemaError, match="out of luck"):
        pilots.run(planned, Failing(), tmp_path, data="d")
    finished = {p.stem for p in tmp_path.glob("*.json")}
    assert planned[2].run not in finished
    assert all(json.loads((tmp_path / f"{name}.json").read_text())["losses"] == {"x": 1.0} for name in finished)


def test_two_workers_give_the_same_table(tmp_path):
    planned = pilots.design(POOLS, 4, LARGEST)
    first, second = (pilots.run(planned, LINEAR, tmp_path / str(n), data="d", engine=Local(n)) for n in (1, 2))
    assert first.equals(second)


def test_repeating_few_examples_is_worse_than_fresh_ones():
    weights, budget = {"a": 0.5, "b": 0.5}, Budget(600, 1)
    fresh = LINEAR.train(weights, budget, seed=0)["digits"]
    assert LINEAR.train(weights, budget, seed=0, unique={"a": 15, "b": 15})["digits"] > fresh + 0.1


def test_what_a_killed_pilot_left_half_written_is_removed(tmp_path):
    gone = subprocess.Popen(["true"])
    gone.wait()
    stale = tmp_path / f".dirichlet-0000.json.{gone.pid}.tmp"
    stale.touch()
    pilots.run(pilots.design(POOLS, 1, LARGEST), LINEAR, tmp_path, data="d")
    assert [p.name for p in tmp_path.iterdir() if p.name != "_curate"] == ["dirichlet-0000.json"]


@pytest.fixture
def texts(tmp_path):
    """Two pools of documents and held-out ones, on disk."""
    for name, start in (("web", 0), ("code", 100), ("held", 200)):
        documents(30, start).write_parquet(tmp_path / f"{name}.parquet")
    return tmp_path


def text_pools(texts):
    return [Pool(name, 4000, where=(str(texts / f"{name}.parquet"),)) for name in ("web", "code")]


SMALL = {"runs": 3, "params": 1e4, "tokens": 2000.0, "trainer": "tiny:context=16,layers=1"}


def test_the_function_gives_the_table_of_the_command(cli, texts):
    pools = text_pools(texts)
    (texts / "pools.json").write_text(json.dumps({"pools": to_json(pools)}))
    flags = ["--runs", 3, "--params", 1e4, "--tokens", 2000, "--trainer", SMALL["trainer"]]
    target = f"prose={texts / 'held.parquet'}"
    done = cli("pilot", texts / "pools.json", "--target", target, *flags, "--out", texts / "runs.parquet")
    assert done.code == 0, done
    on_disk = pl.read_parquet(texts / "runs.parquet")
    from_paths = pilots.pilot(texts / "pools.json", targets={"prose": texts / "held.parquet"}, **SMALL)
    in_memory = pilots.pilot(pools, texts / "again.csv", targets={"prose": documents(30, 200)}, **SMALL)
    assert from_paths.frame.equals(on_disk)
    assert in_memory.frame.equals(on_disk)
    assert run_table.read(texts / "again.csv").frame.equals(on_disk, null_equal=True)
    assert len(list((texts / "again.runs").glob("*.json"))) == 3
    assert sorted(p.name for p in texts.glob("*.runs")) == ["again.runs", "runs.runs"], "nothing is kept without out"


def test_without_targets_a_part_of_every_pool_is_held_out(texts):
    runs = pilots.pilot(text_pools(texts), **SMALL)
    assert runs.evals == ("code", "web")
    assert repr(runs) == "Runs(3 runs of pools web, code; evals code, web)"
    assert runs.losses().columns == ["run", "params", "tokens", "eval", "loss"]
    assert runs.losses().height == 6
    assert "<table" in runs._repr_html_()
    assert runs.chart().to_dict()["facet"]["row"]["field"] == "eval"


def test_embeddings_in_memory_are_a_target(tmp_path):
    rng = np.random.default_rng(0)
    frame = pl.DataFrame(
        {"emb.x": rng.normal(size=(40, 3)).astype(np.float32), "label": np.arange(40) % 2},
        schema_overrides={"emb.x": pl.Array(pl.Float32, 3)},
    )
    frame.write_parquet(tmp_path / "a.parquet")
    pools = [Pool("a", 40, 40, (str(tmp_path / "a.parquet"),))]
    runs = pilots.pilot(pools, targets={"t": frame}, trainer="linear", runs=2, tokens=200)
    assert runs.table().equals(
        pilots.pilot(pools, targets={"t": tmp_path / "a.parquet"}, trainer="linear", runs=2, tokens=200).table()
    )
    with pytest.raises(SchemaError, match="no column 'label'; it has emb.x"):
        pilots.pilot(pools, targets={"t": frame.drop("label")}, trainer="linear", runs=2)
