"""Which sources to take in what ratio for N examples, from a few hundred samples of each and of the target.

SOURCES is pools.json, or a folder or glob whose files have a `source` column or folder each. Vectors come from
emb.<name> or --encoder on the text; with a `label` column on all sides, classes are compared too. --runs: small
trainings with weight.<source>, tokens (examples) and loss.<eval> or metric.<eval> (accuracy between 0 and 1). Without
them the mixture nearest to the target by --distance is taken. plan.json is for `curate export` and
`curate materialize`; its tokens follow from the tokens per example of every source.

Example: curate select sources --target target.parquet --runs runs.csv --budget 20000 --out plan.json
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from pipelines.shared.flags import Json, Out, Seed

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from curate.pool.pool import Pool
    from curate.selection.select import Pilots, Selection
    from curate.transport.ground_cost import TransportProblem


def main(
    sources: Annotated[str, typer.Argument(help="pools.json, or samples: a folder or a glob.")],
    target: Annotated[str, typer.Option(help="Samples of what the model shall be good at: a file or folder.")],
    budget: Annotated[float, typer.Option(help="Examples to take in all.")],
    out: Out,
    runs: Annotated[Path | None, typer.Option(help="A run table of small trainings.")] = None,
    evaluation: Annotated[str | None, typer.Option("--eval", help="Which loss.<eval> or metric.<eval>.")] = None,
    embedding: Annotated[str | None, typer.Option(help="Which emb.<name> column; default: the only one.")] = None,
    encoder: Annotated[str | None, typer.Option(help="Embed the text instead, as hashed:width=256.")] = None,
    distance: Annotated[str, typer.Option(help="transport; sliced and energy are cheaper and rougher.")] = "transport",
    no_labels: Annotated[bool, typer.Option("--no-labels", help="Compare features alone.")] = False,
    samples: Annotated[int, typer.Option(min=2, help="Most rows of a source that are used.")] = 2000,
    max_epochs: Annotated[float | None, typer.Option(help="Most passes over what a source offers.")] = None,
    min_weight: Annotated[list[str], typer.Option(help="SOURCE=SHARE; repeat.")] = [],  # noqa: B006
    max_weight: Annotated[list[str], typer.Option(help="SOURCE=SHARE; repeat.")] = [],  # noqa: B006
    price: Annotated[list[str], typer.Option(help="SOURCE=PRICE of an example; repeat.")] = [],  # noqa: B006
    money: Annotated[float | None, typer.Option(help="Most to pay.")] = None,
    seed: Seed = 0,
    as_json: Json = False,
) -> None:
    """Select sources."""
    from curate.fitting import fit
    from curate.planning.limits import Limits
    from curate.pool.pool import Budget, Pool, to_json
    from curate.selection import samples as samplers
    from curate.selection import select
    from curate.storage import artifacts
    from curate.tables import batches
    from curate.transport.ground_cost import problem
    from pipelines.shared.flags import pairs
    from pipelines.shared.show import result

    if not budget >= 1 or not budget.is_integer():  # neither NaN nor infinity is an integer
        raise typer.BadParameter(f"{budget:g} is not a whole number of examples, 1 or more", param_hint="--budget")
    known = _pools(sources, budget)
    goal = Pool("the target", 1.0, 1, where=(target,))
    seen = samplers.read(
        [*known, goal], embedding, encoder=encoder, labels=False if no_labels else None, limit=samples, seed=seed
    )
    kept = problem({pool.name: seen[pool.name] for pool in known}, seen[goal.name], seed=seed)
    offers = _offers(known, pairs(price, "--price"))
    limits = Limits(max_epochs, pairs(min_weight, "--min-weight"), pairs(max_weight, "--max-weight"), money=money)
    pilots = None if runs is None else _pilots(runs, evaluation, kept)
    asked = Budget(budget, 1.0 if pilots is None else float(pilots.recipes.params.max()))
    options = fit.Options(starts=8, seed=seed)
    found = select.select(kept, offers, asked, limits, pilots=pilots, distance=distance, options=options)
    arguments = {"sources": sources, "target": target, "runs": runs, "budget": budget, "eval": evaluation,
                 "embedding": embedding, "encoder": encoder, "distance": distance, "no_labels": no_labels,
                 "samples": samples,
                 "max_epochs": max_epochs, "min_weight": min_weight, "max_weight": max_weight, "price": price,
                 "money": money}  # fmt: skip
    inputs = [shard.path for where in (*(p.where for p in known), goal.where) for shard in batches.shards(where)]
    record = {
        "plans": [_entry(found, known, pilots)],
        "baselines": {row.name: dict(zip(kept.names, row.weights.tolist(), strict=True))
                      for row in found.rows if row.weights is not None},
        "compared": found.table().to_dicts(),
        "chosen": {"name": found.chosen, "why": found.why, "form": found.form, "left_out": dict(found.scores)},
        "pools": to_json(known),
        "made_by": artifacts.made_by(arguments, [*dict.fromkeys(inputs), *([runs] if runs else [])], seed),
    }  # fmt: skip
    artifacts.save(out, "plan", record)
    shown = {name: record[name] for name in ("plans", "chosen", "compared")}
    result(as_json, {**shown, "out": str(out)}, _words(found, kept, pilots, budget))


def _pools(sources: str, budget: float) -> "list[Pool]":
    """Return pools.json, or a pool a source of samples, which offers as much as is asked."""
    from curate.pool.pool import Pool, load_pools
    from curate.tables import batches

    if sources.endswith(".json"):
        return list(load_pools(Path(sources)))
    found: dict[str, list[tuple[str, int, int]]] = {}
    for shard in batches.shards([sources]):
        counts: dict[str, list[int]] = {}
        for batch in batches.batches(shard):
            for name, size, rows in batch.group_by("source").agg(tokens=_sum(), rows=_len()).sort("source").rows():
                seen = counts.setdefault(name, [0, 0])
                seen[0], seen[1] = seen[0] + size, seen[1] + rows
        for name, (size, rows) in counts.items():
            found.setdefault(name, []).append((str(shard.path), size, rows))
    return [
        Pool(
            name=name,
            tokens=max(1.0, budget * sum(size for _, size, _ in parts) / sum(rows for _, _, rows in parts)),
            examples=round(budget),
            where=tuple(path for path, _, _ in parts),
            filter={"source": name},
        )
        for name, parts in sorted(found.items())
    ]


def _sum():  # noqa: ANN202
    import polars as pl

    return pl.col("tokens").sum()


def _len():  # noqa: ANN202
    import polars as pl

    return pl.len()


def _offers(pools: "Sequence[Pool]", prices: "Mapping[str, float]") -> "list[Pool]":
    """Return the pools counted in examples, each with the price of an example."""
    from dataclasses import replace

    from curate.errors import SchemaError

    if unknown := sorted(set(prices) - {pool.name for pool in pools}):
        raise SchemaError(f"--price of {unknown[0]!r}: the sources are {', '.join(pool.name for pool in pools)}")
    if bad := [name for name, price in prices.items() if not 0 <= price < float("inf")]:
        raise SchemaError(f"--price {bad[0]}={prices[bad[0]]:g}: a price is at least 0 and finite")
    return [
        replace(
            pool,
            tokens=float(pool.examples),
            cost_per_token=prices.get(
                pool.name, None if pool.cost_per_token is None else pool.cost_per_token * pool.tokens / pool.examples
            ),
        )
        for pool in pools
    ]


def _pilots(path: Path, evaluation: str | None, samples: "TransportProblem") -> "Pilots":
    import numpy as np
    import polars as pl

    from curate.errors import SchemaError
    from curate.runs import run_table
    from curate.selection.select import Pilots

    data = run_table.read(path, losses=False)
    columns = [c for c in data.frame.columns if c.startswith(("loss.", "metric."))]
    chosen = [c for c in columns if evaluation is None or c.partition(".")[2] == evaluation]
    if len(chosen) != 1:
        what = (
            f"no loss.{evaluation} or metric.{evaluation}" if not chosen else f"{len(chosen)} evals: choose by --eval"
        )
        raise SchemaError(f"{path} has {what}; it has {', '.join(columns) or 'none at all'}")
    values = data.frame[chosen[0]].cast(pl.Float64).fill_null(np.nan).to_numpy()
    accuracy = chosen[0].startswith("metric.")
    bad = ~((values >= 0) & (values <= 1)) if accuracy else ~((values > 0) & np.isfinite(values))
    if bad.any():
        raise SchemaError(
            f"{path}: {chosen[0]} of run {data.frame['run'][int(bad.argmax())]!r} is {values[bad.argmax()]}: "
            + ("an accuracy lies between 0 and 1" if accuracy else "a loss is finite and positive")
        )
    error = np.maximum(1 - values, 1e-3) if accuracy else values
    return Pilots(data.recipes(samples.names), error, 1.0 if accuracy else 0.0, chosen[0], data.clusters)


def _entry(found: "Selection", pools: "Sequence[Pool]", pilots: "Pilots | None") -> "dict[str, object]":
    """Return the plan with shares, passes and budget in tokens, and beside them examples; what it costs."""
    from curate.planning import plan

    (entry,) = plan.to_json([found.plan])
    rate = {pool.name: pool.tokens / pool.examples for pool in pools}
    tokens = {name: count * rate[name] for name, count in found.examples.items()}
    total = sum(tokens.values())
    entry["budget"] = {"tokens": float(round(total)), "params": found.plan.budget.params}
    entry["weights"] = {name: count / total for name, count in tokens.items()}
    entry["epochs"] = {pool.name: tokens[pool.name] / pool.tokens for pool in pools}
    entry["examples"] = dict(found.examples)
    entry["predicts"] = "distance" if pilots is None else ("error" if pilots.top else "loss")
    return entry


def _words(found: "Selection", samples: "TransportProblem", pilots: "Pilots | None", budget: float) -> str:
    import polars as pl

    from pipelines.shared.show import table

    shares = pl.DataFrame(
        {"source": name, "share": found.plan.weights[name], "examples": count} for name, count in found.examples.items()
    )
    drop = [name for name in ("loss", "low", "high", "gain", "gain_low", "gain_high") if pilots is None]
    compared = found.table().drop(drop)
    if compared["cost"].null_count():
        compared = compared.drop("cost")
    classes = "classes compared" if samples.pool.group is not None else "features alone"
    parts = [
        f"{round(budget):,} examples from {len(samples.names)} sources; {len(samples.source)} samples of them, "
        f"{len(samples.target_rows)} of the target, {classes}",
        f"taken: {found.chosen} ({found.form}): {found.why}",
        table(shares),
        "",
        "compared (distance in units of the target's spread"
        + ("):" if pilots is None else f"; {pilots.eval} as {'error' if pilots.top else 'loss'} with 90 % intervals; "
           "gain: what the one taken is better by):"),
        table(compared),
    ]  # fmt: skip
    if found.scores:
        parts += ["", "mean absolute error on pilots left out: "
                  + ", ".join(f"{name} {score:.3g}" for name, score in found.scores.items())]  # fmt: skip
    return "\n".join([*parts, *found.plan.warnings])
