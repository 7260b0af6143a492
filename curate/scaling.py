"""Scale a fixed kernel to given marginals, many at once: Sinkhorn steps, and Newton steps where those go slowly.

Plans are P_ij = a_i u_i K_ij v_j b_j. u always follows v exactly, u = 1 / K(b v), so that rows are right; what is
iterated is v (q, m), and ``ratio`` = v K'(a u) is what columns hold of what they should, 1 when done. All float32.
"""

from dataclasses import dataclass

import torch
from torch import Tensor

HIGH, LOW = 2.35e17, 4.25e-18  # e^+-40: scalings are held within; their products with a kernel of e^+-9 do not overflow
PLAIN = 6  # Sinkhorn steps between two Newton steps
INNER, DROP = 24, 0.1  # conjugate gradient steps of a Newton step at most, and the residual that ends them
FAR = 3.0  # natural log that a Newton step may move a scaling


@dataclass(frozen=True, eq=False)
class State:
    """m plans: ``v`` (q, m), ``u`` (n, m), ``ratio`` (q, m), ``error`` (m,): L1 distance of the columns from b."""

    v: Tensor
    u: Tensor
    ratio: Tensor
    error: Tensor


def alternate(
    kernel: Tensor, a: Tensor, b: Tensor, v: Tensor, *, tol: float, steps: int, reach: float
) -> tuple[State, int]:
    """Scale to marginals ``a`` (n, m) and ``b`` (q,) from ``v`` (q, m); return the state and how many steps it took.

    A step is one product with the kernel and one with its transpose. Stops when all m errors are at most ``tol``, after
    ``steps``, or when a scaling leaves e^+-``reach``: the kernel then has to absorb it.
    """
    b = b[:, None]
    now, count = _state(kernel, a, b, v), 1
    while True:
        for _ in range(PLAIN):
            if _done(now, tol, reach) or count >= steps:
                return now, count
            now, count = _state(kernel, a, b, now.v / now.ratio), count + 1
        if _done(now, tol, reach) or count >= steps:
            return now, count
        now, spent = _newton(kernel, a, b, now, tol)
        count += spent


def itself(kernel: Tensor, a: Tensor, v: Tensor, *, tol: float, steps: int, reach: float) -> tuple[State, int]:
    """Scale a square kernel to ``a`` (n, m) on both sides, u = v, by averaging in logs: the error halves in a step."""
    v = v.clamp(LOW, HIGH)
    for count in range(1, steps + 1):
        u = _product(kernel, a * v).reciprocal()
        now = State(v, u, v / u, (a * (v / u - 1).abs()).sum(dim=0))
        if count == steps or _done(now, tol, reach):
            break
        v = (v * u).sqrt().clamp(LOW, HIGH)
    return State(now.u, now.u, now.ratio, now.error), count


def _done(now: State, tol: float, reach: float) -> bool:
    return bool((now.error <= tol).all()) or float(now.v.log().abs().max()) > reach


def _state(kernel: Tensor, a: Tensor, b: Tensor, v: Tensor) -> State:
    v = v.clamp(LOW, HIGH)
    u = _product(kernel, b * v).reciprocal()
    ratio = v * _product(kernel.T, a * u)
    return State(v, u, ratio, (b * (ratio - 1).abs()).sum(dim=0))


def _newton(kernel: Tensor, a: Tensor, b: Tensor, now: State, tol: float) -> tuple[State, int]:
    """One damped Newton step on log v, for the plans that it improves, and how many steps it cost.

    With u eliminated the system is ratio x - v K'(a u^2 K(b v x)) = 1 - ratio, symmetric and positive in the inner
    product weighted by b; constants are in its kernel and the right side is orthogonal to them.
    """
    x, left = torch.zeros_like(now.v), 1 - now.ratio
    aim = (DROP * now.error).clamp_min(tol / 4)
    z = left / now.ratio
    way, size = z, (b * left * z).sum(dim=0)
    weight = a * now.u**2
    for inner in range(1, INNER + 1):
        bent = now.ratio * way - now.v * _product(kernel.T, weight * _product(kernel, b * now.v * way))
        curve = (b * way * bent).sum(dim=0)
        open_ = ((b * left.abs()).sum(dim=0) > aim) & (curve > 0)
        if not bool(open_.any()):
            break
        length = torch.where(open_, size / curve, 0.0)
        x, left = x + length * way, left - length * bent
        z = left / now.ratio
        size, before = (b * left * z).sum(dim=0), size
        way = z + torch.where(open_, size / before, 0.0) * way
    x = x * (FAR / x.abs().amax(dim=0).clamp_min(FAR))
    then = _state(kernel, a, b, now.v * x.exp())
    better = then.error < now.error
    return State(*(torch.where(better, new, old) for new, old in
                   ((then.v, now.v), (then.u, now.u), (then.ratio, now.ratio), (then.error, now.error)))), inner + 1  # fmt: skip


def _product(kernel: Tensor, x: Tensor) -> Tensor:
    """Return ``kernel`` @ ``x``; one column by the matrix-vector routine, which is faster."""
    return torch.mv(kernel, x[:, 0])[:, None] if x.shape[1] == 1 else kernel @ x
