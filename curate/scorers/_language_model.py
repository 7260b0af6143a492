"""py3langid's model of 140 languages, applied to many texts at once.

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

    The automaton is a table (r x 256,): each state has a row, and byte b of the text stands at place row + b. There,
    ``next_rows`` int64 is the row of the next state, and ``features`` is the feature that this state counts, or -1. The
    first state has the row ``first_row``. A state depends on at most ``memory`` bytes, the last ones.
    """

    classes: tuple[str, ...]
    prior: np.ndarray
    weights: np.ndarray
    next_rows: np.ndarray
    features: np.ndarray
    first_row: int
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

    def _scores(self, raw: Sequence[bytes], sizes: np.ndarray) -> np.ndarray:
        """Return the log score of every class for n texts, (n, c) float64; zeros for a text without features."""
        owners, features, counts = self._counts(raw, sizes)
        scores = np.zeros((len(raw), len(self.classes)))
        if not len(owners):
            return scores
        places = np.arange(len(owners))
        begins = np.searchsorted(owners, np.arange(len(raw)))
        runs = np.flatnonzero((places - begins[owners]) % RUN == 0)
        values = np.log1p(counts.astype(np.float32))
        sums = csr_matrix((values, features, np.append(runs, len(owners))), shape=(len(runs), len(self.weights)))
        first_runs = np.flatnonzero(np.diff(owners[runs], prepend=-1))
        totals = np.add.reduceat((sums @ self.weights).astype(np.float64), first_runs, axis=0)
        scores[owners[runs][first_runs]] = totals + self.prior
        return scores

    def _counts(self, raw: Sequence[bytes], sizes: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """Return three arrays: a text, a feature of it, and how often it occurs; sorted by text and feature."""
        separator = bytes([SEPARATOR])
        buffer = np.frombuffer(separator.join([separator * (self.memory - 1), *raw, b""]), np.uint8)
        ends = np.concatenate(([0], np.cumsum(sizes + 1)))  # of texts with their separators
        width = len(self.weights)
        blocks = []
        for low in range(0, int(ends[-1]), BLOCK):
            block_ends = np.clip(ends, low, low + BLOCK)
            features = self._walk(buffer[low : block_ends[-1] + self.memory])
            owners = np.repeat(np.arange(len(raw)), np.diff(block_ends))
            counted = features >= 0
            keys = owners[counted] * width + features[counted]
            # sorting is faster with the smallest type that holds all keys
            blocks.append(np.unique_counts(keys.astype(np.min_scalar_type(len(raw) * width))))
        keys, counts = blocks[0] if len(blocks) == 1 else _added(blocks)
        owners, features = np.divmod(keys.astype(np.int64), width)
        return owners, features, counts

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
        places = np.empty((self.memory + SEGMENT, segments), np.int64)
        rows = np.full(segments, self.first_row)
        for step, place in zip(np.ascontiguousarray(windows.T), places, strict=True):
            np.add(rows, step, out=place)
            # "clip" only skips the check of bounds
            np.take(self.next_rows, place, out=rows, mode="clip")
        return np.asarray(self.features[places[self.memory :]].T.ravel()[:size])


def _bytes(text: str) -> bytes:
    """Return the bytes that py3langid reads: UTF-8 in the form NFC; a text of upper case is lowered."""
    return unicodedata.normalize("NFC", text.lower() if text.isupper() else text).encode()


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
    next_states = np.asarray(identifier.tk_nextmove).astype(np.int64)
    rows = np.asarray(identifier.tk_row).astype(np.int64) * 256
    return LangidModel(
        classes=tuple(identifier.nb_classes),
        prior=identifier.nb_pc.astype(np.float64),
        weights=weights,
        next_rows=rows[next_states],
        features=np.asarray(identifier.tk_output, np.int32)[next_states],
        first_row=int(rows[0]),
        memory=sum(1 for _ in _depths(next_states, rows)),
    )


def _depths(next_states: np.ndarray, rows: np.ndarray) -> Iterator[np.ndarray]:
    """Yield the states that 1 byte, 2 bytes, ... reach from the first state, and fewer bytes do not.

    The automaton is that of Aho and Corasick (1975): a state that takes d bytes to reach depends on the last d bytes.
    """
    reached = np.zeros(len(rows), bool)
    reached[0] = True
    states = np.zeros(1, np.int64)
    while len(states):
        following = np.zeros(len(rows), bool)
        for row in np.unique(rows[states]).tolist():
            following[next_states[row : row + 256]] = True
        states = np.flatnonzero(following & ~reached)
        reached[states] = True
        if len(states):
            yield states
