"""Run tables with distance.<target>: fits of the law transport, predictions, and one clear line where it is unclear."""

import json

import numpy as np
import polars as pl
import pytest


@pytest.fixture
def table(tmp_path):
    """Sixteen runs whose loss is .1 (n / 1e3)^-.3 exp(2 distance.here), with another column distance.there."""
    rng = np.random.default_rng(0)
    w, far = rng.dirichlet(np.ones(2), 16), rng.uniform(0.1, 1, 16)
    tokens = np.tile([100.0, 400.0], 8)
    frame = pl.DataFrame(
        {
            "run": [f"r{i}" for i in range(16)],
            "params": 1e3,
            "tokens": tokens,
            "weight.a": w[:, 0],
            "weight.b": w[:, 1],
            "distance.here": far,
            "distance.there": rng.uniform(0.1, 1, 16),
            "loss.x": 0.1 * (tokens / 1e3) ** -0.3 * np.exp(2 * far),
        }
    )
    path = tmp_path / "runs.parquet"
    frame.write_parquet(path)
    return path


def ask(cli, table, *more):
    return cli(
        "fit",
        table,
        "--law",
        "transport",
        "--eval",
        "x",
        "--starts",
        4,
        "--draws",
        5,
        "--holdout",
        "random:0.25",
        "--out",
        table.parent / "fit.json",
        *more,
    )


def test_the_law_reads_the_column_that_is_named(cli, table):
    output = ask(cli, table, "--target", "here")
    assert output.code == 0, output.err
    (law,) = json.loads((table.parent / "fit.json").read_text())["laws"]
    assert law["theta"]["c"] == pytest.approx(2.0, abs=0.05)
    output = cli("predict", table.parent / "fit.json", table, "--target", "here", "--out", table.parent / "p.parquet")
    assert output.code == 0, output.err
    predicted = pl.read_parquet(table.parent / "p.parquet")["predicted"].to_numpy()
    assert predicted == pytest.approx(pl.read_parquet(table)["loss.x"].to_numpy(), rel=0.02)


def test_the_only_column_needs_no_name(cli, table):
    pl.read_parquet(table).drop("distance.there").write_parquet(table)
    assert ask(cli, table).code == 0


def test_what_is_unclear_is_one_line(cli, table):
    frame = pl.read_parquet(table)
    holed = table.parent / "holed.parquet"
    frame.with_columns(pl.col("distance.here").replace(frame["distance.here"][3], None)).write_parquet(holed)
    for path, more, message in (
        (table, (), "choose one of several with --target"),
        (table, ("--target", "gone"), "no column distance.gone; its targets are here, there"),
        (holed, ("--target", "here"), "distance.here of run 'r3' is nan"),
    ):
        output = ask(cli, path, *more)
        assert output.code == 1
        assert message in output.err
        assert len(output.err.strip().splitlines()) == 1, output.err
