"""Run tables with a start: what is split, what is refused, which law is kept."""

import numpy as np
import polars as pl
import pytest
from problems import continued

from curate.continual import choose_law
from curate.errors import FitError, SchemaError
from curate.fitting.fit import FitOptions
from curate.runs import continued_runs, run_table


def split(table, **changes):
    arguments = {"general": "web", "domain": "code", "pool": "code"} | changes
    return continued_runs.split(run_table.check(table, "t"), **arguments)


def test_the_start_is_apart_from_the_runs():
    result = split(continued(params=(1e8, 2e8)))
    assert len(result.runs) == 24
    assert dict(result.starts) == {1e8: (2.5, 1.9), 2e8: (2.5, 1.9)}
    assert result.start(2e8) == (2.5, 1.9)
    assert result.shares.tolist() == [0.2, 0.4, 0.6, 0.8]
    assert (result.general, result.domain, result.index) == ("web", "code", 1)
    assert result.pools() == ()
    assert result.proportions() == {"web": 1.0}


@pytest.mark.parametrize("pattern", ["web,news", "*", "w*,n*,web"])
def test_general_loss_is_the_mean_of_the_evals(pattern):
    result = split(continued(), general=pattern)
    assert sorted(result.evals) == ["news", "web"]
    assert result.general == "general"
    assert result.runs.loss("general") == pytest.approx(result.runs.loss("web") + 0.05)
    assert result.start(1e8)[0] == pytest.approx(2.55)


def test_an_eval_that_is_called_general_is_not_overwritten():
    result = split(continued().rename({"loss.news": "loss.general"}), general="web,general")
    assert result.general == "general_mean"
    assert result.runs.loss("general") == pytest.approx(result.runs.loss("web") + 0.1)


def test_start_losses_can_be_given():
    bare = continued(params=(1e8, 2e8), start=False)
    result = split(bare, start_loss={"web": 2.4, "code": 1.8, "code@2e8": 1.7})
    assert (result.start(1e8), result.start(2e8)) == ((2.4, 1.8), (2.4, 1.7))
    other = split(bare, start_loss={"web@7e9": 2.0, "code@7e9": 1.5})
    assert dict(other.starts) == {7e9: (2.0, 1.5)}
    with pytest.raises(SchemaError, match="no start row for 1e\\+08 parameters; there is one for 7e\\+09"):
        other.start(1e8)
    over = split(continued(), start_loss={"web": 2.45})
    assert over.start(1e8) == (2.45, 1.9)


def test_unique_tokens_and_proportions_of_the_runs():
    table = continued().with_columns(**{"unique.code": pl.when(pl.col("tokens") > 2e9).then(5e8).otherwise(1e8)})
    (pool,) = split(table).pools()
    assert (pool.name, pool.tokens) == ("code", 5e8)
    three = continued().with_columns(
        **{"weight.books": 0.25 * pl.col("weight.web"), "weight.web": 0.75 * pl.col("weight.web")}
    )
    assert split(three).proportions() == pytest.approx({"web": 0.75, "books": 0.25})
    varied = three.with_row_index("i").with_columns(
        **{"weight.books": pl.when(pl.col("i") % 2 == 0).then(0.0).otherwise(pl.col("weight.books"))}
    )
    varied = varied.with_columns(**{"weight.web": 1 - pl.col("weight.code") - pl.col("weight.books")}).drop("i")
    assert split(varied).proportions() is None


def test_the_rectangle_of_checkpoints():
    shares, tokens, general, domain = split(continued()).rectangle()
    assert (shares.tolist(), tokens.tolist()) == ([0.2, 0.4, 0.6, 0.8], [1e9, 2e9, 4e9])
    assert general[2] == pytest.approx([2.5 + 0.5 * 0.36] * 3, abs=1e-5)
    assert domain.shape == (4, 3)
    ragged = split(continued().filter((pl.col("weight.code") != 0.4) | (pl.col("tokens") != 2e9))).rectangle()
    assert ragged[1].tolist() == [1e9, 4e9]
    with pytest.raises(FitError, match="needs one size"):
        split(continued(params=(1e8, 2e8))).rectangle()


@pytest.mark.parametrize(
    ("change", "arguments", "message"),
    [
        ({"shares": (0.2, 0.4)}, {}, "2 different shares of code, \\[0.2, 0.4\\].* needs 3 or more"),
        ({"start": False}, {}, "no start row: a row with tokens = 0"),
        ({}, {"pool": "x"}, "no column weight.x: t has the pools web, code"),
        ({}, {"domain": "x"}, "no eval 'x': t has web, news, code"),
        ({}, {"general": "x*"}, "no general eval 'x\\*'"),
        ({}, {"general": "code"}, "no general eval 'code'"),
        ({}, {"start_loss": {"x": 2.0}}, "--start-loss x=2.0 must name the eval web or code"),
        ({}, {"start_loss": {"web": -2.0}}, "--start-loss web=-2.0"),
    ],
)
def test_wrong_tables(change, arguments, message):
    with pytest.raises((SchemaError, FitError), match=message):
        split(continued(**change), **arguments)


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (20.0, "weight.code of run 'r3' is 20: .* divide percents by 100. 1 such rows"),
        (-0.1, "weight.code of run 'r3' is -0.1: .* 1 such rows"),
        # An empty share is 0, as of a pool that the run did not use: then the others must sum to 1.
        (None, "the weights of run 'r3', web 0.6, code 0, sum to 0.6"),
        (float("nan"), "the weights of run 'r3', web 0.6, code 0, sum to 0.6"),
    ],
)
def test_a_share_outside_0_to_1_is_named(wrong, message):
    table = continued().with_columns(
        **{"weight.code": pl.when(pl.col("run") == "r3").then(wrong).otherwise("weight.code")}
    )
    with pytest.raises(SchemaError, match=message):
        split(table)


def test_only_starts_and_missing_losses():
    with pytest.raises(FitError, match="all rows are starts"):
        split(continued().head(1))
    lacking = continued().with_columns(
        **{"loss.news": pl.when(pl.col("run").is_in(["r0", "start"])).then(None).otherwise("loss.news")}
    )
    with pytest.raises(SchemaError, match="no start row: a row with tokens = 0"):
        split(lacking, general="*")
    parted = split(lacking, general="*", start_loss={"general": 2.55})
    assert len(parted.runs) == 11
    assert parted.start(1e8) == (2.55, 1.9)
    assert parted.runs.notes == ("1 of 12 runs lack loss.code or a general loss, the first is 'r0'. They are left out",)
    with pytest.raises(SchemaError, match=r"t: loss\.news is empty in all 13 rows"):
        split(continued().with_columns(**{"loss.news": pl.lit(None, dtype=pl.Float64)}), general="*")


@pytest.mark.parametrize("empty", [("weight.web", "weight.code"), ("weight.web", "weight.code", "tokens")])
def test_a_start_row_needs_no_mixture_and_no_tokens(empty):
    table = continued(params=(1e8, 2e8))
    cells = {name: pl.when(pl.col("tokens") == 0).then(None).otherwise(pl.col(name)).alias(name) for name in empty}
    bare = split(table.with_columns(**cells, run=pl.when(pl.col("tokens") == 0).then(pl.lit("start")).otherwise("run")))
    whole = split(table)
    assert dict(bare.starts) == dict(whole.starts)
    assert bare.runs.frame.drop("run").equals(whole.runs.frame.drop("run"))


def test_laws_are_set_for_the_runs():
    of_one_size, of_two_sizes = split(continued()), split(continued(params=(1e8, 2e8)))
    assert choose_law.complete_specs(["dcpt:repeats=true", "chinchilla", "boosted"], of_one_size, rest=True) == [
        "dcpt:repeats=true,pool=1,rest=true", "chinchilla", "boosted",
    ]  # fmt: skip
    assert choose_law.complete_specs(["cmr", "dcpt:pool=0"], of_one_size, rest=False) == ["cmr:pool=1", "dcpt:pool=0"]
    assert choose_law.complete_specs(["replay"], of_two_sizes, rest=True) == [
        "replay:pool=1,length=4e+09,rest=true,sizes=true"
    ]


def test_the_law_that_predicts_left_out_shares_is_kept():
    result = split(continued(noise=0.001))
    specs = choose_law.complete_specs(["cmr", "chinchilla", "mixture_joint"], result, rest=True)
    chosen = choose_law.choose(specs, result, "web", options=FitOptions(starts=3, draws=3))
    rows = chosen.table()
    assert rows["law"][0] == chosen.fit.spec == "cmr:pool=1"
    assert rows["shares"][0] < 0.003 < rows.filter(law="chinchilla")["shares"][0]
    assert chosen.fit.noise >= rows["rms"][0]
    assert rows["why"].to_list() == [""] * 3, "priors carry a law of more parameters than runs"
    masks = choose_law.splits(result)
    assert np.stack(masks["shares"]).sum(axis=0).tolist() == [1] * 12
    assert masks["longest"][0].sum() == 4
    with pytest.raises(FitError, match="no law can be fitted to loss.web"):
        choose_law.choose(["gaussian"], result, "web", options=FitOptions(starts=2, draws=2))
