"""Choose among three sources of labelled images, from samples and eight small trainings.

Usage: python examples/select_sources.py
"""

import numpy as np
import polars as pl
from sklearn.datasets import load_digits
from sklearn.linear_model import LogisticRegression

import curate

rng = np.random.default_rng(0)

# Data. The handwritten digits that come with scikit-learn. A third is the target, which we only test on.
images, labels = load_digits(return_X_y=True)
images = (images / 16).astype(np.float32)
order = rng.permutation(len(labels))
test, stock = order[:600], order[600:]


def table(rows: np.ndarray, classes: np.ndarray) -> pl.DataFrame:
    """Return images and labels as columns."""
    return pl.DataFrame({"emb.pixels": pl.Series(images[rows], dtype=pl.Array(pl.Float32, 64)), "label": classes})


# Sources. One has the digits 0 to 4, one has the digits 5 to 9, and one has all digits with half of the labels wrong.
low, high = stock[labels[stock] < 5][:250], stock[labels[stock] >= 5][:250]
noisy = stock[-250:]
wrong = np.where(rng.random(250) < 0.5, rng.integers(0, 10, 250), labels[noisy])
sources = {"low": table(low, labels[low]), "high": table(high, labels[high]), "noisy": table(noisy, wrong)}


def accuracy(shares: np.ndarray, size: int) -> float:
    """Train on a mixture of the sources, and return the accuracy on the target."""
    counts = np.round(shares * size).astype(int)
    sample = pl.concat(part.sample(n, seed=size) for part, n in zip(sources.values(), counts, strict=True))
    model = LogisticRegression(max_iter=500).fit(sample["emb.pixels"].to_numpy(), sample["label"].to_numpy())
    return float(model.score(images[test], labels[test]))


# Pilots. Eight random mixtures of 120 examples.
mixtures = rng.dirichlet([1, 1, 1], 8)
runs = pl.DataFrame({"run": [f"pilot-{i}" for i in range(8)], "params": 650.0, "tokens": 120.0})
runs = runs.with_columns(pl.Series(f"weight.{name}", mixtures[:, i]) for i, name in enumerate(sources))
runs = runs.with_columns(pl.Series("metric.accuracy", [accuracy(shares, 120) for shares in mixtures]))

# Selection. The mixture with the best predicted accuracy for 240 examples.
selection = curate.select(sources, target=table(test, labels[test]), runs=runs, eval="accuracy", budget=240)
print(selection.table())

# Result. Both mixtures trained with 240 examples.
shares = dict(selection.table().select("source", "share").iter_rows())
chosen = np.array([shares[name] for name in sources])
print(f"accuracy: chosen {accuracy(chosen, 240):.3f}, uniform {accuracy(np.ones(3) / 3, 240):.3f}")
