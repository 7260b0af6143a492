"""Distances of mixtures against the network simplex and finite differences; bad input."""

import numpy as np
import pytest
import torch

from curate.errors import SchemaError
from curate.transport import distance
from curate.transport.ground_cost import Samples, TransportProblem, problem

W = torch.tensor([[0.5, 0.3, 0.2], [0.8, 0.2, 0.0], [0.1, 0.1, 0.8]], dtype=torch.float64)


def samples(n: int, *, seed: int = 0, shift: float = 0.0, labelled: bool = True) -> Samples:
    rng = np.random.default_rng(seed)
    y = rng.integers(0, 3, n)
    x = rng.standard_normal((n, 4)) + 2 * np.eye(4)[y] + shift
    return Samples(x.astype(np.float32), y if labelled else None)


def planted(*, labelled: bool = True) -> TransportProblem:
    """Three sources, ever farther from the target."""
    sources = {name: samples(40, seed=i, shift=0.7 * i, labelled=labelled) for i, name in enumerate("abc")}
    return problem(sources, samples(50, seed=9, labelled=labelled))


@pytest.mark.parametrize("labelled", [False, True])
@pytest.mark.parametrize("debiased", [False, True])
def test_the_gradient_agrees_with_finite_differences(labelled, debiased):
    of = planted(labelled=labelled)
    w = W.clone().requires_grad_(True)
    distance.distance(of, w, debiased=debiased, tol=1e-6, eps=0.05).sum().backward()
    assert w.grad is not None
    for row in (0, 2):
        for direction in torch.tensor([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]], dtype=torch.float64):
            ends = torch.stack([W[row] + 1e-3 * direction, W[row] - 1e-3 * direction])
            high, low = distance.distance(of, ends, debiased=debiased, tol=1e-6, eps=0.05)
            assert float(w.grad[row] @ direction) == pytest.approx(float(high - low) / 2e-3, rel=1e-2, abs=1e-4)


def test_small_regularisation_approaches_the_exact_distance():
    of = planted()
    truth = distance.exact(of, W)
    solution = distance.solve(of, W, eps=0.002, debiased=False, tol=1e-4, steps=20000)
    assert torch.allclose(solution.value, truth.value, rtol=0.04)
    assert float((solution.gradient - truth.gradient).norm() / truth.gradient.norm()) < 0.1


def test_non_convergence_is_flagged_and_raised():
    of = planted()
    assert not bool(distance.solve(of, W, eps=0.005, steps=8).converged.all())
    with pytest.raises(distance.Unconverged, match="iterations. Raise steps"):
        distance.distance(of, W, eps=0.005, steps=8)


def bad(features: np.ndarray) -> dict[str, Samples]:
    return {"a": samples(20, labelled=False), "b": Samples(features)}


@pytest.mark.parametrize(
    ("sources", "message"),
    [
        (bad(np.zeros((5, 3))), "3 features, the target has 4"),
        (bad(np.full((5, 4), np.nan)), "NaN or infinite"),
        (bad(np.full((5, 4), np.inf)), "NaN or infinite"),
        (bad(np.ones((1, 4))), "1 samples"),
        (bad(np.ones((7, 4))), "all 7 samples have the same features"),
        (bad(np.ones(4)), r"shape \(4,\)"),
        ({"a": samples(20), "b": samples(20, labelled=False)}, "source 'b' has no labels"),
        ({}, "no sources"),
    ],
)
def test_bad_input_is_one_clear_error(sources, message):
    with pytest.raises(SchemaError, match=message):
        problem(sources, samples(20, labelled=bool(sources) and sources["a"].labels is not None))


def test_a_source_may_lack_classes():
    rng = np.random.default_rng(0)
    near = Samples(rng.standard_normal((20, 4)) + 2 * np.eye(4)[0], np.zeros(20, dtype=int))
    of = problem({"a": samples(40), "b": near}, samples(50, seed=9))
    assert len(of.pool.members) == 4  # three classes of a, one of b
    solution = distance.solve(of, torch.eye(2, dtype=torch.float64)).require()
    assert float(solution.value[0]) < float(solution.value[1])


def test_labels_that_do_not_fit_the_samples_are_refused():
    with pytest.raises(SchemaError, match="7 labels for 20 samples"):
        problem({"a": Samples(samples(20).features, np.zeros(7))}, samples(20))


@pytest.mark.parametrize("features", [np.ones((7, 4)), np.full((5, 4), np.nan), np.ones((1, 4))])
def test_a_bad_target_is_refused(features):
    with pytest.raises(SchemaError, match="the target: "):
        problem({"a": samples(20, labelled=False)}, Samples(features))


def test_a_solution_is_a_start_for_the_next():
    of = planted()
    first = distance.solve(of, W).require()
    warm, cold = (distance.solve(of, W.flip(0), start=start).require() for start in (first, None))
    assert torch.allclose(warm.value, cold.value, atol=2e-3)
    assert torch.allclose(warm.gradient, cold.gradient, atol=2e-2)
    assert warm.own == first.own
