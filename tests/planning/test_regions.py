"""Projection on limited simplices: nearest, feasible to rounding, the same point in any batch."""

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from scipy.optimize import linprog, minimize

from curate.planning.regions import Region, clip

KINDS = ("group over", "group under", "order", "money")


@st.composite
def limited(draw, far: tuple[float, ...] = (0.1, 1.0, 30.0)):
    """A point (1, p) and a region with one mixture at least, with loose, tight and repeated rows."""
    p, q = draw(st.integers(1, 7)), draw(st.integers(1, 6))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    inside = rng.dirichlet(np.full(p, 0.5))
    low = inside * rng.uniform(size=p) * rng.integers(0, 2, p)
    high = np.minimum(1.0, np.where(rng.integers(0, 2, p), 1.0, inside * rng.uniform(1, 2, p)))
    rows, limits = np.zeros((q, p)), np.zeros(q)
    for j, kind in enumerate(draw(st.lists(st.sampled_from(KINDS), min_size=q, max_size=q))):
        rows[j] = {"group over": 1.0, "group under": -1.0}.get(kind, 0.0) * rng.integers(0, 2, p)
        if kind == "order":
            upper, lower = rng.integers(0, p, 2)
            upper, lower = (upper, lower) if inside[upper] >= inside[lower] else (lower, upper)
            rows[j, lower] += 1
            rows[j, upper] -= 1
        if kind == "money":
            rows[j] = rng.uniform(size=p)
        limits[j] = max(rows[j] @ inside, 0.0 if kind == "order" else -1.0) + rng.choice([0.0, 0.05, 0.5])
    if draw(st.booleans()):
        rows, limits = np.vstack([rows, rows[:1]]), np.append(limits, limits[0])
    v = inside + rng.normal(size=p) * draw(st.sampled_from(far))
    return torch.from_numpy(v)[None], region(low, high, rows, limits)


def region(low, high, rows, limits):
    return Region(*(torch.from_numpy(np.asarray(x, dtype=np.float64))[None] for x in (low, high, rows, limits)))


def feasible(w, region, tol):
    return bool(
        (w >= region.low).all()
        and (w <= region.high).all()
        and ((w.sum(dim=1) - 1).abs() < 1e-12).all()
        and (region.excess(w) <= tol).all()
    )


@given(limited())
def test_a_projection_is_feasible_and_stays(case):
    v, region = case
    w = region.project(v)
    assert feasible(w, region, 1e-11)
    assert torch.allclose(region.project(w), w, atol=1e-11)


@given(limited())
def test_no_point_of_the_region_is_nearer(case):
    """w is nearest iff (v - w).(z - w) <= 0 for every z of the region: a linear programme."""
    v, region = case
    w = region.project(v)
    to = (v - w)[0].numpy()
    bounds = np.stack([region.low[0].numpy(), region.high[0].numpy()], axis=1)
    best = linprog(
        -to,
        A_ub=region.rows[0].numpy(),
        b_ub=region.limits[0].numpy() + 1e-12,
        A_eq=np.ones((1, len(to))),
        b_eq=[1.0],
        bounds=bounds,
    )
    assert -best.fun - to @ w[0].numpy() <= 1e-7 * max(1.0, abs(to).max())


@given(limited(far=(0.1, 1.0)))
def test_slsqp_finds_nothing_nearer(case):
    v, region = case
    w, point, rows = region.project(v)[0].numpy(), v[0].numpy(), region.rows[0].numpy()
    solution = minimize(
        lambda x: ((x - point) ** 2).sum(),
        w,
        jac=lambda x: 2 * (x - point),
        method="SLSQP",
        bounds=np.stack([region.low[0].numpy(), region.high[0].numpy()], axis=1),
        constraints=[
            {"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like},
            {"type": "ineq", "fun": lambda x: region.limits[0].numpy() - rows @ x, "jac": lambda _: -rows},
        ],
    )
    over = (rows @ solution.x - region.limits[0].numpy()).max()
    assert ((w - point) ** 2).sum() <= solution.fun + 1e-7 + 100 * max(over, 0.0)


@given(limited(far=(1e3, 1e6)))
def test_far_points_end_in_the_region_to_their_rounding(case):
    v, region = case
    w = region.project(v)
    size = float(v.abs().max())
    assert bool(((w >= region.low) & (w <= region.high)).all())
    assert float((w.sum() - 1).abs()) < 1e-14 * size
    assert float(region.excess(w).max()) < 1e-13 * size


def test_rows_of_a_batch_do_not_know_each_other():
    rng = np.random.default_rng(0)
    m, p = 40, 6
    v = torch.from_numpy(rng.normal(size=(m, p)))
    low, high = (torch.full((m, p), x, dtype=torch.float64) for x in (0.0, 0.7))
    rows = torch.zeros(m, 2, p, dtype=torch.float64)
    rows[:, 0, :2], rows[:, 1, 2:4] = 1.0, -1.0
    limits = torch.from_numpy(rng.uniform([0.1, -0.6], [0.5, -0.1], size=(m, 2)))
    whole = Region(low, high, rows, limits)
    alone = torch.cat([whole.take(torch.tensor([i])).project(v[i : i + 1]) for i in range(m)])
    assert torch.allclose(whole.project(v), alone, atol=1e-13)


@pytest.mark.parametrize(
    ("low", "high", "rows", "limits", "only"),
    [
        ([0, 0, 0], [1, 1, 1], [[1, 1, 0], [-1, -1, 0], [-1, 1, 0]], [0.5, -0.5, 0.0], None),
        ([0.2, 0.3, 0.5], [0.2, 0.3, 0.5], [[1, 1, 0]], [0.5], [0.2, 0.3, 0.5]),
        ([0, 0, 0], [1, 1, 1], [[-1, 1, 0], [0, -1, 1], [1, 0, -1]], [0, 0, 0], [1 / 3, 1 / 3, 1 / 3]),
        ([0], [1], [[1]], [1.0], [1.0]),
    ],
    ids=["group is fixed", "all is fixed", "a ring of orders", "one pool"],
)
def test_regions_without_an_inside(low, high, rows, limits, only):
    allowed = region(low, high, rows, limits)
    for seed in range(20):
        w = allowed.project(torch.from_numpy(np.random.default_rng(seed).normal(size=(1, len(low)))))
        assert feasible(w, allowed, 1e-12)
        assert only is None or w[0].tolist() == pytest.approx(only, abs=1e-12)


def test_an_order_is_isotonic_regression():
    """With every pool ordered the projection pools violators (pool adjacent violators), then clips at 0."""
    p = 20
    rows = np.zeros((p - 1, p))
    rows[np.arange(p - 1), np.arange(p - 1)], rows[np.arange(p - 1), np.arange(1, p)] = -1, 1
    allowed = region(np.zeros(p), np.ones(p), rows, np.zeros(p - 1))
    from sklearn.isotonic import IsotonicRegression

    for seed in range(5):
        v = np.random.default_rng(seed).normal(size=p)
        w = allowed.project(torch.from_numpy(v)[None])
        flat = IsotonicRegression(increasing=False).fit_transform(np.arange(p), v)
        expected = clip(torch.from_numpy(flat)[None], allowed.low, allowed.high)
        assert torch.allclose(w, expected, atol=1e-10)
