"""Pruning laws on curves that are known: planted power laws, and the perceptron's own."""

from math import pi

import numpy as np
import polars as pl
import pytest
from conftest import one_line

from curate.errors import FitError, SchemaError
from curate.fitting.curves import fit_pruning, pruning_curves
from curate.pruning import perceptron
from curate.runs import run_table
from curate.storage import artifacts

TOTALS = (1e3, 3e3, 1e4, 3e4, 1e5)


def runs(curve):
    rows = [(n, keep, curve(n * keep, keep)) for n in TOTALS for keep in curve.shares]
    return [np.array(column) for column in zip(*rows, strict=True)]


def planted(kept, keep):
    """Of few examples the half that is kept first is worth more each, but it has a floor: they cross."""
    return 3 * kept**-0.3 if keep == 1.0 else 1.2 * kept**-0.25 + 0.02


planted.shares = (0.5, 1.0)


def test_planted_power_laws_are_found_and_cross_where_they_do():
    fitted = pruning_curves.curves(*runs(planted))
    assert fitted.keep == (0.5, 1.0)
    assert [float(curve.theta["b"]) for curve in fitted.fits] == pytest.approx([0.25, 0.3], abs=0.01)
    totals = np.geomspace(1e3, 1e8, 30)
    best = pruning_curves.best_shares(fitted, totals)
    true = np.array([[planted(n * keep, keep) for n in totals] for keep in fitted.keep])
    assert (best.keep == np.array(fitted.keep)[true.argmin(axis=0)]).mean() > 0.9
    assert best.keep[0] == 0.5
    assert best.keep[-1] == 1.0
    assert best.error == pytest.approx(true.min(axis=0), rel=0.1)
    assert not best.extrapolated[0]
    assert best.extrapolated[-1]
    assert (best.low <= best.keep).all()
    assert (best.high >= best.keep).all()
    assert best.table().columns[:3] == ["size", "keep", "low"]


def test_easy_examples_of_the_perceptron_scarce_keep_fewer_plenty_keep_all():
    """Its own curves from 1 to 16 examples a dimension, chosen between by the fits, against the exact optimum."""
    shares, totals = (0.6, 0.8, 1.0), np.geomspace(1, 16, 6)
    rows = [(n, keep, perceptron.error(n, keep, "easy")) for n in totals for keep in shares]
    best = pruning_curves.best_shares(pruning_curves.curves(*zip(*rows, strict=True)), totals)
    exact = [min(shares, key=lambda keep, n=n: perceptron.error(n, keep, "easy")) for n in totals]
    assert exact[0] == 0.6
    assert exact[-1] == 1.0
    for n, keep in zip(totals, best.keep, strict=True):
        lost = perceptron.error(n, keep, "easy") / min(perceptron.error(n, share, "easy") for share in shares)
        assert lost < 1.06
    assert best.keep[-1] == 1.0


def envelope(angle, fractions):
    totals = np.geomspace(2, 60, 8)
    rows = [(n * f, perceptron.error(n, f, "hard", angle=angle)) for n in totals for f in fractions]
    kept, error = (np.array(column) for column in zip(*rows, strict=True))
    best = pruning_curves.envelope(kept, error)
    return kept[best], error[best]


def test_random_pruning_decays_as_a_power():
    kept = np.geomspace(3, 100, 12)
    fitted = pruning_curves.decay(kept, np.array([perceptron.error(n) for n in kept]))
    assert fitted.kind == "power"
    assert fitted.rate == pytest.approx(1.0, abs=0.05)


def test_the_best_fraction_of_a_perfect_metric_decays_faster_than_any_power():
    """Sorscher et al.: hard examples of ever more data; in a log-log plot the curve bends down."""
    kept, error = envelope(0.0, np.geomspace(0.03, 1, 14))
    rows = (kept > 0.3) & (kept < 1.9)
    fitted = pruning_curves.decay(kept[rows], error[rows])
    assert fitted.kind == "exponential"
    assert fitted.exponential < 0.7 * fitted.power


@pytest.mark.slow
def test_of_an_imperfect_metric_as_a_power_again():
    kept, error = envelope(20 * pi / 180, (0.2, 0.5, 1.0))
    rows = kept > 3
    assert pruning_curves.decay(kept[rows], error[rows]).kind == "power"


def test_an_envelope_by_hand():
    kept, error = np.array([1.0, 2.0, 2.0, 3.0, 4.0]), np.array([0.5, 0.4, 0.3, 0.35, 0.1])
    assert pruning_curves.envelope(kept, error).tolist() == [0, 2, 4]


def test_what_cannot_be_fitted_is_one_line():
    with pytest.raises(FitError, match="keep fraction 0.5 has runs at 2 sizes: a power law needs 4"):
        pruning_curves.curves([1, 2], [0.5, 0.5], [0.1, 0.1])
    with pytest.raises(SchemaError, match="errors above 0"):
        pruning_curves.curves([1, 2], [0.5, 0.5], [0.1, 0.0])
    with pytest.raises(SchemaError, match="keep fraction in"):
        pruning_curves.curves([1, 2], [0.5, 1.5], [0.1, 0.1])
    with pytest.raises(FitError, match="2 kept sizes are too few to tell an exponential"):
        pruning_curves.decay(np.array([1.0, 2.0]), np.array([0.1, 0.2]))


def pruned_runs(noise: float = 0.0) -> pl.DataFrame:
    """Runs of the planted curves: ``tokens`` are those kept."""
    rng = np.random.default_rng(0)
    rows = [(total * keep, keep, planted(total * keep, keep)) for total in TOTALS for keep in planted.shares]
    kept, keep, error = (np.array(column) for column in zip(*rows, strict=True))
    names = [f"r{i}" for i in range(len(rows))]
    measured = error * np.exp(noise * rng.standard_normal(len(rows)))
    return pl.DataFrame({"run": names, "params": 1e8, "tokens": kept, "keep": keep, "metric.top1": measured})


def test_the_command_finds_the_best_share_at_each_size_and_predict_reads_it(cli, tmp_path):
    runs, fit, predicted = tmp_path / "runs.csv", tmp_path / "fit.json", tmp_path / "p.parquet"
    pruned_runs(0.002).write_csv(runs)
    command = cli("fit", runs, "--law", "pruning_curves", "--eval", "top1", "--draws", 20, "--out", fit)
    assert command.code == 0, command.err
    heading, columns, *lines = command.out.splitlines()
    assert heading == "Best share to keep at each size before pruning:"
    assert columns.split() == "size keep low high kept error error_all extrapolated".split()
    assert lines[0].split()[:2] == ["1000", "0.5"]
    assert lines[12].split()[:2] == ["1e+06", "1"]
    assert lines[-1].startswith("Among runs that no smaller run beats, the error falls with the kept size n as a power")
    record = artifacts.load(fit, "fit")
    assert [law["keep"] for law in record["laws"]] == [0.5, 1.0]
    assert record["decay"]["kind"] == "power"
    assert record["best_shares"][0]["keep"] == 0.5
    command = cli("predict", fit, runs, "--out", predicted)
    assert command.code == 0, command.err
    rows = pl.read_parquet(predicted)
    truth = pruned_runs()["metric.top1"].to_numpy()
    assert rows["predicted"].to_numpy() == pytest.approx(truth, rel=0.01)
    assert (rows["low"] < rows["high"]).all()


def test_a_share_that_was_not_fitted_and_a_table_without_shares_are_one_line(cli, tmp_path):
    runs, fit, out = tmp_path / "runs.csv", tmp_path / "fit.json", tmp_path / "p.parquet"
    pruned_runs().write_csv(runs)
    assert cli("fit", runs, "--law", "pruning_curves", "--eval", "top1", "--draws", 5, "--out", fit).code == 0
    pruned_runs().with_columns(keep=pl.lit(0.7)).write_csv(runs)
    assert "no curve for keep 0.7: the fit has 0.5, 1." in one_line(cli("predict", fit, runs, "--out", out))
    pruned_runs().with_columns(keep=pl.lit(30)).write_csv(runs)
    assert "run 'r0' has keep 30: the share kept must lie in (0, 1]" in one_line(
        cli("predict", fit, runs, "--out", out)
    )
    pruned_runs().drop("keep").write_csv(runs)
    refused = cli("fit", runs, "--law", "pruning_curves", "--eval", "top1", "--out", fit)
    assert "has no column 'keep'" in one_line(refused)
    assert "no column 'keep'" in one_line(cli("predict", fit, runs, "--out", out))


def test_unique_tokens_are_the_kept_size_where_the_table_has_them():
    """Trained for four passes, the kept size is a quarter of the training tokens."""
    repeated = pruned_runs().with_columns(pl.col("tokens").alias("unique.all"), tokens=4 * pl.col("tokens"))
    runs = run_table.check(repeated, "memory", losses=False)
    assert fit_pruning.kept_sizes(runs) == pytest.approx(pruned_runs()["tokens"].to_numpy())
    assert fit_pruning.kept_sizes(run_table.check(pruned_runs(), "memory", losses=False)).max() == 1e5
