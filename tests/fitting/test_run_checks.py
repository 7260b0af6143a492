"""Run tables that are not what they seem are refused with one line; what they cannot tell is noted."""

import numpy as np
import polars as pl
import pytest

from curate.errors import FitError, SchemaError
from curate.fitting import fit, run_checks
from curate.runs.run_table import Runs, check, read


def table(**changes: object) -> Runs:
    rng = np.random.default_rng(0)
    n = 24
    params, tokens = rng.choice([1e7, 1e8], n), np.geomspace(1e9, 1e11, n)
    loss = 1.7 + 400 / params**0.34 + 400 / tokens**0.28
    frame = pl.DataFrame({"run": [f"r{i}" for i in range(n)], "params": params, "tokens": tokens, "loss.val": loss})
    return check(frame.with_columns(**{k: pl.Series(v) for k, v in changes.items()}), "test")


def test_a_good_table_has_no_notes():
    assert run_checks.check(table()) == ()


@pytest.mark.parametrize("scale", [1e-9, 1e-6])
def test_tokens_in_billions_are_found(scale):
    good = table()
    units = {1e-9: "billions", 1e-6: "millions"}[scale]
    with pytest.raises(SchemaError, match=f"look like {units} of tokens. Repair them with --map 'tokens=tokens \\* 1e"):
        read(good.frame.with_columns(pl.col("tokens") * scale))


def test_params_in_billions_are_found():
    with pytest.raises(SchemaError, match=r"the median of params is 1.3. These look like billions of parameters"):
        read(table(params=np.full(24, 1.3)).frame)


def test_a_few_short_runs_are_noted():
    tokens = table().frame["tokens"].to_numpy()
    (note,) = run_checks.check(table(tokens=np.where(np.arange(24) < 3, 100.0 + np.arange(24), tokens)))
    assert note.startswith("run 'r0' has tokens = 100: tokens look like counts in millions or billions in 3 of 24 rows")


def test_sizes_that_hardly_differ_are_noted():
    (note,) = run_checks.unvaried(table(params=np.where(np.arange(24) % 2, 1e8, 1.1e8)))
    assert note.startswith("all fitted runs have between 1e+08 and 1.1e+08 parameters, a factor of 1.1")


def test_evals_of_different_rows_are_noted():
    half = np.where(np.arange(24) < 14, np.nan, 3.0)
    runs = table(**{"loss.other": half})
    (note,) = run_checks.uneven(runs, ["val", "other"])
    assert note.startswith("only 10 of 24 rows have a value in each of the columns loss.val, loss.other. Each eval is")
    assert run_checks.uneven(runs, ["val"]) == ()


def test_empty_cells_of_several_evals_are_one_note():
    losses = {f"loss.{name}": np.where(np.arange(24) < count, np.nan, 3.0) for name, count in (("a", 1), ("b", 3))}
    measured = table(**losses).measured(["val", "a", "b"])
    assert measured.notes == (
        "loss.a, loss.b are each empty in 1 to 3 of 24 rows, the first is 'r0'. The fit of each column leaves its "
        "empty rows out",
    )
    assert len(measured) == 24


def test_a_run_twice_is_refused_and_checkpoints_are_not():
    with pytest.raises(SchemaError, match=r"'r0' at 1e\+09 tokens appears more than once \(2 such rows\)"):
        run_checks.check(
            table(run=["r0", "r0", *(f"r{i}" for i in range(2, 24))], tokens=[1e9, 1e9, *np.geomspace(2e9, 9e9, 22)])
        )
    assert run_checks.check(table(run=["one"] * 24)) == ()


def test_constant_columns_are_noted_and_all_constant_is_refused():
    (note,) = run_checks.unvaried(table(params=np.full(24, 1e8)))
    assert run_checks.unvaried(table()) == ()
    assert note == "all fitted runs have 1e+08 parameters: what a law says of other sizes comes from its priors"
    with pytest.raises(FitError, match="the same in all 24 runs"):
        run_checks.check(table(params=np.full(24, 1e8), tokens=np.full(24, 1e9)))


@pytest.mark.parametrize("rows", [1, 6])
def test_losses_partly_in_bits_are_found(rows):
    good = table()
    loss = good.loss("val").copy()
    loss[:: 24 // rows] /= np.log(2)
    mixed = table(**{"loss.val": loss})
    result = fit.fit(
        "chinchilla", mixed.recipes(), loss, pools=mixed.pools, evaluation="val", options=fit.FitOptions(draws=1)
    )
    (note,) = run_checks.units_of_loss(result, mixed)
    assert note.startswith(f"loss.val of {rows} runs, the first is 'r0', differs from the fit by a factor of 1.4427")
    clean = fit.fit(
        "chinchilla",
        good.recipes(),
        good.loss("val"),
        pools=good.pools,
        evaluation="val",
        options=fit.FitOptions(draws=1),
    )
    assert run_checks.units_of_loss(clean, good) == ()
