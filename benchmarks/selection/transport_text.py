"""Choosing text sources by transport, with real trainings: ``benchmarks/selection/transport_text.py [--out
runs.parquet]``.

Four kinds of text of the running Python (code, tests, prose, tables) are mixed into four sources; the target is half
prose, half code, and no source is like it. Vectors are hashed words (`curate.encoders.hashed`), without labels. A byte
transformer is trained on 24 mixtures at 20,000 and 40,000 bytes (the pilots) and at 160,000 (the truth), one seed each;
what `curate select` recommends, with and without pilots, is trained at 160,000 as well. About 2 CPU-minutes
on a free core; the trainings are kept in --out. Protocol and sizes were written before the first run.
"""

import argparse
import os
import tempfile
import time
from pathlib import Path

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import polars as pl
import torch
from scipy.stats import spearmanr
from trials import spread

from curate.encoders.hashed import Hashed
from curate.planning.limits import NO_LIMITS
from curate.pool.pool import Budget, Pool
from curate.runs.recipes import recipes
from curate.selection.choose_mixture import choose_mixture
from curate.selection.mixture_distance import MixtureDistance
from curate.selection.purchase import Pilots, Purchase
from curate.trainers.tiny import Tiny
from curate.transport.ground_cost import Samples, TransportProblem, problem
from pipelines.demo import python_text

KINDS = ("code", "tests", "prose", "tables")
SOURCES = {"a": (0.7, 0.3, 0.0, 0.0), "b": (0.0, 0.1, 0.7, 0.2), "c": (0.1, 0.5, 0.0, 0.4), "d": (0.2, 0.2, 0.2, 0.4)}
TARGET = (0.5, 0.0, 0.5, 0.0)  # shares of bytes, as above
BYTES, TARGET_BYTES = 150_000, 48_000  # of each source and of the target
SIZES, LARGE = (20_000, 40_000), 160_000
PARAMS = 30_000.0
MIXTURES, SAMPLES, WIDTH = 24, 300, 128


def documents(folder: Path) -> dict[str, list[str]]:
    """Documents by kind, shuffled."""
    python_text.write(folder / "rows", folder / "target", 0, scale=4.0)
    by_kind = {}
    for kind in KINDS:
        parts = [pl.read_parquet(file)["text"] for file in sorted((folder / "rows" / f"source={kind}").glob("*"))]
        texts = pl.concat(parts).to_list()
        by_kind[kind] = [texts[i] for i in np.random.default_rng(0).permutation(len(texts))]
    return by_kind


def take(remaining: dict[str, list[str]], shares: tuple[float, ...], size: int) -> list[str]:
    """Take documents that nobody has, about ``size`` bytes by shares of kinds; shuffled."""
    taken = []
    for kind, share in zip(KINDS, shares, strict=True):
        room = share * size
        while room > 0:
            if not remaining[kind]:
                raise SystemExit(f"too little {kind} in this Python's library: {room:,.0f} bytes are missing")
            taken.append(remaining[kind].pop())
            room -= len(taken[-1].encode())
    return [taken[i] for i in np.random.default_rng(1).permutation(len(taken))]


def losses(tiny: Tiny, weights: np.ndarray, size: float) -> float:
    shares = dict(zip(SOURCES, weights.tolist(), strict=True))
    return tiny.train(shares, Budget(size, PARAMS), seed=0)["target"]


def trained(tiny: Tiny, w: np.ndarray, out: Path) -> np.ndarray:
    """(m, sizes) losses at SIZES and LARGE, trained or read."""
    if not out.is_file():
        table = [[losses(tiny, row, size) for size in (*SIZES, LARGE)] for row in w]
        out.parent.mkdir(parents=True, exist_ok=True)
        pl.DataFrame(table, schema=[f"{size}" for size in (*SIZES, LARGE)], orient="row").write_parquet(out)
    return pl.read_parquet(out).to_numpy()


def cost(samples: TransportProblem, w: np.ndarray, loss: np.ndarray) -> None:
    print(f"{'distance':<12}{'rank correlation with the loss':>34}{'nearest mixture loses':>24}")
    for kind in ("transport", "sliced", "energy"):
        d = MixtureDistance(samples, kind=kind)(torch.from_numpy(w)).numpy()
        print(f"{kind:<12}{float(spearmanr(d, loss).statistic):>34.2f}{loss[d.argmin()] - loss.min():>24.3f}")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, default=Path("transport-text/runs.parquet"))
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    begun = time.process_time()
    with tempfile.TemporaryDirectory() as folder:
        remaining = documents(Path(folder))
    goal = take(remaining, TARGET, TARGET_BYTES)
    sources = {name: take(remaining, shares, BYTES) for name, shares in SOURCES.items()}
    encode = Hashed(WIDTH).encode
    samples = problem(
        {name: Samples(encode(texts[:SAMPLES])) for name, texts in sources.items()}, Samples(encode(goal))
    )
    held_out, seen = (
        {name: np.frombuffer("\n".join(texts).encode(), np.uint8) for name, texts in part.items()}
        for part in ({"target": goal}, sources)
    )
    tiny, w = Tiny(seen, held_out), spread(len(SOURCES), MIXTURES)
    table = trained(tiny, w, arguments.out)
    loss = table[:, -1]
    print(f"{MIXTURES} mixtures x {(*SIZES, LARGE)} bytes; {time.process_time() - begun:.0f} CPU-s\n")
    cost(samples, w, loss)
    offers = tuple(Pool(name, float(LARGE), LARGE) for name in SOURCES)
    purchase = Purchase(offers, Budget(float(LARGE), PARAMS), NO_LIMITS)
    counts = np.repeat(SIZES, MIXTURES).astype(float)
    pilot_recipes = recipes(np.tile(w, (len(SIZES), 1)), counts, np.full(len(counts), PARAMS))
    pilots = Pilots(pilot_recipes, table[:, : len(SIZES)].T.reshape(-1), 0.0, "loss.target")
    print(f"\n{'taken at ' + f'{LARGE:,} bytes':<42}{'shares':<28}{'loss':>8}{'predicted':>24}")
    for title, small_runs in (("ours, no trainings", None), ("ours, 24 pilots x 2 sizes", pilots)):
        choice = choose_mixture(samples, purchase, pilots=small_runs)
        shares = np.array([choice.plan.weights[name] for name in SOURCES])
        predicted = (
            "" if small_runs is None else f"{choice.plan.loss:.3f} ({choice.plan.low:.3f} to {choice.plan.high:.3f})"
        )
        row(f"{title}: {choice.chosen}", shares, losses(tiny, shares, LARGE), predicted)
    best = int(table[:, len(SIZES) - 1].argmin())
    for title, mixture in (
        ("uniform, proportional", 0),
        ("best pilot", best),
        ("best of 24, known afterwards", loss.argmin()),
    ):
        row(title, w[mixture], loss[mixture], "")
    print(f"{'mean of the 24':<70}{loss.mean():>8.3f}\n{'worst of 24':<70}{loss.max():>8.3f}")
    print(f"{time.process_time() - begun:.0f} CPU-s")


def row(title: str, shares: np.ndarray, loss: float, predicted: str) -> None:
    print(f"{title:<42}{' '.join(f'{x:.2f}' for x in shares):<28}{loss:>8.3f}{predicted:>24}", flush=True)


if __name__ == "__main__":
    main()
