"""Loss over the learning rates of continued training: limits, planted curves, the fit job."""

import numpy as np
import polars as pl
import pytest
import torch

from curate.errors import FitError
from curate.fitting.curves.schedules import annealing, relearn
from curate.storage import artifacts

THETA = {"L0": 2.6, "A": 0.43, "alpha": 0.55, "C1": 0.41, "C2": 0.5, "E": 8.0, "beta": 0.4}
SHIFTS = {"replay 50 %": 0.02, "replay 12 %": 0.08, "no replay": 0.3}
FIRST, AFTER = 20_000, 8_000


def cosine(steps: int, peak: float, warm: int = 0) -> torch.Tensor:
    t = torch.arange(1, steps + 1, dtype=torch.float64)
    fall = 0.1 + 0.45 * (1 + torch.cos(torch.pi * ((t - warm) / (steps - warm)).clamp(0, 1)))
    return peak * torch.minimum(t / max(1, warm), fall)


RATES = torch.cat([cosine(FIRST, 2e-4), cosine(AFTER, 1e-4, 200)])
AREAS = relearn.areas(RATES, FIRST)
THIN = torch.cat([torch.arange(1000, FIRST, 1000), torch.arange(FIRST + 50, FIRST + AFTER, 200)])


def test_before_it_continues_it_is_the_annealing_law():
    s1, s2 = annealing.s1_s2(RATES[:FIRST])
    plain = annealing.curve({**THETA, "C": THETA["C1"]}, s1, s2)
    assert torch.allclose(relearn.curve(THETA, 0.3, AREAS)[:FIRST], plain, rtol=1e-14)


def test_areas_by_hand():
    steps = relearn.areas(torch.tensor([2.0, 1.0, 3.0, 2.0], dtype=torch.float64), 2, memory=0.5)
    assert steps.s1.tolist() == [2.0, 3.0, 6.0, 8.0]
    assert steps.s2.tolist() == [0.0, 1.0, 1.0, 1.0]
    assert steps.s1_after.tolist() == [0.0, 0.0, 3.0, 5.0]
    assert steps.s2_after.tolist() == [0.0, 0.0, -2.0, -2.0]  # falls of -2 and then 1, momenta -2 and 0


def test_the_shift_starts_at_zero_grows_and_ends_at_B():
    none, shifted = (relearn.curve(THETA, b, AREAS) for b in (0.0, 0.3))
    shift = shifted - none
    assert float(shift[FIRST - 1]) == 0.0
    assert bool((shift[FIRST:].diff() > 0).all())
    assert float(shift[-1]) < 0.3
    assert bool((none[FIRST : FIRST + 200].diff() > 0).any()), "warming up again raises the loss without any shift"


def test_planted_curves_come_back_and_another_schedule_is_predicted():
    rng = np.random.default_rng(0)
    noise = [torch.from_numpy(np.exp(5e-4 * rng.standard_normal(len(THIN)))) for _ in SHIFTS]
    exact = [(AREAS.take(THIN), relearn.curve(THETA, b, AREAS)[THIN]) for b in SHIFTS.values()]
    fitted, shifts = relearn.fit(exact)
    assert fitted == pytest.approx(THETA, rel=1e-2)
    assert shifts == pytest.approx(list(SHIFTS.values()), rel=1e-2)
    fitted, shifts = relearn.fit([(steps, y * e) for (steps, y), e in zip(exact, noise, strict=True)])
    # B itself is where the shift would end, far beyond these runs: what they tell is its ratio between mixtures.
    assert [b / shifts[-1] for b in shifts] == pytest.approx([b / 0.3 for b in SHIFTS.values()], abs=0.02)
    rates = torch.full((12_000,), 1e-4, dtype=torch.float64)
    rates[-2000:] *= torch.linspace(1, 0, 2000)
    other = relearn.areas(torch.cat([RATES[:FIRST], rates]), FIRST)
    for guess, truth in zip(shifts, SHIFTS.values(), strict=True):
        off = relearn.curve(fitted, guess, other) - relearn.curve(THETA, truth, other)
        assert float(off[FIRST:].abs().max()) < 5e-3  # at 2.4 times the area fitted


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: relearn.areas(RATES, 0), "continues after step 0"),
        (lambda: relearn.fit([(AREAS.take(slice(0, 5)), torch.ones(5))]), "5 losses cannot determine 8"),
        (lambda: relearn.fit([(AREAS.take(slice(0, 50)), torch.ones(50))]), "no loss after training continued"),
    ],
)
def test_what_cannot_be_fitted_is_said(call, message):
    with pytest.raises(FitError, match=message):
        call()


def test_the_fit_job_reaches_it(cli, tmp_path):
    parts = []
    for run, shift in SHIFTS.items():
        loss = torch.full((len(RATES),), torch.nan, dtype=torch.float64)
        loss[THIN] = relearn.curve(THETA, shift, AREAS)[THIN]
        steps = np.arange(len(RATES))
        parts.append(
            pl.DataFrame(
                {
                    "run": run,
                    "params": 1e8,
                    "tokens": 1e6 * (steps + 1.0),
                    "step": steps,
                    "lr": RATES.numpy(),
                    "continued": (steps >= FIRST).astype(int),
                    "loss.web": loss.numpy(),
                }
            )
        )
    table = pl.concat(parts)
    table.write_parquet(tmp_path / "runs.parquet")
    command = cli("fit", tmp_path / "runs.parquet", "--law", "relearn", "--eval", "web", "--out", tmp_path / "fit.json")
    assert command.code == 0, command.err
    assert "no replay: shift B 0.299" in command.out
    laws = artifacts.load(tmp_path / "fit.json", "fit")["laws"]
    assert {law["run"]: law["theta"]["B"] for law in laws} == pytest.approx(SHIFTS, rel=1e-2)
    table.with_columns(continued=1 - pl.col("continued")).write_parquet(tmp_path / "runs.parquet")
    command = cli("fit", tmp_path / "runs.parquet", "--law", "relearn", "--eval", "web", "--out", tmp_path / "no.json")
    assert command.code == 1
    assert "column continued must be 0 up to a step" in command.err


@pytest.mark.parametrize("column", ["step", "lr", "loss.x"])
def test_a_word_in_a_column_of_steps_is_one_line_with_the_file(cli, tmp_path, column):
    rows = {"run": ["a"] * 5, "step": [1, 2, 3, 4, 5], "lr": [0.1, 0.1, 0.1, 0.05, 0.01]}
    rows |= {"params": [1] * 5, "tokens": [1, 2, 3, 4, 5], "loss.x": [3.0, 2.95, 2.9, 2.8, 2.7]}
    table = pl.DataFrame(rows).with_columns(pl.Series(column, [str(value) for value in rows[column][:4]] + ["oops"]))
    table.write_csv(tmp_path / "steps.csv")
    output = cli("fit", tmp_path / "steps.csv", "--law", "annealing", "--eval", "x", "--out", tmp_path / "fit.json")
    assert (output.code, output.err.count("\n")) == (1, 1)
    assert f"steps.csv: {column} of run 'a' is \"oops\", which is not a number" in output.err
