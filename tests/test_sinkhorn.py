"""Entropic transport against closed forms, a log-domain loop in float64 and its own batch."""

import pytest
import torch

from curate import sinkhorn
from curate.ground import Cost


def cost(n: int, q: int, *, seed: int = 0) -> Cost:
    """Squared distances of two Gaussian clouds in the plane, as factors."""
    rng = torch.Generator().manual_seed(seed)
    x, y = torch.randn(n, 2, generator=rng), torch.randn(q, 2, generator=rng) + 1
    ones = torch.ones(max(n, q), 1)
    left = torch.cat([-2 * x, (x**2).sum(dim=1, keepdim=True), ones[:n]], dim=1)
    return Cost(left, torch.cat([y, ones[:q], (y**2).sum(dim=1, keepdim=True)], dim=1))


def slow(c: torch.Tensor, a: torch.Tensor, b: torch.Tensor, eps: float) -> tuple[torch.Tensor, torch.Tensor]:
    """The log-domain loop, float64, one problem."""
    g = torch.zeros_like(b)
    for _ in range(5000):
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
    found = sinkhorn.solve(geometry, a, b, eps=eps, tol=1e-6, steps=20000)
    assert bool(found.converged.all())
    for row in range(5):
        f, g = slow(geometry.dense().double(), a[row], b, eps)
        shift = float((found.f[row] - f).mean())
        assert torch.allclose(found.f[row] - shift, f, atol=2e-4)  # also where the mass is zero
        assert float(found.value[row]) == pytest.approx(float(f @ a[row] + g @ b), abs=1e-5)
