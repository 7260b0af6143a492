"""Predictions of a fit of several evals: the mean, and each on its own."""

import json

import numpy as np
import polars as pl
import pytest

from pipelines import fit, predict


def test_every_eval_has_its_columns_and_the_mean_is_their_mean(tmp_path):
    rng = np.random.default_rng(2)
    tokens, params = np.geomspace(1e9, 1e11, 30), rng.choice([1e7, 1e8, 1e9], 30)
    base = 300 / params**0.34 + 400 / tokens**0.3
    frame = pl.DataFrame(
        {
            "run": [f"r{i}" for i in range(30)],
            "params": params,
            "tokens": tokens,
            "loss.a": 1.7 + base,
            "loss.b": 2.0 + 2 * base,
        }
    )
    frame.write_parquet(tmp_path / "runs.parquet")
    fit.main(
        tmp_path / "runs.parquet", law="chinchilla", evaluation="a,b", out=tmp_path / "fit.json", starts=8, draws=10
    )
    predict.main(tmp_path / "fit.json", tmp_path / "runs.parquet", tmp_path / "p.parquet")
    predicted = pl.read_parquet(tmp_path / "p.parquet")
    assert predicted.columns[:4] == ["run", "predicted", "low", "high"]
    assert predicted["predicted"].to_numpy() == pytest.approx(
        (predicted["predicted.a"].to_numpy() + predicted["predicted.b"].to_numpy()) / 2
    )
    for name in "ab":
        assert predicted[f"predicted.{name}"].to_numpy() == pytest.approx(frame[f"loss.{name}"].to_numpy(), rel=2e-3)
        assert (predicted[f"low.{name}"] < predicted[f"high.{name}"]).all()


def table_of(params: list[float], tokens: float, shares: np.ndarray) -> pl.DataFrame:
    """Runs over two pools; a run of each size for each share of the first pool."""
    rows = [(n, w) for n in params for w in shares.tolist()]
    size, share = (np.array(column) for column in zip(*rows, strict=True))
    return pl.DataFrame(
        {
            "run": [f"r{i}" for i in range(len(rows))],
            "params": size,
            "tokens": tokens,
            "weight.web": share,
            "weight.code": 1 - share,
            "loss.a": 1.5 + 300 / size**0.34 + np.exp(-share) / 3,
        }
    )


def test_the_warnings_of_extrapolation_are_printed_and_counted(tmp_path, cli):
    shares = np.linspace(0.1, 0.7, 12)
    table_of([1e7, 1e8], 1e9, shares).write_csv(tmp_path / "runs.csv")
    table_of([1e8, 1e9], 4e9, np.array([0.5, 0.9])).write_csv(tmp_path / "new.csv")
    cli("fit", tmp_path / "runs.csv", "--law", "ces", "--starts", 2, "--draws", 4, "--out", tmp_path / "fit.json")
    out = ["--out", tmp_path / "p.parquet"]
    output = cli("predict", tmp_path / "fit.json", tmp_path / "new.csv", *out, "--json")
    assert output.code == 0
    assert json.loads(output.out)["warnings"] == [
        "extrapolated: tokens 4e+09 is 4x the largest fitted (1e+09), in 4 of 4 runs",
        "extrapolated: params 1e+09 is 10x the largest fitted (1e+08), in 2 of 4 runs",
        "extrapolated: share of code 0.1 is 3x below the smallest fitted (0.3), in 2 of 4 runs",
        "extrapolated: share of web 0.9 is 1.29x the largest fitted (0.7), in 2 of 4 runs",
    ]
    printed = cli("predict", tmp_path / "fit.json", tmp_path / "new.csv", *out)
    assert "params 1e+09 is 10x the largest fitted" in printed.out + printed.err


def test_runs_of_one_size_give_the_order_of_mixtures_at_another_size(tmp_path, cli):
    shares = np.linspace(0.1, 0.9, 24)
    table_of([1e7], 1e9, shares).write_csv(tmp_path / "runs.csv")
    table_of([1e7, 1e9], 1e9, shares).write_csv(tmp_path / "new.csv")
    spec = ["--law", "mixture_ces:linear=true", "--starts", 2, "--draws", 4]
    cli("fit", tmp_path / "runs.csv", *spec, "--out", tmp_path / "fit.json")
    output = cli("predict", tmp_path / "fit.json", tmp_path / "new.csv", "--out", tmp_path / "p.parquet", "--json")
    (line,) = [line for line in json.loads(output.out)["warnings"] if line.startswith("one size")]
    assert "all fitted runs have 1e+07 parameters and 1e+09 tokens" in line and line.endswith(
        "24 of 48 runs have another size or number of tokens"
    )
    small, large = np.split(pl.read_parquet(tmp_path / "p.parquet")["predicted"].to_numpy(), 2)
    assert large / small == pytest.approx(large[0] / small[0])
    assert large[0] < small[0]
