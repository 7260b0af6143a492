"""Check samples of sources and of a target, and thin them to a size that transport can handle.

In: `Samples` by source. Out: the rows that are kept, or a `SchemaError` that says which sample is unusable and why.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from curate.errors import SchemaError


@dataclass(frozen=True, eq=False, repr=False)
class Samples:
    """Samples of one source or of the target.

    ``features`` are (n, d). ``labels`` (n,) may be of any kind that can be sorted, or None where they are not known.
    """

    features: np.ndarray
    labels: np.ndarray | None = None

    def __len__(self) -> int:
        """Return n."""
        return len(self.features)

    def __repr__(self) -> str:
        """Return the size in one line."""
        labels = "no labels" if self.labels is None else f"{len(np.unique(self.labels))} classes"
        return f"Samples({len(self)} x {self.features.shape[-1]}, {labels})"


def check(name: str, cloud: Samples, target: Samples) -> None:
    """Stop if samples cannot be compared with the target. ``name`` says in the message whose samples they are.

    Raises:
        SchemaError: for features of another shape or width, too few samples, NaN, or samples that are all equal.
    """
    x = cloud.features
    if x.ndim != 2 or x.shape[1] == 0:
        raise SchemaError(f"{name}: features have shape {x.shape}, need (samples, width)")
    if x.shape[1] != target.features.shape[-1]:
        raise SchemaError(
            f"{name}: {x.shape[1]} features, the target has {target.features.shape[-1]}: use one encoder for all"
        )
    if len(x) < 2:
        raise SchemaError(f"{name}: {len(x)} samples tell nothing about a distribution: give at least 2, better 100")
    bad = ~np.isfinite(x).all(axis=1)
    if bad.any():
        first = int(np.argmax(bad))
        raise SchemaError(
            f"{name}: {int(bad.sum())} of {len(x)} samples have NaN or infinite features, first row {first}: drop or "
            "re-encode them"
        )
    if (x == x[0]).all():
        raise SchemaError(
            f"{name}: all {len(x)} samples have the same features: the encoder saw no difference, or rows are copies"
        )
    if cloud.labels is not None and len(cloud.labels) != len(x):
        raise SchemaError(f"{name}: {len(cloud.labels)} labels for {len(x)} samples: give each sample one label")


def use_labels(clouds: Mapping[str, Samples], labels: bool | None) -> bool:
    """Return whether the cost uses labels: always, never, or (None) where all sides have them.

    Raises:
        SchemaError: if labels are wanted and one side has none, or if only some sides have them and nothing is said.
    """
    labelled = [name for name, cloud in clouds.items() if cloud.labels is not None]
    unlabelled = [name for name in clouds if name not in labelled]
    if labels is None and labelled and unlabelled:
        raise SchemaError(
            f"{unlabelled[0]} has no labels and {labelled[0]} has: give labels on every side, or set labels=False"
        )
    if labels and unlabelled:
        raise SchemaError(f"{unlabelled[0]} has no labels: give them, or set labels=False for a cost of features alone")
    return bool(labelled) if labels is None else labels


def allot(sizes: Sequence[int], limit: int) -> list[int]:
    """Return the number of samples to keep of each source: even shares of ``limit``.

    What a small source does not use goes to the larger ones.
    """
    counts, remaining = [0] * len(sizes), limit
    smallest_first = sorted(range(len(sizes)), key=lambda i: sizes[i])
    for served, i in enumerate(smallest_first):
        counts[i] = min(sizes[i], max(2, remaining // (len(sizes) - served)))
        remaining -= counts[i]
    return counts


def class_codes(cloud: Samples) -> np.ndarray:
    """Return the labels (n,) as integers from 0."""
    assert cloud.labels is not None
    return np.unique(cloud.labels, return_inverse=True)[1].reshape(-1).astype(np.int64)


def thin(cloud: Samples, count: int, stratify: bool, rng: np.random.Generator) -> np.ndarray:
    """Return the rows to keep, sorted, at most ``count``. With ``stratify``, classes keep their proportions."""
    n = len(cloud)
    if n <= count:
        return np.arange(n)
    order = rng.permutation(n)
    # Systematic sampling (every n/count-th row from a random start) of rows sorted by class keeps proportions.
    if stratify:
        order = order[np.argsort(class_codes(cloud)[order], kind="stable")]
    picks = ((np.arange(count) + rng.random()) * n / count).astype(np.int64)
    return np.sort(order[picks])
