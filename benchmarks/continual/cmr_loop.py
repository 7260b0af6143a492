"""A critical ratio predicted and then trained: ``benchmarks/continual/cmr_loop.py [--out DIR] [--until short]``.

A 115,008-parameter byte transformer learns code of the running Python's library, then continues on a mixture of that
code (replay) and a little prose (the domain) at five shares. Laws fitted to the short runs give the critical share at
four times their length; that share and its neighbours are then trained. Resumes run by run; one thread.

PROTOCOL, written on 2026-11-23 before any run of LONG bytes; nothing below it may be chosen with one:
1. Short runs: SHARES x LENGTHS, with the whole domain pool, and with as much less of it as the run is shorter than
   LONG, so that its passes are those of the long run. Each is complete: warmed up again, learning rate to zero.
2. Laws: CANDIDATES, one for each loss, chosen as ``curate cmr`` does: mean absolute error over held-out short runs,
   every share in turn and the longest length.
3. Ceiling: general loss of the start + TOLERANCE. Predicted: critical share, its 90 % interval, the safe share.
4. Trained at LONG bytes: the predicted critical share, and AROUND below and above it, one seed each.
5. Reported whatever comes out: losses with the interval of a new run, and the critical share measured by a line
   between the neighbours.

FIRST ROUND (3e6 bytes before, lengths 7.5e4 to 3e5, long 1.2e6, half of the first learning rate): critical share
predicted .535 (.488 to .592), measured .616. General loss .018 to .022 lower than predicted, just under two of its
three intervals, domain loss .04 to .06, under all three. Fresh runs at one share showed why: 1.2e6 bytes are 40 % of
what that start had seen, and from 3e5 bytes on both losses fall faster with every doubling, which shorter runs cannot
show. So in this second round the long run is 13 % of the first training, and the learning rate a quarter of its rate.

SECOND ROUND, predicted on 2026-11-23 before any of its long runs, trained on 2026-11-26: critical share predicted .430
(.392 to .463), measured .440; all three general and all three domain losses inside their intervals, .001 to .013 below
the predictions.
"""

import argparse
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import cast

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch

from curate.continual import choose_law, critical_ratio
from curate.fitting.fit import FitOptions
from curate.models import tiny_transformer
from curate.pool.pool import Budget, Pool
from curate.runs import continued_runs, pilots
from curate.runs.continued_runs import Continued
from curate.runs.pilot_design import PlannedRun
from curate.runs.run_table import check
from curate.storage.files import content_hash
from curate.trainers.tiny import Tiny
from pipelines.demo import python_text

PARAMS = 115_008.0  # exactly the width-64 model
PRETRAINED = 4_500_000  # bytes
LENGTHS = (37_500, 75_000, 150_000)
LONG = 4 * LENGTHS[-1]
SHARES = (0.1, 0.3, 0.5, 0.7, 0.9)  # of prose
DOMAIN = 75_000  # bytes of prose on hand
SLOWER = 4  # times, the learning rate of what follows
HELD_OUT = 48_000  # bytes of each eval
TOLERANCE = 0.05  # nats per byte over the start's general loss
AROUND = 0.15
POOLS = ("code", "prose")
CANDIDATES = ("replay", "replay:harm=true", "dcpt", "dcpt:repeats=true")
SEED = 0


def texts(folder: Path) -> tuple[dict[str, np.ndarray], dict[str, np.ndarray]]:
    """Return pools and evals as bytes."""
    if not (folder / "target").is_dir():
        python_text.write(folder / "rows", folder / "target", SEED, scale=2.0)

    def joined(path: Path) -> np.ndarray:
        parts = [pl.read_parquet(file)["text"] for file in sorted(path.glob("*.parquet"))]
        return np.frombuffer("\n".join(pl.concat(parts)).encode(), dtype=np.uint8)

    code, prose = joined(folder / "rows" / "source=code"), joined(folder / "rows" / "source=prose")
    pools = {"code": code[:-HELD_OUT], "prose": prose[:DOMAIN]}
    return pools, {"code": code[-HELD_OUT:], "prose": joined(folder / "target")[:HELD_OUT]}


def design() -> list[PlannedRun]:
    """Return the short runs."""
    runs = []
    for share in SHARES:
        for length in LENGTHS:
            runs += [one_run(share, length, DOMAIN // part) for part in (1, LONG // length)]
    return runs


def one_run(share: float, length: int, domain: int) -> PlannedRun:
    """One continued training; its seed depends on what it is."""
    weights = {"code": 1 - share, "prose": share}
    seed = SEED + round(1000 * share) + length // 1000 + domain
    return PlannedRun(f"{share:.3f}-{length}-{domain}", weights, Budget(length, PARAMS), {"prose": float(domain)}, seed)


def with_start(frame: pl.DataFrame, start: dict[str, float]) -> Continued:
    """Return the runs and the start as the cmr job reads them."""
    row = {"run": "start", "params": PARAMS, "tokens": 0, "weight.code": 1.0, "weight.prose": 0.0}
    begun = pl.DataFrame([row | {f"loss.{name}": loss for name, loss in start.items()}])
    table = check(pl.concat([begun, frame.drop("seed")], how="diagonal"), "short runs")
    return continued_runs.split(table, general="code", domain="prose", pool="prose")


def main() -> None:
    """Run what is not done yet, print what was predicted and measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("cmr-loop"), help="where everything is written and resumed")
    parser.add_argument("--until", choices=("short", "fit", "long"), default="long", help="where to stop")
    flags = parser.parse_args()
    torch.set_num_threads(1)
    clock = time.process_time()
    pools, evals = texts(flags.out)
    state = flags.out / "start.npz"
    trainer = Tiny(pools, evals, batch=16)
    if not state.is_file():
        tiny_transformer.save(trainer.trained({"code": 1.0}, Budget(PRETRAINED, PARAMS), seed=SEED), state)
    model = tiny_transformer.Transformer(64, trainer.layers, trainer.context)
    tiny_transformer.load(model, state)
    start = trainer.losses(model)
    print(
        f"start after {PRETRAINED:,} bytes of code: " + ", ".join(f"{k} {v:.4f}" for k, v in start.items()), flush=True
    )
    trainer = replace(trainer, start=str(state), rate=trainer.rate / SLOWER, batch=8)
    data = content_hash(state)
    frame = pilots.run(design(), trainer, flags.out / "short", data=data)
    with pl.Config(tbl_rows=-1, tbl_width_chars=160):
        print(frame.select("run", "tokens", "loss.code", "loss.prose"))
    print(f"{time.process_time() - clock:.0f} CPU-s so far", flush=True)
    if flags.until == "short":
        return
    runs = with_start(frame, start)
    chosen = []
    for name in ("code", "prose"):
        specs = choose_law.complete_specs(CANDIDATES, runs, rest=name == "code")
        chosen.append(choose_law.choose(specs, runs, name, options=FitOptions(starts=8)))
    with pl.Config(tbl_width_chars=160, fmt_str_lengths=60, tbl_cols=-1):
        for chosen_law in chosen:
            print(f"held-out error of log loss on {chosen_law.fit.eval}\n{chosen_law.rows.drop('why')}")
    general, domain = (chosen_law.fit for chosen_law in chosen)
    budget, on_hand = Budget(LONG, PARAMS), [Pool("prose", DOMAIN, 1)]
    ceiling = critical_ratio.ceiling_of(start["code"], TOLERANCE)
    answer = critical_ratio.critical_ratio(
        general, domain, on_hand, budget, ceiling, pool="prose", start=start["prose"]
    )
    print(
        f"predicted at {LONG:,} bytes, ceiling {ceiling:.4f}: {answer.note}; share {answer.share} "
        f"(90 % {answer.low} to {answer.high}), safe {answer.safe}"
    )
    if flags.until == "fit":
        return
    centre = answer.reference_share
    shares = [round(x, 3) for x in (centre - AROUND, centre, centre + AROUND) if 0 < x < 1]
    final = pilots.run([one_run(x, LONG, DOMAIN) for x in shares], trainer, flags.out / "long", data=data)
    truth = check(final, "long runs")
    recipes = truth.recipes(POOLS)
    for name, fit in (("code", general), ("prose", domain)):
        low, high = fit.interval(recipes)
        for i, share in enumerate(shares):
            print(
                f"{name:6s} share {share:.3f}: predicted {float(fit.loss(recipes)[i]):.4f} ({float(low[i]):.4f} to "
                f"{float(high[i]):.4f}), measured {truth.loss(name)[i]:.4f}"
            )
    print(f"critical share: predicted {centre:.3f}, measured {crossing(shares, truth.loss('code'), ceiling)}")
    print(f"{time.process_time() - clock:.0f} CPU-s in this call")


def crossing(shares: list[float], losses: np.ndarray, ceiling: float) -> str:
    """Where a line between neighbours meets the ceiling, in words."""
    over = losses > ceiling
    if over.all() or not over.any():
        return f"{'below' if over.all() else 'above'} {shares[0 if over.all() else -1]:.3f}"
    i = int(over.argmax())
    if i == 0:
        return "not a rising curve"
    part = (ceiling - losses[i - 1]) / (losses[i] - losses[i - 1])
    return f"{shares[i - 1] + cast(float, part) * (shares[i] - shares[i - 1]):.3f}"


if __name__ == "__main__":
    main()
