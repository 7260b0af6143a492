"""Error from loss, loss over a schedule, and the harm of repeats: what is published about them."""

import numpy as np
import pytest
import torch

from curate.errors import FitError
from curate.fitting.curves import downstream
from curate.fitting.curves.schedules import annealing, schedule_solver
from curate.fitting.curves.schedules.rate_schedule import Curve, RateSchedule
from curate.laws.overtraining import PUBLISHED, Overtraining
from curate.pool import repeats
from curate.runs import recipes

ERRORS = {  # average over 17 tasks at (N, M) = (1.4e9, 20), (1.4e9, 640), (6.9e9, 20)
    "c4": (0.5686, 0.5090, 0.4793),
    "redpajama": (0.5535, 0.4946, 0.4726),
    "refinedweb": (0.5491, 0.4873, 0.4631),
}


@pytest.mark.parametrize("corpus", ERRORS)
def test_error_from_loss(corpus):
    size, ratio = np.array([1.4e9, 1.4e9, 6.9e9]), np.array([20.0, 640.0, 20.0])
    values = {k: torch.tensor(v, dtype=torch.float64) for k, v in PUBLISHED[corpus].items()}
    loss = Overtraining().loss(values, recipes.recipes(np.ones((3, 1)), size * ratio, size))
    assert downstream.error(downstream.PUBLISHED[17][corpus], loss).tolist() == pytest.approx(ERRORS[corpus], abs=6e-5)
    wide = downstream.error(downstream.PUBLISHED[46][corpus], loss)
    assert bool(((wide > 0.5) & (wide < 0.77)).all())


def test_translation_and_accuracy_have_their_limits():
    tokens = torch.tensor([1e3, 1e6, 1e12], dtype=torch.float64, requires_grad=True)
    bleu = downstream.translation({"A": 1e-4, "alpha": 1.0, "beta": 0.5}, tokens)
    assert bleu.tolist() == pytest.approx([0.0, np.log(1e2) ** 0.5, np.log(1e8) ** 0.5])
    assert bool(torch.isfinite(torch.autograd.grad(bleu.sum(), tokens)[0]).all())
    flops = torch.tensor([1e10, 1e21, 1e60], dtype=torch.float64)
    predicted = downstream.accuracy({"g": 0.25, "a": 1.0, "b": 0.5, "c": 0.1}, flops)
    assert predicted.tolist() == pytest.approx([0.25, 0.25 + 0.75 * np.exp(-1.1), 0.25 + 0.75 * np.exp(-0.1)], rel=1e-9)


def cosine(steps, peak=2e-4, warmup=0):
    t = np.arange(steps)
    rates = peak * (0.55 + 0.45 * np.cos(np.pi * t / steps))
    rates[:warmup] = peak * (t[:warmup] + 1) / warmup
    return torch.from_numpy(rates)


def test_areas_of_a_schedule():
    s1, s2 = annealing.s1_s2(torch.tensor([2.0, 2.0, 1.0, 1.0], dtype=torch.float64), 0.5)
    assert s1.tolist() == [2.0, 4.0, 5.0, 6.0]
    assert s2.tolist() == [0.0, 0.0, 1.0, 1.5]
    constant = annealing.s1_s2(torch.full((20000,), 2e-4, dtype=torch.float64))
    assert float(constant[0][-1]) == pytest.approx(4.0)
    assert float(constant[1].abs().max()) == 0.0
    warm = torch.tensor([0.5, 1.0, 2.0, 1.0], dtype=torch.float64)
    assert annealing.s1_s2(warm, 0.5, warmup=2)[0].tolist() == [2.0, 4.0, 6.0, 7.0]
    assert warm.tolist() == [0.5, 1.0, 2.0, 1.0]


def test_the_published_curve_and_its_fit():
    s1, s2 = annealing.s1_s2(cosine(20000, warmup=500), warmup=500)
    loss = annealing.curve(annealing.PUBLISHED, s1, s2)
    flat = annealing.curve(annealing.PUBLISHED, *annealing.s1_s2(torch.full((20000,), 2e-4, dtype=torch.float64)))
    assert float(flat[-1]) == pytest.approx(2.6278 + 0.42967 * 4**-0.54985, rel=1e-12)
    cooled = torch.full((20000,), 2e-4, dtype=torch.float64)
    cooled[18000:] *= torch.linspace(1, 0, 2000, dtype=torch.float64)
    assert float(annealing.curve(annealing.PUBLISHED, *annealing.s1_s2(cooled))[-1]) < float(flat[-1]) - 0.03
    steps = np.arange(999, 20000, 950)
    plans = [
        RateSchedule("cosine", cosine(20000, warmup=500).numpy(), 500, steps),
        RateSchedule("flat", np.full(20000, 2e-4), 0, steps),
    ]
    curves = [Curve(plan, values[steps].numpy()) for plan, values in zip(plans, (loss, flat), strict=True)]
    assert schedule_solver.fit("annealing", curves, draws=1).theta == pytest.approx(annealing.PUBLISHED, rel=1e-3)
    with pytest.raises(FitError, match="Give at least 5"):
        schedule_solver.fit("annealing", [curves[0].take(np.arange(4))])


def test_the_harmful_band():
    assert repeats.band(8e8) == pytest.approx((43, 1803), rel=0.01)
    assert repeats.warning(4, 8e8) is None
    assert repeats.warning(5000, 8e8) is None
    result = repeats.warning(100, 8e8)
    assert result is not None
    assert "43" in result
    assert "8e+08" in result
