"""Projection onto and minimisation over capped simplices."""

import numpy as np
import pytest
import torch
from hypothesis import assume, given
from hypothesis import strategies as st
from scipy.optimize import minimize as scipy_minimize

from curate.planning.minimise import minimize
from curate.planning.regions import Region
from curate.planning.regions import clip as project


@st.composite
def capped(draw, largest: float = 100.0):
    """A point and a non-empty box on the simplex: v, low, high, each (p,)."""
    p = draw(st.integers(1, 6))
    unit = st.floats(0, 1, allow_subnormal=False)
    low = np.array(draw(st.lists(unit, min_size=p, max_size=p))) / p
    high = np.maximum(low, np.array(draw(st.lists(unit, min_size=p, max_size=p))))
    assume(low.sum() <= 1 <= high.sum())
    v = draw(st.lists(st.floats(-largest, largest, allow_subnormal=False), min_size=p, max_size=p))
    return tuple(torch.tensor(np.array(x), dtype=torch.float64)[None] for x in (v, low, high))


def feasible(w, low, high, tol=1e-12):
    return bool((w >= low - tol).all() and (w <= high + tol).all() and ((w.sum(dim=1) - 1).abs() < tol).all())


@given(capped())
def test_projection_is_feasible_and_idempotent(case):
    v, low, high = case
    w = project(v, low, high)
    assert feasible(w, low, high)
    assert torch.allclose(project(w, low, high), w, atol=1e-12)


@given(capped())
def test_projection_satisfies_the_variational_inequality(case):
    """w is nearest iff (v - w).(z - w) <= 0 for all feasible z; the vertices that maximise it are found greedily."""
    v, low, high = case
    w = project(v, low, high)
    g = (v - w)[0]
    z, remaining = low[0].clone(), 1 - float(low.sum())
    for i in torch.argsort(g, descending=True).tolist():
        more = min(remaining, float(high[0, i] - low[0, i]))
        z[i] += more
        remaining -= more
    assert float(g @ (z - w[0])) <= 1e-9 * (1 + float(g.abs().max()))


@given(capped(largest=2.0))
def test_projection_is_nearest_by_slsqp(case):
    v, low, high = (x[0].numpy() for x in case)
    w = project(*case)[0].numpy()
    solution = scipy_minimize(
        lambda x: ((x - v) ** 2).sum(),
        w,
        jac=lambda x: 2 * (x - v),
        bounds=list(zip(low, high, strict=True)),
        constraints=[{"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like}],
        method="SLSQP",
    )
    assert ((w - v) ** 2).sum() <= solution.fun + 1e-9


def test_rows_are_projected_independently():
    rng = torch.Generator().manual_seed(0)
    v = torch.randn(40, 5, dtype=torch.float64, generator=rng)
    low, high = torch.full((40, 5), 0.05, dtype=torch.float64), torch.full((40, 5), 0.6, dtype=torch.float64)
    one_by_one = torch.cat([project(v[i : i + 1], low[i : i + 1], high[i : i + 1]) for i in range(40)])
    assert torch.equal(project(v, low, high), one_by_one)


@pytest.mark.parametrize("p", [2, 3, 7, 20])
@pytest.mark.parametrize("caps", [(0.0, 1.0), (0.01, 0.4)])
def test_quadratics_are_solved_exactly(p, caps):
    """min |w - c|^2 is the projection of c; scaled badly on purpose in some coordinates."""
    if caps[1] * p < 1:
        pytest.skip("infeasible box")
    rng = torch.Generator().manual_seed(p)
    centre = torch.rand(6, p, dtype=torch.float64, generator=rng) * 2 - 0.5
    low, high = (torch.full((6, p), c, dtype=torch.float64) for c in caps)
    start = torch.full((6, p), 1 / p, dtype=torch.float64)
    solution = minimize(lambda w, rows: ((w - centre[rows]) ** 2).sum(dim=1), start, Region.box(low, high))
    assert feasible(solution.point, low, high)
    assert torch.allclose(solution.point, project(centre, low, high), atol=1e-6)
    assert float(solution.residual.max()) < 1e-6


@pytest.mark.parametrize("scale", [1e-6, 1.0, 1e6])
def test_a_linear_objective_ends_in_its_best_corner_whatever_its_scale(scale):
    cost = scale * torch.tensor([[3.0, 1.0, 2.0], [0.0, 5.0, -1.0]], dtype=torch.float64)
    start = torch.full((2, 3), 1 / 3, dtype=torch.float64)
    solution = minimize(
        lambda w, rows: (cost[rows] * w).sum(dim=1),
        start,
        Region.box(torch.zeros(2, 3).double(), torch.ones(2, 3).double()),
    )
    assert torch.allclose(solution.point, torch.tensor([[0.0, 1, 0], [0, 0, 1]], dtype=torch.float64), atol=1e-9)


def test_steep_valley_agrees_with_slsqp():
    scales = torch.tensor([1.0, 1e2, 1e4, 1e-2], dtype=torch.float64)
    centre = torch.tensor([0.7, -0.2, 0.1, 0.9], dtype=torch.float64)

    def objective(w):
        return (scales * (w - centre) ** 2).sum(dim=-1)

    solution = minimize(
        lambda w, _: objective(w),
        torch.full((1, 4), 0.25).double(),
        Region.box(torch.zeros(1, 4).double(), torch.ones(1, 4).double()),
    )
    best = scipy_minimize(
        lambda x: float(objective(torch.from_numpy(x))),
        np.full(4, 0.25),
        bounds=[(0, 1)] * 4,
        method="SLSQP",
        constraints=[{"type": "eq", "fun": lambda x: x.sum() - 1}],
        options={"ftol": 1e-14, "maxiter": 1000},
    )
    assert float(solution.value) <= best.fun + 1e-9


@given(capped(largest=3.0), st.integers(0, 10))
def test_the_minimum_never_leaves_its_box_by_rounding(case, seed):
    v, low, high = case
    rng = torch.Generator().manual_seed(seed)
    matrix = torch.randn(v.shape[1], v.shape[1], dtype=torch.float64, generator=rng)
    solution = minimize(
        lambda w, rows: ((w - v[rows]) @ matrix).square().sum(dim=1), v, Region.box(low, high), steps=60
    )
    for w in (solution.point, project(v, low, high)):
        assert bool((w >= low).all())
        assert bool((w <= high).all())
        assert float((w.sum() - 1).abs()) < 1e-12
