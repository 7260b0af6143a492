"""Make one vector of the vectors of a text's tokens, in the ways of sentence-transformers."""

from collections.abc import Callable, Mapping, Sequence

import numpy as np

# The names that sentence-transformers gives to its ways, in the order in which it joins the vectors of several.
LEGACY_NAMES: Mapping[str, str] = {
    "pooling_mode_cls_token": "cls",
    "pooling_mode_max_tokens": "max",
    "pooling_mode_mean_tokens": "mean",
    "pooling_mode_mean_sqrt_len_tokens": "mean_sqrt_len_tokens",
    "pooling_mode_weightedmean_tokens": "weightedmean",
    "pooling_mode_lasttoken": "lasttoken",
}


def _mean(states: np.ndarray) -> np.ndarray:
    return np.asarray(states.mean(axis=0))


def _mean_of_square_root(states: np.ndarray) -> np.ndarray:
    return np.asarray(states.sum(axis=0) / np.sqrt(len(states)))


def _weighted_mean(states: np.ndarray) -> np.ndarray:
    """Return the mean in which token i of 1 to t has the weight i."""
    weights = np.arange(1.0, len(states) + 1)
    return np.asarray(weights @ states / weights.sum())


WAYS: Mapping[str, Callable[[np.ndarray], np.ndarray]] = {
    "cls": lambda states: states[0],
    "max": lambda states: states.max(axis=0),
    "mean": _mean,
    "mean_sqrt_len_tokens": _mean_of_square_root,
    "weightedmean": _weighted_mean,
    "lasttoken": lambda states: states[-1],
}


def pooled(states: np.ndarray, ways: Sequence[str]) -> np.ndarray:
    """Return the vector of a text, (k d,) float64, from the vectors of its t tokens, (t, d), in k ways."""
    wide = states.astype(np.float64)
    return np.concatenate([WAYS[way](wide) for way in ways])


def unit(vectors: np.ndarray) -> np.ndarray:
    """Return (n, d) vectors at unit length. A zero vector stays zero."""
    norms = np.sqrt((vectors**2).sum(axis=1, keepdims=True))
    return np.asarray(vectors / np.where(norms > 0, norms, 1))
