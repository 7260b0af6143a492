"""Fit laws to a run table, choose by runs held out, save the best with its bootstrap draws.

Several evals (--eval a,b) are fitted together and give their mean. --stack weights the laws instead of choosing one.
--by COLUMN fits every corpus on its own and says which to take at which compute. --law downstream maps a loss to
metric.<eval> (--on LOSS), --law annealing fits loss over a learning-rate schedule (columns step, lr), --law relearn
over continued training as well (column continued: 0 before, 1 after).

Example: curate fit runs.parquet --law utility_smooth,ces,chinchilla --eval prose --explain --out fit.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed


def main(
    runs: Annotated[Path, typer.Argument(help="A run table, Parquet or CSV.")],
    law: Annotated[str, typer.Option(help="NAME[,NAME...], options as NAME:key=value; the best held-out one is kept.")],
    evaluation: Annotated[str, typer.Option("--eval", help="Which loss.<eval> to fit; several give their mean.")],
    out: Out,
    where: Annotated[str | None, typer.Option(help="Only rows where this SQL condition holds.")] = None,
    holdout: Annotated[
        str, typer.Option(help="largest, rolling, random or mixture; a share as random:0.2.")
    ] = "largest",
    stack: Annotated[
        bool, typer.Option("--stack", help="Weight the laws by held-out error instead of choosing.")
    ] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Say in words what was chosen and what is not known.")
    ] = False,
    by: Annotated[str | None, typer.Option(help="Fit each value of this column and compare them.")] = None,
    on: Annotated[
        str | None, typer.Option(help="With --law downstream: the loss.<on> that metric.<eval> is read from.")
    ] = None,
    target: Annotated[str | None, typer.Option(help="Which distance.<target> column the law transport reads.")] = None,
    tokens_per_param: Annotated[float, typer.Option(help="Along the curves of --by.")] = 20.0,
    starts: Annotated[int, typer.Option(min=1, help="Starting points of each fit.")] = 32,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap refits.")] = 200,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Fit laws."""
    from curate import open_sets
    from curate.fitting import compare, fit, fit_files, run_checks
    from curate.runs import run_table as run_tables
    from curate.runs.predictor import Blend
    from curate.storage import artifacts
    from pipelines.fit.curves import CURVES, fit_curve
    from pipelines.fit.words import by_corpus, explained
    from pipelines.shared.show import result, table

    data = run_tables.read(runs, where=where, target=target)
    specs, evals = open_sets.split(law), evaluation.split(",")
    options = fit.Options(starts=starts, draws=draws, seed=seed)
    arguments = {"runs": runs, "law": law, "eval": evaluation, "where": where, "holdout": holdout, "starts": starts,
                 "draws": draws, "stack": stack, "by": by, "on": on, "target": target,
                 "tokens_per_param": tokens_per_param}  # fmt: skip
    made = artifacts.made_by(arguments, [runs], seed)
    curves = [spec for spec in specs if open_sets.parse(spec)[0] in CURVES]
    if (by is not None or curves) and (len(specs) > 1 or len(evals) > 1):
        alone = "--by" if by is not None else f"--law {curves[0]}"
        raise typer.BadParameter(f"{alone} takes one law and one eval; {len(specs)} and {len(evals)} are given")
    if by is not None:
        record, words = by_corpus(data, by, specs[0], evals[0], options, tokens_per_param)
        artifacts.save(out, "fit", record | {"made_by": made})
        result(as_json, {"crossings": record["crossings"], "out": str(out)}, words)
        return
    if curves:
        record, words = fit_curve(data, specs[0], evals[0], on, draws=draws, seed=seed)
        artifacts.save(out, "fit", record | {"made_by": made})
        result(as_json, {"law": record["law"], "out": str(out)}, words)
        return
    notes = run_checks.check(data)
    chosen, comparison = (compare.stack if stack else compare.choose)(data, specs, evals, how=holdout, options=options)
    run_checks.units_of_loss(chosen, data)
    compared = comparison.table()
    artifacts.save(
        out, "fit", fit_files.to_json(chosen) | {"compared": compared.to_dicts(), "notes": list(notes), "made_by": made}
    )
    members = chosen.fits if isinstance(chosen, Blend) else (chosen,)
    parts = [table(compared), *(f"note: {note}" for note in notes)]
    if isinstance(chosen, Blend):
        shares = ", ".join(
            f"{w:.2f} {_name(one)} on {one.eval}" for w, one in zip(chosen.weights, members, strict=True)
        )
        parts.append(f"kept: {shares}")
    elif isinstance(chosen, fit.Fit):
        parts.append(f"{chosen.spec}, fitted to {chosen.rows} runs:\n{table(chosen.table())}")
    first = members[0]
    if explain and isinstance(first, fit.Fit):
        parts.append(explained(first, data, compared, seed))
    elif explain:
        parts.append("boosted trees have no parameters to profile: fit a law alone to see what the runs cannot tell")
    result(as_json, {"law": _name(chosen), "compared": compared.to_dicts(),
                     "notes": list(notes), "out": str(out)}, "\n\n".join(parts))  # fmt: skip


def _name(predictor: object) -> str:
    """Return the law's spec, or what else it is."""
    return getattr(predictor, "spec", type(predictor).__name__.lower())
