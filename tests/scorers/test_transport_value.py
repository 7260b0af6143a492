"""Values of samples: what is like the target scores high, and the values are the dual of the transport problem."""

import numpy as np
import polars as pl
import pytest
from corpora import corpus_of_parts

from curate.errors import SchemaError
from curate.scorers import transport_value
from curate.tables import batches as tables


def frame(x: np.ndarray, prefix: str = "d") -> pl.DataFrame:
    array = pl.Array(pl.Float32, x.shape[1])
    return pl.DataFrame({"id": [f"{prefix}{i}" for i in range(len(x))], "emb.hashed": pl.Series(x, dtype=array)})


def learned(x, y, tmp_path, **options):
    frame(y, "t").write_parquet(tmp_path / "target.parquet")
    return transport_value.learn(
        corpus_of_parts(frame(x[:13]), frame(x)[13:]), target=str(tmp_path / "target.parquet"), **options
    )


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


def labelled(x: np.ndarray, y, prefix: str = "d") -> pl.DataFrame:
    return frame(x, prefix).with_columns(label=pl.Series(y))


def two_classes(rows: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    label = rng.integers(0, 2, rows)
    return (rng.standard_normal((rows, 3)) + 3 * label[:, None]).astype(np.float32), label


def test_wrong_labels_score_low_through_the_command_line(cli, tmp_path):
    x, truth = two_classes(80, 1)
    labels = np.where(np.arange(80) < 8, 1 - truth, truth)
    (tmp_path / "data").mkdir()
    labelled(x, labels).write_parquet(tmp_path / "data" / "a.parquet")
    labelled(*two_classes(60, 2), "t").write_parquet(tmp_path / "target.parquet")
    spec = f"transport_value:target={tmp_path / 'target.parquet'},labels=true"
    result = cli("score", tmp_path / "data", "--scorer", spec, "--out", tmp_path / "out")
    assert result.code == 0, result.err
    values = pl.read_parquet(tmp_path / "out" / "a.parquet.scores.parquet")["score.transport_value"].to_numpy()
    assert values[:8].max() < np.quantile(values[8:], 0.1)


def test_the_cost_with_labels_is_that_of_lava(tmp_path):
    """The potentials add up to the cost of the exact transport with class distances from POT's Gaussian formula."""
    import ot

    (x, a), (y, b) = two_classes(60, 1), two_classes(50, 2)
    labelled(y, b, "t").write_parquet(tmp_path / "target.parquet")
    data = labelled(x, a)
    scorer = transport_value.learn(
        corpus_of_parts(data[:7], data[7:]), target=str(tmp_path / "target.parquet"), labels=True, class_weight=0.7
    )
    assert scorer.needs == ("emb.hashed", "label")
    spread = scorer.scale[0]
    costs = ((x[:, None].astype(float) - y[None]) ** 2).sum(axis=2) / (2 * spread)
    for i in (0, 1):
        for j in (0, 1):
            ours, theirs = x[a == i].astype(float), y[b == j].astype(float)
            squared = ot.gaussian.bures_wasserstein_distance(
                ours.mean(axis=0), theirs.mean(axis=0), np.cov(ours.T, bias=True), np.cov(theirs.T, bias=True)
            )
            costs[np.ix_(a == i, b == j)] += 0.7 * squared**2 / (2 * spread)
    own = scorer.scale[1] - scorer(data)["score.transport_value"].to_numpy()
    masses = np.where(b == 1, (a == 1).mean() / (b == 1).sum(), (a == 0).mean() / (b == 0).sum())
    order = np.argsort(tables.keys([f"t{i}" for i in range(50)], 0))  # of the target's rows in the scorer
    total = own.mean() + (masses[order] * scorer.prices).sum()
    assert total == pytest.approx(ot.emd2(np.full(60, 1 / 60), masses, costs), rel=1e-5)
    mixed = np.random.default_rng(0).permutation(60)
    again = transport_value.learn(
        corpus_of_parts(data[mixed.tolist()]),
        target=str(tmp_path / "target.parquet"),
        labels=True,
        class_weight=0.7,
    )
    assert again.prices.tobytes() == scorer.prices.tobytes()
    assert again.class_costs.tobytes() == scorer.class_costs.tobytes()


@pytest.mark.parametrize(
    ("options", "target", "message"),
    [
        ({}, labelled(*two_classes(50, 2), "t").drop("label"), "target .*target.parquet has no column label"),
        ({}, labelled(two_classes(50, 2)[0], [0] * 50, "t"), "no rows of 1 of the data's 2 classes, such as '1'"),
        ({}, labelled(two_classes(50, 2)[0], [0, None] * 25, "t"), "label is null in"),
        ({}, labelled(two_classes(300, 2)[0], range(300), "t"), "the target has 300 different labels, more than 256"),
        ({"class_weight": 0}, labelled(*two_classes(50, 2), "t"), "class_weight=0 must be above 0"),
    ],
)
def test_labels_that_cannot_be_compared_are_one_clear_line(tmp_path, options, target, message):
    target.write_parquet(tmp_path / "target.parquet")
    data = labelled(*two_classes(60, 1))
    with pytest.raises(SchemaError, match=message) as caught:
        transport_value.learn(
            corpus_of_parts(data[:7], data[7:]), target=str(tmp_path / "target.parquet"), labels=True, **options
        )
    assert "\n" not in str(caught.value)


def test_labels_without_a_target_are_refused():
    with pytest.raises(SchemaError, match="labels=true needs a target with right labels"):
        transport_value.learn(corpus_of_parts(labelled(*two_classes(60, 1))), labels=True)


def test_rows_without_a_label_column_are_one_clear_line_of_the_command_line(cli, tmp_path):
    frame(two_classes(60, 1)[0]).write_parquet(tmp_path / "data.parquet")
    labelled(*two_classes(50, 2), "t").write_parquet(tmp_path / "target.parquet")
    spec = f"transport_value:target={tmp_path / 'target.parquet'},labels=true"
    result = cli("score", tmp_path / "data.parquet", "--scorer", spec, "--out", tmp_path / "out")
    messages = [line for line in result.err.splitlines() if line.startswith("curate: ")]
    assert result.code == 1 and len(messages) == 1 and "has no column 'label'" in messages[0]
