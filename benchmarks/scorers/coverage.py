"""How far chance decides `coverage`: python benchmarks/scorers/coverage.py [--large 50000] [--only SPEC]

Handwritten digits of scikit-learn (1,797 x 64), scored by `curate.score` with five seeds. The fifth with the highest
scores is kept. Common: share of the kept rows that two seeds have in common, mean of ten pairs (20 % by chance).
Accuracy: a logistic regression on the kept rows of half of the images, tested on the other half, mean of five halves;
the last line keeps rows at random. With ``--large``: so many unit vectors of 384 numbers, one seed, with the note that
the user sees.
"""

import argparse
import os
import tempfile
import time
from itertools import combinations
from pathlib import Path

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
from embedding_scorers import write
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from curate.scoring.score import score

KEEP, SEEDS = 0.2, 5
# The defaults until 2026-11-29 were 100 planes of 1,000 probes.
SPECS = ("coverage", "coverage:planes=100,probes=1000", "coverage:planes=1000,probes=1000", "coverage:near=100")


def scored(frame: pl.DataFrame, spec: str, seed: int) -> tuple[np.ndarray, float]:
    """Return the scores of the rows, and the CPU-seconds of the job."""
    with tempfile.TemporaryDirectory() as name:
        began = time.process_time()
        option = f"{spec}{',' if ':' in spec else ':'}embedding=emb.x,seed={seed}"
        scores = score(frame, option, Path(name) / "out").scores().collect()["score.coverage"].to_numpy()
        return scores, time.process_time() - began


def kept(scores: np.ndarray) -> np.ndarray:
    return np.argsort(-scores, kind="stable")[: round(KEEP * len(scores))]


def frame_of(x: np.ndarray) -> pl.DataFrame:
    vectors = pl.Series("emb.x", x.astype(np.float32), dtype=pl.Array(pl.Float32, x.shape[1]))
    return pl.DataFrame({"id": [str(i) for i in range(len(x))]}).with_columns(vectors)


def accuracy(x: np.ndarray, y: np.ndarray, spec: str) -> list[float]:
    """Return the accuracy in percent of models trained on the kept rows, one for each half of the images."""
    values = []
    for half in range(SEEDS):
        order = np.random.default_rng(half).permutation(len(y))
        train, test = order[: len(y) // 2], order[len(y) // 2 :]
        chance = np.random.default_rng(100 + half).random(len(train))
        best = train[kept(chance if spec == "random" else scored(frame_of(x[train]), spec, half)[0])]
        model = LogisticRegression(max_iter=500, tol=1e-3).fit(x[best] / 16, y[best])
        values.append(100 * float(model.score(x[test] / 16, y[test])))
    return values


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--large", type=int, default=0)
    parser.add_argument("--only", default="", help="a part of a spec")
    arguments = parser.parse_args()
    x, y = load_digits(return_X_y=True)
    print(f"{'digits, 1,797 x 64':40}{'common':>9}{'CPU s':>8}{'accuracy':>16}")
    for spec in (*SPECS, "random"):
        if arguments.only not in spec:
            continue
        common = cpu = ""
        if spec != "random":
            runs = [scored(frame_of(x), spec, seed) for seed in range(SEEDS)]
            shares = [
                len(np.intersect1d(kept(a), kept(b))) / round(KEEP * len(x)) for (a, _), (b, _) in combinations(runs, 2)
            ]
            common, cpu = f"{np.mean(shares):.0%}", f"{np.mean([seconds for _, seconds in runs]):.1f}"
        values = accuracy(x, y, spec)
        told = f"{np.mean(values):.1f} +-{np.std(values, ddof=1) / len(values) ** 0.5:.1f}"
        print(f"{spec:40}{common:>9}{cpu:>8}{told:>16}", flush=True)
    if arguments.large:
        with tempfile.TemporaryDirectory() as name:
            write(Path(name) / "docs", arguments.large)
            began = time.process_time()
            result = score([f"{name}/docs"], "coverage:embedding=emb.x", Path(name) / "out")
            print(f"\n{arguments.large:,} x 384: {time.process_time() - began:.0f} CPU-s\n" + "\n".join(result.notes))


if __name__ == "__main__":
    main()
