"""Ways to make a curriculum: phase by phase, Cooldown, a ramp, and two stages that keep the totals of a plan."""

from collections.abc import Mapping, Sequence
from math import fsum

from curate.errors import Infeasible, SchemaError
from curate.pool import baselines
from curate.pool.baselines import mixture
from curate.pool.pool import Pool
from curate.pool.rounding import down, up
from curate.schedules.phases import Curriculum, Phase

COOLDOWN = (5.0, 1.0, 0.5)  # first tau, then tau, switch (Li et al. 2024, arXiv 2410.04579)
RAMP = 8  # parts of a ramp: trainers read constant mixtures only, and eight are close to a line
ANNEAL = 0.1  # part of training; our choice, about the length of a learning-rate decay
NEGLIGIBLE = 1e-12  # shares below this are rounding errors


def piecewise(pools: Sequence[Pool], tokens: float, stages: Sequence[tuple[float, Mapping[str, float]]]) -> Curriculum:
    """Return the curriculum of (fraction of training, shares) stages in order.

    Raises:
        SchemaError: fractions that do not sum to 1, or shares that are no mixture of the pools.
    """
    total = check_fractions([fraction for fraction, _ in stages])
    ends = [fsum(fraction for fraction, _ in stages[: i + 1]) / total for i in range(len(stages))]
    phases = [
        Phase(start, end, mixture(pools, shares, where=f"phase {i}"))
        for i, (start, end, (_, shares)) in enumerate(zip([0.0, *ends], ends, stages, strict=False), start=1)
    ]
    return Curriculum(tuple(pools), tokens, tuple(phases))


def constant(pools: Sequence[Pool], tokens: float, weights: Mapping[str, float]) -> Curriculum:
    """Return the curriculum that keeps one mixture all through training."""
    return piecewise(pools, tokens, [(1.0, weights)])


def cooldown(
    pools: Sequence[Pool],
    tokens: float,
    *,
    tau_first: float = COOLDOWN[0],
    tau_then: float = COOLDOWN[1],
    switch: float = COOLDOWN[2],
) -> Curriculum:
    """Return temperature sampling at ``tau_first`` until the fraction ``switch`` of training, then at ``tau_then``.

    The defaults are those of Cooldown (Li et al. 2024, arXiv 2410.04579), where a falling temperature did better than a
    rising one.
    """
    check_inside(switch, "the switch")
    first, then = (baselines.named(pools, baselines.temperature(pools, tau)) for tau in (tau_first, tau_then))
    return piecewise(pools, tokens, [(switch, first), (1 - switch, then)])


def ramp(
    pools: Sequence[Pool], tokens: float, first: Mapping[str, float], last: Mapping[str, float], *, parts: int = RAMP
) -> Curriculum:
    """Return a line from the mixture ``first`` to the mixture ``last``, in ``parts`` steps of equal length.

    Each step has the mixture at its middle, so that the passes at its end are those of the line itself.
    """
    if parts < 2:
        raise SchemaError(f"a ramp of {parts} parts is one constant mixture: give 2 or more")
    begin, end = mixture(pools, first, where="the first mixture"), mixture(pools, last, where="the last mixture")
    middles = [(i + 0.5) / parts for i in range(parts)]
    phases = [
        Phase(i / parts, (i + 1) / parts, {name: (1 - m) * begin[name] + m * end[name] for name in begin})
        for i, m in enumerate(middles)
    ]
    return Curriculum(tuple(pools), tokens, tuple(phases))


def two_stage(
    pools: Sequence[Pool],
    tokens: float,
    main: Mapping[str, float],
    anneal: Mapping[str, float],
    *,
    anneal_fraction: float = ANNEAL,
) -> Curriculum:
    """Return the mixture ``main``, and then ``anneal`` over the last ``anneal_fraction`` of training."""
    check_inside(anneal_fraction, "the anneal fraction")
    return piecewise(pools, tokens, [(1 - anneal_fraction, main), (anneal_fraction, anneal)])


def rest(total: Mapping[str, float], stage: Mapping[str, float], fraction: float) -> dict[str, float]:
    """Return the mixture for the rest of training, so that the mean over all of training is ``total``.

    ``stage`` is the mixture of a ``fraction`` of training, at its start or its end; the rest is 1 - ``fraction``. All
    mixtures are shares by pool, 0 where a pool is absent.

    Raises:
        Infeasible: the stage draws more from a pool than the total has; the message says what would be feasible.
    """
    check_inside(fraction, "the stage's fraction")
    names = list(dict.fromkeys([*total, *stage]))
    excess = {name: fraction * stage.get(name, 0.0) - total.get(name, 0.0) for name in names}
    worst = max(excess, key=excess.__getitem__)
    if excess[worst] > NEGLIGIBLE:
        has, wants = total.get(worst, 0.0), stage[worst]
        others = sum(value > NEGLIGIBLE for value in excess.values()) - 1
        most = min(total.get(name, 0.0) / share for name, share in stage.items() if share > 0)
        raise Infeasible(
            f"a stage of {fraction:.4g} of training with share {wants:.4g} of pool {worst!r} takes "
            f"{fraction * wants:.4g} of all tokens from it, the total has {has:.4g}"
            + (f" ({others} more likewise)" if others else "")
            + f": lower its share to {down(has / fraction, 4):.4g}"
            + (f" or shorten the stage to {down(most, 4):.4g}" if most > 0 else "")
        )
    remaining = {name: -value if value < -NEGLIGIBLE else 0.0 for name, value in excess.items()}
    return {name: value / fsum(remaining.values()) for name, value in remaining.items()}


def late(total: Mapping[str, float], parts: Mapping[str, float], fraction: float) -> dict[str, float]:
    """Return the mixture of the last ``fraction`` of training that draws ``parts`` of the pools' tokens there.

    ``parts`` lie in [0, 1], by pool; 1 keeps all of a pool for the end. The other pools fill the rest of that stage in
    proportion to ``total``, their shares of all tokens.

    Raises:
        Infeasible: the parts do not fit into the stage, or the other tokens do not fit before it.
        SchemaError: an unknown pool, or a part outside [0, 1].
    """
    check_inside(fraction, "the anneal fraction")
    if unknown := [name for name in parts if name not in total]:
        raise SchemaError(f"no pool {unknown[0]!r} to draw late: the pools are {', '.join(total)}")
    for name, part in parts.items():
        if not 0 <= part <= 1:
            raise SchemaError(f"{part:g} of pool {name!r} drawn late: give a part of its tokens, from 0 to 1")
    moved = fsum(part * total[name] for name, part in parts.items())
    kept = fsum((1 - part) * total[name] for name, part in parts.items())
    listed = ", ".join(f"{'all' if part == 1 else f'{part:.4g}'} of {name}" for name, part in parts.items())
    if moved > fraction + NEGLIGIBLE:
        raise Infeasible(
            f"{listed}, drawn late, is {moved:.4g} of all tokens; the anneal has {fraction:.4g}: "
            + (f"make it {up(moved, 4):.4g} of training or " if up(moved, 4) < 1 else "")
            + f"draw {down(fraction / moved, 4):.4g} times as much late"
        )
    if kept > 1 - fraction + NEGLIGIBLE:
        raise Infeasible(
            f"with {listed} drawn late, {kept:.4g} of all tokens must come before the anneal, which leaves "
            f"{1 - fraction:.4g}: make the anneal {down(1 - kept, 4):.4g} of training or draw more of them late"
        )
    others = fsum(share for name, share in total.items() if name not in parts)
    fill = max(0.0, fraction - moved) / others if others > 0 else 0.0
    drawn = {name: parts.get(name, fill) * share for name, share in total.items()}
    return {name: value / fsum(drawn.values()) for name, value in drawn.items()}


def check_fractions(fractions: Sequence[float]) -> float:
    """Return the sum of the fractions of training that phases take; it may miss 1 by 0.001.

    Raises:
        SchemaError: a fraction outside (0, 1], or another sum.
    """
    for i, fraction in enumerate(fractions, start=1):
        if not 0 < fraction <= 1:
            raise SchemaError(f"phase {i} takes {fraction:g} of training: a phase takes more than 0 and at most 1")
    total = fsum(fractions)
    if abs(total - 1) > baselines.TOLERANCE:
        raise SchemaError(f"the {len(fractions)} phases take {total:.4g} of training: their fractions must sum to 1")
    return total


def check_inside(value: float, what: str) -> None:
    """Stop if a fraction of training leaves one of two stages empty. ``what`` begins the error message."""
    if not 0 < value < 1:
        raise SchemaError(f"{what} {value:g} must lie between 0 and 1, as a fraction of training")
