"""The transport law: its form, its bounds, what it reads and what it refuses; a planted fit."""

import numpy as np
import pytest
import torch
from problems import law_of, recipes, theta

from curate.errors import SchemaError
from curate.fitting.fit import FitOptions, fit
from curate.runs.recipes import Recipes

THETA = {
    name: torch.tensor(x, dtype=torch.float64) for name, x in {"a": 0.1, "b": 0.4, "c": 2.0, "floor": 0.05}.items()
}
TILT = {"t": torch.tensor([1.0, 0.0, -1.0], dtype=torch.float64), "q": torch.tensor([0.5, 0.5, 0.0]).double()}


def recipe_at(distance: float, tokens: float = 250.0) -> Recipes:
    weights = torch.tensor([[0.5, 0.3, 0.2]], dtype=torch.float64)
    each = [torch.tensor([x], dtype=torch.float64) for x in (tokens, 1.0)]
    return Recipes(weights, *each, torch.full((1, 3), torch.inf).double(), torch.tensor([distance]).double())


def test_its_form():
    z = 0.1 * 0.25**-0.4 * np.exp(2.0 * 0.7)
    assert float(law_of("transport").loss(THETA, recipe_at(0.7))) == pytest.approx(z)
    assert float(law_of("transport:floor=true").loss(THETA, recipe_at(0.7))) == pytest.approx(z + 0.05)
    assert float(law_of("transport:top=1").loss(THETA, recipe_at(0.7))) == pytest.approx(z / (1 + z))
    tilted = z * np.exp(0.5 - 0.2)
    assert float(law_of("transport:shares=1").loss(THETA | TILT, recipe_at(0.7))) == pytest.approx(tilted)
    squared = tilted * np.exp(0.5 * 0.25 + 0.5 * 0.09)
    assert float(law_of("transport:shares=2").loss(THETA | TILT, recipe_at(0.7))) == pytest.approx(squared)
    without = law_of("transport:distance=false,shares=1")
    assert float(without.loss(THETA | TILT, recipe_at(0.7))) == pytest.approx(tilted / np.exp(1.4))


def test_an_error_rate_never_passes_its_top():
    far = law_of("transport:top=0.9").loss(THETA, recipe_at(30.0, tokens=1.0))
    assert 0.89 < float(far) <= 0.9


def test_it_falls_with_tokens_and_grows_with_distance():
    law = law_of("transport")
    assert float(law.loss(THETA, recipe_at(0.7, 1000))) < float(law.loss(THETA, recipe_at(0.7, 100)))
    assert float(law.loss(THETA, recipe_at(0.8))) > float(law.loss(THETA, recipe_at(0.7)))


def test_recipes_without_a_distance_are_refused():
    bare = recipes(5, 3, 0, distance=False)
    with pytest.raises(SchemaError, match="give samples of the sources and the target|column distance.<target>"):
        law_of("transport").loss(theta("transport", 3), bare)
    assert law_of("transport:distance=false").loss(theta("transport", 3), bare).shape == (5,)


def test_a_bounded_fit_of_few_noisy_pilots_finds_the_slope():
    rng, drawn = np.random.default_rng(0), recipes(32, 3, 1)
    pilots = Recipes(
        drawn.weights, torch.tensor([100.0, 200.0] * 16).double(), drawn.params, drawn.unique, drawn.distance
    )
    truth = law_of("transport:top=1").loss(THETA, pilots).numpy()
    result = fit(
        "transport:top=1",
        pilots,
        truth * np.exp(0.05 * rng.standard_normal(32)),
        pools="abc",
        options=FitOptions(starts=6, draws=20),
    )
    assert float(result.theta["c"]) == pytest.approx(2.0, abs=0.25)
    low, high = (result.draws["c"].quantile(q).item() for q in (0.05, 0.95))
    assert low < float(result.theta["c"]) < high
