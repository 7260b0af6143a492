"""Weight laws by how well they predict held-out runs together, where no law wins alone."""

from collections.abc import Sequence

import numpy as np
import polars as pl
from scipy.optimize import nnls

from curate.errors import FitError
from curate.fitting.compare import Comparison, compare, fit_all, with_heldout
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.runs.predictor import Blend
from curate.runs.run_table import Runs

SMALLEST_WEIGHT = 0.01  # a law with less weight in a stack is dropped: it costs time and changes nothing


def stack(
    runs: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = "largest",
    options: FitOptions = DEFAULTS,
) -> tuple[Blend, Comparison]:
    """Weight laws by how well they predict held-out runs together, and refit them on all rows.

    The weights come from non-negative least squares of held-out log loss (Wolpert 1992; Breiman 1996). They sum to 1;
    laws under 1 % are dropped. Use it when no law wins, because the intervals of the comparison overlap.

    Raises:
        FitError: if no law can be fitted.
    """
    comparison = compare(specs, runs, evals, how=how, options=options)
    predicted, truth = comparison.predicted, comparison.truth
    if not predicted:
        raise FitError(f"no law can be fitted: {comparison.rows['why'][0]}")
    weights = stack_weights(np.column_stack(list(predicted.values())), truth)
    kept = {spec: weight for spec, weight in zip(predicted, weights.tolist(), strict=True) if weight > 0}
    error = np.log(sum(weight * np.exp(predicted[spec]) for spec, weight in kept.items())) - truth
    row = comparison.rows.filter(pl.col("law") == next(iter(kept))).row(0, named=True)
    of_stack = row | {"heldout": float(np.abs(np.expm1(error)).mean()), "rms": float(np.sqrt((error**2).mean()))}
    fits, shares = [], []
    for spec, weight in kept.items():
        members = fit_all(runs, spec, evals, options)
        fits += [with_heldout(fit, of_stack) for fit in members]
        shares += [weight / len(members)] * len(members)
    return Blend(tuple(fits), tuple(shares), "+".join(evals)), comparison


def stack_weights(predicted: np.ndarray, truth: np.ndarray) -> np.ndarray:
    """Return (l,) weights of l laws, >= 0 with sum 1, from (m, l) held-out log losses and the (m,) true ones."""
    count = predicted.shape[1]
    # The ridge splits ties between nearly equal laws evenly. The heavy last row makes the weights sum to 1.
    ridge, heavy = 1e-3 * np.sqrt(len(predicted)), 1e3
    weights, _ = nnls(
        np.vstack([predicted, ridge * np.eye(count), np.full((1, count), heavy)]),
        np.concatenate([truth, np.full(count, ridge / count), [heavy]]),
    )
    weights = np.where(weights / weights.sum() < SMALLEST_WEIGHT, 0.0, weights)
    return np.asarray(weights / weights.sum())
