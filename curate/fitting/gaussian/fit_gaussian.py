"""Fit a Gaussian process to the runs of several evals: the base, the kernel, and the changes between sizes."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from curate.errors import FitError
from curate.fitting import fit as fits
from curate.fitting.fit import Fit
from curate.fitting.gaussian import kernel as kernels
from curate.fitting.gaussian import sizes as size_groups
from curate.fitting.gaussian.gaussian import BASE, Gaussian, stretched
from curate.fitting.gaussian.process import Change, Process, anchor_points
from curate.fitting.gaussian.sizes import EvalRuns, Size
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.runs.recipes import Recipes

FEWEST_RUNS = 5  # of one size: fewer say nothing about length scales
MOST_RUNS = 4000  # the process keeps a number for each pair of runs: 128 MB here, and a minute for each eval


def fit_gaussian(
    recipes: Recipes,
    losses: Mapping[str, np.ndarray],
    *,
    pools: Sequence[str],
    base: str | None = BASE,
    clusters: np.ndarray | None = None,
    options: FitOptions = DEFAULTS,
) -> dict[str, Gaussian]:
    """Fit a Gaussian process to every eval of the same n runs.

    ``losses`` maps each eval to (n,) losses in nats per token, NaN where not measured. The law ``base`` is fitted to
    all evals together. The kernel of each eval comes from the size with the most runs. How losses change to other sizes
    is learned from all evals together.

    Raises:
        FitError: if no size has 5 runs, all mixtures are equal, there are too many runs, or the law cannot be fitted.
    """
    if len(recipes) > MOST_RUNS:
        raise FitError(
            f"gaussian takes at most {MOST_RUNS} runs, and there are {len(recipes)}: keep the last row of each "
            "training, choose rows with --where, or fit a law"
        )
    sizes, codes = size_groups.group(recipes)
    counts = np.bincount(codes)
    anchor = int(counts.argmax())
    _check_runs(losses, codes == anchor, sizes[anchor])
    law_fits: dict[str, Fit] = {}
    if base is not None:
        law_fits = fits.fit_evals(base, recipes, losses, pools=pools, clusters=clusters, options=options)
    runs = [
        _runs_of(recipes, loss, law_fits.get(name), sizes, codes, anchor, options.seed) for name, loss in losses.items()
    ]
    changes = size_groups.learn_changes(runs, sizes, anchor)
    farther, last = [j for j, _ in size_groups.chain(anchor, len(sizes))], len(sizes) - 1
    result = {}
    for name, each, learned in zip(losses, runs, changes, strict=True):
        rows = np.isfinite(losses[name])
        measured = recipes.take(rows)
        # The error on unseen runs at the largest size is to its noise as at the anchor.
        noise = each.noise if anchor == last else learned[farther.index(last)].noise
        result[name] = Gaussian(
            pools=tuple(pools),
            eval=name,
            base=law_fits.get(name),
            recipes=measured,
            losses=losses[name][rows],
            kernel=each.kernel,
            anchor=sizes[anchor],
            changes=learned,
            run_noise=each.noise,
            noise=noise * max(each.unseen / each.noise, 1.0),
            ranges=fits.ranges(measured, pools),
            draws=options.draws,
            seed=options.seed,
        )
    return result


def _check_runs(losses: Mapping[str, np.ndarray], at_anchor: np.ndarray, size: Size) -> None:
    """Check that every eval has enough runs of the anchor's size."""
    for name, loss in losses.items():
        count = int((np.isfinite(loss) & at_anchor).sum())
        if count < FEWEST_RUNS:
            raise FitError(
                f"gaussian needs {FEWEST_RUNS} runs of one size, and loss.{name} has {count} at {size.params:.3g} "
                f"params and {size.tokens:.3g} tokens: add runs of other mixtures there, or fit a law"
            )


def _runs_of(
    recipes: Recipes,
    loss: np.ndarray,
    base: Fit | None,
    sizes: Sequence[Size],
    codes: np.ndarray,
    anchor: int,
    seed: int,
) -> EvalRuns:
    """Return the runs of one eval, with the kernel of the anchor and the defaults of all changes."""
    rows = np.isfinite(loss)
    measured, codes = recipes.take(rows), codes[rows]
    values = torch.from_numpy(np.log(loss[rows]))
    if base is not None:
        values = values - base.loss(measured).detach().log()
    shares, first = measured.weights, torch.from_numpy(codes == anchor)
    kernel, noise = kernels.learn(shares[first], values[first], seed=seed)
    spread_of_runs = torch.full((int(first.sum()),), noise, dtype=torch.float64)
    alone = Process(kernel, ()).conditioned(anchor_points(shares[first]), values[first], spread_of_runs)
    mean = alone.mean(anchor_points(shares))
    changes, structure = [], []
    for j, parent in size_groups.chain(anchor, len(sizes)):
        column = stretched(base, shares, sizes[j]).detach() + mean
        centre = float(column[first].mean())
        structure.append(column - centre)
        size, near = sizes[j], sizes[parent]
        changes.append(Change(size.compute, near.compute, size.tokens, size.params, centre, 0.0, 0.0, 0.0, noise))
    return EvalRuns(
        shares=shares,
        values=values,
        codes=codes,
        kernel=kernel,
        noise=noise,
        unseen=float(alone.left_out().pow(2).mean().sqrt()),
        structure=torch.stack(structure, dim=1) if structure else shares[:, :0],
        changes=tuple(changes),
    )
