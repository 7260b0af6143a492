"""``curate.selection.job.select`` from Python: tables in memory, the same plan as the command, and what is shown."""

import json

import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.selection.job import select

CENTRES = {"a": [2.0, 0.0], "b": [-2.0, 0.0], "c": [0.0, 6.0]}


def table(x: np.ndarray) -> pl.DataFrame:
    return pl.DataFrame({"emb.x": pl.Series(x.astype(np.float32), dtype=pl.Array(pl.Float32, 2))})


@pytest.fixture(scope="module")
def sources() -> dict[str, pl.DataFrame]:
    rng = np.random.default_rng(0)
    return {name: table(centre + rng.standard_normal((24, 2)) / 2) for name, centre in CENTRES.items()}


@pytest.fixture(scope="module")
def target() -> pl.DataFrame:
    """70 % like a, 30 % like b."""
    rng = np.random.default_rng(1)
    return table(np.array(list(CENTRES.values()))[[0] * 28 + [1] * 12] + rng.standard_normal((40, 2)) / 2)


@pytest.fixture(scope="module")
def runs() -> pl.DataFrame:
    w = np.random.default_rng(2).dirichlet(np.ones(3), 12)
    error = 0.1 + 0.3 * np.abs(w - [0.7, 0.3, 0]).sum(axis=1)
    names = {"run": [f"r{i}" for i in range(12)], "params": 1e3, "tokens": [100.0, 200.0] * 6, "metric.acc": 1 - error}
    return pl.DataFrame(names | {f"weight.{name}": w[:, i] for i, name in enumerate("abc")})


def test_tables_in_memory_give_the_planted_ratio(sources, target):
    selection = select(sources, target=target, budget=1000)
    assert selection.table()["share"].to_list() == pytest.approx([0.7, 0.3, 0.0], abs=0.06)
    assert selection.table()["examples"].sum() == 1000
    assert "loss" not in selection.compared().columns
    assert repr(selection).startswith("Selection(a ")
    assert "nearest" in selection._repr_html_()
    assert len(selection.chart().to_dict()["hconcat"]) == 2


def test_the_function_saves_the_same_plan_as_the_command(sources, target, runs, cli, tmp_path):
    for name, frame in sources.items():
        (tmp_path / "sources" / f"source={name}").mkdir(parents=True)
        frame.write_parquet(tmp_path / "sources" / f"source={name}" / "x.parquet")
    target.write_parquet(tmp_path / "target.parquet")
    runs.write_parquet(tmp_path / "runs.parquet")
    reply = cli(
        "select",
        tmp_path / "sources",
        "--target",
        tmp_path / "target.parquet",
        "--budget",
        1000,
        "--runs",
        tmp_path / "runs.parquet",
        "--out",
        tmp_path / "command.json",
    )
    assert reply.code == 0, reply.err
    paths = {"sources": str(tmp_path / "sources"), "target": tmp_path / "target.parquet"}
    select(**paths, budget=1000, runs=runs).save(tmp_path / "function.json")
    command, function = (json.loads((tmp_path / f"{name}.json").read_text()) for name in ("command", "function"))
    inputs = function.pop("made_by")["inputs"]
    assert set(command.pop("made_by")["inputs"]) - set(inputs) == {str(tmp_path / "runs.parquet")}
    assert "runs" in inputs
    assert function == command


def test_a_mapping_may_hold_paths_and_tables(sources, target, tmp_path):
    sources["a"].write_parquet(tmp_path / "a.parquet")
    selection = select(sources | {"a": tmp_path / "a.parquet"}, target=target, budget=1000)
    places = {pool["name"]: pool["where"] for pool in selection.to_json()["pools"]}
    assert places == {"a": [str(tmp_path / "a.parquet")], "b": [], "c": []}
    assert set(selection.made_by["inputs"]) == {str(tmp_path / "a.parquet"), "b", "c", "the target"}


def test_a_budget_that_is_no_count_is_refused(sources, target):
    for budget in (0.5, float("nan"), float("inf")):
        with pytest.raises(SchemaError, match="whole number of examples"):
            select(sources, target=target, budget=budget)
