"""Schedules from what is written on a command line, one function a kind of method."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

import typer

from pipelines.shared.flags import pairs
from pipelines.shared.mixtures import Entry, Reader

if TYPE_CHECKING:
    from curate.pool.pool import Pool
    from curate.schedules.phases import Schedule

SAME = 1e-6  # relative


def by_size(
    method: str, pools: "Sequence[Pool]", tokens: float, given: Mapping[str, float]
) -> "tuple[Schedule, tuple[str, ...]]":
    """Return the schedule of a method that reads pool sizes alone, and what binds it."""
    from curate.pool import baselines
    from curate.schedules import curricula

    if method == "cooldown":
        first, then = given.get("tau", curricula.COOLDOWN[0]), given.get("tau-then", curricula.COOLDOWN[1])
        made = curricula.cooldown(
            pools, tokens, tau_first=first, tau_then=then, switch=given.get("switch", curricula.COOLDOWN[2])
        )
        rising = f"tau rises from {first:g} to {then:g}: falling did better (Li et al. 2024)"
        return made, (rising,) if then > first else ()
    if method == "temperature":
        weights = baselines.temperature(pools, given.get("tau", baselines.MT5_TAU))
        return curricula.constant(pools, tokens, baselines.named(pools, weights)), ()
    cap = given.get("cap", baselines.UNIMAX_EPOCHS)
    weights = baselines.unimax(pools, tokens, cap)
    return curricula.constant(pools, tokens, baselines.named(pools, weights)), baselines.cap_notes(pools, tokens, cap)


def phased(reader: Reader, tokens: float, written: Sequence[str]) -> "Schedule":
    """Return the schedule of written FRACTION:MIXTURE phases."""
    from curate.schedules import curricula

    if not written:
        raise typer.BadParameter("give one or more FRACTION:MIXTURE", param_hint="--phase")
    stages = []
    for item in written:
        fraction, colon, text = item.partition(":")
        try:
            length = float(fraction)
        except ValueError:
            colon = ""
        if not colon:
            raise typer.BadParameter(f"{item!r} is not FRACTION:MIXTURE, as in 0.8:proportional", param_hint="--phase")
        stages.append((length, text))
    curricula.check_fractions([length for length, _ in stages])
    read = [(length, reader.read(text, length * tokens, "--phase")) for length, text in stages]
    return curricula.piecewise(reader.pools, tokens, read)


def ramp(reader: Reader, tokens: float, ends: tuple[str | None, str | None], parts: int | None) -> "Schedule":
    """Return the ramp between two written mixtures."""
    from curate.schedules import curricula

    first, last = ends
    if first is None or last is None:
        raise typer.BadParameter("--method ramp needs --main and --anneal, the mixtures at its start and end")
    start, end = reader.read(first, tokens, "--main"), reader.read(last, tokens, "--anneal")
    return curricula.ramp(reader.pools, tokens, start, end, parts=curricula.RAMP if parts is None else parts)


def two_stage(
    reader: Reader, tokens: float, written: dict[str, str | None], late: Sequence[str], fraction: float | None
) -> "Schedule":
    """Return a main and an anneal stage from two of: the one, the other, the total (or what of it comes late)."""
    from curate.schedules import curricula

    part = curricula.ANNEAL if fraction is None else fraction
    curricula.check_inside(part, "the anneal fraction")
    if written["--total"] is None and reader.plans and (written["--main"] is None or written["--anneal"] is None):
        written = written | {"--total": "plan"}
    lengths = {"--main": 1 - part, "--anneal": part, "--total": 1.0}
    known = {f: reader.read(text, lengths[f] * tokens, f) for f, text in written.items() if text is not None}
    if late and "--total" in known and len(known) == 1:
        moved = pairs([item if "=" in item else f"{item}=1" for item in late], "--late")
        known["--anneal"] = curricula.late(known["--total"], moved, part)
    elif late or len(known) != 2:
        raise typer.BadParameter(
            "--method two-stage needs two of --main, --anneal and --total, or --late and --total; --plan is a --total"
        )
    if "--main" not in known:
        known["--main"] = curricula.rest(known["--total"], known["--anneal"], part)
    if "--anneal" not in known:
        known["--anneal"] = curricula.rest(known["--total"], known["--main"], 1 - part)
    return curricula.two_stage(reader.pools, tokens, known["--main"], known["--anneal"], anneal_fraction=part)


def against(made: "Schedule", plan: Entry, index: int) -> tuple[str, ...]:
    """Return where the totals of a schedule are not those of a plan."""
    found = []
    if abs(made.tokens / plan.budget.tokens - 1) > SAME:
        found.append(
            f"plan {index} is for {plan.budget.tokens:.4g} tokens, not {made.tokens:.4g}: its passes were other ones"
        )
    if (apart := made.distance(plan.weights)) > SAME:
        found.append(f"{apart:.3g} of all tokens are drawn from other pools than in plan {index}")
    return tuple(found)
