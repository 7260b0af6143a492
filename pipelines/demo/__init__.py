"""The whole walk on real text found on this machine: rows, scores, pruning, pools, pilots, laws, plan, check, report.

Example: curate demo --out demo-out
"""

from os import cpu_count
from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Restart, Seed

SCORERS = ("length", "compression", "repetition", "embedding:width=128", "prototypes:k=32")
LAWS = ("chinchilla", "repetition", "utility_smooth", "mixing", "ces", "mixture_ces")
PARAMS = 115_008  # exactly the width-64 model
PILOTS, PILOT_TOKENS = 36, 400_000
CHECK_TOKENS = 1_200_000  # three times the longest pilot
CHECK_SEEDS = 1
FRONTIER = (2e4, 2e8)
TARGET = "prose"


def main(
    out: Annotated[Path, typer.Option(help="Where everything is written.")] = Path("demo-out"),
    workers: Annotated[int, typer.Option(min=1, help="Processes on this machine.")] = cpu_count() or 1,
    seed: Seed = 0,
    restart: Restart = False,
    as_json: Json = False,
) -> None:
    """Run the demo."""
    import shutil

    from curate.storage import artifacts
    from pipelines import fit, pilot, plan, pools, prune, report, score
    from pipelines.demo import python_text
    from pipelines.demo.check import check
    from pipelines.shared.show import heading

    if restart:
        shutil.rmtree(out, ignore_errors=True)
    rows, target, scores, kept = out / "rows", out / "target", out / "scores", out / "kept"

    heading("1. rows: the Python standard library as text")
    if not (out / "rows.json").is_file():
        sizes = python_text.write(rows, target, seed)
        artifacts.save(
            out / "rows.json", "demo_text", {"bytes": sizes, "made_by": artifacts.made_by({}, [rows, target], seed)}
        )
    typer.echo(
        "  ".join(
            f"{name} {size:,} bytes" for name, size in artifacts.load(out / "rows.json", "demo_text")["bytes"].items()
        )
    )

    heading("2. score")
    score.main([str(rows)], list(SCORERS), scores, workers=workers)

    heading("3. prune and pool")
    prune.main(scores, by="score.compression", keep=0.85, out=kept, rule="hard", balance="source:0.5", seed=seed)
    pools.main(scores, out / "pools.json", by="score.prototypes", bins=2, min_tokens=500_000, kept=kept)

    heading(f"4. pilot: {PILOTS} trainings of {PARAMS:,} parameters, up to {PILOT_TOKENS:,} tokens")
    pilot.main(
        out / "pools.json", out / "runs.parquet", runs=PILOTS, params=PARAMS, tokens=PILOT_TOKENS,
        target=[f"{TARGET}={target}"], workers=workers, seed=seed,
    )  # fmt: skip

    heading("5. fit: laws compared on the largest runs, held out")
    fit.main(out / "runs.parquet", ",".join(LAWS), TARGET, out / "fit.json", seed=seed)

    heading("6. plan: four decades of compute")
    plan.main(
        out / "fit.json", out / "pools.json", out / "plan.json",
        frontier=f"{FRONTIER[0]:g}:{FRONTIER[1]:g}", params=PARAMS, seed=seed,
    )  # fmt: skip

    heading(f"7. check: train the plan and the baselines on {CHECK_TOKENS:,} tokens, {CHECK_SEEDS} seeds each")
    verdict = check(
        out, {TARGET: target}, tokens=CHECK_TOKENS, params=PARAMS, seeds=CHECK_SEEDS, workers=workers, seed=seed
    )

    heading("8. report")
    report.main(out, out / "report.html")
    if as_json:
        import json

        typer.echo(json.dumps(verdict, sort_keys=True))
