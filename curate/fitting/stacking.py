"""Weight laws by how well they predict held-out runs together, where no law wins alone."""

from collections.abc import Sequence

import numpy as np
from scipy.optimize import nnls

from curate.fitting.choice import averaging, holdout
from curate.fitting.compare import Comparison
from curate.fitting.fitted_laws import FittedLaw
from curate.fitting.solver.multistart import DEFAULTS, FitOptions
from curate.runs.runs import Runs

SMALLEST_WEIGHT = 0.01  # a law with less weight in a stack is dropped: it costs time and changes nothing


def stack(
    runs: Runs,
    specs: Sequence[str],
    evals: Sequence[str],
    *,
    how: str = holdout.ROLLING,
    options: FitOptions = DEFAULTS,
) -> tuple[FittedLaw, Comparison]:
    """Weight laws by how well they predict held-out runs together, and refit them on all rows.

    The weights come from non-negative least squares of held-out log loss (Wolpert 1992; Breiman 1996). They sum to 1;
    laws under 1 % are dropped. Use it when no law wins, because the intervals of the comparison overlap.

    Raises:
        FitError: if no law can be fitted.
    """
    return averaging.compare_and_refit(runs, specs, evals, _weights_of_laws, how=how, options=options)


def _weights_of_laws(comparison: Comparison) -> dict[str, float]:
    """Return the weights of the laws of a stack, by law, without those of weight 0."""
    flat = [np.concatenate([part.ravel() for part in parts]) for parts in comparison.predicted.values()]
    truth = np.concatenate([part.truth.ravel() for part in comparison.parts])
    measured = np.isfinite(truth) & np.isfinite(np.column_stack(flat)).all(axis=1)
    weights = stack_weights(np.column_stack(flat)[measured], truth[measured]).tolist()
    return {spec: weight for spec, weight in zip(comparison.predicted, weights, strict=True) if weight > 0}


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
