"""Options of laws that the contract does not build: finite values and gradients at corners, and planted recovery."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import law_of, recipes, theta
from torch.func import jacfwd, vmap

from curate.fitting import fit as fits

SPECS = (
    "ces:tied=false",
    "mixture_ces:linear=true",
    "mixture_ces:transient=false,tied=false",
    "mixture_ces:linear=true,transient=false",
    "skaling:form=equal",
    "utility:form=code",
    "utility:start=10.0",
    "utility:steps=1",
    "effective_data:steps=3",
    "effective_data:steps=1",
    "dcpt:rest=true",
    "dcpt:pool=0",
    "cmr:pool=1",
    "cmr:start=2.5",
    "share_logarithm:rest=true,start=2.5",
    "scarce:pool=0",
    "penalised",
    "overfit",
)


def corners(p):
    """Every pool alone, one share of 0, and shares at exactly one pass; tokens and sizes over the whole range."""
    base = recipes(2 * p, p, 2)
    weights = (
        torch.cat([torch.eye(p), (1 - torch.eye(p)) / max(1, p - 1)]).double() if p > 1 else torch.ones(2, 1).double()
    )
    ends = torch.logspace(5, 13, 2 * p, dtype=torch.float64)
    unique = torch.where(weights > 0, weights, 1.0) * ends[:, None]  # exactly one pass
    return replace(
        base, weights=weights, tokens=ends, params=torch.logspace(5, 12, 2 * p, dtype=torch.float64), unique=unique
    )


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("p", [1, 2, 4])
def test_values_and_gradients_are_finite(spec, p):
    if spec == "cmr:pool=1" and p == 1:
        pytest.skip("no such pool")
    base, values = corners(p), theta(spec, p)
    for unique in (base.unique, base.unique / 1e4, torch.full_like(base.unique, torch.inf)):
        weights = base.weights.clone().requires_grad_()
        leaves = {k: v.clone().requires_grad_() for k, v in values.items()}
        loss = law_of(spec).loss(leaves, replace(base, weights=weights, unique=unique))
        assert bool((torch.isfinite(loss) & (loss > 0)).all())
        for gradient in torch.autograd.grad(loss.sum(), [weights, *leaves.values()], allow_unused=True):
            assert gradient is None or bool(torch.isfinite(gradient).all())
        forward = jacfwd(lambda t, u=unique: law_of(spec).loss(t, replace(base, unique=u)))(values)
        assert all(bool(torch.isfinite(x).all()) for x in forward.values())


@pytest.mark.parametrize("spec", SPECS)
def test_vmap_is_a_loop(spec):
    base, many = recipes(10, 3, 5), [theta(spec, 3, seed=s) for s in range(4)]
    stacked = {k: torch.stack([values[k] for values in many]) for k in many[0]}
    result = vmap(lambda t: law_of(spec).loss(t, base))(stacked)
    assert torch.allclose(result, torch.stack([law_of(spec).loss(t, base) for t in many]), rtol=1e-12)


@pytest.mark.parametrize(
    "spec",
    [
        "ces",
        "ces:tied=false",
        "mixture_ces",
        "mixture_ces:linear=true",
        "utility:start=10.0",
        "overfit",
        "penalised",
    ],
)
def test_planted_laws_come_back_with_noise(spec):
    law, truth = law_of(spec), theta(spec, 3, seed=5, inner=0.7)
    train, fresh = recipes(120, 3, 40), recipes(200, 3, 41)
    noisy = law.loss(truth, train).numpy() * np.exp(np.random.default_rng(0).normal(0, 1e-3, 120))
    result = fits.fit(spec, train, noisy, pools="abc", options=fits.FitOptions(starts=16, draws=1))
    error = (result.loss(fresh) / law.loss(truth, fresh) - 1).abs()
    assert result.rmse < 2e-3
    assert float(error.median()) < 2e-3
