"""Scalings of a fixed kernel: marginals, what Newton steps save, and that nothing leaves float32."""

import pytest
import torch

from curate.transport import kernel_scaling


def apart(n: int, gap: float) -> torch.Tensor:
    """Kernel (n, n) of two clusters that see each other through e^-gap."""
    rng = torch.Generator().manual_seed(0)
    half = torch.arange(n) >= n // 2
    return torch.exp(-torch.rand(n, n, generator=rng) - gap * (half[:, None] != half[None, :]))


def masses(n: int) -> tuple[torch.Tensor, torch.Tensor]:
    """60 % of one side and 50 % of the other lie in the first cluster."""
    first = torch.arange(n) < n // 2
    return torch.where(first, 1.2, 0.8)[None] / n, torch.full((n,), 1 / n)


def test_marginals_are_met():
    kernel, (a, b) = apart(20, 3.0), masses(20)
    state, _ = kernel_scaling.alternate(kernel, a, b, torch.ones(1, 20), tol=1e-5, steps=500, reach=30.0)
    plan = (a * state.u)[0, :, None] * kernel * (b * state.v)
    assert plan.sum(dim=1).tolist() == pytest.approx(a[0].tolist(), rel=1e-4)
    assert plan.sum(dim=0).tolist() == pytest.approx(b.tolist(), abs=1e-5)


def test_newton_steps_save_steps_where_clusters_lie_apart(monkeypatch):
    kernel, (a, b) = apart(20, 8.0), masses(20)
    start = torch.ones(1, 20)
    _, quick = kernel_scaling.alternate(kernel, a, b, start, tol=1e-4, steps=5000, reach=30.0)
    monkeypatch.setattr(kernel_scaling, "PLAIN", 10**6)
    _, plain = kernel_scaling.alternate(kernel, a, b, start, tol=1e-4, steps=5000, reach=30.0)
    assert quick < 2 * plain / 3


def test_rows_of_a_batch_do_not_touch_each_other():
    kernel, (a, b) = apart(20, 3.0), masses(20)
    both = torch.cat([a, a.flip(1)])
    state, _ = kernel_scaling.alternate(kernel, both, b, torch.ones(2, 20), tol=1e-5, steps=500, reach=30.0)
    alone, _ = kernel_scaling.alternate(kernel, both[1:], b, torch.ones(1, 20), tol=1e-5, steps=500, reach=30.0)
    ratio = (state.v[1] / alone.v[0]).log()
    assert float((ratio - ratio.mean()).abs().max()) < 1e-3


@pytest.mark.parametrize("size", [1e-30, 1e30])
def test_starts_out_of_all_bounds_stay_finite(size):
    kernel, (a, b) = apart(20, 80.0), masses(20)
    wild = torch.where(torch.arange(20) % 2 == 0, size, 1.0)[None]
    state, count = kernel_scaling.alternate(kernel, a, b, wild, tol=1e-4, steps=50, reach=30.0)
    assert bool(torch.isfinite(state.v).all() and torch.isfinite(state.u).all() and torch.isfinite(state.error).all())
    assert count <= 50 + kernel_scaling.INNER + kernel_scaling.LENGTHS
