"""Write a plan, or one phase of a schedule, as the mixture config of a trainer.

The token counts of the pools are whole numbers and add up exactly to the budget.

Example: curate export plan.json --to olmo --budget 0 --path "s3://mine/{pool}/*.npy" --out mixture.yaml
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed

if TYPE_CHECKING:
    from collections.abc import Collection

    from curate.exports import Exported


def main(
    plan: Annotated[Path, typer.Argument(help="The plan.json or schedule.json to write.")],
    to: Annotated[
        str,
        typer.Option(
            help="The trainer: hf, levanter, megatron, mosaic, nemo, olmo, torchtitan, or a class of your own, "
            "path/to/file.py:ClassName; NAME:key=value for options."
        ),
    ],
    out: Out,
    budget: Annotated[
        int | None, typer.Option(help="Which budget of the plan, counted from 0. Needed if there are several.")
    ] = None,
    phase: Annotated[
        int | None, typer.Option(help="Which phase of the schedule, counted from 0. Needed if there are several.")
    ] = None,
    path: Annotated[
        list[str] | None,
        typer.Option(
            help="POOL=PATH: path of a pool's data. A PATH with {pool} in it is for all other pools. May be repeated."
        ),
    ] = None,
    pools: Annotated[Path | None, typer.Option(help="pools.json. Needed if plan.json does not hold the pools.")] = None,
    min_share: Annotated[float, typer.Option(min=0, max=1, help="Leave out pools with a smaller share.")] = 0.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Parse the flags, write the file and print its pools."""
    from curate.exports import export
    from curate.pool.plan_files import pool_names
    from pipelines.shared.show import result

    paths = _paths(path, pool_names(plan if pools is None else pools)) if path else None
    exported = export(
        plan, to, budget=budget, phase=phase, paths=paths, pools=pools, min_share=min_share, seed=seed, out=out
    )
    mixture = exported.mixture
    rows = exported.table().rename({"passes": "epochs"}).drop("guessed").to_dicts()
    record = {"to": to, "out": str(out), "tokens": mixture.tokens, "pools": rows, "left_out": list(mixture.left_out)}
    result(as_json, record | {"guessed": list(exported.guessed)}, _summary(exported))


def _paths(items: list[str], names: "Collection[str]") -> dict[str, list[str]]:
    """Return the --path flags as paths by pool; "{pool}" stands for all other pools."""
    from curate.errors import first_few

    paths: dict[str, list[str]] = {}
    for item in items:
        # The name of a pool may itself contain "=", so the longest name that fits is meant.
        owners = [name for name in names if item.startswith(f"{name}=")]
        if owners:
            name = max(owners, key=len)
            paths.setdefault(name, []).append(item.removeprefix(f"{name}="))
        elif "{pool}" in item and "{pool}" not in paths:
            paths["{pool}"] = [item]
        else:
            raise typer.BadParameter(
                f"{item!r} is not POOL=PATH with a pool of the plan "
                f"({first_few(sorted(names), near=item)}), nor the only PATH "
                "with {pool} in it",
                param_hint="--path",
            )
    return paths


def _summary(exported: "Exported") -> str:
    """Return the mixture as text: a row for every pool, the sum of tokens, and the notes."""
    import polars as pl

    from curate.errors import first_few
    from pipelines.shared.show import table

    rows = exported.table().select(
        "pool",
        pl.col("share").map_elements("{:.4f}".format, pl.String),
        "tokens",
        pl.col("passes").map_elements("{:.3g}".format, pl.String),
        pl.col("paths").map_elements(first_few, pl.String).alias("path"),
    )
    total = f"{exported.mixture.tokens} tokens in all, written to {exported.path}"
    return "\n".join([exported.mixture.origin, table(rows), total, *exported.notes])
