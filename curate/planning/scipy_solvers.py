"""Run scipy's solvers on one region of the simplex: sequential quadratic programming and linear programming.

In: a function or a linear cost, and a region. Out: numpy arrays as scipy returns them, not yet projected.
"""

from collections.abc import Callable

import numpy as np
from scipy import optimize

from curate.planning.regions import Region

ValueAndGradient = Callable[[np.ndarray], tuple[float, np.ndarray]]  # (p,) point -> value, (p,) gradient
SLACK = 1e-12  # the linear programme may exceed linear limits by this much, so that rounding does not empty a region


def slsqp(
    objective: ValueAndGradient, start: np.ndarray, region: Region, *, steps: int = 100, tolerance: float = 1e-6
) -> np.ndarray:
    """Minimise a smooth function over one region by SLSQP (Kraft 1988) and return the (p,) last point.

    ``start`` is (p,), and the region has one row. The defaults are those of scipy. The point may leave the region by
    rounding: project it where that matters.
    """
    linear, right_sides = region.rows[0].numpy(), region.limits[0].numpy()
    constraints = [{"type": "eq", "fun": lambda x: x.sum() - 1, "jac": np.ones_like}]
    if len(linear):
        constraints.append({"type": "ineq", "fun": lambda x: right_sides - linear @ x, "jac": lambda _: -linear})
    solution = optimize.minimize(
        objective,
        start,
        jac=True,
        method="SLSQP",
        bounds=_bounds(region),
        constraints=constraints,
        options={"maxiter": steps, "ftol": tolerance},
    )
    return np.asarray(solution.x)


def linear_minimum(cost: np.ndarray, region: Region, *, slack: float = SLACK) -> optimize.OptimizeResult:
    """Minimise ``cost`` (p,) . w over one region and return scipy's result.

    Its ``x`` (p,) is the mixture, ``fun`` the cost, and ``status`` 0 if the programme was solved.
    """
    return optimize.linprog(
        cost,
        A_ub=region.rows[0].numpy(),
        b_ub=region.limits[0].numpy() + slack,
        A_eq=np.ones((1, len(cost))),
        b_eq=[1.0],
        bounds=_bounds(region),
    )


def _bounds(region: Region) -> np.ndarray:
    return np.stack([region.low[0].numpy(), region.high[0].numpy()], axis=1)
