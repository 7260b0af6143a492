"""Run every job on real text of this machine: rows, scores, pruning, pools, pilots, laws, plan, check, report.

Example: curate demo --out demo-out
"""

from pathlib import Path
from typing import Annotated

import typer

from pipelines.shared.flags import Json, Restart, Seed, Workers

SCORERS = ("length", "compression", "repetition", "embedding:width=128", "prototypes:k=32")
LAWS = ("chinchilla", "repetition", "utility_smooth", "mixing", "ces", "mixture_ces")
PARAMS = 115_008  # exactly the width-64 model
PILOTS, PILOT_TOKENS = 36, 400_000
CHECK_TOKENS = 1_200_000  # three times the longest pilot
CHECK_SEEDS = 1
FRONTIER = (2e4, 2e8)
TARGET = "prose"


def main(
    out: Annotated[Path, typer.Option(help="Folder to write.")] = Path("demo-out"),
    workers: Workers = None,
    seed: Seed = 0,
    restart: Restart = False,
    as_json: Json = False,
) -> None:
    """Run the demo."""
    import json
    import shutil

    from pipelines.demo.check import check
    from pipelines.shared.cli import run
    from pipelines.shared.show import heading

    if restart:
        shutil.rmtree(out, ignore_errors=True)
    rows, target, scores, kept = out / "rows", out / "target", out / "scores", out / "kept"
    pools, runs, fit, plan = out / "pools.json", out / "runs.parquet", out / "fit.json", out / "plan.json"

    processes = ("--workers", workers) if workers else ()
    heading("1. rows: the Python standard library as text")
    sizes = _text(out, seed)
    typer.echo("  ".join(f"{name} {size:,} bytes" for name, size in sizes.items()))

    heading("2. score")
    scorers = [word for scorer in SCORERS for word in ("--scorer", scorer)]
    run("score", rows, *scorers, *processes, "--out", scores)

    heading("3. prune and pool")
    kept_rows = ("--by", "score.compression", "--keep", 0.85, "--balance", "source:0.5")
    run("prune", scores, *kept_rows, "--seed", seed, "--out", kept)
    bins = ("--by", "score.prototypes", "--bins", 2, "--min-tokens", 500_000)
    run("pools", scores, "--kept", kept, *bins, "--out", pools)

    heading(f"4. pilot: {PILOTS} trainings of {PARAMS:,} parameters, up to {PILOT_TOKENS:,} tokens")
    size = ("--runs", PILOTS, "--params", PARAMS, "--tokens", PILOT_TOKENS)
    run("pilot", pools, "--target", f"{TARGET}={target}", *size, *processes, "--seed", seed, "--out", runs)

    heading("5. fit: laws compared on longer runs, held out, and weighted by how well they predict these")
    # So few runs cannot tell the best laws apart, and these plan different mixtures. A weighted mean shows that in its
    # intervals; the best law alone would hide it.
    run("fit", runs, "--law", ",".join(LAWS), "--stack", "--eval", TARGET, "--seed", seed, "--out", fit)

    heading("6. plan: four decades of compute")
    budgets = ("--frontier", f"{FRONTIER[0]:g}:{FRONTIER[1]:g}", "--params", PARAMS)
    run("plan", fit, "--pools", pools, *budgets, "--seed", seed, "--out", plan)

    heading(f"7. check: train the plan and the baselines on {CHECK_TOKENS:,} tokens, {CHECK_SEEDS} seeds each")
    verdict = check(
        out, {TARGET: target}, tokens=CHECK_TOKENS, params=PARAMS, seeds=CHECK_SEEDS, workers=workers or 0, seed=seed
    )

    heading("8. report")
    run("report", out, "--out", out / "report.html")
    if as_json:
        typer.echo(json.dumps(verdict, sort_keys=True))


def _text(out: Path, seed: int) -> dict[str, int]:
    """Write the rows and the held-out target once, and return the bytes of each source."""
    from typing import cast

    from curate.storage import artifacts
    from pipelines.demo import python_text

    record, rows, target = out / "rows.json", out / "rows", out / "target"
    if not record.is_file():
        sizes = python_text.write(rows, target, seed)
        made_by = artifacts.made_by({}, [rows, target], seed)
        artifacts.save(record, "demo_text", {"bytes": sizes, "made_by": made_by})
    return cast(dict[str, int], artifacts.load(record, "demo_text")["bytes"])
