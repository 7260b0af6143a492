"""Published and recomputed numbers of the laws, to the digits given."""

import importlib
from dataclasses import replace
from itertools import product

import numpy as np
import pytest
import torch

from curate import open_sets
from curate.errors import CurateError
from curate.laws._reference import SIZE, TOKENS
from curate.laws._repeats import effective_tokens
from curate.laws.ces import Ces
from curate.laws.chinchilla import Chinchilla
from curate.laws.cmr import PUBLISHED as CMR
from curate.laws.cmr import critical_share
from curate.laws.infolaw import PUBLISHED as INFOLAW
from curate.laws.infolaw import Infolaw
from curate.laws.mixture_ces import MixtureCes
from curate.laws.mixture_joint import MixtureJoint
from curate.laws.overfit import Overfit
from curate.laws.overtraining import PUBLISHED as OVERTRAINING
from curate.laws.overtraining import Overtraining
from curate.laws.penalised import Penalised
from curate.laws.scarce import Scarce
from curate.laws.skaling import Skaling
from curate.runs import recipes


def theta(values):
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in values.items()}


def loss_of(law, values, *, tokens, params, weights=(1.0,), unique=None):
    inputs = recipes.recipes([weights], [tokens], [params], None if unique is None else [unique])
    return float(law.loss(theta(values), inputs)[0])


GADRE = {  # loss at (N, M) = (1.4e9, 20), (1.4e9, 640), (6.9e9, 20)
    "c4": (2.6455, 2.3911, 2.2807),
    "redpajama": (2.7743, 2.5263, 2.4436),
    "refinedweb": (2.7546, 2.5020, 2.4142),
}


@pytest.mark.parametrize("corpus", GADRE)
def test_overtraining_gives_the_losses_of_gadre(corpus):
    runs = ((1.4e9, 20), (1.4e9, 640), (6.9e9, 20))
    result = [loss_of(Overtraining(), OVERTRAINING[corpus], tokens=n * m, params=n) for n, m in runs]
    assert result == pytest.approx(GADRE[corpus], abs=6e-5)


def test_overtraining_eta_is_half_of_the_exponent_of_their_code():
    c4 = OVERTRAINING["c4"]
    n, d, power = 1.4e9, 2.8e10, -2 * c4["eta"]  # RedPajama: b -.2729 in the code, eta .1364 in the paper
    code = c4["E"] + c4["a"] * 6 ** (power / 2) * n**power + c4["b"] * 6 ** (power / 2) * d**power
    assert loss_of(Overtraining(), c4, tokens=d, params=n) == pytest.approx(code, rel=1e-12)
    trap = loss_of(Overtraining(), c4 | {"eta": -power}, tokens=d, params=n)
    assert abs(trap - code) > 1


@pytest.mark.parametrize(
    ("n", "d", "loss"), [(1e9, 2e10, 0.53941), (6.4e9, 1e11, 0.46121), (2.51e10, 5.12e11, 0.40873)]
)
def test_farseer_gives_bits_per_character(n, d, loss):
    module = importlib.import_module("curate.laws.farseer")
    assert loss_of(module.Farseer(), module.PUBLISHED, tokens=d, params=n) == pytest.approx(loss, abs=6e-6)


GOYAL = {  # ImageNet accuracy of the top 10, 20, 30, 40 % after 32M, 64M, 128M, 640M samples, and the best pool
    "utility:form=code": (
        (18.247, 15.836, 13.422, 11.677),
        (24.621, 23.301, 20.398, 17.989),
        (28.729, 29.6, 26.766, 24.128),
        (31.176, 38.552, 37.565, 35.136),
        (0, 0, 1, 1),
    ),
    "effective_data": (
        (18.249, 17.135, 15.979, 13.908),
        (24.579, 24.424, 23.229, 20.834),
        (28.634, 30.532, 29.547, 26.94),
        (30.769, 39.023, 40.09, 37.919),
        (0, 0, 1, 2),
    ),
    "utility:form=paper": (
        (17.036, 15.537, 13.422, 11.677),
        (22.725, 22.142, 19.784, 17.739),
        (26.391, 27.715, 25.401, 23.148),
        (28.575, 35.635, 34.927, 32.847),
        (0, 0, 1, 1),
    ),
}
BUDGETS = (32e6, 64e6, 128e6, 640e6)


def accuracies(spec, inputs):
    law = open_sets.build("laws", spec)
    constants = open_sets.module("laws", spec.partition(":")[0]).PUBLISHED
    return 100 * (1 - law.loss(theta(constants), inputs).numpy())


@pytest.mark.parametrize("spec", GOYAL)
def test_goyal_predictions_for_cumulative_pools(spec):
    *table, best = GOYAL[spec]
    for budget, row, top in zip(BUDGETS, table, best, strict=True):
        pools = range(1, 5)
        weights = np.array([[1 / p] * p + [0.0] * (4 - p) for p in pools])
        inputs = recipes.recipes(weights, [budget] * 4, [1e8] * 4, np.full((4, 4), 12.8e6))
        result = accuracies(spec, inputs)
        assert result == pytest.approx(row, abs=6e-4)
        assert int(result.argmax()) == top


@pytest.mark.parametrize("spec", GOYAL)
def test_a_pool_that_is_split_in_equal_halves_follows_theorem_1(spec):
    law = open_sets.build("laws", spec)
    whole = {"a": 0.025, "d": 0.1, "b": [0.15], "tau": [6.0]}
    halves = {"a": 0.025, "d": 0.1, "b": [0.15, 0.15], "tau": [3.0, 3.0]}  # tau_hat = p tau
    assert loss_of(law, halves, tokens=3e8, params=1e8, weights=(0.5, 0.5), unique=(1e7, 1e7)) == pytest.approx(
        loss_of(law, whole, tokens=3e8, params=1e8, unique=(2e7,)), rel=1e-12
    )


@pytest.mark.parametrize("spec", GOYAL)
def test_the_steps_told_apart_do_not_matter_where_there_are_fewer_passes(spec):
    name, _, rest = spec.partition(":")
    values = theta(open_sets.module("laws", name).PUBLISHED)
    inputs = recipes.recipes([[0.4, 0.3, 0.2, 0.1]], [1.2e8], [1e8], [[1e7, 2e7, 5e6, 3e7]])
    short, long = (open_sets.build("laws", f"{name}:steps={s}" + (f",{rest}" if rest else "")) for s in (8, 100))
    assert torch.allclose(short.loss(values, inputs), long.loss(values, inputs), rtol=1e-12)


@pytest.mark.parametrize("spec", GOYAL)
def test_unlimited_pools_give_a_power_law(spec):
    law = open_sets.build("laws", spec)
    values = {"a": 0.03, "d": 0.1, "b": [0.2, 0.1], "tau": [3.0, 3.0]}
    result = loss_of(law, values, tokens=1e9, params=1e8, weights=(0.25, 0.75))
    assert result == pytest.approx(300 ** -(0.25 * 0.2 + 0.75 * 0.1) + 0.1, rel=1e-12)


SOURCE = np.array([0.05, 0.15, 0.20, 0.20, 0.20, 0.20]) * 317e9  # InfoLaw's buckets; S is inferred


@pytest.mark.parametrize(
    ("tokens", "best"), [(300e9, (0.552, 0.448, 0.0)), (1000e9, (0.391, 0.391, 0.219))], ids=["300B", "1000B"]
)
def test_infolaw_optima(tokens, best):
    """The best mixture of a grid in steps of .001 under w_d >= w_(d+1), three buckets in use."""
    near = [np.arange(round(1000 * b) - 15, round(1000 * b) + 16) for b in best[:2]]
    points = np.array([(i, j, 1000 - i - j) for i, j in product(*near) if i >= j >= 1000 - i - j >= 0]) / 1000
    weights = np.hstack([points, np.zeros((len(points), 3))])
    n = len(weights)
    inputs = recipes.recipes(weights, np.full(n, tokens), np.full(n, 7e9), np.tile(SOURCE, (n, 1)))
    result = weights[int(Infolaw().loss(theta(INFOLAW), inputs).argmin())]
    assert result[:3] == pytest.approx(best, abs=1.5e-3)


def test_infolaw_optimum_is_global_on_a_coarse_grid():
    steps = range(0, 51)
    points = [(i, j, k, 50 - i - j - k) for i, j, k in product(steps, repeat=3) if i >= j >= k >= 50 - i - j - k >= 0]
    weights = np.hstack([np.array(points) / 50, np.zeros((len(points), 2))])
    n = len(weights)
    inputs = recipes.recipes(weights, np.full(n, 300e9), np.full(n, 7e9), np.tile(SOURCE, (n, 1)))
    result = weights[int(Infolaw().loss(theta(INFOLAW), inputs).argmin())]
    assert result == pytest.approx((0.56, 0.44, 0, 0, 0, 0), abs=0.021)


@pytest.mark.parametrize(
    ("tokens", "weights", "loss"), [(300e9, (0.552, 0.448, 0.0), 2.859), (1000e9, (0.391, 0.391, 0.218), 2.784)]
)
def test_infolaw_level(tokens, weights, loss):
    result = loss_of(
        Infolaw(), INFOLAW, tokens=tokens, params=7e9, weights=weights + (0.0,) * 3, unique=SOURCE * 300 / 317
    )
    assert result == pytest.approx(loss, abs=2e-3)


CRITICAL = {  # share at T = 25, 50, 100, 250 units of 0.2B tokens
    "460M": (0.0548, 0.1649, 0.29762, 0.5158),
    "940M": (0.1038, 0.2205, 0.34886, 0.5384),
    "1.6B": (0.1396, 0.2841, 0.41434, 0.5668),
    "3.1B": (0.1889, 0.3545, 0.47828, 0.5952),
}


@pytest.mark.parametrize("model", CRITICAL)
def test_critical_shares_of_gu(model):
    result = [critical_share(CMR[model], t * 0.2e9) for t in (25, 50, 100, 250)]
    assert result == pytest.approx(CRITICAL[model], abs=6e-5)
    assert critical_share(CMR[model], 0.2e9) == 0.0
    assert critical_share(CMR[model], 1e30) <= 1.0


def test_skaling_with_k_1_is_chinchilla_and_raw_constants_convert():
    a, b, alpha, beta, k = 5e5, 8e5, 0.8, 0.75, 0.4
    n, d = 3e8, 2e10
    values = {
        "E": 1.7,
        "a": (a * SIZE**-alpha) ** k,
        "b": (b * TOKENS**-beta) ** k,
        "alpha": alpha,
        "beta": beta,
        "k": k,
    }
    assert loss_of(Skaling(), values, tokens=d, params=n) == pytest.approx(
        (a * n**-alpha + b * d**-beta) ** k + 1.7, rel=1e-12
    )
    plain = {"E": 1.8, "A": 480.0, "B": 2000.0, "alpha": 0.35, "beta": 0.36}
    same = {"E": 1.8, "a": 480.0 * SIZE**-0.35, "b": 2000.0 * TOKENS**-0.36, "alpha": 0.35, "beta": 0.36, "k": 1.0}
    assert loss_of(Skaling(), same, tokens=d, params=n) == pytest.approx(
        loss_of(Chinchilla(), plain, tokens=d, params=n), rel=1e-12
    )


def test_skaling_optimal_size():
    """N* = (alpha A / (beta B))^(1/(alpha+beta)) (C/6)^(beta/(alpha+beta)), whatever k is."""
    a, b, alpha, beta, c = 5e5, 8e5, 0.8, 0.75, 1e21
    values = {
        "E": 1.7,
        "a": (a * SIZE**-alpha) ** 0.4,
        "b": (b * TOKENS**-beta) ** 0.4,
        "alpha": alpha,
        "beta": beta,
        "k": 0.4,
    }
    best = (alpha * a / (beta * b)) ** (1 / (alpha + beta)) * (c / 6) ** (beta / (alpha + beta))
    sizes = best * np.exp(np.linspace(-1, 1, 2001))
    inputs = recipes.recipes(np.ones((2001, 1)), c / (6 * sizes), sizes)
    assert sizes[int(Skaling().loss(theta(values), inputs).argmin())] == pytest.approx(best, rel=2e-3)


def test_ces_of_one_pool_is_chinchilla_in_effective_tokens():
    values = {"E": 1.8, "A": 0.6, "B": 0.5, "alpha": 0.34, "beta": 0.3, "g": 0.4, "R": 15.0, "k": [2.0]}
    inputs = recipes.recipes([[1.0]], [4e10], [3e8], [[5e9]])
    useful = float(effective_tokens(inputs, torch.tensor(15.0)).sum())
    plain = 1.8 + 0.6 * (3e8 / SIZE) ** -0.34 + 0.5 * (useful / TOKENS) ** -0.3
    assert float(Ces().loss(theta(values), inputs)[0]) == pytest.approx(plain, rel=1e-6)


def test_ces_is_the_power_mean_of_effective_tokens_and_ignores_the_scale_of_k():
    values = {"E": 1.8, "A": 0.6, "B": 0.5, "alpha": 0.34, "beta": 0.3, "g": 0.4, "R": 8.0, "k": [1.0, 2.0, 0.5]}
    inputs = recipes.recipes([[0.5, 0.3, 0.2]], [1e10], [2e8], [[1e9, 5e9, 5e8]])
    tokens, k = effective_tokens(inputs, torch.tensor(8.0)).numpy()[0], np.array(values["k"])
    data = ((k * tokens**0.4).sum() / (k * 3**-0.4).sum()) ** 2.5
    result = Ces().loss(theta(values), inputs)
    assert float(result[0]) == pytest.approx(1.8 + 0.6 + 0.5 * (data / 1e10) ** -0.3, rel=1e-5)
    assert torch.allclose(Ces().loss(theta(values | {"k": [7.0, 14.0, 3.5]}), inputs), result, rtol=1e-12)
    assert torch.allclose(Ces(tied=False).loss(theta(values | {"R": [8.0] * 3}), inputs), result, rtol=1e-12)


QLL = {
    "E": 0.44,
    "F": 0.68,
    "B": 0.5,
    "rho": 0.94,
    "alpha": 0.36,
    "beta": 0.27,
    "phi": 0.11,
    "c": 0.6,
    "g": 0.5,
    "eps": 0.006,
    "R": 12.0,
    "k": [1.0, 3.0, 0.4],
    "T": 0.09,
    "tau": 1.9,
    "v": [0.1, -0.05, 0.02],
}


def test_mixture_ces_without_repetition_is_the_form_of_the_lab():
    h, n, d, t = np.array([0.5, 0.3, 0.2]), 3.1e8, 1.5e10, QLL
    k, ln, ld = np.array(t["k"]), np.log(3.1e8 / 2e8), np.log(1.5e10 / 1e10)
    s = (np.log((k * (h + t["eps"]) ** t["g"]).sum()) - np.log((k * 3 ** -t["g"]).sum())) / t["g"]
    size = t["rho"] * t["B"] * np.exp(-t["alpha"] * ln)
    data = t["B"] * np.exp(t["phi"] * ln) * (np.exp(-t["beta"] * ld) + t["T"] * np.exp(-t["tau"] * ld))
    full = (t["E"] + (t["F"] + size + data) * np.exp(-t["c"] * s)) * np.exp((h - 1 / 3) @ np.array(t["v"]))
    law = MixtureCes(linear=True)
    assert loss_of(law, t, tokens=d, params=n, weights=h) == pytest.approx(full, rel=1e-12)
    data -= t["B"] * np.exp(t["phi"] * ln) * t["T"] * np.exp(-t["tau"] * ld)
    plain = t["E"] + (t["F"] + size + data) * np.exp(-t["c"] * s)
    assert loss_of(MixtureCes(transient=False), t, tokens=d, params=n, weights=h) == pytest.approx(plain, rel=1e-12)
    names = {p.name for p in law.params()}
    assert names == set(QLL)


def test_mixture_ces_of_one_pool_is_the_data_constrained_law():
    values = {k: v[:1] if isinstance(v, list) else v for k, v in QLL.items()} | {"eps": 1e-9}
    inputs = recipes.recipes([[1.0]], [4e10], [2e8], [[5e9]])
    useful = float(effective_tokens(inputs, torch.tensor(QLL["R"])).sum()) / TOKENS
    full = QLL["E"] + QLL["F"] + QLL["rho"] * QLL["B"] + QLL["B"] * useful ** -QLL["beta"]
    assert float(MixtureCes(transient=False).loss(theta(values), inputs)[0]) == pytest.approx(full, rel=1e-8)


def test_mixture_ces_repeats_of_all_pools_help_less_than_fresh_tokens_and_end_at_a_finite_loss():
    tokens = 10 ** np.linspace(9, 18, 40)
    inputs = recipes.recipes(np.tile([0.5, 0.3, 0.2], (40, 1)), tokens, [3e8] * 40, np.tile([5e9, 3e9, 2e9], (40, 1)))
    fresh = replace(inputs, unique=torch.full_like(inputs.unique, torch.inf))
    repeated, plain = MixtureCes().loss(theta(QLL), inputs), MixtureCes().loss(theta(QLL), fresh)
    once = inputs.tokens <= 1e10
    assert torch.allclose(repeated[once], plain[once], rtol=1e-12)
    assert bool((repeated[~once] > plain[~once]).all())
    assert bool((repeated.diff() <= 1e-12).all())
    assert float(repeated[-4] - repeated[-1]) == pytest.approx(0.0, abs=1e-6)


PENALISED = {
    "E": 2.15,
    "A": 0.63,
    "B": 0.79,
    "alpha": 0.42,
    "beta": 0.4,
    "P": 0.62,
    "kappa": 0.96,
    "r1": 110.0,
    "rho": 0.43,
    "R": 900.0,
}


def test_penalised_is_the_form_of_the_lab():
    n, d, u, t = 1.1e9, 6e10, 1.5e9, PENALISED
    size = n / np.exp(19)
    repeats, half = d / u - 1, t["r1"] * size ** -t["rho"]
    useful = u * (1 + t["R"] * (1 - np.exp(-repeats / t["R"])))
    base = t["E"] + t["A"] * size ** -t["alpha"] + t["B"] * (useful / np.exp(22)) ** -t["beta"]
    full = base + t["P"] * (n / u) ** t["kappa"] * repeats**2 / (repeats**2 + half**2)
    assert loss_of(Penalised(), t, tokens=d, params=n, unique=(u,)) == pytest.approx(full, rel=1e-12)


LOVELACE = {"E": 1.8, "A": 0.6, "B": 0.5, "alpha": 0.34, "beta": 0.3, "P": 0.02, "delta": 0.6, "kappa": 0.7}


@pytest.mark.parametrize(
    ("law", "values"), [(Penalised(), PENALISED), (Overfit(), LOVELACE)], ids=["penalised", "overfit"]
)
def test_splitting_a_pool_changes_nothing(law, values):
    whole = loss_of(law, values, tokens=5e10, params=4e8, unique=(2e9,))
    split = loss_of(law, values, tokens=5e10, params=4e8, weights=(0.25, 0.75), unique=(5e8, 1.5e9))
    assert split == pytest.approx(whole, rel=1e-12)


def test_overfit_is_the_published_form():
    n, u, repeats, t = 4e8, 2e9, 15.0, LOVELACE
    base = t["E"] + t["A"] * (n / SIZE) ** -t["alpha"] + t["B"] * (u * (1 + repeats) / TOKENS) ** -t["beta"]
    full = base + t["P"] * repeats ** t["delta"] * (n / u) ** t["kappa"]
    assert loss_of(Overfit(), t, tokens=u * 16, params=n, unique=(u,)) == pytest.approx(full, rel=1e-12)
    assert loss_of(Overfit(), t, tokens=u, params=n, unique=(u,)) == pytest.approx(
        t["E"] + t["A"] * (n / SIZE) ** -t["alpha"] + t["B"] * (u / TOKENS) ** -t["beta"], rel=1e-12
    )


def test_mixture_joint_has_47_parameters_for_7_pools_and_equal_shares_read_a_and_b():
    assert sum(7 if p.per_pool else 1 for p in MixtureJoint().params()) == 47
    values = {"E": 1.5, "A": 0.6, "B": 0.5, "alpha": 0.34, "beta": 0.3, "C": [2.0, 3.0], "g": [0.1, 0.2]}
    values |= {"C_A": [1.0, 5.0], "g_A": [0.3, 0.1], "C_B": [2.0, 0.2], "g_B": [0.05, 0.4]}
    floor = 1 / (2 * 0.5**0.1 + 3 * 0.5**0.2)
    result = loss_of(MixtureJoint(), values, tokens=TOKENS, params=SIZE, weights=(0.5, 0.5))
    assert result == pytest.approx(1.5 + floor + 0.6 + 0.5, rel=1e-6)
    additive = open_sets.build("laws", "mixture_additive")
    assert loss_of(additive, values, tokens=TOKENS, params=SIZE, weights=(0.5, 0.5)) == pytest.approx(result, rel=1e-12)


def test_dcpt_has_the_required_shape():
    law = open_sets.build("laws", "dcpt")
    values = theta(
        {"E": 1.2, "A": 0.5, "B": 0.1, "C": 0.3, "alpha": 0.34, "beta": 0.3, "gamma": 0.4, "eta": 0.3, "eps": 0.05}
    )

    def loss(n, d, r):
        return law.loss(
            values, recipes.Recipes(torch.stack([1 - r, r])[None], d[None], n[None], torch.full((1, 2), torch.inf))
        )[0]

    for r in (0.05, 0.3, 0.9):
        point = tuple(torch.tensor(x, dtype=torch.float64, requires_grad=True) for x in (5e8, 1e10, r))
        slopes = torch.autograd.grad(loss(*point), point, create_graph=True)
        assert all(s.item() < 0 for s in slopes)
        assert torch.autograd.grad(slopes[1], point[2])[0].item() < 0
    general, domain = open_sets.build("laws", "dcpt:rest=true"), open_sets.build("laws", "dcpt:pool=0")
    inputs = recipes.recipes([[0.3, 0.7]], [1e10], [5e8])
    assert torch.allclose(general.loss(values, inputs), domain.loss(values, inputs), rtol=1e-12)


def test_scarce_counts_the_targets_effective_tokens():
    t = {"E": 1.5, "C": 0.5, "B": 0.4, "beta": 0.34, "alpha": 0.3, "delta": 0.1, "gamma": 0.05, "r1": 10.0}
    n, d, h, unique = 4e8, 2e10, 0.1, 1e8  # r = 20 passes
    useful = unique * (1 + 10 * (1 - np.exp(-19 / 10)))
    full = 1.5 + 0.5 * 2**-0.34 + 0.4 * 2**0.1 * (useful / TOKENS) ** -0.3 + 0.05 * h
    result = loss_of(Scarce(), t, tokens=d, params=n, weights=(1 - h, h), unique=(np.inf, unique))
    assert result == pytest.approx(full, rel=1e-4)


def test_power_is_the_data_term():
    values = {"a": 0.7, "b": 0.3, "c": 2.1}
    assert loss_of(open_sets.build("laws", "power"), values, tokens=8e9, params=1e8) == pytest.approx(
        0.7 * 8**-0.3 + 2.1, rel=1e-12
    )


@pytest.mark.parametrize(
    "spec", ["utility:form=odd", "utility:start=0", "utility:steps=0", "effective_data:steps=0", "skaling:form=odd"]
)
def test_wrong_options_say_what_is_right(spec):
    with pytest.raises(CurateError, match="law"):
        open_sets.build("laws", spec)


def test_cmr_is_positive_wherever_its_parameters_may_be():
    from itertools import product

    from curate.laws.cmr import Cmr

    shares = np.array([0.0, 1e-9, 0.3, 1.0])
    inputs = recipes.recipes(np.column_stack([1 - shares, shares]), [2e10] * 4, [1e9] * 4)
    for ends in ("likely", "bounds"):
        corners = product(*(p.likely if ends == "likely" else (p.low, p.high) for p in Cmr().params()))
        for none, full, s in corners:
            loss = Cmr().loss(theta({"none": none, "full": full, "s": s}), inputs)
            assert bool((torch.isfinite(loss) & (loss > 0)).all()), (none, full, s)
