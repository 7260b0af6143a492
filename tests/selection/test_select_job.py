"""`curate select`: a planted purchase, prices, plan.json for the other jobs, and one clear line for bad input."""

import json

import numpy as np
import polars as pl
import pytest

from curate.pool import mixture

CENTRES = np.array([[2.0, 0.0], [-2.0, 0.0], [0.0, 6.0]])


def write(path, x, labels=None, **more):
    path.parent.mkdir(parents=True, exist_ok=True)
    frame = pl.DataFrame({"emb.x": pl.Series(x.astype(np.float32), dtype=pl.Array(pl.Float32, x.shape[1])), **more})
    (frame if labels is None else frame.with_columns(label=labels)).write_parquet(path)


@pytest.fixture
def shop(tmp_path):
    """Sources a, b, c (folders); the target is 70 % like a, 30 % like b."""
    rng = np.random.default_rng(0)
    for name, centre in zip("abc", CENTRES, strict=True):
        write(tmp_path / "sources" / f"source={name}" / "x.parquet", centre + rng.standard_normal((24, 2)) / 2)
    write(tmp_path / "target.parquet", CENTRES[[0] * 28 + [1] * 12] + rng.standard_normal((40, 2)) / 2)
    return tmp_path


def run_select(cli, shop, *more, sources="sources", budget=1000):
    return cli(
        "select",
        shop / sources,
        "--target",
        shop / "target.parquet",
        "--budget",
        budget,
        "--out",
        shop / "plan.json",
        *more,
    )


def test_without_runs_the_planted_ratio_is_bought(cli, shop):
    reply = run_select(cli, shop, "--json")
    assert reply.code == 0, reply.err
    (entry,) = json.loads(reply.out)["plans"]
    assert [entry["weights"][n] for n in "abc"] == pytest.approx([0.7, 0.3, 0.0], abs=0.06)
    assert sum(entry["examples"].values()) == 1000
    record = json.loads((shop / "plan.json").read_text())
    assert {row["name"] for row in record["compared"]} > {"nearest", "uniform", "best single", "greedy"}
    assert record["made_by"]["inputs"]
    training_set = mixture.load(shop / "plan.json")
    assert {part.pool.name: part.tokens for part in training_set.parts} == {
        k: v for k, v in entry["examples"].items() if v
    }


def test_runs_give_a_predicted_error_and_prices_are_kept(cli, shop):
    rng = np.random.default_rng(1)
    w = rng.dirichlet(np.ones(3), 12)
    error = 0.1 + 0.3 * np.abs(w - [0.7, 0.3, 0]).sum(axis=1)
    pl.DataFrame(
        {"run": [f"r{i}" for i in range(12)], "params": 1e3, "tokens": [100.0, 200.0] * 6, "metric.acc": 1 - error}
        | {f"weight.{n}": w[:, i] for i, n in enumerate("abc")}
    ).write_csv(shop / "runs.csv")
    reply = run_select(cli, shop, "--runs", shop / "runs.csv", "--price", "a=2", "--price", "b=1", "--money", 1300)
    assert reply.code == 0, reply.err
    assert "metric.acc as error with 90 % intervals" in reply.out
    record = json.loads((shop / "plan.json").read_text())
    (entry,) = record["plans"]
    assert entry["predicts"] == "error"
    assert 0 < entry["low"] < entry["loss"] < entry["high"] < 1
    assert 2 * entry["examples"]["a"] + entry["examples"]["b"] <= 1301


@pytest.mark.parametrize("distance", ["sliced", "energy"])
def test_cheap_distances_find_the_planted_ratio_too(cli, shop, distance):
    reply = run_select(cli, shop, "--distance", distance, "--json")
    assert reply.code == 0, reply.err
    record = json.loads(reply.out)
    assert [record["plans"][0]["weights"][n] for n in "abc"] == pytest.approx([0.7, 0.3, 0.0], abs=0.06)
    assert record["chosen"]["form"] == distance


def write_bad_source(shop, x, labels=None):
    write(shop / "sources" / "source=b" / "x.parquet", x, labels)


@pytest.mark.parametrize(
    ("x", "message"),
    [
        (np.full((5, 2), np.nan), "NaN"),
        (np.ones((5, 3)), "3 features, the target has 2"),
        (np.ones((1, 2)), "1 samples tell nothing"),
        (np.ones((6, 2)), "all 6 samples have the same features"),
    ],
)
def test_bad_samples_are_one_clear_line(cli, shop, x, message):
    write_bad_source(shop, x)
    reply = run_select(cli, shop)
    assert reply.code == 1
    assert message in reply.err
    assert len(reply.err.strip().splitlines()) == 1


def test_other_refusals_are_one_clear_line(cli, shop):
    for more, code, message in (
        (("--price", "z=1"), 1, "the sources are a, b, c"),
        (("--price", "a=-1", "--money", 10), 1, "--price a=-1: a price is at least 0 and finite"),
        (("--price", "a=nan"), 1, "--price a=nan: a price is at least 0 and finite"),
        (("--embedding", "emb.y"), 1, "no column 'emb.y'"),
        (("--max-weight", "a=0.1", "--max-weight", "b=0.1", "--max-weight", "c=0.1"), 1, "raise them"),
        (("--runs", shop / "none.csv"), 1, "no such run table"),
        (("--distance", "cosine"), 1, "there are transport, sliced, energy"),
    ):
        reply = run_select(cli, shop, *more)
        assert (reply.code, len(reply.err.strip().splitlines())) == (code, 1), reply.err
        assert message in reply.err
    assert [run_select(cli, shop, budget=budget).code for budget in (0.5, "inf", "nan")] == [2, 2, 2]
    rng = np.random.default_rng(0)
    write_bad_source(shop, rng.standard_normal((20, 2)), labels=[0, 1] * 10)
    reply = run_select(cli, shop)  # labels on one side only are not compared
    assert reply.code == 0, reply.err
    assert "features alone" in reply.out


def test_text_is_embedded_and_classes_may_be_missing_in_a_source(cli, tmp_path):
    words = {"a": "tensor loss gradient", "b": "whale sea ship captain", "t": "tensor loss gradient layer"}
    for name, text in words.items():
        rows = [" ".join(np.random.default_rng(i).permutation(text.split() * 3)[:7]) for i in range(20)]
        path = tmp_path / ("t.parquet" if name == "t" else f"s/source={name}/x.parquet")
        path.parent.mkdir(parents=True, exist_ok=True)
        labels = [0] * 20 if name == "b" else [0, 1] * 10
        pl.DataFrame({"text": rows, "label": labels}).write_parquet(path)
    reply = cli(
        "select",
        tmp_path / "s",
        "--target",
        tmp_path / "t.parquet",
        "--budget",
        100,
        "--encoder",
        "hashed:width=32",
        "--out",
        tmp_path / "plan.json",
        "--json",
    )
    assert reply.code == 0, reply.err
    assert json.loads(reply.out)["plans"][0]["examples"]["a"] > 90
