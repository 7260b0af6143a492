"""Make a schedule: how the mixture of the pools changes over the course of training.

The methods: temperature and unimax keep one mixture; cooldown lowers the temperature once; piecewise takes the phases
that you give; ramp moves from one mixture to another in equal steps; two-stage ends with another mixture (the anneal).
Options that begin with the name of a method are for this method only. Numbers in parentheses are defaults.

Example: curate schedule pools.json --method cooldown --tokens 1e11 --params 1e9 --out schedule.json
"""

from itertools import pairwise
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from pipelines.shared.flags import Json, Out, count, optional_pairs
from pipelines.shared.mixtures import FORMS, parse

if TYPE_CHECKING:
    from curate.pool.mixture_rules import MixtureRule
    from curate.schedules.job import Schedule

FLAGS = {"phases": "phase"}  # options whose flag has another name; in all others _ becomes -


def main(
    pools: Annotated[Path, typer.Argument(help="The pools.json to draw from.")],
    method: Annotated[
        Literal["temperature", "unimax", "cooldown", "piecewise", "ramp", "two-stage"],
        typer.Option(help="How the shares change over training; see above."),
    ],
    out: Out,
    tokens: Annotated[
        float | None,
        typer.Option(
            parser=count,
            metavar="NUMBER",
            help="Number of training tokens, counting repeats. Default: the tokens of --plan.",
        ),
    ] = None,
    params: Annotated[
        float | None,
        typer.Option(
            parser=count,
            metavar="NUMBER",
            help="Number of parameters of the model. Give it to be warned of repeats that harm the model.",
        ),
    ] = None,
    steps: Annotated[
        int | None,
        typer.Option(min=1, help="Number of training steps. Give it to see at which step each phase begins."),
    ] = None,
    tau: Annotated[
        float | None,
        typer.Option(
            help="temperature (3.33), cooldown (5): the temperature, for cooldown the first. 1 samples pools in "
            "proportion to their sizes."
        ),
    ] = None,
    tau_then: Annotated[float | None, typer.Option(help="cooldown: temperature after the switch (1).")] = None,
    switch: Annotated[
        float | None, typer.Option(help="cooldown: fraction of training before the switch (0.5).")
    ] = None,
    cap: Annotated[float | None, typer.Option(help="unimax: largest number of passes over a pool (4).")] = None,
    phase: Annotated[
        list[str] | None,
        typer.Option(help=f"piecewise: FRACTION:MIXTURE. Repeat it for every phase. A MIXTURE is {FORMS}."),
    ] = None,
    first: Annotated[str | None, typer.Option("--main", help="two-stage and ramp: MIXTURE at the start.")] = None,
    anneal: Annotated[str | None, typer.Option(help="two-stage and ramp: MIXTURE at the end.")] = None,
    anneal_fraction: Annotated[
        float | None, typer.Option(help="two-stage: fraction of training that the anneal takes (0.1).")
    ] = None,
    total: Annotated[
        str | None, typer.Option(help="two-stage: MIXTURE of both stages together. Default: that of --plan.")
    ] = None,
    late: Annotated[
        list[str] | None,
        typer.Option(
            help="two-stage: POOL[=PART]: part of the tokens of a pool that the anneal draws (1). May be repeated."
        ),
    ] = None,
    parts: Annotated[int | None, typer.Option(help="ramp: number of steps, each with a constant mixture (8).")] = None,
    plan: Annotated[
        Path | None,
        typer.Option(help="plan.json from which mixtures are taken and with which the schedule is compared."),
    ] = None,
    budget: Annotated[int | None, typer.Option(help="Which plan of plan.json, counted from 0.")] = None,
    as_json: Json = False,
) -> None:
    """Parse the flags, make the schedule, write it and print its shares."""
    from curate.schedules.job import schedule
    from curate.schedules.methods import WrongOption
    from pipelines.shared.show import result

    mixtures = {"--main": first, "--anneal": anneal, "--total": total}
    parsed = {flag: None if text is None else parse(text, flag) for flag, text in mixtures.items()}
    try:
        finished = schedule(
            pools,
            method,
            tokens=tokens,
            params=params,
            steps=steps,
            tau=tau,
            tau_then=tau_then,
            switch=switch,
            cap=cap,
            phases=[_phase(text) for text in phase] if phase else None,
            main=parsed["--main"],
            anneal=parsed["--anneal"],
            anneal_fraction=anneal_fraction,
            total=parsed["--total"],
            late=optional_pairs(late, "--late") if late else None,
            parts=parts,
            plan=plan,
            budget=budget,
        )
    except WrongOption as error:
        flag = FLAGS.get(error.option, error.option.replace("_", "-"))
        raise typer.BadParameter(error.message, param_hint=f"--{flag}" if flag else None) from None
    finished.save(out)
    record = {name: value for name, value in finished.record().items() if name not in ("pools", "made_by")}
    result(as_json, record | {"out": str(out)}, summary(finished))


def _phase(text: str) -> "tuple[float, MixtureRule | dict[str, float]]":
    """Return a phase that is written as FRACTION:MIXTURE."""
    fraction, colon, mixture = text.partition(":")
    try:
        length = float(fraction)
    except ValueError:
        colon = ""
    if not colon:
        raise typer.BadParameter(f"{text!r} is not FRACTION:MIXTURE, as in 0.8:proportional", param_hint="--phase")
    return length, parse(mixture, "--phase")


def summary(schedule: "Schedule") -> str:
    """Return a schedule as text: a row for every pool with its share in each phase, and then the notes."""
    import polars as pl

    from curate.tables.token_counts import estimate_lines
    from pipelines.shared.show import table

    curriculum = schedule.curriculum
    edges = (
        curriculum.steps(schedule.steps)
        if schedule.steps
        else [(f"{start:g}", f"{end:g}") for start, end in pairwise(curriculum.bounds)]
    )
    passes, exhausted, mean = curriculum.epochs(), curriculum.reached(), curriculum.weights
    rows = [
        {"pool": pool.name, "unique": f"{pool.tokens:.4g}"}
        | {f"{a} to {b}": share for (a, b), share in zip(edges, curriculum.shares[:, i].tolist(), strict=True)}
        | ({"all": mean[pool.name]} if len(edges) > 1 else {})
        | {"passes": passes[pool.name], "used up at": exhausted[pool.name]}
        for i, pool in enumerate(curriculum.pools)
    ]
    unit = "steps" if schedule.steps else "fractions of training"
    heading = f"shares of training tokens by {unit}; passes over each pool in {curriculum.tokens:.4g} tokens"
    frame = pl.DataFrame(rows, schema_overrides={"used up at": pl.Float64})
    return "\n".join([heading, *estimate_lines(curriculum.pools), table(frame), *schedule.notes])
