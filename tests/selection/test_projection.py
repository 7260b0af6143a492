"""Forms and projections against numbers worked out by hand and planted truths."""

import numpy as np
import pytest

from curate.errors import FitError
from curate.selection import pooled_form, published_forms


def planted(n: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Distances, weights of 3 sources, and an accuracy that is a line in the distance."""
    rng = np.random.default_rng(seed)
    w = rng.dirichlet(np.ones(3), n)
    d = 0.2 + (w @ np.array([0.1, 0.5, 0.9])) ** 2
    return d, w, 0.9 - 0.4 * d


@pytest.mark.parametrize("form", ["ot", "ot+p", "cs", "pq", "ot+gp"])
def test_forms_with_a_distance_recover_a_line_in_it(form):
    d, w, y = planted(40)
    fresh = planted(60, seed=1)
    predictions = published_forms.fit_at_size(form, d, w, y).predict(fresh[0], fresh[1])
    assert np.abs(predictions - fresh[2]).max() < 1e-6


def test_the_quadratic_recovers_a_quadratic():
    _, w, _ = planted(60)
    y = 0.5 + w @ [0.1, -0.2, 0.3] + 0.4 * w[:, 0] * w[:, 1]
    fresh = planted(30, seed=1)[1]
    truth = 0.5 + fresh @ [0.1, -0.2, 0.3] + 0.4 * fresh[:, 0] * fresh[:, 1]
    assert (
        np.abs(published_forms.fit_at_size("quad", np.zeros(60), w, y).predict(np.zeros(30), fresh) - truth).max()
        < 1e-3
    )


def test_projections_are_exact_where_their_form_holds():
    def straight(n):
        return 0.3 + 0.05 * np.log(n)

    def power(n):
        return 2.0 * n**-0.4

    sizes = np.array([100.0, 200.0, 800.0])
    assert published_forms.project(straight(sizes[:1]), straight(sizes[1:2]), (100, 200), 800) == pytest.approx(
        straight(800)
    )
    projected = published_forms.project(power(sizes[:1]), power(sizes[1:2]), (100, 200), 800, logs=True)
    assert projected == pytest.approx(power(800))


@pytest.mark.parametrize(("sizes", "n", "gain"), [((1000, 1500), 10_000, 7.4), ((100, 200), 800, 3.6)])
def test_the_noise_gain_is_the_published_one(sizes, n, gain):
    assert published_forms.noise_gain(*sizes, n) == pytest.approx(gain, abs=0.05)


def test_a_projection_that_hides_what_it_decides_is_refused():
    assert published_forms.require(0.01, (100, 200), 800, 0.1) == pytest.approx(0.036, abs=1e-3)
    with pytest.raises(
        FitError, match="more than the 0.02 it shall decide. Train larger pilots or repeat them 4 times"
    ):
        published_forms.require(0.01, (100, 200), 800, 0.02)
    with pytest.raises(FitError, match="n0 < n1"):
        published_forms.noise_gain(200, 100, 800)


def test_pooled_recovers_its_own_form_and_stays_within_its_bounds():
    d, w, _ = planted(40)
    tokens = np.repeat([100.0, 200.0], 20)
    y = 1 / (1 + np.exp(-(-2 - 0.5 * np.log(tokens / 1e3) + 2 * d)))
    form = pooled_form.fit_pooled(d, w, tokens, y)
    assert form.coefficients == pytest.approx([-2, -0.5, 2], abs=1e-3)
    far = form.error(np.array([50.0]), w[:1], np.array([1.0]))
    assert 0.999 < far[0] <= 1


def test_the_distance_that_explains_is_chosen():
    d, w, _ = planted(24)
    tokens, rng = np.tile([100.0, 200.0], 12), np.random.default_rng(0)
    y = np.exp(-1 - 0.4 * np.log(tokens / 1e3) + d + 0.01 * rng.standard_normal(24)) / 4
    choice = pooled_form.choose_distance({"noise": rng.random(24), "d": d}, w, tokens, y, top=0.0)
    assert (choice.distance, choice.shares) == ("d", False)
    assert choice.errors["d"] < choice.errors["noise"] / 3


def test_too_few_pilots_are_refused():
    with pytest.raises(FitError, match="2 pilots"):
        published_forms.fit_at_size("ot", np.ones(2), np.ones((2, 1)), np.ones(2))
