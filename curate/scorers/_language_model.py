"""Apply py3langid's model of 140 languages to many texts at once.

In: texts. Out: the probability of every language for each text.

The model is naive Bayes over byte n-grams (Lui and Baldwin 2012). An automaton reads a text byte by byte; each state
may count one feature, an n-gram that ends there. py3langid walks the automaton in a Python loop. Here thousands of
segments of the texts take each step together, in numpy.
"""

import unicodedata
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from importlib import import_module
from typing import Protocol, cast

import numpy as np
from scipy.sparse import csr_matrix

REQUIRES = "py3langid"  # a package that is not installed with curate itself
BLOCK = 1 << 20  # bytes that are walked at a time; their states take 4 MB
# Bytes of a segment: 4,096 segments of a block take a step together, so that the cost of calling numpy is small beside
# the work. Shorter segments would repeat more bytes, because each begins a few bytes early.
SEGMENT = 256
# A byte that UTF-8 never has, and that leads to the first state from every other. It separates texts.
SEPARATOR = 0xFF
# Sums of float32 are split into runs of this many features, which are added as float64. The largest error of a
# probability is then about 5e-6; py3langid's own is up to 3e-4, because it adds thousands of float32.
RUN = 256


class Identifier(Protocol):
    """The parts of py3langid's LanguageIdentifier that hold its model: c classes, f features and s states."""

    nb_classes: Sequence[str]  # (c,) language of each class; two languages have two classes, one for each script
    nb_pc: np.ndarray  # (c,) log probability of a class
    nb_ptc: np.ndarray  # (f, c) log probability of a feature in a class
    tk_nextmove: Sequence[int]  # (rows x 256,) the state that each byte leads to
    tk_row: Sequence[int]  # (s,) the row of each state in ``tk_nextmove``
    tk_output: Sequence[int]  # (s,) the feature that each state counts, or -1


@dataclass(frozen=True)
class LangidModel:
    """The tables of the model, for c classes, f features and s states.

    ``classes`` (c,) names the language of each class, and ``prior`` (c,) float64 its log probability. ``weights`` (f,
    c) float32 has the log probability of a feature in a class, less its mean over the classes: the mean changes no
    probability of a language, and without it the sums are smaller and so more exact.

    From state i, byte b leads to ``next_states[rows[i] + b]``. State i counts feature ``features[i]``, or none if it is
    -1. A state depends on at most ``memory`` bytes, the last ones.
    """

    classes: tuple[str, ...]
    prior: np.ndarray
    weights: np.ndarray
    next_states: np.ndarray
    rows: np.ndarray
    features: np.ndarray
    memory: int

    @property
    def languages(self) -> list[str]:
        """Codes of the languages, in order."""
        return sorted(set(self.classes))

    def probabilities(self, texts: Sequence[str], language: str) -> np.ndarray:
        """Return the probability that each of n texts is in a language, (n,) float64; 0 for a blank text.

        A text has the same probability in every batch.
        """
        if not texts:
            return np.zeros(0)
        raw = [_bytes(text) for text in texts]
        sizes = np.array([len(part) for part in raw])
        # with the temperature sqrt(bytes), long texts are not all certain
        logits = self._scores(raw, sizes) / np.sqrt(np.maximum(sizes, 1))[:, None]
        shares = np.exp(logits - logits.max(axis=1, keepdims=True))
        chosen = [i for i, name in enumerate(self.classes) if name == language]
        blank = np.array([not text.strip() for text in texts])
        return np.where(blank, 0.0, shares[:, chosen].sum(axis=1) / shares.sum(axis=1))

    def most_likely(self, texts: Sequence[str]) -> list[str]:
        """Return the code of the likeliest language of each text; empty for a blank text."""
        if not texts:
            return []
        raw = [_bytes(text) for text in texts]
        best = self._scores(raw, np.array([len(part) for part in raw])).argmax(axis=1)
        return [self.classes[i] if text.strip() else "" for i, text in zip(best, texts, strict=True)]

    def _scores(self, raw: Sequence[bytes], sizes: np.ndarray) -> np.ndarray:
        """Return the log score of every class for n texts, (n, c) float64; zeros for a text without features."""
        features, counts, begins = self._counts(raw, sizes)
        scores = np.zeros((len(raw), len(self.classes)))
        with_features = np.flatnonzero(np.diff(begins))
        if not len(with_features):
            return scores
        runs_of_texts = -(-np.diff(begins)[with_features] // RUN)
        first_runs = np.cumsum(runs_of_texts) - runs_of_texts
        # Run i of a text begins i * RUN features after the first one of the text.
        number = np.arange(runs_of_texts.sum()) - np.repeat(first_runs, runs_of_texts)
        runs = np.append(np.repeat(begins[with_features], runs_of_texts) + RUN * number, len(features))
        values = np.log1p(counts.astype(np.float32))
        sums = csr_matrix((values, features, runs), shape=(len(runs) - 1, len(self.weights)))
        totals = np.add.reduceat((sums @ self.weights).astype(np.float64), first_runs, axis=0)
        scores[with_features] = totals + self.prior
        return scores

    def _counts(self, raw: Sequence[bytes], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return the features of all texts, each once for a text and sorted, and how often each occurs in the text.

        The third array is ``begins``: the features of text i lie from place ``begins[i]`` up to ``begins[i + 1]``.
        """
        separator = bytes([SEPARATOR])
        buffer = np.frombuffer(separator.join([separator * (self.memory - 1), *raw, b""]), np.uint8)
        ends = np.concatenate(([0], np.cumsum(sizes + 1)))  # of texts with their separators
        width = len(self.weights)
        # A key is a text and a feature. Sorting is faster with the smallest type that holds all keys.
        key_type = np.min_scalar_type((len(raw) + 1) * width)
        text_keys = (np.arange(len(raw) + 1) * width).astype(key_type)
        blocks = []
        for low in range(0, int(ends[-1]), BLOCK):
            block_ends = np.clip(ends, low, low + BLOCK)
            features = self._walk(buffer[low : block_ends[-1] + self.memory])
            counted = np.flatnonzero(features >= 0)
            sizes_of_texts = np.diff(np.searchsorted(counted, block_ends - low))
            keys = np.repeat(text_keys[:-1], sizes_of_texts)
            keys += features[counted].astype(key_type)
            blocks.append(np.unique_counts(keys))
        keys, counts = blocks[0] if len(blocks) == 1 else _added(blocks)
        begins = np.searchsorted(keys, text_keys)
        keys -= np.repeat(text_keys[:-1], np.diff(begins))
        return keys.astype(np.int32), counts, begins

    def _walk(self, buffer: np.ndarray) -> np.ndarray:
        """Return the feature counted at each byte after the first ``memory`` ones, (b - memory,) int32, or -1.

        Every segment starts ``memory`` bytes early from the first state, so that it reaches its first byte in the state
        that a walk from the beginning would have.
        """
        size = len(buffer) - self.memory
        segments = -(-size // SEGMENT)
        padded = np.full(self.memory + segments * SEGMENT, SEPARATOR, np.uint8)
        padded[: len(buffer)] = buffer
        windows = np.lib.stride_tricks.sliding_window_view(padded, self.memory + SEGMENT)[::SEGMENT]
        steps = np.ascontiguousarray(windows.T)
        states = np.zeros((len(steps) + 1, segments), np.int32)
        places = np.empty(segments, np.int64)
        for i, step in enumerate(steps):
            # "clip" only skips the check of bounds
            np.take(self.rows, states[i], out=places, mode="clip")
            places += step
            np.take(self.next_states, places, out=states[i + 1], mode="clip")
        return np.asarray(self.features[states[self.memory + 1 :].T.ravel()[:size]])


def _bytes(text: str) -> bytes:
    """Return the bytes that py3langid reads: UTF-8 in the form NFC; a text of upper case is lowered."""
    lowered = text.lower() if text.isupper() else text
    return (lowered if lowered.isascii() else unicodedata.normalize("NFC", lowered)).encode()


def _added(blocks: Sequence[tuple[np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return the distinct keys of all blocks, and the sum of the counts of each."""
    keys, places = np.unique_inverse(np.concatenate([keys for keys, _ in blocks]))
    counts = np.zeros(len(keys), np.int64)
    np.add.at(counts, places, np.concatenate([counts for _, counts in blocks]))
    return keys, counts


# loaded once in each process; a scorer that is sent to workers stays small
@cache
def load() -> LangidModel:
    """Read the model from the installed package."""
    langid = import_module(f"{REQUIRES}.langid")
    identifier = cast(Identifier, langid.LanguageIdentifier.from_model_file(langid.MODEL_FILE))
    weights = identifier.nb_ptc.astype(np.float32)
    weights -= weights.mean(axis=1, keepdims=True, dtype=np.float64)
    next_states = np.asarray(identifier.tk_nextmove).astype(np.int32)
    rows = np.asarray(identifier.tk_row).astype(np.int64) * 256
    return LangidModel(
        classes=tuple(identifier.nb_classes),
        prior=identifier.nb_pc.astype(np.float64),
        weights=weights,
        next_states=next_states,
        rows=rows,
        features=np.asarray(identifier.tk_output, np.int32),
        memory=sum(1 for _ in _depths(next_states, rows)),
    )


def _depths(next_states: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the states that are at least 1 byte, 2 bytes, ... away from the first state.

    The automaton is that of Aho and Corasick (1975): a state that takes d bytes to reach depends on the last d bytes.
    """
    by_row = next_states.reshape(-1, 256)
    reached = np.zeros(len(rows), bool)
    reached[0] = True
    states = np.zeros(1, np.int64)
    while len(states):
        following = np.zeros(len(rows), bool)
        following[by_row[np.unique(rows[states]) // 256]] = True
        states = np.flatnonzero(following & ~reached)
        reached[states] = True
        if len(states):
            yield states
