"""What a fit does with the checkpoints of trainings."""

import json

import numpy as np
import polars as pl
import pytest
import torch

from curate.errors import FitError
from curate.fitting import fit_files
from curate.fitting.choice.checkpoints import rows_to_fit
from curate.fitting.fit import FitOptions, fit_evals
from curate.fitting.fit_json import law_json
from curate.fitting.job import fit
from curate.fitting.predict import predict
from curate.laws._unfinished import Unfinished
from curate.laws.chinchilla import PUBLISHED, Chinchilla
from curate.runs import run_table
from curate.runs.discrepancy import UNFINISHED
from curate.runs.recipes import recipes

QUICK = {"starts": 2, "draws": 4}
STEPS = 5
RNG = np.random.default_rng(3)
THETA = {name: torch.tensor(value).double() for name, value in PUBLISHED.items()}
TERM = {"unfinished": torch.tensor(0.2).double(), "unfinished_squared": torch.tensor(-0.1).double()}


def table(noise=1e-4, **columns):
    """24 trainings of six sizes and four lengths, with five checkpoints each, of a law with the term."""
    params = np.repeat(np.geomspace(1e7, 1e9, 6), 4)
    planned = np.tile(np.geomspace(1e9, 3e10, 4), 6)
    progress = np.tile(np.arange(1, STEPS + 1) / STEPS, 24)
    rows = np.repeat(np.arange(24), STEPS)
    ones = np.ones((len(rows), 1))
    planted = recipes(ones, progress * planned[rows], params[rows], progress=progress)
    loss = Unfinished(Chinchilla()).loss(THETA | TERM, planted).numpy()
    values = {
        "run": [f"t{row:02}@{step}" for row, step in zip(rows, np.tile(np.arange(STEPS), 24), strict=True)],
        "params": params[rows],
        "tokens": planted.tokens.numpy(),
        "planned_tokens": planned[rows],
        "loss.x": loss * np.exp(noise * RNG.standard_normal(len(rows))),
        **columns,
    }
    return pl.DataFrame(values)


FINISHED = recipes(np.ones((2, 1)), [1e11, 1e11], [1e9, 4e9])
TRUTH = Chinchilla().loss(THETA, FINISHED)


def test_all_rows_are_fitted_with_a_term_where_the_schedules_are_known():
    report = fit(table(), law="chinchilla", **QUICK)
    assert report.record["rows"] == 120 and report.record["trainings"] == 24
    assert any(
        note.startswith("120 rows of 24 trainings: all rows are fitted, with a term for unfinished runs")
        for note in report.notes
    )
    fitted = report.predictor
    assert float(fitted.theta["unfinished"]) == pytest.approx(0.2, abs=0.03)
    assert fitted.loss(FINISHED).tolist() == pytest.approx(TRUTH.tolist(), rel=2e-3)
    # The same table, but each row taken for a finished run: the term is in the losses, so the law is off.
    naive = fit(table(), law="chinchilla", checkpoints="no", **QUICK).predictor
    assert naive.rows == naive.trainings == 120
    error = (fitted.loss(FINISHED) / TRUTH - 1).abs().max()
    assert (naive.loss(FINISHED) / TRUTH - 1).abs().max() > 3 * error


@pytest.mark.parametrize(("shape", "term"), [("cosine", True), ("linear", True), ("held", False), ("both", False)])
def test_the_last_rows_are_fitted_where_the_rate_falls_only_towards_the_end(shape, term):
    """The annealing areas show it. The term then predicts worse than the last rows alone."""
    frame = table()
    f = (frame["tokens"] / frame["planned_tokens"]).to_numpy()
    rates = {"cosine": 0.55 + 0.45 * np.cos(np.pi * f), "linear": 1 - 0.9 * f, "held": np.where(f < 0.9, 1.0, 0.1)}
    halves = np.where(np.arange(len(f)) < len(f) / 2, rates["cosine"], rates["held"])
    lr = pl.Series("lr", 3e-4 * (halves if shape == "both" else rates[shape]))
    runs = run_table.check(frame.with_columns(lr, batch_tokens=pl.lit(5e5)), "memory")
    rows = rows_to_fit(runs, ("chinchilla",), ("x",))
    assert (rows.unfinished, len(rows.runs)) == (term, 120 if term else 24)
    assert ("falls only towards the end" in rows.note) is not term


def test_without_rates_the_note_says_that_they_would_help():
    note = rows_to_fit(run_table.check(table(), "memory"), ("chinchilla",), ("x",)).note
    assert "If the learning rate falls only towards the end of the trainings, add a column lr" in note


def test_the_term_survives_fit_json(tmp_path):
    report = fit(table(), law="chinchilla", **QUICK)
    report.save(tmp_path / "fit.json")
    read = fit_files.load(tmp_path / "fit.json")
    unfinished = run_table.read(table()).recipes()
    assert read.unfinished and read.trainings == 24
    assert torch.equal(read.loss(unfinished), report.predictor.loss(unfinished))
    draws = torch.arange(len(unfinished)) % 4
    assert torch.allclose(
        read.drawn(unfinished, draws), read.draw_losses(unfinished)[draws, torch.arange(len(unfinished))]
    )
    older = law_json.to_json(report.predictor)
    del older["trainings"]
    assert law_json.from_json(older).trainings == 120


def test_the_last_row_of_each_training_is_fitted_where_nothing_says_that_schedules_were_complete():
    report = fit(table().drop("planned_tokens"), law="chinchilla", **QUICK)
    assert report.record["rows"] == report.record["trainings"] == 24
    assert not report.predictor.unfinished
    assert any(
        note.startswith("120 rows of 24 trainings: the last row of each training is fitted, because no column")
        for note in report.notes
    )
    assert report.predictor.loss(FINISHED).tolist() == pytest.approx(TRUTH.tolist(), rel=1e-2)


def test_a_guess_of_trainings_is_said():
    names, groups = [f"r{i}" for i in range(120)], [f"g{i // STEPS}" for i in range(120)]
    report = fit(table(run=names, machine=groups).drop("planned_tokens"), law="chinchilla", **QUICK)
    assert report.record["rows"] == 24
    (note,) = report.notes
    assert note.startswith("120 rows are taken for checkpoints of 24 trainings, because they have equal mixture, ")
    assert note.endswith(
        ". The last row of each training is fitted, because no column planned_tokens or lr shows "
        "whether the trainings were finished"
    )


def test_a_training_counts_once_however_many_rows_it_has():
    runs = run_table.read(table(noise=3e-3))
    recipe, loss = runs.recipes(), {"x": runs.loss("x")}
    options = FitOptions(starts=2, draws=2, unfinished=True)
    once = fit_evals("chinchilla", recipe, loss, pools=runs.pools, clusters=runs.clusters, options=options)["x"]
    twice = fit_evals(
        "chinchilla",
        recipe.take(np.repeat(np.arange(120), 2)),
        {"x": np.repeat(loss["x"], 2)},
        pools=runs.pools,
        clusters=np.repeat(runs.clusters, 2),
        options=options,
    )["x"]
    assert twice.noise == pytest.approx(once.noise, rel=0.02)
    assert twice.loss(FINISHED).tolist() == pytest.approx(once.loss(FINISHED).tolist(), rel=1e-3)
    assert (once.trainings, once.rows, twice.rows) == (24, 120, 240)


def test_predictions_of_unfinished_runs_have_the_term_and_a_warning():
    report = fit(table(), law="chinchilla", **QUICK)
    unfinished = table(noise=0.0).head(STEPS)
    predictions = predict(report, unfinished)
    assert predictions.rows["predicted"].to_list() == pytest.approx(unfinished["loss.x"].to_list(), rel=5e-3)
    assert any(
        "rows are from inside a training, at 20% to 80% of its tokens" in warning for warning in predictions.warnings
    )
    plans = table().with_columns(tokens="planned_tokens").unique("tokens", maintain_order=True)
    assert not any("unfinished" in warning for warning in predict(report, plans).warnings)


def test_nearly_finished_rows_do_not_widen_the_intervals_of_others():
    """A run at 99.95 % of its plan is finished. The logarithm of its progress is almost 0, and must not divide."""
    short = table(noise=2e-3)
    short = short.with_columns(
        tokens=pl.when(pl.col("run").str.ends_with("@4")).then(0.9995).otherwise(1) * pl.col("tokens")
    )
    report = fit(short, law="chinchilla", **QUICK)
    assert report.predictor.discrepancy.unfinished < 0.05
    halfway = predict(report, table(noise=0.0).filter(pl.col("run").str.ends_with("@2"))).rows
    assert (halfway["high"] / halfway["low"]).max() < 1.2
    warning = next(line for line in predict(report, short).warnings if line.startswith("unfinished"))
    assert warning.startswith("unfinished: 96 of 120 rows"), "a run at 99.95 % is finished"


def test_a_fit_without_checkpoints_predicts_unfinished_rows_less_surely():
    """Halfway, the usual deviation is 3.5 % times the root of ln 2."""
    report = fit(table().filter(pl.col("run").str.ends_with("@4")), law="chinchilla", **QUICK)
    assert report.predictor.discrepancy.unfinished == UNFINISHED
    # The longest training: its rows, taken for finished runs, are not shorter than the fitted ones.
    rows = predict(report, table(noise=0.0).filter(pl.col("run").str.starts_with("t11"))).rows
    width = (rows["high"] / rows["low"]).log().to_numpy()
    assert (np.diff(width) < 0).all(), "the less a run has done, the wider its interval"
    plain = predict(report, table(noise=0.0).filter(pl.col("run").str.starts_with("t11")), checkpoints="no").rows
    added = width**2 - (plain["high"] / plain["low"]).log().to_numpy() ** 2
    expected = (2 * 1.645 * UNFINISHED) ** 2 * -np.log(np.arange(1, STEPS + 1) / STEPS)
    assert added == pytest.approx(expected, rel=0.1, abs=1e-5)


def test_predict_takes_every_row_for_a_finished_run_if_asked():
    report = fit(table(), law="chinchilla", **QUICK)
    # Lengths of experiments that are evenly spaced look like checkpoints.
    lengths = table().filter(pl.col("run").str.starts_with("t00")).drop("planned_tokens")
    lengths = lengths.with_columns(run=pl.col("run").str.replace("@", "-"))
    guessed, finished = predict(report, lengths), predict(report, lengths, checkpoints="no")
    assert any("taken for checkpoints of 1 training," in note for note in guessed.notes)
    assert any("unfinished" in warning for warning in guessed.warnings)
    assert not any("unfinished" in warning for warning in finished.warnings)
    assert finished.rows["predicted"][0] != guessed.rows["predicted"][0]


def test_one_training_is_refused():
    frame = table().head(STEPS).drop("planned_tokens")
    with pytest.raises(FitError, match="all 5 rows are checkpoints of one training, 't00'") as error:
        fit(frame, law="power", **QUICK)
    assert "\n" not in str(error.value) and "--checkpoints no" in str(error.value)


def test_if_no_training_was_finished_the_note_says_so():
    report = fit(table().filter(~pl.col("run").str.ends_with("@4")), law="chinchilla", **QUICK)
    assert any("No training was finished: the furthest row has 80% of its planned tokens" in n for n in report.notes)
    assert report.predictor.unfinished


def test_a_law_of_checkpoints_gets_all_rows():
    runs = run_table.read(table().drop("planned_tokens"))
    fitted = rows_to_fit(runs, ["replay:checkpoints=true"], ["x"])
    assert len(fitted.runs) == 120 and not fitted.unfinished
    assert "the law describes checkpoints itself" in fitted.note


def test_trees_have_no_term_for_unfinished_runs():
    fitted = rows_to_fit(run_table.read(table()), ["boosted:base=none", "chinchilla"], ["x"])
    assert len(fitted.runs) == 24 and not fitted.unfinished
    assert fitted.note.endswith("because boosted:base=none has no term for unfinished runs")


def test_each_corpus_is_fitted_on_the_last_rows():
    both = pl.concat(
        [
            table().with_columns(pl.col("run").str.replace("t", name), corpus=pl.lit(name)).drop("planned_tokens")
            for name in ("c4", "rw")
        ]
    )
    report = fit(both, law="chinchilla", by="corpus", **QUICK)
    assert [(each.rows, each.trainings) for each in report.corpora.values()] == [(24, 24)] * 2
    assert any("240 rows of 48 trainings: the last row of each training is fitted" in note for note in report.notes)


def test_the_command_says_what_it_did_with_checkpoints(cli, tmp_path):
    table().drop("planned_tokens").write_csv(tmp_path / "runs.csv")
    words = ("fit", tmp_path / "runs.csv", "--law", "chinchilla", "--starts", 2, "--draws", 2, "--out")
    done = cli(*words, tmp_path / "fit.json")
    assert "120 rows of 24 trainings: the last row of each training is fitted" in " ".join(done.out.split())
    cli(*words, tmp_path / "all.json", "--checkpoints", "no")
    record = json.loads((tmp_path / "all.json").read_text())
    assert record["rows"] == 120 and record["made_by"]["arguments"]["checkpoints"] == "no"
    assert cli(*words, tmp_path / "all.json", "--checkpoints", "maybe").code == 2
