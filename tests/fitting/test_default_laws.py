"""Run tables of every shape get laws that suit them and a holdout. Otherwise one line says what is missing."""

import json

import numpy as np
import polars as pl
import pytest
from problems import law_of, recipes, theta

from curate.errors import CurateError, FitError, SchemaError
from curate.fitting.choice import default_laws, holdout
from curate.fitting.job import fit
from curate.runs import run_table
from curate.runs.recipes import Recipes
from pipelines.shared.cli import run

QUICK = ("--starts", 2, "--draws", 2)


def table_of(n, *, mixtures=True, sizes=True, lengths=True, repeats=False, pools=3, seed=0) -> pl.DataFrame:
    """Runs of a planted `ces`, of which only some columns vary."""
    base = recipes(n, pools, seed, distance=False)
    held = [base.weights, base.tokens, base.params]
    for i, varies in enumerate((mixtures, lengths, sizes)):
        held[i] = held[i] if varies else held[i][:1].expand_as(held[i]).clone()
    weights, tokens, params = held
    unique = base.unique if repeats else np.inf * base.unique
    law, values = law_of("ces"), theta("ces", pools, seed=3, inner=0.5)
    loss = law.loss(values, Recipes(weights, tokens, params, unique)).numpy()
    noisy = loss * np.exp(0.002 * np.random.default_rng(seed).standard_normal(n))
    names = "abcdefgh"[:pools]
    columns = {f"weight.{name}": weights[:, i].numpy() for i, name in enumerate(names)}
    if repeats:
        columns |= {f"unique.{name}": unique[:, i].numpy() for i, name in enumerate(names)}
    names_of_runs = [f"r{i}" for i in range(n)]
    head = {"run": names_of_runs, "training": names_of_runs, "params": params.numpy(), "tokens": tokens.numpy()}
    return pl.DataFrame(head | columns | {"loss.web": noisy})


def fitted(tmp_path, table, *words):
    """The record of a fit by the command line, with its defaults."""
    table.write_csv(tmp_path / "runs.csv")
    run("fit", tmp_path / "runs.csv", "--out", tmp_path / "fit.json", *QUICK, *words)
    return json.loads((tmp_path / "fit.json").read_text())


ONE_BUDGET = {"sizes": False, "lengths": False}
PROCESSES = {"gaussian", "gaussian:base=ces"}
POOLED = {"mixture_ces:linear=true", "mixture_ces", "ces", "chinchilla"}
SHAPES = {
    "one budget": (ONE_BUDGET, 40, PROCESSES | {"ces", "mixing"}, "mixture"),
    "one budget, few runs": (ONE_BUDGET, 6, {"mixture_additive", "ces", "mixing"}, "mixture"),
    "one budget, three runs": (ONE_BUDGET, 3, {"mixture_additive", "ces", "mixing"}, "random"),
    "one size": ({"sizes": False}, 40, POOLED, "rolling"),
    "many of all": ({}, 14, POOLED, "rolling"),
    "few of all": ({}, 7, POOLED, "rolling"),
    "one mixture": ({"mixtures": False}, 20, {"skaling:form=equal", "chinchilla", "overtraining"}, "rolling"),
    "repeats": ({"mixtures": False, "repeats": True}, 20, {"penalised", "repetition", "chinchilla"}, "rolling"),
    "tokens alone": ({"mixtures": False, "sizes": False}, 20, {"chinchilla", "power"}, "rolling"),
    "tokens alone, four runs": ({"mixtures": False, "sizes": False}, 4, {"chinchilla", "power"}, "rolling"),
    "sizes alone": (
        {"mixtures": False, "lengths": False}, 20, {"skaling:form=equal", "chinchilla", "overtraining"}, "rolling"
    ),
}  # fmt: skip


@pytest.mark.parametrize("name", SHAPES)
def test_the_laws_and_the_holdout_suit_what_varies(name):
    varied, n, laws, how = SHAPES[name]
    runs = run_table.read(table_of(n, **varied))
    assert holdout.default(runs.recipes(), runs.clusters)[0] == how
    assert set(default_laws.default(runs)) == laws


def test_a_few_large_runs_beside_many_small_ones_are_for_gaussian_processes():
    small, large = table_of(40, **ONE_BUDGET), table_of(6, **ONE_BUDGET, seed=1)
    table = pl.concat([small, large.with_columns(pl.col("params") * 100, pl.format("l{}", "run").alias("run"))])
    laws = default_laws.default(run_table.read(table.with_columns(pl.col("run").alias("training"))))
    assert set(laws) == PROCESSES | {"chinchilla"}
    equal = pl.concat([small, small.with_columns(pl.col("params") * 100, pl.format("l{}", "run").alias("run"))])
    assert set(default_laws.default(run_table.read(equal.with_columns(pl.col("run").alias("training"))))) == POOLED


def test_a_distance_adds_the_law_transport():
    runs = run_table.read(table_of(40).with_columns(pl.lit(0.5).alias("distance.target")))
    assert "transport" in default_laws.default(runs)


def test_too_few_runs_are_one_line_with_the_number_that_is_missing(tmp_path):
    message = r"runs\.csv: 2 runs cannot be divided into runs to fit and runs to test. Add 1 or more"
    with pytest.raises(FitError, match=message) as caught:
        fitted(tmp_path, table_of(2, **ONE_BUDGET))
    assert "\n" not in str(caught.value)


def test_one_budget_is_fitted_by_default_without_advice_to_vary_it(tmp_path, capsys):
    record = fitted(tmp_path, table_of(40, **ONE_BUDGET), "--explain")
    assert {row["law"] for row in record["compared"]} == PROCESSES | {"ces", "mixing"}
    assert record["heldout"]["heldout"] < 0.01
    budget, held_out = record["notes"]
    assert "the fit compares mixtures at this budget" in budget
    assert held_out == "whole mixtures are held out (--holdout mixture), because all runs have the same compute"
    printed = capsys.readouterr().out
    assert held_out in printed
    # The advised runs have the budget of the others.
    tokens = f"{table_of(40, **ONE_BUDGET)['tokens'][0]:.2g} tokens"
    advised = [line for line in printed.splitlines() if line[:2] in ("1.", "2.", "3.")]
    assert len(advised) == 3 and all(tokens in line for line in advised)
    assert "vary" not in printed.lower()


@pytest.mark.parametrize("how", ["largest", "rolling"])
def test_a_holdout_of_the_largest_of_one_budget_names_the_others(tmp_path, how):
    with pytest.raises(
        FitError,
        match="cannot split 20 runs of the same compute into runs to fit and runs to test. "
        "Use --holdout mixture or --holdout random",
    ):
        fitted(tmp_path, table_of(20, **ONE_BUDGET), "--law", "mixing", "--holdout", how)


def test_a_holdout_of_mixtures_does_not_name_itself_where_there_is_one_mixture(tmp_path):
    table = table_of(8, mixtures=False)
    with pytest.raises(FitError, match=r"--holdout mixture cannot split 8 runs .*\. Use --holdout random$"):
        fitted(tmp_path, table, "--law", "chinchilla", "--holdout", "mixture")


def test_the_explanation_names_one_size_and_speaks_of_no_differences_of_one_mixture(tmp_path, capsys):
    fitted(tmp_path, table_of(20, mixtures=False), "--law", "chinchilla", "--explain")
    printed = capsys.readouterr().out
    (expected,) = [line for line in printed.splitlines() if "expect predictions to be off" in line]
    (line,) = [row for row in printed.splitlines() if "is known within about" in row]
    assert expected.split(",")[0] == line.split(",")[0]
    assert "difference" not in line


@pytest.mark.parametrize("name", ["one mixture", "tokens alone, four runs", "sizes alone", "few of all"])
def test_other_tables_are_fitted_by_default(tmp_path, name):
    varied, n, laws, _ = SHAPES[name]
    record = fitted(tmp_path, table_of(n, **varied))
    assert {row["law"] for row in record["compared"]} == laws
    assert record["rows"] == n
    assert sum(law["weight"] for law in record["laws"]) == pytest.approx(1)
    assert record["discrepancy"]["level"] > record["discrepancy"]["scatter"] > 0
    assert {law["law"] for law in record["laws"]} <= laws


def test_corpora_are_compared_by_the_smallest_law(tmp_path):
    table = table_of(24, mixtures=False).with_columns(corpus=pl.Series(["x", "y"] * 12))
    assert [law["law"] for law in fitted(tmp_path, table, "--by", "corpus")["laws"]] == ["overtraining"] * 2


NAN = float("nan")


@pytest.mark.parametrize("empty", [None, NAN], ids=["empty", "nan"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_rows_that_were_not_measured_are_left_out_of_their_eval_alone(tmp_path, empty, suffix):
    table = table_of(30, sizes=False).with_columns(pl.col("loss.web").alias("loss.code"))
    missing = pl.col("run").is_in(["r3", "r7"])
    table = table.with_columns(pl.when(missing).then(pl.lit(empty)).otherwise("loss.web").alias("loss.web"))
    path = tmp_path / f"runs{suffix}"
    table.write_csv(path) if suffix == ".csv" else table.write_parquet(path)
    note = "loss.web is empty in 2 of 30 rows, the first is 'r3'. The fit of this column leaves them out"
    for evals in ("web", "web,code", "all"):
        run("fit", path, "--law", "mixing", "--eval", evals, "--out", tmp_path / "fit.json", *QUICK)
        record = json.loads((tmp_path / "fit.json").read_text())
        assert note in record["notes"]
        assert [law["rows"] for law in record["laws"]] == [28, 30][: len(record["laws"])]
    # The rows count as if they had been dropped.
    words = ("fit", path, "--law", "mixing", "--eval", "web", *QUICK)
    run(*words, "--out", tmp_path / "fit.json")
    run(*words, "--out", tmp_path / "dropped.json", "--where", "run <> 'r3' AND run <> 'r7'")
    alone, dropped = (json.loads((tmp_path / name).read_text()) for name in ("fit.json", "dropped.json"))
    assert alone["laws"] == dropped["laws"]


@pytest.mark.parametrize("evals", ["web", "web,code"])
def test_an_eval_that_was_never_measured_is_one_line(tmp_path, evals):
    table = table_of(20).with_columns(pl.col("loss.web").alias("loss.code"), pl.lit(None, pl.Float64).alias("loss.web"))
    with pytest.raises(SchemaError, match=r"runs\.csv: loss\.web is empty in all 20 rows"):
        fitted(tmp_path, table, "--eval", evals)


def test_an_eval_with_fewer_measured_rows_than_parameters_is_fitted_beside_others(tmp_path):
    table = table_of(20, sizes=False).with_columns(pl.col("loss.web").alias("loss.code"))
    few = table.with_columns(pl.when(pl.int_range(pl.len()) < 2).then("loss.web").alias("loss.web"))
    record = fitted(tmp_path, few, "--law", "mixing", "--eval", "web,code", "--holdout", "random")
    assert [law["rows"] for law in record["laws"]] == [2, 20]
    assert all(law["discrepancy"]["scatter"] > 0 for law in record["laws"])


def test_rows_before_training_are_left_out(tmp_path):
    start = table_of(1).with_columns(run=pl.lit("start"), tokens=pl.lit(0.0))
    record = fitted(tmp_path, pl.concat([start, table_of(20)]), "--law", "chinchilla")
    assert record["rows"] == 20
    assert record["notes"][0].startswith("1 of 21 rows have tokens = 0, the first is 'start'")
    run("predict", tmp_path / "fit.json", tmp_path / "runs.csv", "--out", tmp_path / "p.csv")
    assert pl.read_csv(tmp_path / "p.csv").height == 20


def test_rounded_shares_are_rescaled_with_one_note(tmp_path):
    table = table_of(30, sizes=False).with_columns(pl.col("^weight.*$").round(3))
    off = np.abs(table.select(pl.sum_horizontal("^weight.*$")).to_series().to_numpy() - 1)
    record = fitted(tmp_path, table, "--law", "mixing")
    note = record["notes"][0]
    assert note.startswith(
        f"the shares of {int((off > 1e-6).sum())} of 30 rows do not sum to 1 exactly, and are rescaled"
    )
    assert f"difference from 1 is 0.001, in run 'r{int(off.argmax())}'" in note


@pytest.mark.parametrize(("total", "accepted"), [(0.998, True), (1.002, True), (0.9975, False), (1.0025, False)])
def test_sums_within_two_thousandths_are_accepted(total, accepted):
    table = table_of(5).with_columns(pl.col("^weight.*$") * total)
    if accepted:
        assert np.allclose(run_table.read(table).recipes().weights.sum(dim=1), 1, atol=1e-15)
    else:
        with pytest.raises(CurateError, match=r"the weights of run 'r0', a .*, sum to .*; 5 such rows"):
            run_table.read(table).recipes()


def test_all_evals_are_fitted_together_unless_some_are_named(tmp_path):
    table = table_of(20).with_columns(
        pl.col("loss.web").alias("loss.code") * 2, pl.lit(None, dtype=pl.Float64).alias("loss.law")
    )
    record = fitted(tmp_path, table, "--law", "mixing", "--starts", 2, "--draws", 3)
    assert record["evals"] == ["web", "code"]
    (note,) = [note for note in record["notes"] if "fitted together" in note]
    assert note.startswith("2 evals are fitted together: web, code.")
    assert "loss.law is left out: empty in all rows" in record["notes"]
    alone = fitted(tmp_path, table, "--law", "mixing", "--eval", "code", "--starts", 2, "--draws", 3)
    assert alone["evals"] == ["code"] and not any("fitted together" in note for note in alone["notes"])


def test_an_eval_must_be_chosen_where_only_one_can_be_fitted(tmp_path):
    table = table_of(20).with_columns(pl.col("loss.web").alias("loss.code"), pl.lit("x").alias("corpus"))
    with pytest.raises(SchemaError, match="has the evals web, code. Choose one with --eval NAME"):
        fit(table, law="chinchilla", by="corpus")


def test_units_of_losses_are_a_note_and_never_stop_a_fit(tmp_path):
    table = table_of(40, mixtures=False)
    in_bits = pl.when(pl.col("run") == "r5").then(pl.col("loss.web") / np.log(2)).otherwise("loss.web")
    bits = table.with_columns(in_bits.alias("loss.web"))
    record = fitted(tmp_path, bits, "--law", "chinchilla", "--starts", 6)
    assert any(
        "the first is 'r5', differs from the fit by a factor of 1.4427. Is it in bits?" in note
        for note in record["notes"]
    )


def test_units_of_counts_stop_a_fit_only_where_most_rows_look_wrong(tmp_path):
    table = table_of(40, mixtures=False)
    early = table.with_columns(tokens=pl.when(pl.col("run") == "r5").then(8192.0).otherwise("tokens"))
    record = fitted(tmp_path, early, "--law", "chinchilla")
    assert record["notes"][0].startswith(
        "run 'r5' has tokens = 8192: tokens look like counts in millions or billions in 1 of 40"
    )
    with pytest.raises(SchemaError, match=r"runs\.csv: the median of tokens is .* These look like billions of tokens"):
        fitted(tmp_path, table.with_columns(tokens=pl.col("tokens") / 1e9), "--law", "chinchilla")
