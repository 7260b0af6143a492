"""A column of text whose groups the fit misses by different amounts is named in a note."""

import numpy as np
import polars as pl
import pytest

from curate.fitting.job import fit

QUICK = {"law": "chinchilla", "starts": 2, "draws": 4, "holdout": "random"}


def two_corpora(step, **columns):
    """Runs of two corpora of six sizes, of which the second has a loss higher by the factor ``step``."""
    rng = np.random.default_rng(0)
    params = np.tile(np.geomspace(1e7, 1e9, 6), 2)
    loss = 1.8 + 480 / params**0.35 + 2000 / (20 * params) ** 0.37
    loss = loss * np.repeat([1.0, step], 6) * np.exp(0.004 * rng.standard_normal(12))
    runs = {"run": [f"r{i}" for i in range(12)], "params": params, "tokens": 20 * params, "loss.web": loss}
    return pl.DataFrame(runs | {"corpus": np.repeat(["books", "code"], 6)} | columns)


def notes_of(table, **options):
    return [note for note in fit(table, **QUICK | options).notes if "which no law reads" in note]


def test_corpora_in_one_table_are_named():
    (note,) = notes_of(two_corpora(1.2))
    assert "lies between the values of the column corpus (books, code)" in note
    assert note.endswith("Compare them with --by corpus, or choose one with --where")


def test_missing_losses_of_one_eval_do_not_hide_the_groups():
    table = two_corpora(1.2).with_columns(pl.col("loss.web").alias("loss.news"))
    table = table.with_columns(pl.when(pl.col("run") == "r3").then(None).otherwise("loss.news").alias("loss.news"))
    assert len(notes_of(table)) == 1


@pytest.mark.parametrize("table", [two_corpora(1.0), two_corpora(1.2, corpus="all")])
def test_groups_that_do_not_differ_give_no_note(table):
    assert notes_of(table) == []


def test_a_column_with_nearly_as_many_values_as_runs_gives_no_note():
    table = two_corpora(1.2).with_columns(pl.col("run").alias("host")).drop("corpus")
    assert notes_of(table) == []
