"""Values of samples: what is like the target scores high, and the values are the dual of the transport problem."""

import numpy as np
import polars as pl
import pytest

from curate.errors import SchemaError
from curate.scorers import transport_value


def frame(x: np.ndarray, prefix: str = "d") -> pl.DataFrame:
    array = pl.Array(pl.Float32, x.shape[1])
    return pl.DataFrame({"id": [f"{prefix}{i}" for i in range(len(x))], "emb.hashed": pl.Series(x, dtype=array)})


def learned(x, y, tmp_path, **options):
    frame(y, "t").write_parquet(tmp_path / "target.parquet")
    return transport_value.learn(lambda needs: iter([frame(x)]), target=str(tmp_path / "target.parquet"), **options)


def clouds() -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(0)
    x = rng.standard_normal((60, 3)).astype(np.float32)
    x[40:] += 5
    return x, rng.standard_normal((50, 3)).astype(np.float32)


def test_rows_unlike_the_target_score_low(tmp_path):
    x, y = clouds()
    values = learned(x, y, tmp_path)(frame(x))["score.transport_value"].to_numpy()
    assert values[:40].min() > values[40:].max()
    assert abs(values.mean()) < 1e-9  # calibrated over the sample


def test_potentials_add_up_to_the_transport_cost(tmp_path):
    import ot

    x, y = clouds()
    scorer = learned(x, y, tmp_path)
    own = scorer.scale[1] - scorer(frame(x))["score.transport_value"].to_numpy()
    costs = ((x[:, None].astype(float) - y[None]) ** 2).sum(axis=2) / (2 * scorer.scale[0])
    assert own.mean() + scorer.prices.mean() == pytest.approx(ot.emd2([], [], costs), rel=1e-5)


def test_targets_that_do_not_fit_are_one_clear_line(tmp_path):
    x, y = clouds()
    with pytest.raises(SchemaError, match="3 numbers in the data and 2 in the target"):
        learned(x, y[:, :2], tmp_path)
    with pytest.raises(SchemaError, match="all 50 target vectors are equal"):
        learned(x, np.ones_like(y), tmp_path)
