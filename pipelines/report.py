"""Write one HTML page that shows the results in a folder: scores, pools, pilots, law, plan, schedule, check.

The page holds everything that it shows, so that one file can be sent or kept.

Example: curate report demo-out --out report.html
"""

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out

if TYPE_CHECKING:
    import polars as pl

    from curate.charts import Section
    from curate.runs.predictor import Predictor
    from curate.runs.recipes import Recipes

POINTS = 60  # of a curve
SAMPLE = 20_000  # rows that a histogram counts: more would not change its shape
QUOTE = 700  # characters of an example that are shown
FILES = "scores/, pools.json, runs.parquet with fit.json, plan.json, schedule.json, cmr.json, check.json"


def main(
    folder: Annotated[Path, typer.Argument(help=f"Folder with any of {FILES}.")],
    out: Out,
    as_json: Json = False,
) -> None:
    """Write the report."""
    from curate import charts
    from curate.errors import SchemaError
    from curate.storage import files
    from pipelines.shared.show import result

    parts = (_check, _plan, _schedule, _critical_ratios, _pilots, _pools, _scores)
    sections = [section for part in parts for section in part(folder)]
    if not sections:
        raise SchemaError(f"{folder} holds none of {FILES}")
    files.write_text(out, charts.page("curate report", sections))
    result(as_json, {"sections": [s.title for s in sections], "out": str(out)}, f"{len(sections)} sections in {out}")


def _warnings(record: Mapping[str, object]) -> list[str]:
    """Return the warnings of a record; older files call them limits."""
    lines = record.get("warnings", record.get("limits", []))
    return [str(line) for line in lines]  # type: ignore[attr-defined]


def _warning_tables(record: Mapping[str, object]) -> "list[pl.DataFrame]":
    """Return the warnings as a table of one column; nothing if there are none."""
    import polars as pl

    lines = _warnings(record)
    return [pl.DataFrame({"warnings": lines})] if lines else []


def _load(path: Path, kind: str) -> dict:  # type: ignore[type-arg]
    """Return a JSON artefact, whose values are of any type."""
    from curate.storage import artifacts

    return artifacts.load(path, kind)


def _check(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts
    from pipelines.demo.check import verdict

    if not (folder / "check.json").is_file():
        return
    record = _load(folder / "check.json", "check")
    frame = pl.DataFrame(record["rows"]).select("mixture", "predicted", "low", "high", "measured", "inside")
    text = (
        f"The plan and the baselines were trained on {record['tokens']:.3g} tokens, more than any pilot saw. Blue: "
        f"predicted loss with its 90 % interval. Orange: measured loss, mean over seeds. {verdict(record['rows'])}."
    )
    yield charts.Section(
        "Check: does the measured loss agree with the prediction?", text, [charts.checked(frame)], [frame]
    )


def _plan(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts

    if not (folder / "plan.json").is_file():
        return
    record = _load(folder / "plan.json", "plan")
    plans = record["plans"]
    shares = pl.DataFrame(_share_rows(plans))
    text = (
        "Predicted loss in nats per token, with the 90 % interval of a new run. Gain over a standard mixture: its loss "
        "minus that of the plan, with its 90 % interval over bootstrap draws."
    )
    drawn = [charts.shares(shares), charts.epochs(shares)] if len(plans) > 1 else []
    tables = [_plan_losses(plans), _plan_warnings(plans)]
    yield charts.Section("Plan: share of each pool", text, drawn, tables if drawn else [tables[0], shares, tables[1]])
    if len(plans) > 1 and ("low" in shares.columns or "near_low" in shares.columns):
        text = (
            "Light band: where 90 % of the bootstrap draws would put the share. Dark band: shares of other mixtures "
            f"whose loss is at most {plans[0].get('within', 0):g} nats higher. "
        )
        text += ". ".join(_sentence(crossing) for crossing in record.get("crossings", ()))
        yield charts.Section("Plan: how certain each share is", text, [charts.freedom(shares)])
    if "keep" in record:
        curve = pl.DataFrame(record["keep"]["curve"])
        text = ". ".join(_sentence(change) for change in record["keep"].get("changes", ()))
        yield charts.Section(
            "Plan: how much data to keep", text, [charts.kept(curve)] if len(plans) > 1 else [], [curve]
        )
    for front in record.get("front", ()):
        yield _front(front)


def _plan_losses(plans: list) -> "pl.DataFrame":  # type: ignore[type-arg]
    """Return one row a budget: predicted loss, and gains over the standard mixtures."""
    import polars as pl

    return pl.DataFrame(
        {
            "tokens": f"{plan['budget']['tokens']:.2e}",
            "predicted loss": _interval(plan["loss"], plan["low"], plan["high"]),
        }
        | {f"gain over {name}": _interval(*gain) for name, gain in plan["gains"].items()}
        for plan in plans
    )


def _plan_warnings(plans: list) -> "pl.DataFrame":  # type: ignore[type-arg]
    import polars as pl

    rows = [{"tokens": f"{plan['budget']['tokens']:.2e}", "warnings": "; ".join(_warnings(plan))} for plan in plans]
    return pl.DataFrame(rows).rename({"warnings": "limits that shaped this plan, and warnings"})


def _sentence(event: Mapping[str, object]) -> str:
    """Return what a plan says of a change of the mixture; older files call it said."""
    return str(event["text"] if "text" in event else event["said"])


def _interval(value: float, low: float, high: float) -> str:
    return f"{value:.3f} ({low:.3f} to {high:.3f})"


def _front(front: dict) -> "Section":  # type: ignore[type-arg]
    import polars as pl

    from curate import charts

    points = pl.DataFrame(
        {f"loss {name}": loss for name, (loss, _, _) in plan["losses"].items()} | dict(plan["weights"])
        for plan in front["plans"]
    )
    title = f"Plan: trade-off of {' and '.join(front['evals'])} at {front['tokens']:.2g} tokens"
    text = "Pareto front: for each of these mixtures, no other is better for both losses."
    return charts.Section(title, text, [charts.front(points)], [points])


def _schedule(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts

    if not (folder / "schedule.json").is_file():
        return
    record = _load(folder / "schedule.json", "schedule")
    phases = pl.DataFrame({"from": p["from"], "to": p["to"]} | dict(p["weights"]) for p in record["phases"])
    text = "Shares of the pools in each part of training, from 0 (start) to 1 (end)."
    yield charts.Section("Schedule: shares over training", text, [], [phases, *_warning_tables(record)])


def _critical_ratios(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts

    if not (folder / "cmr.json").is_file():
        return
    record = _load(folder / "cmr.json", "cmr")
    names = ("tolerance", "ceiling", "share", "low", "high", "safe", "best", "note")
    rows = [{"tokens": r["budget"]["tokens"]} | {name: r[name] for name in names} for r in record["ratios"]]
    table = pl.DataFrame(rows, infer_schema_length=None)
    text = (
        f"Share: the largest share of {record['ratios'][0]['pool']} that keeps general loss under the ceiling, with "
        "its 90 % interval. Safe: up to this share even the upper bound of a new run is under the ceiling. Best: the "
        "share with the lowest domain loss under the ceiling. Losses are in nats per token."
    )
    yield charts.Section("Critical mixture ratios", text, [], [table, *_warning_tables(record)])


def _share_rows(plans: list) -> list[dict[str, object]]:  # type: ignore[type-arg]
    """Return one row a budget and pool: share, passes, and bounds of the share if the plan has them."""
    rows = []
    for plan in plans:
        for pool, weight in plan["weights"].items():
            row = {"tokens": plan["budget"]["tokens"], "pool": pool, "weight": weight, "epochs": plan["epochs"][pool]}
            # Bounds over bootstrap draws, and of near-optimal mixtures.
            for name, prefix in (("shares", ""), ("ranges", "near_")):
                if name in plan:
                    row |= {f"{prefix}low": plan[name][pool][0], f"{prefix}high": plan[name][pool][1]}
            rows.append(row)
    return rows


def _pilots(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts
    from curate.fitting import fit_files
    from curate.fitting.compare import SCHEMA
    from curate.fitting.fit import Fit
    from curate.runs import run_table as run_tables

    if not ((folder / "runs.parquet").is_file() and (folder / "fit.json").is_file()):
        return
    fitted, data = fit_files.load(folder / "fit.json"), run_tables.read(folder / "runs.parquet")
    recipes, loss = data.recipes(fitted.pools), data.loss(fitted.eval)
    curves = _curves(fitted, recipes)
    pool = str(curves["mixture"][0]).removesuffix(" alone")
    varied = fitted.pools.index(pool)
    points = pl.DataFrame(
        {
            "run": data.frame["run"],
            "tokens": recipes.tokens.numpy(),
            "loss": loss,
            "share": recipes.weights[:, varied].numpy(),
        }
    )
    agreement = points.select(
        "run", pl.col("tokens").map_elements(lambda t: f"{t:.2g}", pl.String), measured="loss"
    ).with_columns(predicted=pl.Series(fitted.loss(recipes).numpy()))
    compared = pl.DataFrame(_load(folder / "fit.json", "fit")["compared"])
    # Blends and trees have no single table of parameters.
    name, parameters = (f"the law {fitted.spec}", [fitted.table()]) if isinstance(fitted, Fit) else ("the fit", [])
    text = (
        f"Dots: losses of the pilot runs, coloured by the share of {pool}. Lines: losses that {name} predicts for "
        f"{pool} alone and for a uniform mixture. Tables: the laws compared, and the parameters of the fitted one."
    )
    drawn = [charts.pilots(points, curves), charts.fitted(agreement)]
    yield charts.Section(
        "Pilots: small runs and the fitted law", text, drawn, [compared.select(list(SCHEMA)), *parameters]
    )


def _curves(fitted: "Predictor", recipes: "Recipes") -> "pl.DataFrame":
    """Return predicted losses as rows of tokens, loss, mixture.

    First comes the single pool with the lowest predicted loss at the median budget, then the uniform mixture.
    """
    import numpy as np
    import polars as pl
    import torch

    from curate.runs.recipes import Recipes

    p, unique = len(fitted.pools), recipes.unique.amax(dim=0)
    middle = recipes.tokens.median()
    alone = Recipes(
        torch.eye(p, dtype=torch.float64), middle.expand(p), recipes.params.median().expand(p), unique.expand(p, p)
    )
    best = int(fitted.loss(alone).argmin())
    tokens = torch.from_numpy(np.geomspace(float(recipes.tokens.min()), 4 * float(recipes.tokens.max()), POINTS))
    mixtures = {
        f"{fitted.pools[best]} alone": alone.weights[best],
        "uniform": torch.full((p,), 1 / p, dtype=torch.float64),
    }
    frames = []
    for name, weights in mixtures.items():
        line = Recipes(
            weights.expand(POINTS, p), tokens, recipes.params.median().expand(POINTS), unique.expand(POINTS, p)
        )
        frames.append(
            pl.DataFrame({"tokens": tokens.numpy(), "loss": fitted.loss(line).numpy(), "mixture": [name] * POINTS})
        )
    return pl.concat(frames)


def _pools(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts
    from curate.pool.pool import load_pools

    if (folder / "pools.json").is_file():
        frame = pl.DataFrame(
            {"pool": p.name, "tokens": p.tokens, "examples": p.examples} for p in load_pools(folder / "pools.json")
        )
        yield charts.Section("Pools", "Unique tokens and examples of each pool, after pruning.", [], [frame])


def _scores(folder: Path) -> "Iterator[Section]":
    import numpy as np
    import polars as pl

    from curate import charts
    from curate.tables import batches, scored

    if not (folder / "scores").is_dir():
        return
    shards = scored.score_files(folder / "scores")
    names = [n for n in batches.columns(shards[0]) if n.startswith("score.")]
    frame = pl.concat([batch for shard in shards for batch in batches.batches(shard, names)])
    # The rows with the smallest hashes are a random sample that is the same every time.
    shown = frame[np.sort(np.argsort(batches.keys(frame["id"], 0), kind="stable")[:SAMPLE]).tolist()]
    yield charts.Section(
        "Scores: their distribution over the examples",
        "The 0.5 % of examples at either end are drawn in the last bar.",
        [charts.histogram(shown, n) for n in names],
    )
    for name in names:
        ends = frame.sort(name, "id").select("id", "source", name)
        picked = [(f"lowest {name}", ends.row(0)), (f"highest {name}", ends.row(-1))]
        texts = _texts(folder / "scores", {row[0] for _, row in picked})
        quotes = [(f"{what} = {row[2]:.3g}, {row[1]}: {row[0]}", texts[row[0]][:QUOTE]) for what, row in picked]
        yield charts.Section(f"Scores: the examples with the lowest and the highest {name}", quotes=quotes)


def _texts(scores: Path, ids: set[str]) -> dict[str, str]:
    """Return the texts of some ids, read from the data that the score folder was made from."""
    from typing import cast

    import polars as pl

    from curate.tables import batches, scored

    job = scored.job(scores)
    texts: dict[str, str] = {}
    for shard in batches.shards(cast(list[str], job["data"])):
        for batch in batches.batches(shard, ("text",), reading=batches.Reading(text_column=str(job["text_column"]))):
            texts |= dict(batch.filter(pl.col("id").is_in(sorted(ids))).select("id", "text").iter_rows())
    return texts
