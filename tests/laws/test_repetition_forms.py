"""The two forms of the data-constrained law: equal without excess, and excess hurts in the second."""

import pytest
import torch

from curate.errors import CurateError
from curate.laws.repetition import PUBLISHED, PUBLISHED_EXCESS, Repetition
from curate.runs.recipes import recipes


def loss(law: Repetition, params: float, tokens: float, unique: float, **changes: float) -> float:
    theta = {k: torch.tensor(v, dtype=torch.float64) for k, v in (PUBLISHED | changes).items()}
    return float(law.loss(theta, recipes([[1.0]], [tokens], [params], [[unique]])))


def test_without_repeats_or_excess_the_forms_agree():
    both = [loss(Repetition(form), 1e8, 1e11, 1e11) for form in ("decay", "excess")]
    assert both[0] == pytest.approx(both[1], rel=1e-12)


def test_the_excess_form_by_hand():
    # N_opt for 1e9 tokens is (A / B) ** (1 / alpha) * 1e9 (alpha = beta); 10 passes are 9 repeats.
    optimal = (PUBLISHED["A"] / PUBLISHED["B"]) ** (1 / PUBLISHED["alpha"]) * 1e9
    excess = max(1e9 / optimal - 1, 0)
    size = PUBLISHED["A"] * 1e9 ** (-PUBLISHED["alpha"] * (1 - excess / PUBLISHED_EXCESS["R_N"]))
    data = PUBLISHED["B"] * 1e10 ** (-PUBLISHED["beta"] * (1 - 9 / PUBLISHED_EXCESS["R_D"]))
    result = loss(Repetition("excess"), 1e9, 1e10, 1e9, **PUBLISHED_EXCESS)
    assert result == pytest.approx(PUBLISHED["E"] + size + data, rel=1e-12)


def test_excess_repeats_raise_the_loss_again_and_the_decay_form_never_does():
    passes = [1, 10, 100, 1000]
    excess = [loss(Repetition("excess"), 1e8, 1e9 * e, 1e9, R_D=2000.0, R_N=2040.0) for e in passes]
    assert excess[3] > excess[1]
    decay = [loss(Repetition(), 1e8, 1e9 * e, 1e9) for e in passes]
    assert decay == sorted(decay, reverse=True)


def test_an_unknown_form_is_refused():
    with pytest.raises(CurateError, match="no form 'odd': choose one of decay, excess"):
        Repetition("odd")
