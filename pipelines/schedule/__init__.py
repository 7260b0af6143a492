"""Weights over training steps: temperature, UniMax, Cooldown, any phases, or a main and an anneal stage.

Example: curate schedule pools.json --method cooldown --tokens 1e11 --params 1e9 --out schedule.json
"""

from collections.abc import Sequence
from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.schedule.stages import against, by_size, phased, ramp, two_stage
from pipelines.shared.flags import Json, Out
from pipelines.shared.mixtures import FORMS, Reader, entries

if TYPE_CHECKING:
    from curate.schedules.phases import Schedule

READS = {  # the flags of each method
    "temperature": "tau",
    "unimax": "cap",
    "cooldown": "tau tau-then switch",
    "piecewise": "phase plan budget",
    "ramp": "main anneal parts plan budget",
    "two-stage": "main anneal anneal-fraction total late plan budget",
}


def main(
    pools: Annotated[Path, typer.Argument(help="pools.json")],
    method: Annotated[
        Literal["temperature", "unimax", "cooldown", "piecewise", "ramp", "two-stage"],
        typer.Option(help="How shares go over training."),
    ],
    out: Out,
    tokens: Annotated[float | None, typer.Option(help="Training tokens, repeats counted; else --plan's.")] = None,
    params: Annotated[float | None, typer.Option(help="Model parameters, to warn of harmful repeats.")] = None,
    steps: Annotated[int | None, typer.Option(min=1, help="Training steps, to say where phases begin.")] = None,
    tau: Annotated[
        float | None, typer.Option(help="temperature (3.33), cooldown's first (5); 1: proportional.")
    ] = None,
    tau_then: Annotated[float | None, typer.Option(help="cooldown: tau after the switch (1).")] = None,
    switch: Annotated[float | None, typer.Option(help="cooldown: fraction of training before it (0.5).")] = None,
    cap: Annotated[float | None, typer.Option(help="unimax: most epochs of a pool (4).")] = None,
    phase: Annotated[list[str], typer.Option(help=f"piecewise: FRACTION:MIXTURE; repeat. MIXTURE: {FORMS}.")] = [],  # noqa: B006
    first: Annotated[str | None, typer.Option("--main", help="two-stage, ramp: MIXTURE at the start.")] = None,
    anneal: Annotated[str | None, typer.Option(help="two-stage, ramp: MIXTURE at the end.")] = None,
    anneal_fraction: Annotated[float | None, typer.Option(help="two-stage: last part of training (0.1).")] = None,
    total: Annotated[str | None, typer.Option(help="two-stage: MIXTURE of all tokens to keep; else --plan's.")] = None,
    late: Annotated[list[str], typer.Option(help="two-stage: POOL[=PART] of it to draw in the anneal; repeat.")] = [],  # noqa: B006
    parts: Annotated[int | None, typer.Option(help="ramp: number of constant parts (8).")] = None,
    plan: Annotated[Path | None, typer.Option(help="plan.json, for mixtures and to compare with.")] = None,
    budget: Annotated[int | None, typer.Option(help="Which plan of plan.json, from 0.")] = None,
    as_json: Json = False,
) -> None:
    """Schedule mixtures."""
    from curate.pool import baselines
    from curate.pool.pool import load_pools, to_json
    from curate.schedules import phases
    from curate.storage import artifacts
    from pipelines.shared.show import result

    numbers = {"tau": tau, "tau-then": tau_then, "switch": switch, "cap": cap}
    others = {"phase": phase, "main": first, "anneal": anneal, "anneal-fraction": anneal_fraction, "total": total,
              "late": late, "parts": parts, "plan": plan, "budget": budget}  # fmt: skip
    given = {name: value for name, value in (numbers | others).items() if value not in (None, [])}
    if unread := [name for name in given if name not in READS[method].split()]:
        raise typer.BadParameter(f"--method {method} does not read it", param_hint=f"--{unread[0]}")
    if plan is None and budget is not None:
        raise typer.BadParameter("it picks one of the plans of --plan", param_hint="--budget")
    known = load_pools(pools)
    reader = Reader(known, entries(plan, known) if plan else (), budget)
    chosen = reader.chosen or (reader.pick(None) if plan and tokens is None else None)
    length = chosen.budget.tokens if tokens is None and chosen else tokens
    if length is None:
        raise typer.BadParameter("give --tokens" + (" or --plan" if "plan" in READS[method] else ""))
    notes: tuple[str, ...] = ()
    if method in ("temperature", "unimax", "cooldown"):
        made, notes = by_size(method, known, length, {k: v for k, v in numbers.items() if v is not None})
    elif method == "piecewise":
        made = phased(reader, length, phase)
    elif method == "ramp":
        made = ramp(reader, length, (first, anneal), parts)
    else:
        written = {"--main": first, "--anneal": anneal, "--total": total}
        made = two_stage(reader, length, written, late, anneal_fraction)
    if chosen:
        notes += against(made, chosen, budget or 0)
    notes += phases.warnings(made, chosen.budget.params if chosen and params is None else params)
    advice = baselines.advice(made.variance_factor)
    record = phases.to_json(made) | {"method": method, "advice": advice, "limits": list(notes)}
    record["pools"] = to_json(known)
    if steps:
        record["steps"] = [list(pair) for pair in made.steps(steps)]
    asked = {"pools": pools, "method": method, "tokens": tokens, "params": params, "steps": steps, **given}
    asked = {name: str(value) if value == float("inf") else value for name, value in asked.items()}
    inputs = [pools] if plan is None else [pools, plan]
    artifacts.save(out, "schedule", record | {"made_by": artifacts.made_by(asked, inputs, 0)})
    shown = {name: value for name, value in record.items() if name != "pools"}
    result(as_json, shown | {"out": str(out)}, summary(made, steps, [*([advice] if advice else []), *notes]))


def summary(made: "Schedule", steps: int | None, notes: Sequence[str]) -> str:
    """Return a schedule as text: a row a pool, its share in each phase, then what to know."""
    import polars as pl

    from pipelines.shared.show import table

    edges = made.steps(steps) if steps else [(f"{a:g}", f"{b:g}") for a, b in pairwise(made.bounds)]
    passes, gone, mean = made.epochs(), made.reached(), made.weights
    rows = [
        {"pool": pool.name, "unique": f"{pool.tokens:.4g}"}
        | {f"{a} to {b}": share for (a, b), share in zip(edges, made.shares[:, i].tolist(), strict=True)}
        | ({"all": mean[pool.name]} if len(edges) > 1 else {})
        | {"passes": passes[pool.name], "used up at": gone[pool.name]}
        for i, pool in enumerate(made.pools)
    ]
    unit = "steps" if steps else "fractions of training"
    head = f"shares of training tokens by {unit}; passes over each pool in {made.tokens:.4g} tokens"
    frame = pl.DataFrame(rows, schema_overrides={"used up at": pl.Float64})
    return "\n".join([head, table(frame), *notes])
