"""Entropic transport against closed forms, a log-domain loop in float64 and its own batch."""

import pytest
import torch

from curate.transport import sinkhorn
from curate.transport.ground_cost import Cost


def cost(n: int, q: int, *, seed: int = 0) -> Cost:
    """Squared distances of two Gaussian clouds in the plane, as factors."""
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 2, generator=rng), torch.randn(q, 2, generator=rng) + 1
    ones = torch.ones(max(n, q), 1)
    factor = torch.cat([-2 * x, (x**2).sum(dim=1, keepdim=True), ones[:n]], dim=1)
    return Cost(factor, torch.cat([y, ones[:q], (y**2).sum(dim=1, keepdim=True)], dim=1))


def slow(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-domain loop, float64, one problem."""
    g = torch.zeros_like(b)
    for _ in range(4000 if eps < 0.5 else 400):
        f = -eps * torch.logsumexp((g - c) / eps + b.log(), dim=1)
        g = -eps * torch.logsumexp((f[:, None] - c) / eps + a.log()[:, None], dim=0)
    return -eps * torch.logsumexp((g - c) / eps + b.log(), dim=1), g


@pytest.mark.parametrize("eps", [1.0, 0.1, 0.02])
def test_a_batch_agrees_with_the_log_domain(eps):
    geometry = cost(40, 30)
    rng = torch.Generator().manual_seed(1)
    a = torch.rand(5, 40, generator=rng, dtype=torch.float64)
    a[0, :20] = 0
    a /= a.sum(dim=1, keepdim=True)
    b = torch.full((30,), 1 / 30, dtype=torch.float64)
    potentials = sinkhorn.solve(geometry, a, b, eps=eps, tol=1e-6, steps=20000)
    assert bool(potentials.converged.all())
    for row in range(5):
        f, g = slow(geometry.dense().double(), a[row], b, eps)
        shift = float((potentials.f[row] - f).mean())
        assert torch.allclose(potentials.f[row] - shift, f, atol=2e-4)  # also where the mass is zero
        assert float(potentials.value[row]) == pytest.approx(float(f @ a[row] + g @ b), abs=1e-5)


def test_a_start_from_anywhere_is_right_and_finite():
    """Far clusters, whose masses a plain warm start sets right in thousands of steps, or never; and nonsense."""
    rng = torch.Generator().manual_seed(2)
    x = torch.randn(60, 2, generator=rng) + 40 * (torch.arange(60) % 3)[:, None]
    y = torch.randn(45, 2, generator=rng) + 40 * (torch.arange(45) % 3)[:, None]
    factor = torch.cat([-2 * x, (x**2).sum(dim=1, keepdim=True), torch.ones(60, 1)], dim=1)
    far = Cost(factor, torch.cat([y, torch.ones(45, 1), (y**2).sum(dim=1, keepdim=True)], dim=1))
    b = torch.full((45,), 1 / 45, dtype=torch.float64)
    shares = torch.tensor([[0.3, 0.3, 0.4], [1.0, 0.0, 0.0], [0.01, 0.01, 0.98]], dtype=torch.float64)
    a = shares[:, torch.arange(60) % 3] / 20
    cold = sinkhorn.solve(far, a, b, eps=0.01 * far.mean, tol=1e-4, steps=20000)
    assert bool(cold.converged.all())
    noise = 1e3 * torch.randn(3, 45, generator=rng, dtype=torch.float64)
    for start in (cold.g[[1, 2, 0]], cold.g[[2, 0, 1]], noise, torch.zeros(3, 45, dtype=torch.float64)):
        warm = sinkhorn.solve(far, a, b, eps=0.01 * far.mean, start=start, tol=1e-4, steps=20000)
        assert bool(warm.converged.all())
        assert torch.allclose(warm.value, cold.value, rtol=1e-4)


def test_a_near_start_saves_steps():
    geometry = cost(60, 50)
    a = torch.full((1, 60), 1 / 60, dtype=torch.float64)
    b = torch.full((50,), 1 / 50, dtype=torch.float64)
    cold = sinkhorn.solve(geometry, a, b, eps=0.02)
    near = a + 1e-3 / 60 * torch.linspace(-1, 1, 60).double()
    warm = sinkhorn.solve(geometry, near, b, eps=0.02, start=cold.g)
    assert int(warm.iterations) < int(cold.iterations) / 2


def test_a_measure_with_itself_costs_what_the_log_domain_says():
    geometry = cost(40, 40)
    square = Cost(
        geometry.left_factor,
        torch.cat([geometry.left_factor[:, :2] / -2, geometry.left_factor[:, 3:], geometry.left_factor[:, 2:3]], 1),
    )
    a = torch.rand(2, 40, generator=torch.Generator().manual_seed(3), dtype=torch.float64)
    a /= a.sum(dim=1, keepdim=True)
    potentials = sinkhorn.solve(square, a, None, eps=0.1, tol=1e-6)
    for row in range(2):
        f, g = slow(square.dense().double(), a[row], a[row], 0.1)
        assert float(potentials.value[row]) == pytest.approx(float(f @ a[row] + g @ a[row]), abs=1e-4)


def test_points_without_mass_get_their_potential_however_far_they_are():
    rng = torch.Generator().manual_seed(4)
    x = torch.randn(30, 2, generator=rng) + 60 * (torch.arange(30) % 3)[:, None]
    norms, ones = (x**2).sum(dim=1, keepdim=True), torch.ones(30, 1)
    far = Cost(torch.cat([-2 * x, norms, ones], dim=1), torch.cat([x, ones, norms], dim=1))
    a = torch.zeros(1, 30, dtype=torch.float64)
    a[0, ::3] = 0.1
    potentials = sinkhorn.solve(far, a, None, eps=2.0, tol=1e-5)
    c, g = far.dense().double()[:, ::3], potentials.g[0, ::3]
    truth = -2.0 * torch.logsumexp((g - c) / 2.0 + torch.full_like(g, 0.1).log(), dim=1)
    assert torch.allclose(potentials.f[0], truth, atol=1e-2, rtol=1e-4)
    assert float(potentials.f[0].max()) > 80 * 2.0  # far beyond what float32 scalings hold
