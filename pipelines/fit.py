"""Fit laws to a run table, choose by runs held out, save the best with its bootstrap draws.

Example: curate fit runs.parquet --law utility_smooth,mixing,chinchilla --eval prose --holdout largest --out fit.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines._flags import Json, Out, Seed


def main(
    runs: Annotated[Path, typer.Argument(help="A run table, Parquet or CSV.")],
    law: Annotated[str, typer.Option(help="NAME[,NAME...]; several are compared and the best held-out one is kept.")],
    evaluation: Annotated[str, typer.Option("--eval", help="Which loss.<eval> to fit.")],
    out: Out,
    where: Annotated[str | None, typer.Option(help="Only rows where this SQL condition holds.")] = None,
    holdout: Annotated[str, typer.Option(help="largest, largest:SHARE or random:SHARE.")] = "largest",
    starts: Annotated[int, typer.Option(min=1, help="Starting points of each fit.")] = 32,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap refits.")] = 200,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit laws."""
    from curate import artifacts, compare, fit
    from curate import runs as run_tables
    from pipelines._show import result, table

    data = run_tables.read(runs, where=where)
    options = fit.Options(starts=starts, draws=draws, seed=seed)
    chosen, comparison = compare.choose(data, law.split(","), evaluation, how=holdout, options=options)
    compared = comparison.table()
    arguments = {
        "runs": runs,
        "law": law,
        "eval": evaluation,
        "where": where,
        "holdout": holdout,
        "starts": starts,
        "draws": draws,
    }
    made = artifacts.made_by(arguments, [runs], seed)
    artifacts.save(out, fit.to_json(chosen) | {"compared": compared.to_dicts(), "made_by": made})
    text = f"{table(compared)}\n\n{chosen.spec}, fitted to {chosen.rows} runs:\n{table(chosen.table())}"
    result(as_json, {"law": chosen.spec, "compared": compared.to_dicts(), "out": str(out)}, text)
