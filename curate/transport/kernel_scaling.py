"""Scale a fixed kernel to given marginals, many at once: Sinkhorn steps, and Newton steps where those are slow.

In: a kernel and marginals. Out: `State`. All is float32.

Plans are P_ij = a_i u_i K_ij v_j b_j. u always follows v exactly, u = 1 / K(b v), so that rows are right. What is
iterated is v (m, q). ``ratio`` = v K'(a u) is what columns hold of what they should, and 1 when done. Newton steps by
conjugate gradients cut the number of steps by 3 to 10 where clusters lie far apart (sparse Newton steps after Sinkhorn
steps: Tang et al. 2024, arXiv 2401.12253).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

# e^40 and e^-40. Scalings are held between them, so that their products with a kernel of e^+-9 do not overflow.
HIGH, LOW = 2.35e17, 4.25e-18
PLAIN = 4  # Sinkhorn steps between two Newton steps
INNER, DROP = 16, 0.3  # most conjugate-gradient steps of a Newton step, and the part of the residual that ends them
FAR = 3.0  # natural logarithm that a Newton step may move a scaling
LENGTHS = 3  # lengths of a Newton step that are tried, each a quarter of the one before


@dataclass(frozen=True, eq=False, repr=False)
class State:
    """m plans: ``v`` (m, q), ``u`` (m, n) and ``ratio`` (m, q).

    ``error`` (m,) is the L1 distance of the plans' columns from the marginal b.
    """

    v: Tensor
    u: Tensor
    ratio: Tensor
    error: Tensor


def alternate(
    kernel: Tensor, a: Tensor, b: Tensor, v: Tensor, *, tol: float, steps: int, reach: float
) -> tuple[State, int]:
    """Scale to marginals ``a`` (m, n) and ``b`` (q,) from ``v`` (m, q); return the state and the number of steps.

    A step is one product with the kernel and one with its transpose. Iteration stops when all errors are at most
    ``tol``, after ``steps``, when more than half of several plans are done, or when a scaling leaves e^+-``reach``. In
    the last case the caller makes a kernel that absorbs the scaling.
    """
    state, count = _state(kernel, a, b, v), 1
    while True:
        for _ in range(PLAIN):
            if _done(state, tol, reach) or count >= steps:
                return state, count
            state, count = _state(kernel, a, b, state.v / state.ratio), count + 1
        # With most rows done, a kernel for the remaining ones alone is cheaper than going on with all.
        if _done(state, tol, reach) or count >= steps or 2 * int((state.error <= tol).sum()) > len(a):
            return state, count
        state, spent = _newton(kernel, a, b, state, tol)
        count += spent


def itself(kernel: Tensor, a: Tensor, v: Tensor, *, tol: float, steps: int, reach: float) -> tuple[State, int]:
    """Scale a square kernel to ``a`` (m, n) on both sides, u = v; return the state and the number of steps.

    Logarithms are averaged, which halves the error in each step.
    """
    v, count = v.clamp(LOW, HIGH), 0
    while True:
        u = product(a * v, kernel).reciprocal()
        middle = (v * u).sqrt().clamp(LOW, HIGH)
        error, count = (a * (v / u - 1).abs()).sum(dim=1), count + 1
        # A row that is done gets the whole step. Any other row would swing, so its step is halved.
        end = torch.where((error <= tol)[:, None], u.clamp(LOW, HIGH), middle)
        state = State(end, end, v / u, error)
        if count >= steps or _done(state, tol, reach):
            return state, count
        v = middle


def product(x: Tensor, kernel: Tensor) -> Tensor:
    """Return ``kernel`` @ x for every row of ``x``. A single row uses the matrix-vector routine, which is faster."""
    return torch.mv(kernel, x[0])[None] if len(x) == 1 else x @ kernel.T


def _done(state: State, tol: float, reach: float) -> bool:
    return bool((state.error <= tol).all()) or float(state.v.log().abs().max()) > reach


def _state(kernel: Tensor, a: Tensor, b: Tensor, v: Tensor) -> State:
    v = v.clamp(LOW, HIGH)
    u = product(b * v, kernel).reciprocal()
    ratio = v * product(a * u, kernel.T)
    return State(v, u, ratio, (b * (ratio - 1).abs()).sum(dim=1))


def _newton(kernel: Tensor, a: Tensor, b: Tensor, state: State, tol: float) -> tuple[State, int]:
    """Take one damped Newton step on log v, for the plans that it improves; return also how many steps it cost."""
    x, spent = _newton_direction(kernel, a, b, state, tol)
    length = (FAR / x.abs().amax(dim=1, keepdim=True).clamp_min(FAR)).float()
    for _ in range(LENGTHS):
        new, spent = _state(kernel, a, b, state.v * (length * x).exp()), spent + 1
        worse = (new.error >= state.error)[:, None]
        if not bool(worse.any()):
            return new, spent
        length = torch.where(worse, length / 4, length)
    return _choose(worse, state, new), spent


def _newton_direction(kernel: Tensor, a: Tensor, b: Tensor, state: State, tol: float) -> tuple[Tensor, int]:
    """Return a direction on log v, (m, q), by conjugate gradients, and the number of kernel products in pairs.

    With u eliminated the system is ratio x - v K'(a u^2 K(b v x)) = 1 - ratio. It is symmetric and positive in the
    inner product weighted by b. Constants are in its null space, and the right side is orthogonal to them.
    """
    x, residual = torch.zeros_like(state.v), 1 - state.ratio
    enough = (DROP * state.error).clamp_min(tol / 4)
    direction = residual / state.ratio
    size, weight, spent = (b * residual * direction).sum(dim=1), a * state.u**2, 0
    for _ in range(INNER):
        through_kernel = product(weight * product(b * state.v * direction, kernel), kernel.T)
        image = state.ratio * direction - state.v * through_kernel
        curvature, spent = (b * direction * image).sum(dim=1), spent + 1
        going = ((b * residual.abs()).sum(dim=1) > enough) & (curvature > 0)
        if not bool(going.any()):
            break
        length = torch.where(going, size / curvature, 0.0)[:, None]
        x, residual = x + length * direction, residual - length * image
        preconditioned = residual / state.ratio
        size, before = (b * residual * preconditioned).sum(dim=1), size
        direction = preconditioned + torch.where(going, size / before, 0.0)[:, None] * direction
    return x, spent


def _choose(mask: Tensor, first: State, second: State) -> State:
    """Return the plans of ``first`` where ``mask`` (m, 1) is true, those of ``second`` elsewhere."""
    return State(
        torch.where(mask, first.v, second.v),
        torch.where(mask, first.u, second.u),
        torch.where(mask, first.ratio, second.ratio),
        torch.where(mask[:, 0], first.error, second.error),
    )
