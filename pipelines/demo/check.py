"""Train the recommended mixture and the baselines at a budget that no pilot had, and compare with the prediction."""

from collections.abc import Mapping
from pathlib import Path

import polars as pl
import typer

from curate.engines.local import Local
from curate.fitting import fit_files
from curate.planning import plan
from curate.pool import baselines
from curate.pool.pool import Budget, load_pools
from curate.reporting.check import verdict
from curate.runs import pilots
from curate.runs.pilot_design import PlannedRun
from curate.runs.trainer_data import load
from curate.storage import artifacts
from pipelines.shared.show import progress, table


def check(
    out: Path, targets: Mapping[str, Path], *, tokens: float, params: float, seeds: int, workers: int, seed: int
) -> list[dict[str, object]]:
    """Train the plan and the baselines for ``tokens``; print and save the predicted and the measured losses.

    Returns one record a mixture: name, predicted loss with its 90 % interval, mean measured loss (nats per byte).
    """
    fitted, pools = fit_files.load(out / "fit.json"), load_pools(out / "pools.json")
    loaded = load("tiny", pools, targets)
    on_hand = loaded.on_hand(pools)
    budget = Budget(tokens, params)
    best = plan.optimize(fitted, on_hand, budget, seed=seed)
    mixtures = {"plan": dict(best.weights)}
    mixtures |= {name: baselines.named(on_hand, w) for name, w in baselines.baselines(on_hand, tokens).items()}
    runs = [
        PlannedRun(f"{name}-{i}", weights, budget, loaded.unique, seed + 1000 + i)
        for name, weights in mixtures.items()
        for i in range(seeds)
    ]
    with progress() as report:
        measured = pilots.run(
            runs, loaded.trainer, out / "check.runs", data=loaded.data_hash, engine=Local(workers), progress=report
        )
    rows: list[dict[str, object]] = []
    for name, weights in mixtures.items():
        predicted = plan.evaluate(fitted, on_hand, budget, weights)
        losses = measured.filter(pl.col("run").str.starts_with(f"{name}-"))[f"loss.{fitted.eval}"].to_numpy()
        mean = float(losses.mean())
        rows.append(
            {
                "mixture": name,
                "predicted": predicted.loss,
                "low": predicted.low,
                "high": predicted.high,
                "measured": mean,
                "inside": predicted.low <= mean <= predicted.high,
                "weights": weights,
            }
        )
    artifacts.save(out / "check.json", "check", {"tokens": tokens, "params": params, "eval": fitted.eval, "rows": rows})
    frame = pl.DataFrame(rows).drop("weights")
    typer.echo(table(frame))
    typer.echo(verdict(rows))
    return rows
