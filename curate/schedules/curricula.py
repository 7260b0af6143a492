"""Make curricula: phase by phase, by Cooldown, as a ramp, or in two stages.

In: pools, training tokens and mixtures. Out: a `Curriculum`. Two stages can keep the totals of a plan.
"""

from collections.abc import Mapping, Sequence
from math import fsum

from curate.errors import Infeasible, SchemaError, first_few
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
    """Return the curriculum that runs through ``stages`` in order, each with one constant mixture.

    A stage is a pair: its fraction of training, and its shares by pool.

    Raises:
        SchemaError: if the fractions do not sum to 1, or the shares of a stage are not a mixture of the pools.
    """
    total = check_fractions([fraction for fraction, _ in stages])
    # Sums from the start, and not one end plus the next fraction, so that the last end is exactly 1.
    ends = [fsum(fraction for fraction, _ in stages[: i + 1]) / total for i in range(len(stages))]
    phases = [
        Phase(start, end, mixture(pools, shares, where=f"phase {i}"))
        for i, (start, end, (_, shares)) in enumerate(zip([0.0, *ends], ends, stages, strict=False), start=1)
    ]
    return Curriculum(tuple(pools), tokens, tuple(phases))


def constant(pools: Sequence[Pool], tokens: float, weights: Mapping[str, float]) -> Curriculum:
    """Return the curriculum that keeps one mixture for the whole of training."""
    return piecewise(pools, tokens, [(1.0, weights)])


def cooldown(
    pools: Sequence[Pool],
    tokens: float,
    *,
    tau_first: float = COOLDOWN[0],
    tau_then: float = COOLDOWN[1],
    switch: float = COOLDOWN[2],
) -> Curriculum:
    """Return the curriculum that samples at temperature ``tau_first``, and later at ``tau_then``.

    The temperature changes once, at the fraction ``switch`` of training. The defaults are those of Cooldown (Li et al.
    2024, arXiv 2410.04579), where a falling temperature did better than a rising one.
    """
    check_inside(switch, "the switch")
    first, then = (baselines.named(pools, baselines.temperature(pools, tau)) for tau in (tau_first, tau_then))
    return piecewise(pools, tokens, [(switch, first), (1 - switch, then)])


def ramp(
    pools: Sequence[Pool], tokens: float, first: Mapping[str, float], last: Mapping[str, float], *, parts: int = RAMP
) -> Curriculum:
    """Return the curriculum that moves from the mixture ``first`` to ``last`` in ``parts`` equal steps.

    The steps follow a straight line between the two mixtures. Each step has the mixture at its middle, so that the
    passes over every pool at its end are those of the line itself.
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
    """Return the curriculum of two mixtures: ``main`` first, and ``anneal`` at the end.

    The second stage takes the last ``anneal_fraction`` of training.
    """
    check_inside(anneal_fraction, "the anneal fraction")
    return piecewise(pools, tokens, [(1 - anneal_fraction, main), (anneal_fraction, anneal)])


def rest(total: Mapping[str, float], stage: Mapping[str, float], fraction: float) -> dict[str, float]:
    """Return the mixture for the rest of training that makes ``total`` the mean over all of training.

    ``stage`` is the mixture of a ``fraction`` of training, at its start or its end; the rest is 1 - ``fraction``. All
    mixtures are shares by pool, 0 where a pool is absent.

    Raises:
        Infeasible: if the stage draws more from a pool than the total has. The message says what would be feasible.
    """
    check_inside(fraction, "the stage's fraction")
    names = list(dict.fromkeys([*total, *stage]))
    excess = {name: fraction * stage.get(name, 0.0) - total.get(name, 0.0) for name in names}
    worst = max(excess, key=excess.__getitem__)
    # Negative excess is what the rest of training has left to draw.
    if excess[worst] > NEGLIGIBLE:
        has, wants = total.get(worst, 0.0), stage[worst]
        others = sum(value > NEGLIGIBLE for value in excess.values()) - 1
        # The longest stage for which every pool suffices.
        most = min(total.get(name, 0.0) / share for name, share in stage.items() if share > 0)
        raise Infeasible(
            f"a stage of {fraction:.4g} of training with share {wants:.4g} of pool {worst!r} takes "
            f"{fraction * wants:.4g} of all tokens from it, and the total has only {has:.4g}"
            + (f" (likewise from {others} more)" if others else "")
            + f": lower its share to {down(has / fraction, 4):.4g}"
            + (f" or shorten the stage to {down(most, 4):.4g}" if most > 0 else "")
        )
    # Tiny amounts are rounding errors. Drawing them would add a pool to the rest that has nothing left.
    remaining = {name: -value if value < -NEGLIGIBLE else 0.0 for name, value in excess.items()}
    return {name: value / fsum(remaining.values()) for name, value in remaining.items()}


def late(total: Mapping[str, float], parts: Mapping[str, float], fraction: float) -> dict[str, float]:
    """Return the mixture of the last stage of training that saves some pools for the end.

    ``fraction`` is the length of the stage, as a fraction of training. ``parts`` maps the name of a pool to the part of
    its tokens, from 0 to 1, that this stage draws; 1 saves the whole pool for the end. The other pools fill the rest of
    the stage in proportion to ``total``, their shares of all tokens.

    Raises:
        Infeasible: if the parts do not fit into the stage, or the other tokens do not fit before it.
        SchemaError: if a pool is unknown, or a part is outside [0, 1].
    """
    check_inside(fraction, "the anneal fraction")
    if unknown := [name for name in parts if name not in total]:
        raise SchemaError(f"no pool {unknown[0]!r} to draw late: the pools are {first_few(total, near=unknown[0])}")
    for name, part in parts.items():
        if not 0 <= part <= 1:
            raise SchemaError(f"{part:g} of pool {name!r} drawn late: give a part of its tokens, from 0 to 1")
    moved = fsum(part * total[name] for name, part in parts.items())
    kept = fsum((1 - part) * total[name] for name, part in parts.items())
    listed = first_few(f"{'all' if part == 1 else f'{part:.4g}'} of {name}" for name, part in parts.items())
    if moved > fraction + NEGLIGIBLE:
        raise Infeasible(
            f"{listed}, drawn late, is {moved:.4g} of all tokens, and the anneal has room for {fraction:.4g}: "
            + (f"make the anneal {up(moved, 4):.4g} of training, or " if up(moved, 4) < 1 else "")
            + f"multiply the parts drawn late by {down(fraction / moved, 4):.4g}"
        )
    if kept > 1 - fraction + NEGLIGIBLE:
        raise Infeasible(
            f"with {listed} drawn late, {kept:.4g} of all tokens must come before the anneal, which leaves "
            f"{1 - fraction:.4g}: make the anneal {down(1 - kept, 4):.4g} of training or draw more of them late"
        )
    others = fsum(share for name, share in total.items() if name not in parts)
    # The part of every other pool that comes late, the same for all of them.
    fill = max(0.0, fraction - moved) / others if others > 0 else 0.0
    drawn = {name: parts.get(name, fill) * share for name, share in total.items()}
    return {name: value / fsum(drawn.values()) for name, value in drawn.items()}


def check_fractions(fractions: Sequence[float]) -> float:
    """Check that the fractions of training of all phases sum to 1, and return their sum.

    The sum may differ from 1 by up to 0.001.

    Raises:
        SchemaError: if a fraction is outside (0, 1], or the sum differs from 1 by more.
    """
    for i, fraction in enumerate(fractions, start=1):
        if not 0 < fraction <= 1:
            raise SchemaError(f"phase {i} takes {fraction:g} of training: a phase takes more than 0 and at most 1")
    total = fsum(fractions)
    if abs(total - 1) > baselines.TOLERANCE:
        raise SchemaError(f"the {len(fractions)} phases take {total:.4g} of training: their fractions must sum to 1")
    return total


def check_inside(value: float, what: str) -> None:
    """Check that a fraction of training lies between 0 and 1, so that no stage is empty.

    ``what`` begins the error message.

    Raises:
        SchemaError: if the fraction is not between 0 and 1.
    """
    if not 0 < value < 1:
        raise SchemaError(f"{what} is {value:g}. It must be a fraction of training, above 0 and below 1")
