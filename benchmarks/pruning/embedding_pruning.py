"""What to keep by scores of embeddings: python benchmarks/pruning/embedding_pruning.py

Handwritten digits of scikit-learn (1,797 images, 64 pixels, the encoder ``pixels``). Half of the images are scored and
pruned, the other half tests a logistic regression; ten random halves. Accuracy in points, mean and standard error over
the halves of the difference to a random choice of as many. Best: largest scores first; last: smallest first.
"""

import os

os.environ["OMP_NUM_THREADS"] = "1"

import numpy as np
import polars as pl
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

from curate import open_sets
from curate.encoders.pixels import Pixels
from curate.tables.batches import keys

KEEP, HALVES = (0.6, 0.2, 0.05), 10
SCORERS = {
    "prototypes": {"k": 10},
    "class_prototypes": {},
    "moderate": {},
    "semdedup": {"epsilon": 0.5, "k": 10},
    "coverage": {},
    "d2": {"near": 5},
}


def scores(frame: pl.DataFrame) -> dict[str, np.ndarray]:
    values = {}
    for name, options in SCORERS.items():
        scorer = open_sets.module("scorers", name).learn(
            lambda needs, held=frame: iter([held.select("id", *needs)]), embedding="emb.pixels", **options
        )
        frame = frame.hstack(scorer(frame))
        values[name] = frame[f"score.{name}"].to_numpy()
    return values


def gained(images: np.ndarray, y: np.ndarray, half: int) -> dict[tuple[str, float], float]:
    """Points over a random choice of as many, by score, end and share, in one half of the images."""
    order = np.random.default_rng(half).permutation(len(y))
    train, test = order[: len(y) // 2], order[len(y) // 2 :]
    vectors = pl.Series("emb.pixels", images[train], dtype=pl.Array(pl.Float32, 64))
    frame = pl.DataFrame({"id": [str(i) for i in train], "label": y[train]}).with_columns(vectors)
    ties, gains = keys(frame["id"], half), {}

    def accuracy(score: np.ndarray, share: float) -> float:
        kept = train[np.lexsort((ties, -score))[: round(share * len(train))]]
        model = LogisticRegression(max_iter=200, tol=1e-3).fit(images[kept], y[kept])
        return 100 * float(model.score(images[test], y[test]))

    scores_of = scores(frame)
    for share in KEEP:
        chance = float(np.mean([accuracy(np.random.default_rng(seed).random(len(train)), share) for seed in range(3)]))
        gains["random, accuracy", share] = chance
        for name, score in scores_of.items():
            gains[f"{name}, best", share] = accuracy(score, share) - chance
            gains[f"{name}, last", share] = accuracy(-score, share) - chance
    return gains


def main() -> None:
    x, y = load_digits(return_X_y=True)
    images = Pixels(64).encode([bytes((16 * i).clip(0, 255).astype(np.uint8)) for i in x])
    halves = [gained(images, y, half) for half in range(HALVES)]
    print(f"{'kept':28}" + "".join(f"{f'{share:.0%}':>16}" for share in KEEP))
    for row in dict.fromkeys(name for name, _ in halves[0]):
        cells = [np.array([gains[row, share] for gains in halves]) for share in KEEP]
        print(f"{row:28}" + "".join(f"{c.mean():+10.1f} ±{c.std(ddof=1) / len(c) ** 0.5:4.1f}" for c in cells))


if __name__ == "__main__":
    main()
