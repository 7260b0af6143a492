"""The uses of the D-CPT law: the published case, closed forms, planted problems."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from problems import law_of, planted, theta

from curate.continual import critical_ratio, measured
from curate.continual.further import limited_corpus, model_size
from curate.errors import CurateError, FitError, Infeasible, SchemaError
from curate.fitting import fit as fits
from curate.laws._reference import SIZE, TOKENS
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import recipes

# Chemistry, 1.8B parameters, 10B tokens, T = 3 %, general loss of the start 2.8602.
SHARES = np.array([0.9, 0.91, 0.92, 0.924, 0.93, 0.94, 1.0])
GENERAL = np.array([2.9052, 2.9193, 2.9376, 2.9445, 2.9644, 2.9848, 3.4667])
DOMAIN = np.array([1.7321, 1.7312, 1.7311, 1.7291, 1.7279, 1.7265, 1.7220])
VALUES = {
    "E": 1.2,
    "A": 0.5,
    "B": 0.3,
    "C": 0.2,
    "alpha": 0.34,
    "beta": 0.28,
    "gamma": 0.2,
    "eta": 0.5,
    "eps": 1e-6,
}


def test_use_1_the_published_chemistry_case():
    ceiling = critical_ratio.ceiling_of(2.8602, 0.03, relative=True)
    assert ceiling == pytest.approx(2.9460, abs=5e-5)
    assert measured.best_measured(SHARES, GENERAL, DOMAIN, ceiling) == (0.924, 2.9445, 1.7291)
    with pytest.raises(Infeasible, match="2.9052, is above the ceiling 2.8602"):
        measured.best_measured(SHARES, GENERAL, DOMAIN, 2.8602)


def test_use_1_a_law_through_the_chemistry_case_puts_the_ratio_between_its_neighbours():
    """Every law of these seven runs, all at one budget, must cross 2.9460 after .924 and before .93."""
    runs = recipes(np.stack([1 - SHARES, SHARES], axis=1), np.full(7, 1e10), np.full(7, 1.8e9))
    fitted = [
        fits.fit("cmr", runs.take(np.arange(6)), y[:6], pools=("dolma", "chemistry"), options=fits.FitOptions(draws=20))
        for y in (GENERAL, DOMAIN)
    ]
    ceiling = critical_ratio.ceiling_of(2.8602, 0.03, relative=True)
    ratio = critical_ratio.critical_ratio(*fitted, [], Budget(1e10, 1.8e9), ceiling)
    assert ratio.share == pytest.approx(0.924, abs=0.003)
    assert ratio.best == ratio.share


def test_use_2_finds_the_closed_form():
    """The paper's music case answers .732; its constants are not published, so they are planted.

    With eps = 0 the loss E + B' r^(eta+beta) + C r^-gamma is lowest at (C gamma / (B' (eta+beta)))^(1/(...)).
    """
    available = 5e9
    power = VALUES["eta"] + VALUES["beta"]
    data = VALUES["gamma"] * VALUES["C"] / power / 0.732 ** (power + VALUES["gamma"])
    values = VALUES | {"B": data / (available / TOKENS) ** -VALUES["beta"]}
    fit = planted("dcpt:pool=1", ["general", "music"], values)
    best = limited_corpus.best_share(fit, Budget(available, 1e9), pool="music")
    assert best.share == pytest.approx(0.732, abs=0.003)
    assert best.budget.tokens == pytest.approx(available / best.share)
    assert best.low <= best.share <= best.high
    assert best.loss_low < best.loss < best.loss_high
    assert best.table()["tokens"].to_list() == pytest.approx((available / best.table()["share"]).to_list())
    assert best.table()["domain"].min() == pytest.approx(best.loss, abs=1e-5)


def test_use_2_says_when_the_best_share_is_at_the_edge():
    fit = planted("dcpt:pool=1", ["general", "music"], VALUES | {"B": 1e-4})
    best = limited_corpus.best_share(fit, Budget(5e9, 1e9))
    assert best.share == 1.0
    assert any("edge of the fitted ones, 0 to 1" in note for note in best.warnings)
    with pytest.raises(SchemaError, match="both positive"):
        limited_corpus.best_share(fit, Budget(0.0, 1e9))


@pytest.mark.parametrize("share", [0.2, 0.7])
@pytest.mark.parametrize("flops", [1e19, 1e21])
def test_use_3_is_chinchillas_closed_form_at_a_fixed_share(share, flops):
    fit = planted("dcpt:pool=1", ["general", "law"], VALUES)
    best = model_size.best_size(fit, flops, {"general": 1 - share, "law": share})
    a = VALUES["A"] * SIZE ** VALUES["alpha"]
    b = VALUES["B"] * (share + 1e-6) ** VALUES["eta"] * TOKENS ** VALUES["beta"]
    g = (VALUES["alpha"] * a / (VALUES["beta"] * b)) ** (1 / (VALUES["alpha"] + VALUES["beta"]))
    size = g * (flops / 6) ** (VALUES["beta"] / (VALUES["alpha"] + VALUES["beta"]))
    assert best.budget.params == pytest.approx(size, rel=1e-3)
    assert best.budget.flops == pytest.approx(flops)
    assert best.params_low < size < best.params_high
    assert best.low < best.loss < best.high


def test_use_3_needs_runs_of_two_sizes():
    fit = planted("dcpt:pool=1", ["general", "law"], VALUES)
    of_one_size = replace(fit, ranges={**fit.ranges, "params": (1e9, 1e9)})
    with pytest.raises(FitError, match="all runs have 1e\\+09 parameters"):
        model_size.best_size(of_one_size, 1e20, {"general": 0.5, "law": 0.5})
    with pytest.raises(SchemaError, match="no pool 'x'"):
        model_size.best_size(fit, 1e20, {"x": 1.0})
    with pytest.raises(SchemaError, match="FLOPs"):
        model_size.best_size(fit, -1.0, {"law": 1.0})


def test_the_general_loss_reads_the_share_of_everything_else():
    """Trap: r is the share of the corpus whose loss is modelled."""
    recipe = recipes([[0.3, 0.7]], [1e10], [2e8])
    values = {k: torch.tensor(v, dtype=torch.float64) for k, v in VALUES.items()}
    by_hand = {r: 1.2 + 0.5 + 0.3 * (r + 1e-6) ** 0.5 + 0.2 * (r + 1e-6) ** -0.2 for r in (0.3, 0.7)}
    assert float(law_of("dcpt").loss(values, recipe)) == pytest.approx(by_hand[0.7], rel=1e-9)
    assert float(law_of("dcpt:rest=true").loss(values, recipe)) == pytest.approx(by_hand[0.3], rel=1e-9)


@pytest.mark.parametrize("spec", ["dcpt:repeats=true", "dcpt:repeats=true,rest=true"])
def test_repeats_never_help(spec):
    values = {k: torch.tensor(v, dtype=torch.float64) for k, v in (VALUES | {"R": 5.0}).items()}
    unique = np.array([np.inf, 1e10, 5e9, 2e9, 5e8, 1e7])
    runs = recipes([[0.5, 0.5]] * 6, [1e10] * 6, [1e9] * 6, np.stack([np.full(6, np.inf), unique], axis=1))
    losses, plain = (
        law_of(option).loss(values, runs) for option in (spec, spec.replace("repeats=true", "repeats=false"))
    )
    assert torch.allclose(losses[:3], plain[:3], rtol=1e-12), "no repeats: the law as published"
    assert bool((losses[3:].diff() > 0).all())


def test_cross_domain_law_predicts_a_domain_that_was_not_run():
    """Five domains are fitted, a sixth is predicted from its learnable coefficient alone."""
    rng = np.random.default_rng(0)
    learnable = 1 / np.linspace(1, 3, 6) + np.linspace(0.9, 0.1, 6)  # K = w1 / k1 + w2 k2 with w1 = w2 = 1
    domains, shares = np.repeat(np.arange(6), 20), rng.uniform(0.1, 0.9, 120)
    mixtures = np.stack([1 - shares, shares], axis=1)
    tokens, params = 10 ** rng.uniform(9, 10.5, 120), 10 ** rng.uniform(8, 9.6, 120)
    runs = recipes(mixtures, tokens, params, distance=learnable[domains])
    law, truth = law_of("dcpt:cross=true"), theta("dcpt:cross=true", 2, seed=3, inner=0.5)
    loss = law.loss(truth, runs).numpy()
    seen, unseen = domains != 2, domains == 2
    options = fits.FitOptions(starts=12, draws=5)
    fit = fits.fit("dcpt:cross=true", runs.take(seen), loss[seen], pools=("web", "domain"), options=options)
    assert fit.loss(runs.take(unseen)).numpy() == pytest.approx(loss[unseen], rel=3e-3)
    with pytest.raises(CurateError, match="needs the learnable coefficient K"):
        law.loss(truth, replace(runs, distance=None))


def test_pools_on_hand_limit_the_replay():
    fit = planted("ces", ["web", "music"], {**theta("ces", 2), "R": 2.0, "k": [1.0, 3.0]})
    free = limited_corpus.best_share(fit, Budget(1e9, 1e9))
    scarce = limited_corpus.best_share(fit, Budget(1e9, 1e9), pools=[Pool("web", 1e7, 1)])
    assert scarce.loss > free.loss
    assert scarce.share >= free.share
