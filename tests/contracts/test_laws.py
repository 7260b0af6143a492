"""What every law promises, checked for every file of ``curate/laws``."""

from dataclasses import FrozenInstanceError, fields, replace

import numpy as np
import pytest
import torch
from problems import law_of, planted, recipes, theta
from torch.func import vmap

from curate import open_sets
from curate.fitting import fit as fits
from curate.fitting import fit_files
from curate.fitting.fit import FitOptions
from curate.fitting.fit_json import law_json
from curate.fitting.solver.coordinates import Coordinates
from curate.fitting.solver.model_function import LogLosses, RowByRow, log_losses
from curate.laws import _batches
from curate.runs.recipes import Recipes
from curate.storage import artifacts

NAMES = open_sets.names("laws")
POOLS = 3
ORDERED = {"infolaw"}  # pools are quality buckets from best to worst
# Options that change which parameters there are, or how they meet the recipes.
VARIANTS = (
    "ces:tied=false",
    "dcpt:repeats=true,cross=true",
    "forgetting:sizes=true",
    "mixture_ces:linear=true,tied=false",
    "repetition:form=excess",
    "replay:harm=true,sizes=true",
    "replay:checkpoints=true",
    "skaling:form=equal",
    "transport:shares=2,floor=true,top=9",
    "utility:form=code",
)
EVERY = pytest.mark.parametrize("name", NAMES)


def turned(values, params, order):
    per_pool = {p.name for p in params if p.per_pool}
    return {k: v[order] if k in per_pool else v for k, v in values.items()}


@EVERY
def test_it_is_frozen_and_named_by_its_file(name):
    law = law_of(name)
    assert law.name == name
    assert not any(isinstance(getattr(law, f.name), torch.Tensor | np.ndarray) for f in fields(law)), (
        "a law holds no data"
    )
    with pytest.raises((FrozenInstanceError, AttributeError)):
        law.another = 1


@EVERY
def test_parameters_are_in_order(name):
    params = law_of(name).params()
    assert len({p.name for p in params}) == len(params) > 0
    for p in params:
        assert p.low <= p.likely[0] < p.likely[1] <= p.high, p
        assert p.low > 0 or not p.positive, p


@EVERY
def test_the_middle_gives_a_finite_positive_loss(name):
    loss = law_of(name).loss(theta(name, POOLS), recipes(200, POOLS, 0))
    assert loss.shape == (200,)
    assert loss.dtype == torch.float64
    assert bool((torch.isfinite(loss) & (loss > 0)).all())


@EVERY
@pytest.mark.parametrize("pools", [1, 2, 5])
def test_any_number_of_pools(name, pools):
    loss = law_of(name).loss(theta(name, pools), recipes(20, pools, 1))
    assert bool((torch.isfinite(loss) & (loss > 0)).all())


@EVERY
def test_corners_and_unlimited_pools_are_finite_with_their_gradients(name):
    base = recipes(POOLS, POOLS, 2)
    weights = torch.eye(POOLS, dtype=torch.float64).requires_grad_()
    for unique in (base.unique, torch.full_like(base.unique, torch.inf)):
        values = {k: v.clone().requires_grad_() for k, v in theta(name, POOLS).items()}
        loss = law_of(name).loss(values, replace(base, weights=weights, unique=unique))
        assert bool(torch.isfinite(loss).all())
        if not loss.requires_grad:
            continue
        for gradient in torch.autograd.grad(loss.sum(), [weights, *values.values()], allow_unused=True):
            assert gradient is None or bool(torch.isfinite(gradient).all())


@EVERY
@pytest.mark.parametrize("seed", [0, 1])
def test_gradients_agree_with_finite_differences(name, seed):
    law, base = law_of(name), recipes(6, POOLS, 10 + seed)
    point = theta(name, POOLS, seed=seed, inner=0.9)
    scale = {k: v.abs().clamp_min(1e-3) for k, v in point.items()}  # moves of relative size 1e-6
    moves = [torch.zeros_like(v).requires_grad_() for v in point.values()]
    weights = base.weights.clone().requires_grad_()

    def loss(weights, *moves):
        values = {k: point[k] + scale[k] * move for k, move in zip(point, moves, strict=True)}
        return law.loss(values, replace(base, weights=weights))

    assert torch.autograd.gradcheck(loss, (weights, *moves), eps=1e-6, atol=1e-6, rtol=1e-4)


@EVERY
@pytest.mark.parametrize("order", [[2, 0, 1], [1, 0, 2]])
def test_only_what_a_pool_is_matters_not_its_place(name, order):
    law, base, values = law_of(name), recipes(50, POOLS, 3), theta(name, POOLS, seed=3)
    if name in ORDERED:
        pytest.skip("its pools are ordered by meaning")
    other = replace(base, weights=base.weights[:, order], unique=base.unique[:, order])
    elsewhere = replace(law, pool=order.index(law.pool % POOLS)) if hasattr(law, "pool") else law
    assert torch.allclose(
        elsewhere.loss(turned(values, law.params(), order), other), law.loss(values, base), rtol=1e-12
    )


@EVERY
def test_rows_are_independent(name):
    law, base, values = law_of(name), recipes(12, POOLS, 4), theta(name, POOLS, seed=4)
    one_by_one = torch.cat([law.loss(values, base.take(np.array([i]))) for i in range(12)])
    assert torch.allclose(law.loss(values, base), one_by_one, rtol=1e-13)


@EVERY
def test_vmap_over_parameters_is_a_loop(name):
    law, base = law_of(name), recipes(10, POOLS, 5)
    many = [theta(name, POOLS, seed=s) for s in range(6)]
    stacked = {k: torch.stack([theta[k] for theta in many]) for k in many[0]}
    assert torch.allclose(
        vmap(lambda t: law.loss(t, base))(stacked), torch.stack([law.loss(t, base) for t in many]), rtol=1e-12
    )


@pytest.mark.parametrize("spec", [*NAMES, *VARIANTS])
def test_a_batched_law_gives_the_losses_and_slopes_of_a_loop_over_parameters(spec):
    law, base = law_of(spec), recipes(POOLS + 2, POOLS, 7)
    coordinates = Coordinates(law.params(), POOLS)
    points = 0.3 * coordinates.starts(4, 0)
    batched = log_losses(law, coordinates, base)
    assert isinstance(batched, LogLosses)
    row_by_row = RowByRow(lambda u, row: law.loss(coordinates.theta(u), Recipes.single(row)).log()[0], base.rows)
    assert torch.allclose(batched.values(points), row_by_row.values(points), rtol=1e-12)
    for slopes, expected in zip(batched.slopes(points), row_by_row.slopes(points), strict=True):
        assert torch.allclose(slopes, expected, rtol=1e-9, atol=1e-12)


@EVERY
def test_each_recipe_may_have_its_own_parameters(name):
    law, base = law_of(name), recipes(5, POOLS, 8)
    many = [theta(name, POOLS, seed=s) for s in range(5)]
    stacked = {k: torch.stack([theta[k] for theta in many]) for k in many[0]}
    expected = [law.loss(values, base.take(np.array([i]))) for i, values in enumerate(many)]
    assert torch.allclose(_batches.paired(law, stacked, base), torch.cat(expected), rtol=1e-12)


@EVERY
def test_coordinates_are_their_own_inverse(name):
    coordinates = Coordinates(law_of(name).params(), POOLS)
    values = theta(name, POOLS, seed=6)
    again = coordinates.theta(coordinates.point(values))
    assert all(torch.allclose(again[k], values[k], rtol=1e-9) for k in values)
    starts = coordinates.starts(16, 0)
    assert starts.shape == (16, coordinates.size)
    assert bool(torch.isfinite(starts).all())


@EVERY
@pytest.mark.parametrize("seed", [1, pytest.param(2, marks=pytest.mark.slow)])
def test_planted_parameters_come_back_as_predictions(name, seed):
    law, train, fresh = law_of(name), recipes(60, POOLS, 20 + seed), recipes(200, POOLS, 30 + seed)
    drawn = (theta(name, POOLS, seed=s, inner=0.9) for s in range(10 * seed, 10 * seed + 10))
    truth = next(t for t in drawn if all(bool((law.loss(t, r) > 0).all()) for r in (train, fresh)))
    fitted = fits.fit(
        name, train, law.loss(truth, train).numpy(), pools="abc", options=FitOptions(starts=6 * seed, draws=1)
    )
    error = (fitted.loss(fresh) / law.loss(truth, fresh) - 1).abs()
    assert fitted.rmse < 3e-4
    assert float(error.median()) < 1e-3
    assert float(error.mean()) < 3e-3


@EVERY
def test_a_fit_survives_json_exactly(name, tmp_path):
    fitted = planted(name, "abc", theta(name, POOLS, seed=7), draws=5)
    artifacts.save(tmp_path / "fit.json", "fit", law_json.to_json(fitted))
    again, base = fit_files.load(tmp_path / "fit.json"), recipes(30, POOLS, 8)
    assert torch.equal(again.loss(base), fitted.loss(base))
    assert torch.equal(again.draw_losses(base), fitted.draw_losses(base))
    assert all(torch.equal(x, y) for x, y in zip(again.interval(base), fitted.interval(base), strict=True))
    assert law_json.to_json(again) == law_json.to_json(fitted)
