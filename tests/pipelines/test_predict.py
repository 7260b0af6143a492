"""Predictions of a fit of several evals: the mean, and each on its own."""

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
