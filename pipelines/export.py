"""Write a plan, or a phase of a schedule, as the mixture config of a trainer, with tokens that add up exactly.

Example: curate export plan.json --to olmo --budget 0 --path "s3://mine/{pool}/*.npy" --out mixture.yaml
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed

if TYPE_CHECKING:
    from collections.abc import Collection

    from curate.pool.mixture import Mixture


def main(
    plan: Annotated[Path, typer.Argument(help="plan.json or schedule.json")],
    to: Annotated[
        str, typer.Option(help="hf, levanter, megatron, mosaic, nemo, olmo or torchtitan; NAME:key=value for options.")
    ],
    out: Out,
    budget: Annotated[
        int | None, typer.Option(help="Which budget of the plan, from 0; needed if there are more.")
    ] = None,
    phase: Annotated[
        int | None, typer.Option(help="Which phase of the schedule, from 0; needed if there are more.")
    ] = None,
    path: Annotated[
        list[str],
        typer.Option(help="POOL=PATH of a pool's data, or a PATH with {pool} in it for all others; repeat."),
    ] = [],  # noqa: B006
    pools: Annotated[Path | None, typer.Option(help="pools.json, where plan.json does not hold the pools.")] = None,
    min_share: Annotated[float, typer.Option(min=0, max=1, help="Leave out pools under this share.")] = 0.0,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Export a plan."""
    from typing import cast

    from curate import open_sets
    from curate.errors import SchemaError
    from curate.exports import Export
    from curate.pool import mixture as mixtures
    from curate.pool.pool import load_pools
    from curate.storage.files import write_text
    from pipelines.shared.show import result

    export = cast(Export, open_sets.build("exports", to))
    known = load_pools(pools) if pools else None
    mixture = mixtures.load(plan, budget, phase=phase, pools=known, min_share=min_share, seed=seed)
    if (count := len(mixture.ends)) > 1:
        ends = ", ".join(f"{end:g}" for end in mixture.ends)
        raise SchemaError(
            f"{plan} has {count} phases, which end at {ends} of training, and a config holds one mixture: write a "
            f"file for each with --phase 0 ... {count - 1}"
        )
    names = {*(part.pool.name for part in mixture.parts), *mixture.left_out}
    mixture = mixtures.locate(mixture, _paths(path, names), export.usual, export.reads)
    write_text(out, export.render(mixture))
    rows = [
        {
            "pool": part.pool.name,
            "tokens": part.tokens,
            "share": share,
            "epochs": part.epochs,
            "paths": list(part.paths),
        }
        for part, share in zip(mixture.parts, mixture.shares, strict=True)
    ]
    guessed = [part.pool.name for part in mixture.parts if part.guessed]
    record = {"to": to, "out": str(out), "tokens": mixture.tokens, "pools": rows, "left_out": list(mixture.left_out),
              "guessed": guessed}  # fmt: skip
    result(as_json, record, _summary(mixture, guessed, out, export.suffix))


def _paths(items: list[str], names: "Collection[str]") -> dict[str, list[str]]:
    """Read --path flags: the paths of named pools, and a pattern for the others."""
    given: dict[str, list[str]] = {}
    pattern = None
    for item in items:
        if owners := [name for name in names if item.startswith(f"{name}=")]:
            name = max(owners, key=len)  # a name may itself contain "="
            given.setdefault(name, []).append(item.removeprefix(f"{name}="))
        elif "{pool}" in item and pattern is None:
            pattern = item
        else:
            raise typer.BadParameter(
                f"{item!r} is not POOL=PATH with a pool of the plan ({', '.join(sorted(names))}), nor the one PATH "
                "with {pool} in it",
                param_hint="--path",
            )
    if pattern:
        given = {name: [pattern.replace("{pool}", name)] for name in names} | given
    return given


def _summary(mixture: "Mixture", guessed: list[str], out: Path, suffix: str) -> str:
    import polars as pl

    from pipelines.shared.show import table

    rows = [
        {"pool": part.pool.name, "share": f"{share:.4f}", "tokens": part.tokens, "passes": f"{part.epochs:.3g}",
         "path": ", ".join(part.paths)}
        for part, share in zip(mixture.parts, mixture.shares, strict=True)
    ]  # fmt: skip
    lines = [mixture.origin, table(pl.DataFrame(rows)), f"{mixture.tokens} tokens in all, written to {out}"]
    if mixture.left_out:
        lines.append(f"left out, no tokens: {', '.join(mixture.left_out)}")
    if guessed:
        lines.append(f"paths guessed for {', '.join(guessed)}: say where they lie with --path POOL=PATH")
    if out.suffix != suffix:
        lines.append(f"note: such a file is usually named {out.with_suffix(suffix).name}")
    return "\n".join(lines)
