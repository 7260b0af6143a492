"""Corpora that cross at a known compute are found to cross there."""

import json
from dataclasses import asdict, replace

import numpy as np
import polars as pl
import pytest

from curate.errors import FitError, SchemaError
from curate.fitting import corpora, fit, job
from curate.runs.run_table import check


def planted(noise=0.0):
    rng = np.random.default_rng(1)
    rows = []
    for name, e, b in (("clean", 2.0, 300.0), ("broad", 1.8, 900.0)):
        for n in np.geomspace(1e7, 1e9, 6):
            for m in (10, 20, 40):
                loss = e + 300 / n**0.34 + b / (n * m) ** 0.3
                rows.append(
                    {
                        "run": f"{name}-{n:.3g}-{m}",
                        "corpus": name,
                        "params": n,
                        "tokens": n * m,
                        "loss.val": loss * np.exp(noise * rng.standard_normal()),
                    }
                )
    return check(pl.DataFrame(rows), "planted")


def test_the_crossing_is_where_it_was_planted_and_the_advice_says_so():
    options = fit.FitOptions(starts=16, draws=40)
    fits = corpora.fit_each(planted(0.001), "corpus", "chinchilla", "val", options=options).fits
    # At M = 20: 0.2 = 600 / D^0.3, D = 3000^(1 / 0.3); C = 6 N D = 6 D^2 / 20.
    truth = 6 * (3000 ** (1 / 0.3)) ** 2 / 20
    (cross,) = corpora.crossings(fits, 1e16, 1e24)
    assert cross.better == "broad" and cross.worse == "clean"
    assert cross.flops == pytest.approx(truth, rel=0.5)
    assert cross.low < cross.flops < cross.high and cross.share > 0.9
    advice = corpora.advice(fits, [cross], 1e16, 1e24)
    assert advice.startswith("take clean from 1e+16") and "broad overtakes clean" in advice
    lines = corpora.curves(fits, np.geomspace(1e16, 1e24, 5))
    assert lines["best"].to_list()[0] == "clean" and lines["best"].to_list()[-1] == "broad"


def test_a_missing_or_constant_column_is_refused():
    with pytest.raises(SchemaError, match="no column 'source' to compare by"):
        corpora.fit_each(planted(), "source", "chinchilla", "val")
    with pytest.raises(SchemaError, match="has only the value"):
        runs = check(planted().frame.filter(pl.col("corpus") == "clean"), "x")
        corpora.fit_each(runs, "corpus", "chinchilla", "val", options=fit.FitOptions(starts=2, draws=2))


def test_a_sparse_corpus_and_rows_without_a_corpus_are_left_out_with_a_note():
    runs = planted().frame
    place = pl.int_range(0, runs.height)
    sparse = runs.with_columns(
        corpus=pl.when(place < 3).then(pl.lit("rare")).when(place == 4).then(None).otherwise("corpus")
    )
    options = fit.FitOptions(starts=2, draws=2)
    fitted = corpora.fit_each(check(sparse, "x"), "corpus", "chinchilla", "val", options=options)
    assert list(fitted.fits) == ["broad", "clean"]
    assert len(fitted.runs) == runs.height - 4
    assert fitted.notes == (
        "1 of 36 rows have no corpus, and are left out",
        "corpus rare is left out: it has 3 trainings, and chinchilla has 5 parameters. Add 2, or choose a law with "
        "fewer parameters",
    )
    # In a column of numbers, NaN is an empty cell, as everywhere.
    numbers = sparse.with_columns(
        corpus=pl.col("corpus").replace_strict({"rare": 3.0, "broad": 1.0, "clean": 2.0}, default=float("nan"))
    )
    numbered = corpora.fit_each(check(numbers, "x"), "corpus", "chinchilla", "val", options=options)
    assert list(numbered.fits) == ["1.0", "2.0"]
    assert numbered.notes[0] == fitted.notes[0]
    few = sparse.filter(pl.col("corpus") != "broad")
    with pytest.raises(
        FitError, match=r"1 of 2 values of corpus have enough trainings to fit chinchilla.*rare is left"
    ):
        corpora.fit_each(check(few, "x"), "corpus", "chinchilla", "val", options=options)


def test_a_crossing_that_no_draw_shows_has_no_interval():
    """The best fits cross; the draws, all of which are those of the better corpus, do not."""
    options = fit.FitOptions(starts=4, draws=5)
    fits = corpora.fit_each(planted(), "corpus", "chinchilla", "val", options=options).fits
    same = {name: replace(corpus_fit, draws=fits["clean"].draws) for name, corpus_fit in fits.items()}
    (cross,) = corpora.crossings(same, 1e16, 1e24)
    assert (cross.low, cross.high, cross.share) == (None, None, 0)
    assert str(cross).endswith("FLOPs (in none of the draws)")
    json.dumps(asdict(cross), allow_nan=False)


QUICK = {"law": "chinchilla", "eval": "val", "by": "corpus", "starts": 2, "draws": 2}
CLEAN = pl.col("corpus") == "clean"


def test_runs_of_different_corpora_may_share_a_name_and_copies_are_refused():
    runs = planted().frame.with_columns(run=(pl.int_range(pl.len()) // 2).cast(str)).rename({"corpus": "source"})
    assert not runs.select("run", "tokens", "source").is_duplicated().any()
    job.fit(runs, **QUICK | {"by": "source"})
    with pytest.raises(SchemaError, match="appears more than once"):
        job.fit(pl.concat([runs, runs[:1]]), **QUICK | {"by": "source"})
    with pytest.raises(SchemaError, match="no column 'corpus' to compare by"):
        job.fit(pl.concat([runs, runs[:1]]), **QUICK)


def test_what_the_runs_of_a_corpus_cannot_tell_is_noted_with_its_name():
    runs = planted().frame
    small = float(runs["params"].min())
    one_size = runs.with_columns(params=pl.when(CLEAN).then(small).otherwise("params"))
    one_size = one_size.with_columns(tokens=pl.col("tokens") * (1 + 1e-3 * pl.int_range(pl.len())))
    notes = job.fit(one_size, **QUICK).notes
    assert f"corpus clean: all fitted runs have {small:.3g} parameters: what a law says of other sizes" in str(notes)
    # What all corpora lack is said once.
    notes = job.fit(one_size.with_columns(params=small), **QUICK).notes
    assert sum("what a law says of other sizes" in note for note in notes) == 1
    assert not any(note.startswith("corpus") for note in notes)


def test_a_corpus_of_runs_that_are_all_alike_is_left_out():
    alike = (
        planted()
        .frame.filter(CLEAN)
        .with_columns(corpus=pl.lit("same"), params=1e8, tokens=1e9, run=pl.col("run") + "-same")
    )
    report = job.fit(pl.concat([planted().frame, alike.cast(planted().frame.schema)]), **QUICK)
    assert list(report.corpora) == ["broad", "clean"]
    assert f"corpus same is left out: params, tokens and mixture are the same in all its {len(alike)}" in str(
        report.notes
    )


def test_losses_in_bits_are_noted_with_their_corpus():
    runs = planted().frame.with_row_index("row")
    bits = runs.with_columns(
        pl.when(CLEAN & (pl.col("row") % 7 == 0))
        .then(pl.col("loss.val") / np.log(2))
        .otherwise("loss.val")
        .alias("loss.val")
    ).drop("row")
    assert "corpus clean: loss.val of" in str(job.fit(bits, **QUICK).notes)
