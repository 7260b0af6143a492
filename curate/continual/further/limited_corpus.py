"""The best share of a domain corpus that is limited and seen once (Que et al. 2024, arXiv 2406.01375, second use)."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import polars as pl
import torch

from curate.continual import share_path
from curate.planning import extrapolation
from curate.pool.pool import Budget, Pool
from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

SHARES = 401  # that are compared
SMALLEST = 1e-3  # share that is compared: at share 0 the training would have no end
SHOWN = 10  # every tenth share is a row of the curve
TAILS = torch.tensor([0.05, 0.95], dtype=torch.float64)  # of a 90 % interval


@dataclass(frozen=True)
class LimitedCorpus:
    """The best share of a domain corpus that is seen once. Replay stretches the training to its tokens / share.

    ``budget``: of that training. ``low``, ``high``: 90 % interval of the share over the bootstrap draws. ``loss``,
    ``loss_low``, ``loss_high``: domain loss of a new run with its 90 % interval, in nats per token. ``curve``: one row
    a share, with the columns share, tokens, domain, domain_low, domain_high.
    """

    budget: Budget
    share: float
    low: float
    high: float
    loss: float
    loss_low: float
    loss_high: float
    warnings: tuple[str, ...]
    curve: pl.DataFrame

    def table(self) -> pl.DataFrame:
        """Return the curve, one row a share."""
        return self.curve

    def to_json(self) -> dict[str, object]:
        """Return the field ``limited`` of cmr.json."""
        return {
            "share": self.share,
            "low": self.low,
            "high": self.high,
            "tokens": self.budget.tokens,
            "params": self.budget.params,
            "loss": self.loss,
            "loss_low": self.loss_low,
            "loss_high": self.loss_high,
            "warnings": list(self.warnings),
            "curve": self.curve.to_dicts(),
        }


def best_share(
    domain: Predictor,
    corpus: Budget,
    *,
    pool: str = "",
    pools: Sequence[Pool] = (),
    proportions: Mapping[str, float] | None = None,
) -> LimitedCorpus:
    """Return the share at which the domain corpus, seen once, gives the lowest domain loss.

    ``corpus``: unique tokens of the domain's ``pool`` (default: the last of the fit) and parameters of the model.
    ``pools``: unique tokens of the other pools. ``proportions`` of these: see ``share_path``. Shares up to the largest
    fitted are compared.

    Raises:
        SchemaError: if a pool or the proportions are not those of the fit.
    """
    pool = pool or domain.pools[-1]
    low, high = domain.ranges[f"share of {pool}"]
    shares = torch.linspace(max(low, SMALLEST), high, SHARES, dtype=torch.float64)
    sizes = [*(other for other in pools if other.name != pool), Pool(pool, corpus.tokens, 1)]
    path = share_path.share_path(domain, sizes, corpus, pool=pool, proportions=proportions)
    along = path.recipes(shares)
    recipes = Recipes(along.weights, corpus.tokens / shares, along.params, along.unique)
    losses, (lows, highs) = domain.loss(recipes).detach(), domain.interval(recipes)
    best = int(losses.argmin())
    share_low, share_high = torch.quantile(shares[domain.draw_losses(recipes).argmin(dim=1)], TAILS).tolist()
    warnings = list(extrapolation.warnings([domain], recipes.take(np.array([best]))))
    if best in (0, SHARES - 1) and low < high:
        warnings.append(
            f"the best share is at the edge of the fitted ones, {low:.3g} to {high:.3g}: run shares beyond it"
        )
    columns = {"share": shares, "tokens": recipes.tokens, "domain": losses, "domain_low": lows, "domain_high": highs}
    return LimitedCorpus(
        budget=Budget(float(recipes.tokens[best]), corpus.params),
        share=float(shares[best]),
        low=share_low,
        high=share_high,
        loss=float(losses[best]),
        loss_low=float(lows[best]),
        loss_high=float(highs[best]),
        warnings=tuple(warnings),
        curve=pl.DataFrame({name: column[::SHOWN].detach().numpy() for name, column in columns.items()}),
    )
