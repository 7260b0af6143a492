"""How much domain data continued pretraining takes before general loss passes a ceiling: the critical mixture ratio.

RUNS: one row a run or checkpoint, and a start row (tokens = 0) with the losses before training. General loss is the
mean of the --general evals (patterns as 'Pile*'; '*' is all but the domain's). For every budget: the critical share
with its interval, the safe one, the best one for the domain, the gain, passes over the corpora, the trade-off.
--limited, and --compute with --share: the best share of a domain corpus seen once; size against tokens.

Example: curate cmr runs.csv --general '*' --domain python --pool python --tolerance 0.02,0.05 --out cmr.json
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed, pairs

LAWS = "replay,replay:checkpoints=true,dcpt:repeats=true"
LENGTHS = (0.25, 0.5, 1.0, 2.0, 4.0)  # default budgets, of the longest run


def main(
    runs: Annotated[Path, typer.Argument(help="A run table, Parquet or CSV, with a start row (tokens = 0).")],
    general: Annotated[str, typer.Option(help="EVAL[,EVAL...] or patterns; their mean is the general loss.")],
    domain: Annotated[str, typer.Option(help="Which loss.<eval> is the domain's.")],
    pool: Annotated[str, typer.Option(help="The domain's pool: weight.<pool> is its share.")],
    tolerance: Annotated[str, typer.Option(help="Nats over the start's general loss; several as 0,0.02,0.05.")],
    out: Out,
    relative: Annotated[bool, typer.Option("--relative", help="Tolerances are shares of the start's loss.")] = False,
    budget: Annotated[str | None, typer.Option(help="TOKENS:PARAMS[,...]; default: 1/4 to 4 longest runs.")] = None,
    pools: Annotated[Path | None, typer.Option(help="pools.json: unique tokens; default: the run table's.")] = None,
    replay: Annotated[list[str], typer.Option(help="POOL=SHARE of the rest, repeat; or best. Default: as run.")] = [],  # noqa: B006
    start_loss: Annotated[list[str], typer.Option(help="EVAL[@PARAMS]=LOSS before training; repeat.")] = [],  # noqa: B006
    law: Annotated[str, typer.Option(help="NAME[,NAME...]: the best on held-out shares and lengths is kept.")] = LAWS,
    largest: Annotated[float | None, typer.Option(help="Look up to this share; default: the largest run.")] = None,
    width: Annotated[
        float | None, typer.Option(min=1e-6, max=1, help="Say what to run to know the ratio this well, noise apart.")
    ] = None,
    limited: Annotated[str | None, typer.Option(help="TOKENS:PARAMS, unique domain tokens to be seen once.")] = None,
    compute: Annotated[str | None, typer.Option(help="FLOPS[,...]: best size and tokens at --share.")] = None,
    share: Annotated[float | None, typer.Option(min=0, max=1, help="The domain's share for --compute.")] = None,
    fits: Annotated[
        Path | None, typer.Option(help="Folder for general.json and domain.json, the laws for `curate predict`.")
    ] = None,
    published: Annotated[bool, typer.Option("--published", help="Also the procedure of Gu et al. 2024.")] = False,
    where: Annotated[str | None, typer.Option(help="Only rows where this SQL condition holds.")] = None,
    starts: Annotated[int, typer.Option(min=1, help="Starting points of each fit.")] = 16,
    draws: Annotated[int, typer.Option(min=1, help="Bootstrap refits.")] = 200,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Find critical mixture ratios."""
    from curate import open_sets
    from curate.continual import choose_law
    from curate.fitting import fit, fit_files, run_checks
    from curate.pool.pool import load_pools, parse_budget
    from curate.runs import continued_runs
    from curate.runs import run_table as run_tables
    from curate.storage import artifacts
    from pipelines.cmr import answers
    from pipelines.cmr import more as further
    from pipelines.shared.show import result

    if (compute is None) != (share is None):
        raise typer.BadParameter("--compute and --share go together")
    rest = "best" if replay == ["best"] else pairs(replay, "--replay") or None
    table, begun = run_tables.read(runs, where=where), pairs(start_loss, "--start-loss")
    found = continued_runs.split(table, general=general, domain=domain, pool=pool, start_loss=begun)
    notes = run_checks.check(found.runs)
    asked = answers.Question(
        found=found, budgets=_budgets(budget, found), pools=found.pools() if pools is None else load_pools(pools),
        rest=found.proportions() if rest is None else rest, tolerances=_numbers(tolerance, "--tolerance"),
        relative=relative, largest=largest,
    )  # fmt: skip
    corpus = None if limited is None else parse_budget(limited)
    flops = [] if compute is None else _numbers(compute, "--compute")
    more = [further.published(asked)] if published else []
    options, specs = fit.FitOptions(starts=starts, draws=draws, seed=seed), open_sets.split(law)
    laws = tuple(
        choose_law.choose(choose_law.placed(specs, found, rest=one == found.general), found, one, options=options)
        for one in (found.general, found.domain)
    )
    of_general, of_domain = (one.fit for one in laws)
    record, parts = answers.critical(asked, of_general, of_domain)
    more += [further.advised(asked, of_general, width)] if width is not None else []
    more += [further.limited(asked, of_domain, corpus)] if corpus is not None else []
    more += [further.sizes(asked, of_domain, flops, share)] if share is not None else []
    for extra, said in more:
        record |= extra
        parts.append(said)
    record |= {
        "laws": {one.fit.eval: one.rows.to_dicts() for one in laws},
        "notes": list(notes),
        "limits": list(answers.LIMITS),
    }
    arguments = {"runs": runs, "general": general, "domain": domain, "pool": pool, "tolerance": tolerance,
                 "relative": relative, "budget": budget, "pools": pools, "replay": replay, "start_loss": start_loss,
                 "law": law, "largest": largest, "width": width, "limited": limited, "compute": compute, "share": share,
                 "fits": fits, "published": published, "where": where, "starts": starts, "draws": draws}  # fmt: skip
    made = artifacts.made_by(arguments, [runs, *([] if pools is None else [pools])], seed)
    artifacts.save(out, "cmr", record | {"made_by": made})
    if fits is not None:
        for name, one in zip(("general", "domain"), laws, strict=True):
            artifacts.save(fits / f"{name}.json", "fit", fit_files.to_json(one.fit) | {"made_by": made})
    parts += [f"note: {note}" for note in notes]
    result(as_json, record | {"out": str(out)}, "\n\n".join([answers.compared(laws), *parts]))


def _numbers(text: str, flag: str) -> list[float]:
    try:
        return [float(item) for item in text.split(",")]
    except ValueError:
        raise typer.BadParameter(f"{text!r} is not NUMBER[,NUMBER...]", param_hint=flag) from None


def _budgets(text: str | None, found):  # type: ignore[no-untyped-def]  # noqa: ANN001, ANN202
    from curate.pool.pool import Budget, parse_budget

    if text is not None:
        return [parse_budget(item) for item in text.split(",")]
    longest = float(found.runs.recipes().tokens.max())
    return [Budget(length * longest, max(found.starts)) for length in LENGTHS]
