"""One self-contained HTML page of what a folder holds: scores, pilots, law, plan, check.

Example: curate report demo-out --out report.html
"""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out

if TYPE_CHECKING:
    import polars as pl

    from curate.charts import Section

POINTS = 60  # of a curve
SAMPLE = 20_000  # rows drawn in a histogram
QUOTE = 700  # characters of an example


def main(
    folder: Annotated[
        Path, typer.Argument(help="Holds any of scores/, pools.json, runs.parquet, fit.json, plan.json, check.json.")
    ],
    out: Out,
    as_json: Json = False,
) -> None:
    """Write the report."""
    from curate import charts
    from curate.errors import SchemaError
    from curate.storage import files
    from pipelines.shared.show import result

    sections = [section for part in (_check, _plan, _pilots, _pools, _scores) for section in part(folder)]
    if not sections:
        raise SchemaError(
            f"{folder} holds none of scores/, pools.json, runs.parquet with fit.json, plan.json, check.json"
        )
    files.write_text(out, charts.page("curate report", sections))
    result(as_json, {"sections": [s.title for s in sections], "out": str(out)}, f"{len(sections)} sections in {out}")


def _check(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts
    from curate.storage import artifacts
    from pipelines.demo.check import verdict

    if not (folder / "check.json").is_file():
        return
    record = artifacts.load(folder / "check.json", "check")
    frame = pl.DataFrame(record["rows"]).select("mixture", "predicted", "low", "high", "measured", "inside")
    text = (
        f"Trained at {record['tokens']:.3g} tokens, beyond every pilot. Blue: predicted with its 90 % interval. "
        f"Orange: measured, mean over seeds. {verdict(record['rows'])}."
    )
    yield charts.Section("Check: predicted against measured", text, [charts.checked(frame)], [frame])


def _plan(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts
    from curate.storage import artifacts

    if not (folder / "plan.json").is_file():
        return
    record = artifacts.load(folder / "plan.json", "plan")
    plans = record["plans"]
    wide = pl.DataFrame(
        {
            "tokens": f"{one['budget']['tokens']:.2e}",
            "loss": f"{one['loss']:.3f} ({one['low']:.3f} to {one['high']:.3f})",
        }
        | {f"over {name}": f"{g:.3f} ({low:.3f} to {high:.3f})" for name, (g, low, high) in one["gains"].items()}
        for one in plans
    )
    notes = pl.DataFrame(
        {
            "tokens": f"{one['budget']['tokens']:.2e}",
            "limits that shaped it, and warnings": "; ".join(one["warnings"] if "warnings" in one else one["limits"]),
        }
        for one in plans
    )
    long = pl.DataFrame(_long(plans))
    text = "Loss with the 90 % interval of a new run; gains over the baselines, nats per token, 90 % of draws."
    drawn = [charts.shares(long), charts.epochs(long)] if len(plans) > 1 else []
    yield charts.Section("Plan: pool shares over compute", text, drawn, [wide, notes] if drawn else [wide, long, notes])
    if len(plans) > 1 and ("low" in long.columns or "near_low" in long.columns):
        said = [one["text"] if "text" in one else one["said"] for one in record.get("crossings", ())]
        free = (
            "Light: 90 % of the shares that bootstrap draws would plan. Dark: shares of mixtures that lose at most "
            f"{plans[0].get('within', 0):g} nats. " + ". ".join(said)
        )
        yield charts.Section("Plan: what is certain and what is free", free, [charts.freedom(long)])
    if "keep" in record:
        curve = pl.DataFrame(record["keep"]["curve"])
        said = ". ".join(one["text"] if "text" in one else one["said"] for one in record["keep"].get("changes", ()))
        yield charts.Section("Plan: how much to keep", said, [charts.kept(curve)] if len(plans) > 1 else [], [curve])
    for one in record.get("front", ()):
        points = pl.DataFrame(
            {f"loss {n}": loss for n, (loss, _, _) in p["losses"].items()} | dict(p["weights"]) for p in one["plans"]
        )
        title = f"Plan: front of {' and '.join(one['evals'])} at {one['tokens']:.2g} tokens"
        yield charts.Section(title, "No mixture is better for both.", [charts.front(points)], [points])


def _long(plans: list) -> list[dict[str, object]]:  # type: ignore[type-arg]
    """Return one row a budget and pool: shares, passes, and what is known of how far shares could move."""
    rows = []
    for one in plans:
        for pool, weight in one["weights"].items():
            row = {"tokens": one["budget"]["tokens"], "pool": pool, "weight": weight, "epochs": one["epochs"][pool]}
            for name, prefix in (("shares", ""), ("ranges", "near_")):
                if name in one:
                    row |= {f"{prefix}low": one[name][pool][0], f"{prefix}high": one[name][pool][1]}
            rows.append(row)
    return rows


def _pilots(folder: Path) -> "Iterator[Section]":
    import polars as pl

    from curate import charts
    from curate.fitting import fit_files
    from curate.fitting.compare import SCHEMA
    from curate.runs import run_table as run_tables
    from curate.storage import artifacts

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
    compared = pl.DataFrame(artifacts.load(folder / "fit.json", "fit")["compared"])
    text = (
        f"Dots: pilot runs, coloured by the share of {pool}. Lines: {fitted.spec} for it alone and for a uniform "
        "mixture, with all unique tokens on hand."
    )
    yield charts.Section(
        "Pilots and the fitted law", text, [charts.pilots(points, curves), charts.fitted(agreement)],
        [compared.select(list(SCHEMA)), fitted.table()],
    )  # fmt: skip


def _curves(fitted, recipes) -> "pl.DataFrame":  # type: ignore[no-untyped-def]  # noqa: ANN001
    """Return tokens, loss, mixture: first the single pool that the law likes best, then the uniform mixture."""
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
        yield charts.Section("Pools", "Unique tokens and examples after pruning.", [], [frame])


def _scores(folder: Path) -> "Iterator[Section]":
    import numpy as np
    import polars as pl

    from curate import charts
    from curate.tables import batches, scored

    if not (folder / "scores").is_dir():
        return
    found = scored.score_files(folder / "scores")
    names = [n for n in batches.columns(found[0]) if n.startswith("score.")]
    frame = pl.concat([batch for shard in found for batch in batches.batches(shard, names)])
    shown = frame[np.sort(np.argsort(batches.keys(frame["id"], 0), kind="stable")[:SAMPLE]).tolist()]
    yield charts.Section(
        "Scores",
        "High = keep. Tails beyond the 0.5 % quantiles are drawn in the last bar.",
        [charts.histogram(shown, n) for n in names],
    )
    for name in names:
        ends = frame.sort(name, "id").select("id", "source", name)
        picked = [(f"lowest {name}", ends.row(0)), (f"highest {name}", ends.row(-1))]
        texts = _texts(folder / "scores", {row[0] for _, row in picked})
        quotes = [(f"{what} = {row[2]:.3g}, {row[1]}: {row[0]}", texts[row[0]][:QUOTE]) for what, row in picked]
        yield charts.Section(f"Both ends of {name}", quotes=quotes)


def _texts(scores: Path, ids: set[str]) -> dict[str, str]:
    from typing import cast

    import polars as pl

    from curate.tables import batches, scored

    asked = scored.job(scores)
    found: dict[str, str] = {}
    for shard in batches.shards(cast(list[str], asked["data"])):
        for batch in batches.batches(shard, ("text",), reading=batches.Reading(text_column=str(asked["text_column"]))):
            found |= dict(batch.filter(pl.col("id").is_in(sorted(ids))).select("id", "text").iter_rows())
    return found
