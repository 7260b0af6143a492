"""Laws of continued training: limits by hand, published replay tables, planted runs, one family of real runs."""

from pathlib import Path

import numpy as np
import polars as pl
import pytest
import torch
from problems import recipes as random_recipes
from problems import theta
from scipy.optimize import least_squares

from curate.fitting.fit import FitOptions, fit
from curate.laws._reference import growth
from curate.laws.forgetting import Forgetting
from curate.laws.replay import Replay
from curate.runs.recipes import Recipes, recipes
from curate.runs.run_table import check

REAL = Path(__file__).resolve().parents[3] / "shared" / "data" / "runs" / "cpt_python.csv"
SOME = {"E": 1.0, "K": 0.3, "beta": 0.2, "G": 0.14, "d": 0.1, "s": 0.2, "eps": 1e-3, "R": 15.0, "C": 0.03}
POINT = {k: torch.tensor(v, dtype=torch.float64) for k, v in SOME.items()}


def mixed(shares, tokens=1e10, params=2e8, unique=None) -> Recipes:
    """General data and a domain with these shares."""
    x = np.asarray(shares, dtype=np.float64)
    return recipes(np.column_stack([1 - x, x]), np.full(len(x), tokens), np.full(len(x), params), unique)


def values(**numbers: float) -> dict[str, torch.Tensor]:
    return {k: torch.tensor(v, dtype=torch.float64) for k, v in numbers.items()}


def test_replay_by_hand():
    law = Replay()
    at_one = float(law.loss(POINT, mixed([1.0]))[0])
    assert at_one == pytest.approx(1.3)  # E + K: the share term is 0 for the corpus alone
    half = float(law.loss(POINT, mixed([0.5]))[0])
    q = 0.501 / 1.001
    assert half == pytest.approx(1.3 - 0.14 / 1.1 * (q**0.2 - 1) / 0.2)
    assert float(Replay(rest=True).loss(POINT, mixed([0.5]))[0]) == pytest.approx(half)
    assert float(Replay(rest=True).loss(POINT, mixed([0.0]))[0]) == pytest.approx(at_one)
    log = float(law.loss(POINT | values(s=0.0), mixed([0.5]))[0])
    assert log == pytest.approx(1.3 - 0.14 / 1.1 * np.log(q))
    sized = Replay(sizes=True).loss(POINT | values(A=0.5, alpha=0.3, phi=0.2), mixed([0.5], params=8e8))
    assert float(sized[0]) == pytest.approx(1.3 + 0.5 * 4**-0.3 + (half - 1.3) * 4**-0.2)


def test_growth_is_smooth_through_zero():
    z = torch.tensor([-1.0, -1.01e-4, -0.99e-4, 0.0, 0.99e-4, 1.01e-4, 1.0], dtype=torch.float64)
    assert torch.allclose(growth(z), torch.where(z == 0, 1.0, torch.expm1(z) / z), rtol=1e-12)


def test_checkpoints_of_a_cosine_end_where_a_complete_run_begins():
    law = Replay(checkpoints=True)
    time, fallen = law.clock(torch.tensor([5e9, 1e10 * (1 - 1e-9), 1e10, 2e10], dtype=torch.float64))
    assert time.tolist() == pytest.approx([0.5 + 1 / np.pi, 1.0, 1.0, 2.0])
    assert fallen.tolist() == pytest.approx([0.5, 1.0, 1.0, 1.0])
    rates = 1 + np.cos(np.pi * (np.arange(1000) + 0.5) / 1000)  # the area under a cosine, step by step
    half = law.clock(torch.tensor([2.5e9], dtype=torch.float64))[0]
    assert float(half) == pytest.approx(rates[:250].sum() / rates.sum(), rel=1e-5)


@pytest.mark.parametrize("rest", [False, True])
@pytest.mark.parametrize("seed", range(5))
def test_replay_has_the_shape_that_continued_training_must_have(rest, seed):
    """Que et al. 2024: the loss falls with the share, and the more tokens the more it falls with it."""
    law, point = Replay(rest=rest, checkpoints=True), theta("replay:checkpoints=true", 2, seed=seed)
    shares = np.linspace(0, 1, 21)
    for tokens in (1e8, 1e9, 1e10, 1e11):
        fall = law.loss(point, mixed(shares, tokens)).diff()
        assert bool(((fall > 0) if rest else (fall < 0)).all())
        more = law.loss(point, mixed(shares, 3 * tokens)).diff()
        assert bool((more.abs() > fall.abs()).all())


def test_repeats_of_a_small_domain_count_for_less():
    shares, small = [0.1, 0.5, 0.9], [[np.inf, 1e8]] * 3
    fresh, repeated = Replay().loss(POINT, mixed(shares)), Replay().loss(POINT, mixed(shares, unique=small))
    assert bool((repeated > fresh).all())
    seen = 1e8 * (1 + 15 * (1 - np.exp(-(10 - 1) / 15)))  # 10 passes
    effective = mixed([seen / 1e10])
    assert float(repeated[0]) == pytest.approx(float(Replay().loss(POINT, effective)[0]), rel=1e-12)
    old = Replay(rest=True)
    assert torch.equal(old.loss(POINT, mixed(shares)), old.loss(POINT, mixed(shares, unique=small)))


HARM = values(P=0.02, delta=1.5, kappa=0.5)


def test_repeats_that_hurt_by_hand():
    law, small = Replay(harm=True), [[np.inf, 1e8]] * 3
    harm = law.loss(POINT | HARM, mixed([0.0, 0.1, 0.5], unique=small)) - Replay().loss(POINT, mixed([0.0, 0.1, 0.5]))
    assert harm.tolist() == pytest.approx([0.0, 0.1 * 0.02 * 9**1.5 * 10, 0.5 * 0.02 * 49**1.5 * 10])
    sized = values(A=0.5, alpha=0.3, phi=0.2)
    big = mixed([0.1], params=8e8, unique=[[np.inf, 1e8]]), mixed([0.1], params=8e8)
    many = [Replay(harm=True, sizes=True).loss(POINT | HARM | sized, mixture)[0] for mixture in big]
    assert float(many[0] - many[1]) == pytest.approx(2 * float(harm[1]))


def test_repeats_that_hurt_have_gradients_where_nothing_repeats():
    point = {k: v.clone().requires_grad_() for k, v in (POINT | HARM).items()}
    mixtures = mixed([0.0, 0.01, 1.0], unique=[[np.inf, 1e8]] * 3)
    loss = Replay(harm=True).loss(point, mixtures)
    for gradient in torch.autograd.grad(loss.sum(), list(point.values()), allow_unused=True):
        assert gradient is None or bool(torch.isfinite(gradient))


@pytest.mark.parametrize("options", ["harm=true", "harm=true,rest=true,checkpoints=true"])
def test_planted_options_come_back_as_predictions(options):
    spec = f"replay:{options}"
    truth, (train, fresh) = theta(spec, 2, seed=4, inner=0.8), (random_recipes(n, 2, n) for n in (80, 200))
    law = Replay(harm=True, rest="rest" in options, checkpoints="checkpoints" in options)
    result = fit(spec, train, law.loss(truth, train).numpy(), pools="ab", options=FitOptions(starts=8, draws=1))
    assert float((result.loss(fresh) / law.loss(truth, fresh) - 1).abs().median()) < 2e-3


# Losses by share of the corpus they are measured on, at one budget and size.
OLD = {  # Ibrahim et al. 2024 (arXiv 2403.08763), 405M: loss on the Pile by share of replay
    "german": ({0: 3.56, 1: 2.83, 5: 2.57, 10: 2.46, 25: 2.33, 50: 2.24}, 2e11),
    "slimpajama": ({0: 2.44, 0.5: 2.27, 1: 2.26, 5: 2.23, 10: 2.21, 50: 2.16}, 3e11),
}
NEW = {
    "german": {100: 1.11, 99: 1.12, 95: 1.12, 90: 1.13, 75: 1.16, 50: 1.22},
    "slimpajama": {100: 2.50, 99.5: 2.50, 99: 2.50, 95: 2.51, 90: 2.51, 50: 2.54},
}
FINANCE = {  # Gu et al. 2024 (arXiv 2407.17467), table 2: domain loss
    "460M": {100: 1.4628, 75: 1.4844, 50: 1.5122, 33.3: 1.5387, 25: 1.5561},
    "940M": {100: 1.3723, 75: 1.3910, 50: 1.4155, 33.3: 1.4385, 25: 1.4538},
    "1.6B": {100: 1.3242, 75: 1.3416, 50: 1.3643, 33.3: 1.3854, 25: 1.3994},
    "3.1B": {100: 1.2585, 75: 1.2750, 50: 1.2965, 33.3: 1.3170, 25: 1.3305},
}
CHEMISTRY = {10: 2.9052, 9: 2.9193, 8: 2.9376, 7.6: 2.9445, 7: 2.9644, 6: 2.9848, 0: 3.4667}  # Que et al. 2024: general
TABLES = (
    [("old " + k, t, 0.007) for k, (t, _) in OLD.items()]
    + [("new " + k, t, 0.006) for k, t in NEW.items()]
    + [("finance " + k, t, 4e-4) for k, t in FINANCE.items()]
    + [("chemistry", CHEMISTRY, 0.005)]
)


@pytest.mark.parametrize(("table", "most"), [pytest.param(t, m, id=k) for k, t, m in TABLES])
def test_the_share_term_draws_every_published_table_of_shares(table, most):
    """Level, slope and two shape parameters near their priors (weights .002 nats): the tables are printed to .01."""
    mixtures = mixed(np.array(list(table)) / 100)
    truth = np.array(list(table.values()))

    def loss(z: np.ndarray) -> np.ndarray:
        point = POINT | values(E=z[0] - 0.3, G=1.1 * np.exp(z[1]), s=z[2], eps=np.exp(z[3]))
        return Replay().loss(point, mixtures).numpy()

    def residuals(z: np.ndarray) -> np.ndarray:
        return np.concatenate([(loss(z) - truth) / 0.002, [z[2] / 0.3, (z[3] - np.log(1e-3)) / 2.3]])

    starts = [[truth.min(), -2.0, s, e] for s in (-0.2, 0.1) for e in (-12.0, -7.0, -4.0)]
    bounds = ([0, -8, -2, np.log(1e-7)], [9, 2, 2, np.log(0.2)])
    best = min((least_squares(residuals, start, bounds=bounds) for start in starts), key=lambda solution: solution.cost)
    assert float(np.abs(loss(best.x) - truth).max()) < most
    assert abs(best.x[2]) < 0.3


def test_forgetting_by_hand():
    point = values(E=2.0, A=0.5, B=100.0, beta=0.5, alpha=0.5)
    result = Forgetting().loss(point, mixed([1.0, 0.99, 0.0], 4e10, params=8e8))
    assert result.tolist() == pytest.approx([2 + 0.5 * 2 / 2, 2 + 0.5 * (4 * 0.99) ** 0.5 / 8**0.5, 2.0], abs=1e-3)
    sized = Forgetting(sizes=True).loss(point | values(H=0.3, h=0.5), mixed([1.0], 1e10, params=8e8))
    assert float(sized[0]) == pytest.approx(2 + 0.15 + 0.25, abs=1e-5)


def test_forgetting_comes_back_from_planted_runs():
    rng = np.random.default_rng(3)
    n, replay = 80, np.array([0.0, 0.001, 0.01, 0.05, 0.2, 0.5])
    p = rng.choice(replay, n)
    base = random_recipes(n, 2, 5)
    mixtures = Recipes(torch.from_numpy(np.column_stack([p, 1 - p])), base.tokens, base.params, base.unique)
    law, truth = Forgetting(), values(E=2.2, A=0.6, B=400.0, beta=0.35, alpha=0.3)
    loss = law.loss(truth, mixtures).numpy() * np.exp(0.002 * rng.standard_normal(n))
    result = fit("forgetting", mixtures, loss, pools=["old", "new"], options=FitOptions(starts=8, draws=20))
    for name, least, most in (("E", 0.03, 0.03), ("beta", 0.05, 0.05), ("alpha", 0.05, 0.05), ("B", 0.25, 0.25)):
        ratio = float(result.theta[name] / truth[name])
        assert 1 - least < ratio < 1 + most, name


@pytest.mark.parametrize(("name", "most"), [("german", 0.011), ("slimpajama", 0.016)])
def test_forgetting_draws_the_replay_tables(name, most):
    table, tokens = OLD[name]
    p, loss = np.array(list(table)) / 100, np.array(list(table.values()))
    mixtures = mixed(1 - p, tokens, params=4.05e8)
    result = fit("forgetting", mixtures, loss, pools=["old", "new"], options=FitOptions(starts=8, draws=1))
    assert float(np.abs(result.loss(mixtures).numpy() - loss).max()) < most
    rise = result.loss(mixed([1.0, 0.99, 0.95], tokens, params=4.05e8)) - result.theta["E"]
    assert float(rise[1] / rise[0]) < 0.6, "1 % of old data already prevents much of the forgetting"
    assert float(rise[2] / rise[0]) < 0.45, "and 5 % more"


@pytest.mark.skipif(not REAL.is_file(), reason="the public run tables are not here")
@pytest.mark.parametrize(("loss", "options"), [("general", ",rest=true"), ("python", "")])
def test_a_share_left_out_is_predicted(loss, options):
    """70M, the Pile then Python: every share in turn from the other three, at the end of training."""
    frame = pl.read_csv(REAL).filter(pl.col("tokens") > 0).sort("weight.python", "tokens")
    evals = [c for c in frame.columns if c.startswith("loss.") and c != "loss.python"]
    runs = check(frame.with_columns(pl.mean_horizontal(evals).alias("loss.general")), "cpt_python")
    mixtures, truth, x = runs.recipes(), runs.loss(loss), frame["weight.python"].to_numpy()
    errors = []
    for share in np.unique(x):
        out = x == share
        spec = f"replay:length=1e10,checkpoints=true{options}"
        result = fit(spec, mixtures.take(~out), truth[~out], pools=runs.pools, options=FitOptions(starts=2, draws=1))
        errors.append(float(result.loss(mixtures.take(out))[-1]) - truth[out][-1])
    assert np.abs(errors).mean() < 0.005
    assert np.abs(errors).max() < 0.01
