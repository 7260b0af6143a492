"""Cheap distances against brute force, finite differences and a case worked by hand."""

import numpy as np
import pytest
import torch

from curate.errors import SchemaError
from curate.selection.mixture_distance import MixtureDistance
from curate.transport.ground_cost import Samples, TransportProblem, problem
from curate.transport.surrogates import energies, energy, sliced, slices, vectors

W = torch.tensor([[0.5, 0.2, 0.3], [0.0, 1.0, 0.0]], dtype=torch.float64)


def planted(width: int = 3, *, labelled: bool = False) -> TransportProblem:
    def draw(seed: int, n: int) -> Samples:
        rng = np.random.default_rng(seed)
        y = rng.integers(0, 2, n)
        x = rng.standard_normal((n, width)) + 0.5 * seed + y[:, None]
        return Samples(x.astype(np.float32), y if labelled else None)

    return problem({name: draw(i, 20 + i) for i, name in enumerate("abc")}, draw(5, 30))


def test_in_one_dimension_slices_are_transport():
    ot = pytest.importorskip("ot")
    of = planted(width=1)
    x, y = of.pool.features[:, 0].double().numpy(), of.target.features[:, 0].double().numpy()
    truth = [ot.emd2_1d(x, y, mass, np.full(len(y), 1 / len(y))) for mass in of.masses(W).numpy()]
    assert sliced(of, W).tolist() == pytest.approx(truth, rel=1e-6)


def test_slices_are_the_mean_over_directions_times_the_width():
    ot = pytest.importorskip("ot")
    of, mass = planted(), planted().masses(W)[0].numpy()
    x, y = vectors(of.pool).numpy(), vectors(of.target).numpy()
    drawn = np.random.default_rng(0).standard_normal((3, 7))
    ways = drawn / np.linalg.norm(drawn, axis=0)
    even = np.full(len(y), 1 / len(y))
    truth = 3 * np.mean([ot.emd2_1d(x @ way, y @ way, mass, even) for way in ways.T])
    assert float(sliced(of, W[:1], slices_=slices(of, directions=7))) == pytest.approx(truth, rel=1e-6)


def test_energy_is_the_mean_over_pairs():
    of = planted()
    x, y = of.pool.features.double(), of.target.features.double()
    a, b, c = (x[of.source == i] for i in range(3))

    def mean(sample: torch.Tensor, other: torch.Tensor) -> float:
        pairs = [
            float((p - q).norm())
            for i, p in enumerate(sample)
            for j, q in enumerate(other)
            if sample is not other or i != j
        ]
        return float(np.mean(pairs))

    truth = 2 * mean(b, y) - mean(b, b) - mean(y, y)
    assert float(energy(of, W[1:])) == pytest.approx(truth, abs=1e-9)
    shares = (0.5, 0.2, 0.3)
    own = sum(
        u * v * mean(p, q)
        for u, p in zip(shares, (a, b, c), strict=True)
        for v, q in zip(shares, (a, b, c), strict=True)
    )
    across = sum(u * mean(p, y) for u, p in zip(shares, (a, b, c), strict=True))
    assert float(energy(of, W[:1], energies_=energies(of))) == pytest.approx(2 * across - own - mean(y, y), abs=1e-9)


@pytest.mark.parametrize("kind", ["sliced", "energy"])
@pytest.mark.parametrize("labelled", [False, True])
def test_gradients_agree_with_finite_differences(kind, labelled):
    measure = MixtureDistance(planted(labelled=labelled), kind=kind)
    # No share is a multiple of a sample's mass, where slices have kinks.
    mixture = torch.tensor([[0.503, 0.194, 0.303]], dtype=torch.float64)
    w = mixture.clone().requires_grad_(True)
    (slope,) = torch.autograd.grad(measure(w).sum(), w)
    assert float((slope * w.detach()).sum()) == pytest.approx(0, abs=1e-9)  # a function of the direction
    for way in torch.tensor([[1.0, -1.0, 0.0], [0.5, 0.5, -1.0]], dtype=torch.float64):
        high, low = measure(torch.cat([mixture + 1e-6 * way, mixture - 1e-6 * way]))
        assert float(slope[0] @ way) == pytest.approx(float(high - low) / 2e-6, rel=1e-3, abs=1e-6)


def test_labels_add_half_the_distance_of_diagonal_gaussians():
    of = planted(labelled=True)
    x = vectors(of.pool)
    assert of.pool.group is not None
    own = [of.pool.members[int(g)] for g in of.pool.group]
    for i, j in ((0, 50), (3, 4)):
        centres = ((own[i].mean(axis=0) - own[j].mean(axis=0)) ** 2).sum()
        spreads = ((own[i].std(axis=0) - own[j].std(axis=0)) ** 2).sum()
        points = float(((of.pool.features[i] - of.pool.features[j]) ** 2).sum())
        assert float(((x[i] - x[j]) ** 2).sum()) == pytest.approx((points + centres + spreads) / 2, rel=1e-5)


def test_an_unknown_distance_is_refused():
    with pytest.raises(SchemaError, match="there are transport, sliced, energy"):
        MixtureDistance(planted(), kind="cosine")
