"""Scale a fixed kernel to given marginals, many at once: Sinkhorn steps, and Newton steps where those go slowly.

Plans are P_ij = a_i u_i K_ij v_j b_j. u always follows v exactly, u = 1 / K(b v), so that rows are right; what is
iterated is v (m, q), and ``ratio`` = v K'(a u) is what columns hold of what they should, 1 when done. All float32.
Newton steps by conjugate gradients cut the steps by 3 to 10 where clusters lie far apart (sparse Newton steps after
Sinkhorn steps: Tang et al. 2024, arXiv 2401.12253).
"""

from dataclasses import dataclass

import torch
from torch import Tensor

HIGH, LOW = 2.35e17, 4.25e-18  # e^+-40: scalings are held within; their products with a kernel of e^+-9 do not overflow
PLAIN = 4  # Sinkhorn steps between two Newton steps
INNER, DROP = 16, 0.3  # conjugate gradient steps of a Newton step at most, and the residual that ends them
FAR, SHORTER = 3.0, 3  # natural log that a Newton step may move a scaling; lengths tried, each a quarter of the last


@dataclass(frozen=True, eq=False)
class State:
    """m plans: ``v`` (m, q), ``u`` (m, n), ``ratio`` (m, q), ``error`` (m,): L1 distance of the columns from b."""

    v: Tensor
    u: Tensor
    ratio: Tensor
    error: Tensor


def alternate(
    kernel: Tensor, a: Tensor, b: Tensor, v: Tensor, *, tol: float, steps: int, reach: float
) -> tuple[State, int]:
    """Scale to marginals ``a`` (m, n) and ``b`` (q,) from ``v`` (m, q); return the state and how many steps it took.

    A step is one product with the kernel and one with its transpose. Stops when all errors are at most ``tol``, after
    ``steps``, when more than half of several are done, or when a scaling leaves e^+-``reach``: the caller then makes
    a kernel that absorbs it and serves the rest.
    """
    now, count = _state(kernel, a, b, v), 1
    while True:
        for _ in range(PLAIN):
            if _done(now, tol, reach) or count >= steps:
                return now, count
            now, count = _state(kernel, a, b, now.v / now.ratio), count + 1
        if _done(now, tol, reach) or count >= steps or 2 * int((now.error <= tol).sum()) > len(a):
            return now, count
        now, spent = _newton(kernel, a, b, now, tol)
        count += spent


def itself(kernel: Tensor, a: Tensor, v: Tensor, *, tol: float, steps: int, reach: float) -> tuple[State, int]:
    """Scale a square kernel to ``a`` (m, n) on both sides, u = v, by averaging in logs: the error halves in a step."""
    v, count = v.clamp(LOW, HIGH), 0
    while True:
        u = product(a * v, kernel).reciprocal()
        middle = (v * u).sqrt().clamp(LOW, HIGH)
        error, count = (a * (v / u - 1).abs()).sum(dim=1), count + 1
        # a row that is done gets the whole step; any other swings unless the step is halved
        end = torch.where((error <= tol)[:, None], u.clamp(LOW, HIGH), middle)
        now = State(end, end, v / u, error)
        if count >= steps or _done(now, tol, reach):
            return now, count
        v = middle


def product(x: Tensor, kernel: Tensor) -> Tensor:
    """Return ``kernel`` @ x for every row of ``x``; one row by the matrix-vector routine, which is faster."""
    return torch.mv(kernel, x[0])[None] if len(x) == 1 else x @ kernel.T


def _done(now: State, tol: float, reach: float) -> bool:
    return bool((now.error <= tol).all()) or float(now.v.log().abs().max()) > reach


def _state(kernel: Tensor, a: Tensor, b: Tensor, v: Tensor) -> State:
    v = v.clamp(LOW, HIGH)
    u = product(b * v, kernel).reciprocal()
    ratio = v * product(a * u, kernel.T)
    return State(v, u, ratio, (b * (ratio - 1).abs()).sum(dim=1))


def _newton(kernel: Tensor, a: Tensor, b: Tensor, now: State, tol: float) -> tuple[State, int]:
    """One damped Newton step on log v, for the plans that it improves, and how many steps it cost.

    With u eliminated the system is ratio x - v K'(a u^2 K(b v x)) = 1 - ratio, symmetric and positive in the inner
    product weighted by b; constants are in its kernel and the right side is orthogonal to them.
    """
    x, left = torch.zeros_like(now.v), 1 - now.ratio
    aim = (DROP * now.error).clamp_min(tol / 4)
    way = left / now.ratio
    size, weight, spent = (b * left * way).sum(dim=1), a * now.u**2, 0
    for _ in range(INNER):
        bent = now.ratio * way - now.v * product(weight * product(b * now.v * way, kernel), kernel.T)
        curve, spent = (b * way * bent).sum(dim=1), spent + 1
        on = ((b * left.abs()).sum(dim=1) > aim) & (curve > 0)
        if not bool(on.any()):
            break
        length = torch.where(on, size / curve, 0.0)[:, None]
        x, left = x + length * way, left - length * bent
        z = left / now.ratio
        size, before = (b * left * z).sum(dim=1), size
        way = z + torch.where(on, size / before, 0.0)[:, None] * way
    length = (FAR / x.abs().amax(dim=1, keepdim=True).clamp_min(FAR)).float()
    for _ in range(SHORTER):
        then, spent = _state(kernel, a, b, now.v * (length * x).exp()), spent + 1
        worse = (then.error >= now.error)[:, None]
        if not bool(worse.any()):
            return then, spent
        length = torch.where(worse, length / 4, length)
    return _where(worse, now, then), spent


def _where(mask: Tensor, one: State, other: State) -> State:
    return State(
        torch.where(mask, one.v, other.v),
        torch.where(mask, one.u, other.u),
        torch.where(mask, one.ratio, other.ratio),
        torch.where(mask[:, 0], one.error, other.error),
    )
