"""Draw a fitted law as lines: the losses that it predicts for two mixtures over the training tokens."""

import numpy as np
import polars as pl
import torch

from curate.runs.predictors.predictor import Predictor
from curate.runs.recipes import Recipes

POINTS = 60  # of a line: enough for a smooth look
REACH = 4  # times the largest training tokens of a run, where a line ends: it shows how the law extrapolates


def law_curves(fitted: Predictor, recipes: Recipes) -> tuple[str, pl.DataFrame]:
    """Return the name of one pool, and predicted losses as rows of tokens, loss and mixture.

    The pool is the one whose loss alone is predicted to be lowest at the median budget of the ``recipes``. The rows
    show this pool alone first, and then the uniform mixture.

    Raises:
        SchemaError: if the law needs more of a mixture than its shares.
    """
    p, unique = len(fitted.pools), recipes.unique.amax(dim=0)
    tokens, params = recipes.tokens.median(), recipes.params.median()
    alone = Recipes(torch.eye(p, dtype=torch.float64), tokens.expand(p), params.expand(p), unique.expand(p, p))
    best = int(fitted.loss(alone).argmin())
    line = torch.from_numpy(np.geomspace(float(recipes.tokens.min()), REACH * float(recipes.tokens.max()), POINTS))
    mixtures = {
        f"{fitted.pools[best]} alone": alone.weights[best],
        "uniform": torch.full((p,), 1 / p, dtype=torch.float64),
    }
    frames = []
    for name, weights in mixtures.items():
        mixture = Recipes(weights.expand(POINTS, p), line, params.expand(POINTS), unique.expand(POINTS, p))
        loss = fitted.loss(mixture).numpy()
        frames.append(pl.DataFrame({"tokens": line.numpy(), "loss": loss, "mixture": [name] * POINTS}))
    return fitted.pools[best], pl.concat(frames)
