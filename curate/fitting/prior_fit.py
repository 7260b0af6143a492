"""A fit without runs: what a law's weak prior says of a model whose loss is known, to decide what to run first."""

from collections.abc import Sequence
from typing import cast

import numpy as np
import torch
from torch.func import vmap

from curate import open_sets
from curate.fitting.coordinates import Coordinates
from curate.fitting.fit import Fit
from curate.laws import Law
from curate.runs.recipes import Recipes

TRIED = 50  # prior points drawn for every one kept


def prior_fit(
    spec: str, pools: Sequence[str], known: Recipes, loss: float, *, noise: float, draws: int = 400, seed: int = 0
) -> Fit:
    """Return a Fit whose draws are prior points of the law that give about ``loss`` at one recipe, ``known`` (n = 1).

    For continual pretraining that is general data alone, after which general loss is about the start's. Of 50 x
    ``draws`` points those nearest in log loss are kept, the nearest is ``theta``. ``noise``: standard deviation of log
    loss of a run.
    """
    law = cast(Law, open_sets.build("laws", spec))
    coordinates = Coordinates(law.params(), len(pools))
    centre, width = coordinates.prior()
    rng = np.random.default_rng(seed)
    points = centre + width * torch.from_numpy(rng.standard_normal((TRIED * draws, coordinates.size)))
    losses = vmap(lambda u: law.loss(coordinates.theta(u), known))(points)[:, 0]
    off = torch.nan_to_num((losses.clamp_min(1e-300).log() - np.log(loss)).abs(), nan=torch.inf)
    kept = points[off.argsort(stable=True)[:draws]]
    ranges = {what: (0.0, np.inf) for what in ("tokens", "params", "epochs")}
    return Fit(
        spec=spec,
        pools=tuple(pools),
        eval="prior",
        theta=coordinates.theta(kept[0]),
        draws=vmap(coordinates.theta)(kept),
        rmse=noise,
        noise=noise,
        rows=0,
        ranges=ranges | {f"share of {name}": (0.0, 1.0) for name in pools},
    )
