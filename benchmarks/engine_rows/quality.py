"""What the scores are worth: recall of planted duplicates, the k-means objective, and how well languages are told."""

from pathlib import Path

import numpy as np
import polars as pl
from sklearn.cluster import MiniBatchKMeans
from sklearn.metrics import roc_auc_score

LEVELS = (0.0, 0.01, 0.02, 0.03, 0.04)  # shares of changed words at which recall is counted


def scores(out: Path) -> pl.DataFrame:
    """Return all scores of a folder."""
    return pl.concat([pl.read_parquet(path) for path in sorted(out.rglob("*.scores.parquet"))])


def recall(out: Path, planted: Path) -> list[tuple[str, str]]:
    """Return how many planted copies were merged with their text, by the share of their words that is changed.

    A planted pair is found if at most one of the two texts counts as original. The level of a found pair is the score
    of the one that was merged: 1 minus its Jaccard similarity.
    """
    values = scores(out).select("id", "score.duplicates")
    pairs = pl.read_parquet(planted)
    pairs = pairs.join(values, on="id").join(values, left_on="original", right_on="id", suffix=".original")
    lowest = pl.min_horizontal("score.duplicates", "score.duplicates.original").alias("level")
    pairs = pairs.with_columns(lowest)
    rows = []
    for low, high in zip((-1.0, *LEVELS), LEVELS, strict=False):
        part = pairs.filter((pl.col("changed") > low) & (pl.col("changed") <= high))
        if part.height:
            found = part.filter(pl.col("level") < 1)
            name = "exact copies" if high == 0 else f"{max(low, 0):.0%} to {high:.0%} of words changed"
            level = found["level"].mean()
            shown = "none" if level is None else f"{level:.3f}"
            rows.append((name, f"recall {found.height / part.height:.3f} of {part.height}, mean level {shown}"))
    alone = values.join(pairs.select("id"), on="id", how="anti").join(
        pairs.select(id="original").unique(), on="id", how="anti"
    )
    merged = alone.filter(pl.col("score.duplicates") < 1).height
    rows.append(("texts without a planted copy", f"{merged} of {alone.height} merged"))
    return rows


def objective(out: Path, column: str, cluster: str, k: int) -> tuple[float, float]:
    """Return the mean squared distance to the centre of the own cluster: of our clusters, and of MiniBatchKMeans."""
    frame = scores(out).select(column, cluster)
    vectors = _unit(frame[column].to_numpy())
    ours = _mean_distance(vectors, frame[cluster].to_numpy())
    labels = MiniBatchKMeans(k, random_state=0, n_init=3, batch_size=4096).fit_predict(vectors)
    return ours, _mean_distance(vectors, labels)


def vectors(out: Path, column: str, path: Path) -> None:
    """Save the vectors of a folder of scores for the peers, each of length 1."""
    np.save(path, _unit(scores(out)[column].to_numpy()))


def _unit(values: np.ndarray) -> np.ndarray:
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)


def _mean_distance(vectors: np.ndarray, labels: np.ndarray) -> float:
    total = 0.0
    for label in np.unique(labels):
        members = vectors[labels == label]
        total += float(((members - members.mean(0)) ** 2).sum())
    return total / len(vectors)


def language_auc(out: Path) -> float:
    """Return the AUC of `score.language` for texts whose id begins with ``en-`` against all others."""
    frame = scores(out)
    return float(roc_auc_score(frame["id"].str.starts_with("en-").to_numpy(), frame["score.language"].to_numpy()))


def rank_correlation(out: Path, other: Path, column: str) -> float:
    """Return Spearman's correlation of a score in two folders."""
    both = scores(out).select("id", column).join(scores(other).select("id", column), on="id", suffix=".other")
    return float(both.select(pl.corr(column, f"{column}.other", method="spearman")).item())
